//! Rules about the crates: who may import whom, and what may be imported at all.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;
use toml::{Table, Value as Toml};

use crate::tree::{file, files, nothing_breaks};

/// Which crates of the workspace a crate may import, and which its tests may import on top.
const IMPORTS: &[(&str, &[&str], &[&str])] = &[
    ("core", &[], &[]),
    ("conformance", &["core"], &[]),
    ("consensus", &["core"], &["conformance"]),
    ("storage-mmap", &["core"], &["conformance"]),
    ("storage-object", &["core"], &["conformance"]),
    ("transport-capnp", &["core"], &["conformance"]),
    (
        "server",
        &[
            "consensus",
            "core",
            "storage-mmap",
            "storage-object",
            "transport-capnp",
        ],
        &["conformance"],
    ),
];

fn table(path: &str) -> Table {
    file(path)
        .parse()
        .unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn members() -> Vec<String> {
    let workspace = table("Cargo.toml");
    let members = workspace["workspace"]["members"]
        .as_array()
        .expect("workspace.members");
    members
        .iter()
        .map(|member| member.as_str().expect("a member is a path").to_owned())
        .collect()
}

fn dependencies<'a>(manifest: &'a Table, kind: &str) -> impl Iterator<Item = (&'a String, &'a Toml)> {
    manifest.get(kind).and_then(Toml::as_table).into_iter().flatten()
}

#[test]
fn crates_import_only_the_crates_that_the_design_allows() {
    let mut broken = Vec::new();
    for member in members() {
        let rule = IMPORTS.iter().find(|(name, ..)| *name == member);
        let Some((_, imports, tests)) = rule else {
            broken.push(format!("{member}: a crate without an import rule"));
            continue;
        };
        let manifest = table(&format!("{member}/Cargo.toml"));
        for (kind, more) in [
            ("dependencies", &[][..]),
            ("build-dependencies", &[][..]),
            ("dev-dependencies", *tests),
        ] {
            for (name, _) in dependencies(&manifest, kind) {
                let Some(name) = name.strip_prefix("chronik-") else {
                    continue;
                };
                if !imports.contains(&name) && !more.contains(&name) {
                    broken.push(format!("{member}: {kind} has chronik-{name}"));
                }
            }
        }
    }
    nothing_breaks("crates import only what the design allows", &broken);
}

#[test]
fn every_crate_takes_its_lints_metadata_and_dependencies_from_the_workspace() {
    let mut broken = Vec::new();
    for member in members() {
        let manifest = table(&format!("{member}/Cargo.toml"));
        let inherits = |table: Option<&Toml>| {
            table.and_then(|table| table.get("workspace")) == Some(&Toml::Boolean(true))
        };
        if !inherits(manifest.get("lints")) {
            broken.push(format!("{member}: [lints] workspace = true is missing"));
        }
        let package = &manifest["package"];
        if package.get("name").and_then(Toml::as_str) != Some(&format!("chronik-{member}")) {
            broken.push(format!("{member}: the package is not named chronik-{member}"));
        }
        for key in ["version", "edition", "rust-version", "license", "publish"] {
            if !inherits(package.get(key)) {
                broken.push(format!("{member}: {key}.workspace = true is missing"));
            }
        }
        for kind in ["dependencies", "build-dependencies", "dev-dependencies"] {
            let own = dependencies(&manifest, kind).filter(|(_, value)| !inherits(Some(value)));
            broken.extend(
                own.map(|(name, _)| format!("{member}: {kind}.{name} is not declared in the workspace")),
            );
        }
    }
    nothing_breaks("what crates share stands in the workspace", &broken);
}

#[test]
fn lists_of_dependencies_are_sorted() {
    let mut broken = Vec::new();
    for manifest in files(&["Cargo.toml"]) {
        let mut previous = "";
        for line in manifest.text.lines() {
            // A blank line begins a new list, as between our own crates and the others.
            let name = line.split(['=', '.', ' ']).next().unwrap_or_default();
            if line.starts_with('[') || line.is_empty() {
                previous = "";
            } else if manifest_list(&manifest.text, line) {
                if name < previous {
                    broken.push(format!("{}: {name} after {previous}", manifest.path));
                }
                previous = name;
            }
        }
    }
    nothing_breaks("lists of dependencies are sorted", &broken);
}

