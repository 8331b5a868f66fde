//! The files of the repository, and how a broken rule is reported.

use std::fs;
use std::path::{Path, PathBuf};

/// What is built, fetched or written by running something, not by us.
const SKIPPED: &[&str] = &[
    "target",
    "node_modules",
    ".git",
    "artifacts",
    "corpus",
    "__pycache__",
    ".venv",
    "venv",
    "generated",
];

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent()
        .expect("a crate lies in a folder of the repository")
        .to_owned()
}

/// A file, by its path from the root with forward slashes.
pub(crate) struct Text {
    pub(crate) path: String,
    pub(crate) text: String,
}

/// Every text file whose name ends in one of the endings; there must be one.
pub(crate) fn files(endings: &[&str]) -> Vec<Text> {
    let root = root();
    let mut found = Vec::new();
    walk(&root, &mut |path| {
        let name = path
            .strip_prefix(&root)
            .expect("the walk starts at the root")
            .to_string_lossy()
            .into_owned();
        if endings.iter().any(|ending| name.ends_with(ending)) {
            let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{name}: {error}"));
            found.push(Text { path: name, text });
        }
    });
    assert!(
        !found.is_empty(),
        "no file ends in {endings:?}: the walk is broken"
    );
    found.sort_by(|left, right| left.path.cmp(&right.path));
    found
}

/// One file that must be there.
pub(crate) fn file(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn walk(folder: &Path, visit: &mut impl FnMut(&Path)) {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    for entry in entries {
        let entry = entry.expect("a directory entry");
        let name = entry.file_name();
        let kind = entry.file_type().expect("a file type");
        if kind.is_dir() && !SKIPPED.iter().any(|skipped| name == *skipped) {
            walk(&entry.path(), visit);
        } else if kind.is_file() {
            visit(&entry.path());
        }
    }
}

/// Fails with every place that breaks the rule.
pub(crate) fn nothing_breaks(rule: &str, places: &[String]) {
    assert!(
        places.is_empty(),
        "{} break the rule \"{rule}\":\n{}",
        places.len(),
        places.join("\n")
    );
}
