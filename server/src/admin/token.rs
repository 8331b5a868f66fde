//! The secret that requests of operators carry.

use std::fmt;
use std::path::Path;

/// The fewest characters of a token.
const TOKEN_CHARS_MIN: usize = 16;
/// The most bytes of a token file that are read.
const TOKEN_FILE_BYTES_MAX: u64 = 4096;

/// A token. It shows itself nowhere.
#[derive(Clone)]
pub(super) struct Token(String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// Reads the token of a file: its one line.
///
/// # Errors
/// A text that says what is wrong with the file.
pub(crate) fn read_token(path: &Path) -> Result<String, String> {
    use std::io::Read;
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(TOKEN_FILE_BYTES_MAX).read_to_string(&mut text))
        .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let token = text.trim();
    if token.len() < TOKEN_CHARS_MIN || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(format!(
            "{} must hold one line of at least {TOKEN_CHARS_MIN} visible ASCII characters (`openssl rand -hex 32`)",
            path.display()
        ));
    }
    Ok(token.to_owned())
}

impl Token {
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        read_token(path).map(Self)
    }

    /// Whether an `Authorization` header carries this token. The time it takes tells nothing but the length.
    pub(super) fn admits(&self, authorization: Option<&str>) -> bool {
        let Some((scheme, given)) = authorization.and_then(|header| header.split_once(' ')) else {
            return false;
        };
        let (given, own) = (given.trim().as_bytes(), self.0.as_bytes());
        let differences = given.iter().zip(own).fold(0, |sum, (a, b)| sum | (a ^ b));
        scheme.eq_ignore_ascii_case("bearer") && given.len() == own.len() && differences == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_token_is_admitted() {
        let token = Token("0123456789abcdef".to_owned());
        assert!(token.admits(Some("Bearer 0123456789abcdef")));
        assert!(token.admits(Some("bearer  0123456789abcdef ")));
        for other in [
            "Bearer 0123456789abcde",
            "Bearer 0123456789abcdeF",
            "Bearer",
            "Bearer ",
            "Basic 0123456789abcdef",
            "",
        ] {
            assert!(!token.admits(Some(other)), "{other}");
        }
        assert!(!token.admits(None));
        assert_eq!(format!("{token:?}"), "Token(..)");
    }
}
