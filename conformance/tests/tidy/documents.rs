//! Rules about the documents: few, in their places, and their links lead somewhere.

use std::path::Path;

use crate::tree::{file, files, nothing_breaks, root};

const ROOT_DOCUMENTS: &[&str] = &[
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "README.md",
    "SECURITY.md",
];
const FOLDERS: &[&str] = &[
    "docs/bench/",
    "docs/conformance/",
    "docs/contract/",
    "docs/decisions/",
    "docs/format/",
    "docs/ops/",
];

/// Words that a document about the state of the work has in its name; the state is what CI says.
const STATUS: &[&str] = &[
    "status", "complete", "phase", "report", "progress", "summary", "fixes", "handover", "plan",
];

#[test]
fn documents_have_their_places_and_none_is_about_the_state_of_the_work() {
    let mut broken = Vec::new();
    for document in files(&[".md"]) {
        let path = &document.path;
        let name = Path::new(path)
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .to_lowercase();
        let at_home = ROOT_DOCUMENTS.contains(&path.as_str())
            || path == "docs/kafka-compat.md"
            || path.ends_with("/README.md")
            || FOLDERS.iter().any(|folder| path.starts_with(folder));
        if !at_home
            || STATUS
                .iter()
                .any(|word| name.split(['-', '_']).any(|part| part == *word))
        {
            broken.push(path.clone());
        }
    }
    nothing_breaks("documents are few and in their places", &broken);
}

#[test]
fn the_root_documents_are_there() {
    for document in ROOT_DOCUMENTS {
        assert!(file(document).lines().count() > 5, "{document} says something");
    }
}

#[test]
fn relative_links_lead_to_files() {
    let mut broken = Vec::new();
    for document in files(&[".md"]) {
        let folder = root().join(&document.path);
        let folder = folder.parent().expect("a file has a folder");
        for (_, rest) in document
            .text
            .match_indices("](")
            .map(|(at, found)| document.text.split_at(at + found.len()))
        {
            let target = rest.split([')', '#']).next().unwrap_or_default();
            if !target.is_empty() && !target.contains("://") && !folder.join(target).exists() {
                broken.push(format!("{}: {target}", document.path));
            }
        }
    }
    nothing_breaks("relative links lead to files", &broken);
}

#[test]
fn the_readme_names_the_test_command_that_the_ci_script_runs() {
    for text in [file("README.md"), file("CONTRIBUTING.md"), file(".ci/run")] {
        assert!(
            text.contains("cargo test --release --workspace"),
            "the test command"
        );
    }
}
