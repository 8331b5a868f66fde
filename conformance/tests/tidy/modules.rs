//! No source is dead: every file is reached from a target that cargo builds, and no target is switched off.

use std::collections::BTreeSet;

use syn::{Expr, Item, Lit, Meta};

use crate::tree::{file, files, nothing_breaks};

#[test]
fn every_source_file_is_reached_from_a_target_that_cargo_builds() {
    let sources = files(&[".rs"]);
    let paths: BTreeSet<&str> = sources.iter().map(|source| source.path.as_str()).collect();
    let mut reached = BTreeSet::new();
    let mut waiting: Vec<String> = paths
        .iter()
        .filter(|path| is_target(path))
        .map(|path| (*path).to_owned())
        .collect();
    while let Some(path) = waiting.pop() {
        let syntax = syn::parse_file(&file(&path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        let home = children_of(&path);
        let mut found = Vec::new();
        modules(&syntax.items, folder_of(&path), &home, &mut found);
        waiting.extend(
            found
                .into_iter()
                .filter(|child| paths.contains(child.as_str()) && !reached.contains(child)),
        );
        reached.insert(path);
    }
    let dead: Vec<String> = paths
        .iter()
        .filter(|path| !reached.contains(**path))
        .map(ToString::to_string)
        .collect();
    nothing_breaks("every source file belongs to a target", &dead);
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
fn modules(items: &[Item], folder: &str, home: &str, found: &mut Vec<String>) {
    for item in items {
        let Item::Mod(module) = item else { continue };
        let name = module.ident.to_string();
        match (&module.content, path_attribute(&module.attrs)) {
            (Some((_, items)), _) => modules(items, folder, &format!("{home}/{name}"), found),
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
