//! Leaves the symbol table out of the program that is shipped: it is a quarter of its size, and a panic says its file
//! and line without it. Tests keep theirs for their backtraces, and `CHRONIK_KEEP_SYMBOLS=1` keeps it for a profiler.

fn main() {
    println!("cargo:rerun-if-env-changed=CHRONIK_KEEP_SYMBOLS");
    println!("cargo:rerun-if-changed=build.rs");
    let is_linux = std::env::var_os("CARGO_CFG_TARGET_OS").is_some_and(|os| os == "linux");
    let is_release = std::env::var_os("PROFILE").is_some_and(|profile| profile == "release");
    if is_linux && is_release && std::env::var_os("CHRONIK_KEEP_SYMBOLS").is_none() {
        println!("cargo:rustc-link-arg-bin=chronik-server=-Wl,--strip-all");
    }
}
