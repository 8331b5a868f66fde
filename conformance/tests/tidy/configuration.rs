//! The configuration promises nothing that nobody reads.

use crate::modules::shipped;
use crate::tree::{file, nothing_breaks};

#[test]
fn every_key_of_the_configuration_is_read_by_the_server() {
    let reference = file("docs/ops/config.reference.toml");
    // A key without a default stands there as a comment.
    let keys = reference.lines().filter_map(|line| {
        line.trim_start_matches("# ")
            .split_once(" = ")
            .map(|(key, _)| key)
    });
    let keys: Vec<&str> = keys
        .filter(|key| key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'))
        .collect();
    assert!(keys.len() > 30, "the reference names the keys: {keys:?}");
    let readers: Vec<String> = shipped()
        .iter()
        .filter(|path| path.starts_with("server/src/"))
        .filter(|path| {
            !path.starts_with("server/src/config/")
                || path.ends_with("compose.rs")
                || path.ends_with("config/mod.rs")
        })
        .map(|path| file(path))
        .collect();
    let is_read = |key: &str| {
        readers.iter().any(|text| {
            text.match_indices(&format!(".{key}")).any(|(at, found)| {
                !text[at + found.len()..].starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
            })
        })
    };
    let silent: Vec<String> = keys
        .into_iter()
        .filter(|key| !is_read(key))
        .map(str::to_owned)
        .collect();
    nothing_breaks("every key of the configuration is read somewhere", &silent);
}