/// Whether the line is an entry of a table of dependencies.
fn manifest_list(text: &str, line: &str) -> bool {
    let at = line.as_ptr() as usize - text.as_ptr() as usize;
    let section = text[..at]
        .lines()
        .rev()
        .find(|line| line.starts_with('['))
        .unwrap_or_default();
    section.ends_with("dependencies]") && line.starts_with(|c: char| c.is_ascii_alphabetic())
}

#[test]
fn every_dependency_has_a_licence_that_deny_toml_allows() {
    let deny = table("deny.toml");
    let allowed: BTreeSet<&str> = deny["licenses"]["allow"]
        .as_array()
        .expect("licenses.allow")
        .iter()
        .filter_map(Toml::as_str)
        .collect();
    let mut broken = Vec::new();
    for package in packages() {
        let (name, licence) = (text(&package, "name"), text(&package, "license"));
        let expression = spdx::Expression::parse_mode(licence, spdx::ParseMode::LAX);
        let fine = expression.is_ok_and(|expression| {
            expression.evaluate(|requirement| allowed.contains(requirement.to_string().as_str()))
        });
        if !fine {
            broken.push(format!("{name}: {licence:?}"));
        }
    }
    nothing_breaks("every licence is allowed in deny.toml", &broken);
}

#[test]
fn no_dependency_is_banned_and_none_comes_from_elsewhere() {
    let deny = table("deny.toml");
    let bans = deny["bans"]["deny"].as_array().expect("bans.deny");
    let banned: BTreeSet<&str> = bans
        .iter()
        .map(|ban| ban["crate"].as_str().expect("a ban names a crate"))
        .collect();
    let mut broken = Vec::new();
    for package in packages() {
        let name = text(&package, "name");
        if banned.contains(name) {
            broken.push(format!("{name} is banned"));
        }
        let source = text(&package, "source");
        if !source.is_empty() && !source.starts_with("registry+") {
            broken.push(format!("{name} comes from {source}"));
        }
    }
    nothing_breaks(
        "no dependency is banned or comes from outside the registry",
        &broken,
    );
}

#[test]
fn each_exception_for_an_advisory_has_a_reason_and_is_about_a_dependency_that_we_have() {
    let deny = table("deny.toml");
    let locked: BTreeSet<String> = packages()
        .iter()
        .map(|package| text(package, "name").to_owned())
        .collect();
    let mut broken = Vec::new();
    for exception in deny["advisories"]["ignore"]
        .as_array()
        .expect("advisories.ignore")
    {
        let id = exception["id"].as_str().expect("an exception names an advisory");
        let reason = exception.get("reason").and_then(Toml::as_str).unwrap_or_default();
        let about = reason.split_once(':').map_or("", |(name, _)| name);
        if !locked.contains(about) {
            broken.push(format!(
                "{id}: the reason begins with no crate that is in use: {reason:?}"
            ));
        }
    }
    nothing_breaks("each ignored advisory is about a dependency in use", &broken);
}

#[test]
fn each_direct_dependency_has_a_line_in_the_decisions() {
    let decisions = file("docs/decisions/0004-dependencies.md");
    let workspace = table("Cargo.toml");
    let declared: BTreeMap<_, _> = workspace["workspace"]["dependencies"]
        .as_table()
        .expect("workspace.dependencies")
        .iter()
        .collect();
    let silent: Vec<String> = declared
        .keys()
        .filter(|name| !name.starts_with("chronik-") && !decisions.contains(&format!("| `{name}` |")))
        .map(ToString::to_string)
        .collect();
    nothing_breaks(
        "each direct dependency has a line in docs/decisions/0004-dependencies.md",
        &silent,
    );
}

/// What cargo resolved for the platform of this build.
fn packages() -> Vec<Value> {
    let cargo = env!("CARGO");
    let host = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let arguments = [
        "metadata",
        "--format-version",
        "1",
        "--locked",
        "--filter-platform",
        &host,
    ];
    let output = Command::new(cargo)
        .args(arguments)
        .current_dir(crate::tree::root())
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "cargo metadata: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo prints JSON");
    let packages = metadata["packages"]
        .as_array()
        .expect("metadata.packages")
        .clone();
    assert!(
        packages.len() > members().len(),
        "cargo metadata lists the dependencies"
    );
    packages
}

fn text<'a>(package: &'a Value, key: &str) -> &'a str {
    package[key].as_str().unwrap_or_default()
}
