//! No source is dead: every file is reached from a target that cargo builds, and no target is switched off.

use std::collections::BTreeSet;

use syn::{Expr, Item, Lit, Meta};

use crate::tree::{file, files, nothing_breaks};

#[test]
fn every_source_file_is_reached_from_a_target_that_cargo_builds() {
    let sources = files(&[".rs"]);
    let paths: BTreeSet<String> = sources.into_iter().map(|source| source.path).collect();
    let roots = paths.iter().filter(|path| is_target(path));
    let reached = reached(&paths, roots, |_| true);
    let dead: Vec<String> = paths.difference(&reached).cloned().collect();
    nothing_breaks("every source file belongs to a target", &dead);
}

/// The sources of the libraries and binaries, without those that only tests use.
pub(crate) fn shipped() -> BTreeSet<String> {
    let paths: BTreeSet<String> = files(&[".rs"]).into_iter().map(|source| source.path).collect();
    let roots = paths
        .iter()
        .filter(|path| path.ends_with("/src/lib.rs") || path.ends_with("/src/main.rs"));
    reached(&paths, roots, |item| !is_for_tests(item))
}

/// Whether an item is compiled for tests only.
pub(crate) fn is_for_tests(item: &Item) -> bool {
    let attributes = match item {
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => return false,
    };
    attributes.iter().any(|attribute| match &attribute.meta {
        Meta::List(list) => list.path.is_ident("cfg") && list.tokens.to_string() == "test",
        _ => false,
    })
}

/// The files that the roots lead to by the module declarations that are followed.
fn reached<'a>(
    paths: &BTreeSet<String>,
    roots: impl Iterator<Item = &'a String>,
    follow: fn(&Item) -> bool,
) -> BTreeSet<String> {
    let mut reached = BTreeSet::new();
    let mut waiting: Vec<String> = roots.cloned().collect();
    while let Some(path) = waiting.pop() {
        let syntax = syn::parse_file(&file(&path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        let mut found = Vec::new();
        modules(
            &syntax.items,
            folder_of(&path),
            &children_of(&path),
            follow,
            &mut found,
        );
        waiting.extend(
            found
                .into_iter()
                .filter(|child| paths.contains(child) && !reached.contains(child)),
        );
        reached.insert(path);
    }
    reached
}

#[test]
fn no_target_is_switched_off() {
    let mut broken = Vec::new();
    for manifest in files(&["Cargo.toml"]) {
        for switch in [
            "autotests = false",
            "autobenches = false",
            "test = false",
            "doctest = false",
        ] {
            // A fuzz target or a bench has no tests of its own to run.
            let excused = manifest.path.contains("fuzz/")
                || manifest.text.contains("[[bench]]") && switch.starts_with("test");
            if manifest.text.contains(switch) && !excused {
                broken.push(format!("{}: {switch}", manifest.path));
            }
        }
    }
    nothing_breaks("no target is switched off", &broken);
}

#[test]
fn the_ci_script_runs_the_tests_of_the_workspace_every_fuzz_target_and_every_test_script() {
    let ci = file(".ci/run");
    assert!(
        ci.contains("cargo test --release --workspace"),
        ".ci/run runs the workspace's tests"
    );
    let scripts = files(&["/run.sh", "/run.py", "fuzz/Cargo.toml"])
        .into_iter()
        .map(|script| script.path);
    let broken: Vec<String> = scripts
        .filter(|script| !ci.contains(script.trim_end_matches("/Cargo.toml")))
        .collect();
    nothing_breaks("every test script is named in .ci/run", &broken);
}

/// The files that cargo takes as roots without being told.
fn is_target(path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').collect();
    let [.., parent, name] = parts.as_slice() else {
        return false;
    };
    let grandparent = parts.iter().rev().nth(2).copied().unwrap_or_default();
    let many = ["tests", "benches", "examples", "fuzz_targets", "bin"];
    *name == "build.rs"
        || (*parent == "src" && matches!(*name, "lib.rs" | "main.rs"))
        || (many.contains(parent) && !path.contains("/src/"))
        || (many.contains(&grandparent) && *name == "main.rs" && !path.contains("/src/"))
}

fn folder_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// Where the modules that a file declares lie.
fn children_of(path: &str) -> String {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    if is_target(path) || name == "mod.rs" {
        folder.to_owned()
    } else {
        path.trim_end_matches(".rs").to_owned()
    }
}

/// The files that the `mod x;` of these items can mean.
fn modules(items: &[Item], folder: &str, home: &str, follow: fn(&Item) -> bool, found: &mut Vec<String>) {
    for item in items.iter().filter(|item| follow(item)) {
        let Item::Mod(module) = item else { continue };
        let name = module.ident.to_string();
        match (&module.content, path_attribute(&module.attrs)) {
            (Some((_, items)), _) => modules(items, folder, &format!("{home}/{name}"), follow, found),
            (None, Some(path)) => found.push(normal(&format!("{folder}/{path}"))),
            (None, None) => found.extend([format!("{home}/{name}.rs"), format!("{home}/{name}/mod.rs")]),
        }
    }
}

fn path_attribute(attributes: &[syn::Attribute]) -> Option<String> {
    attributes.iter().find_map(|attribute| match &attribute.meta {
        Meta::NameValue(pair) if pair.path.is_ident("path") => match &pair.value {
            Expr::Lit(literal) => match &literal.lit {
                Lit::Str(text) => Some(text.value()),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    })
}

/// Resolves `..` in a path.
fn normal(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "." | "" => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}
