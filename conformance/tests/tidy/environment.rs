//! Time, randomness, tasks and threads come through `chronik_core::env`, so that a simulator can drive what we ship.

use syn::visit::{self, Visit};
use syn::{Item, Path, UseTree};

use crate::modules::{is_for_tests, shipped};
use crate::tree::{file, nothing_breaks};

/// What goes around the environment.
const BYPASSES: &[&str] = &[
    "Instant::now",
    "SystemTime::now",
    "async_global_executor",
    "async_io",
    "async_std",
    "fastrand",
    "rand",
    "thread::Builder",
    "thread::sleep",
    "thread::spawn",
];

/// Who is the environment, or a listener, which needs sockets.
const EXCUSED: &[(&str, &[&str])] = &[
    // The runner tells how long each check took, and ends those that take too long.
    ("conformance/src/runner", &["Instant::now", "thread::spawn"]),
    ("conformance/src/world/", BYPASSES),
    ("server/src/admin/listener.rs", &["async_std"]),
    // A client, which needs a socket too.
    ("server/src/bench/link.rs", &["async_std"]),
    ("server/src/kafka/connection.rs", &["async_std"]),
    ("server/src/kafka/listener.rs", &["async_std"]),
    ("server/src/runtime.rs", BYPASSES),
    (
        "storage-mmap/src/disk_threads.rs",
        &["thread::Builder", "thread::spawn"],
    ),
    // It drives its sockets and timers itself, on its own thread.
    (
        "transport-capnp/src/",
        &["Instant::now", "async_io", "async_std", "thread::Builder"],
    ),
    ("storage-object/src/bucket/s3/island.rs", &["thread::Builder"]),
];

#[test]
fn time_randomness_tasks_and_threads_come_from_the_environment() {
    let mut broken = Vec::new();
    for path in shipped() {
        let syntax = syn::parse_file(&file(&path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        let mut found = Bypasses::default();
        found.visit_file(&syntax);
        let excused = |name: &&str| {
            EXCUSED
                .iter()
                .any(|(home, names)| path.starts_with(home) && names.contains(name))
        };
        broken.extend(
            found
                .0
                .into_iter()
                .filter(|name| !excused(name))
                .map(|name| format!("{path}: {name}")),
        );
    }
    nothing_breaks(
        "time, randomness, tasks and threads come through core::env",
        &broken,
    );
}

#[derive(Default)]
struct Bypasses(Vec<&'static str>);

impl Bypasses {
    fn check(&mut self, path: &str) {
        let is = |name: &&&str| {
            let (whole, part) = (format!("{name}::"), format!("::{name}::"));
            let path = format!("{path}::");
            path.starts_with(&whole) || name.contains("::") && path.contains(&part)
        };
        self.0.extend(BYPASSES.iter().find(is));
    }

    fn check_use(&mut self, before: &str, tree: &UseTree) {
        match tree {
            UseTree::Path(path) => self.check_use(&format!("{before}{}::", path.ident), &path.tree),
            UseTree::Name(name) => self.check(&format!("{before}{}", name.ident)),
            UseTree::Rename(name) => self.check(&format!("{before}{}", name.ident)),
            UseTree::Glob(_) => self.check(before.trim_end_matches("::")),
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.check_use(before, tree)),
        }
    }
}

impl<'ast> Visit<'ast> for Bypasses {
    fn visit_item(&mut self, item: &'ast Item) {
        if is_for_tests(item) {
            return;
        }
        if let Item::Use(item) = item {
            self.check_use("", &item.tree);
        }
        visit::visit_item(self, item);
    }

    fn visit_path(&mut self, path: &'ast Path) {
        let names: Vec<String> = path
            .segments
            .iter()
            .map(|segment| segment.ident.to_string())
            .collect();
        self.check(&names.join("::"));
        visit::visit_path(self, path);
    }
}

#[test]
fn a_bypass_is_found_in_calls_and_imports_and_not_in_tests() {
    let found = |code: &str| {
        let mut found = Bypasses::default();
        found.visit_file(&syn::parse_file(code).expect("it parses"));
        found.0
    };
    assert_eq!(found("fn f() { std::time::Instant::now(); }"), ["Instant::now"]);
    assert_eq!(found("use std::{thread::{self, spawn}, fmt};"), ["thread::spawn"]);
    assert_eq!(found("fn f() { async_std::task::yield_now(); }"), ["async_std"]);
    assert!(found("#[cfg(test)] mod tests { use fastrand::Rng; }").is_empty());
    assert!(found("fn f(now: std::time::Instant) { brand::x(); env.clock.now(); }").is_empty());
}
