//! Which names a topic may have.

/// The longest name.
pub const MAX_NAME_LEN: usize = 249;

/// Checks a topic's name by Kafka's rules.
///
/// # Errors
/// What is wrong with it, for the client.
pub fn check_topic_name(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("Topic name is invalid: the empty string is not allowed".into());
    }
    if name == "." || name == ".." {
        return Err("Topic name is invalid: '.' or '..' is not allowed".into());
    }
    if name.len() > MAX_NAME_LEN {
        return Err(format!(
            "Topic name is invalid: the length of '{}...' is longer than the max allowed length {MAX_NAME_LEN}",
            name.chars().take(MAX_NAME_LEN).collect::<String>()
        ));
    }
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if name.bytes().all(legal) {
        Ok(())
    } else {
        Err(format!(
            "Topic name is invalid: '{name}' contains one or more characters other than ASCII alphanumerics, '.', \
             '_' and '-'"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_valid_by_kafkas_rules() {
        let longest = "a".repeat(MAX_NAME_LEN);
        for name in ["a", "A.b_c-9", "...", longest.as_str(), "__consumer_offsets"] {
            assert_eq!(check_topic_name(name), Ok(()), "{name}");
        }
        let too_long = "a".repeat(MAX_NAME_LEN + 1);
        for name in [
            "",
            ".",
            "..",
            "a b",
            "a/b",
            "a:b",
            "t\u{fc}r",
            "a\0",
            too_long.as_str(),
        ] {
            assert!(check_topic_name(name).is_err(), "{name:?}");
        }
    }
}
