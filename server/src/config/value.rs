//! How one value is read from the file or from a flag, and shown again.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use super::key::{Rule, show_bytes};

/// A value as it was written, before its key's rule was applied.
#[derive(Debug, Clone, Copy)]
pub(super) enum Raw<'a> {
    /// A TOML string.
    Text(&'a str),
    /// A TOML integer: its digits and their radix.
    Integer(&'a str, u32),
    /// A TOML boolean.
    Boolean(bool),
    /// A TOML array of strings.
    List(&'a [&'a str]),
    /// Another TOML value; the word says which.
    Other(&'a str),
    /// A command-line argument, which may stand for any of these.
    Argument(&'a str),
}

impl fmt::Display for Raw<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(out, "{text:?}"),
            Self::Integer(digits, _) => out.write_str(digits),
            Self::Boolean(value) => write!(out, "{value}"),
            Self::List(items) => write!(out, "{items:?}"),
            Self::Other(kind) => write!(out, "a value of type {kind}"),
            Self::Argument(text) => write!(out, "`{text}`"),
        }
    }
}

/// Why a value was refused, and what to write instead when that can be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reject {
    pub(super) why: String,
    pub(super) help: Option<String>,
}

impl Reject {
    fn new(why: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            help: None,
        }
    }

    fn with_help(self, help: impl Into<String>) -> Self {
        Self {
            help: Some(help.into()),
            ..self
        }
    }
}

/// A type that a key of the configuration can have.
pub(super) trait Setting: Sized {
    /// Reads a value and applies the rule.
    fn read(raw: &Raw<'_>, rule: &Rule) -> Result<Self, Reject>;

    /// The value as a TOML literal; nothing if it is unset.
    fn show(&self, rule: &Rule) -> Option<String>;
}

impl Setting for bool {
    fn read(raw: &Raw<'_>, _: &Rule) -> Result<Self, Reject> {
        match raw {
            Raw::Boolean(value) => Ok(*value),
            Raw::Argument("true") => Ok(true),
            Raw::Argument("false") => Ok(false),
            Raw::Text(text @ ("true" | "false")) => {
                Err(Reject::new(format!("{raw} is a string"))
                    .with_help(format!("write {text} without quotes")))
            }
            _ => Err(Reject::new(format!("{raw} is not a switch"))),
        }
    }

    fn show(&self, _: &Rule) -> Option<String> {
        Some(self.to_string())
    }
}

impl Setting for i64 {
    fn read(raw: &Raw<'_>, rule: &Rule) -> Result<Self, Reject> {
        let number = match (raw, rule) {
            (Raw::Integer(digits, radix), _) => integer(digits, *radix),
            (Raw::Text(text) | Raw::Argument(text), Rule::Bytes { .. }) => size(text),
            (Raw::Argument(text), _) => integer(text, 10),
            (Raw::Text(text), _) => Err(match text.parse::<i64>() {
                Ok(_) => Reject::new(format!("{raw} is a string"))
                    .with_help(format!("write {text} without quotes")),
                Err(_) => Reject::new(format!("{raw} is not a whole number")),
            }),
            _ => Err(Reject::new(format!("{raw} is not a whole number"))),
        }?;
        if rule.admits(number) {
            Ok(number)
        } else {
            Err(Reject::new(format!("{raw} is out of bounds")))
        }
    }

    fn show(&self, rule: &Rule) -> Option<String> {
        Some(match rule {
            Rule::Bytes { .. } if *self >= 1024 && self % 1024 == 0 => format!("\"{}\"", show_bytes(*self)),
            _ => self.to_string(),
        })
    }
}

/// Narrower numbers read as `i64`: their key's bounds keep them within the type.
macro_rules! narrow {
    ($($type:ty),*) => { $(
        impl Setting for $type {
            fn read(raw: &Raw<'_>, rule: &Rule) -> Result<Self, Reject> {
                let number = i64::read(raw, rule)?;
                Self::try_from(number).map_err(|_| Reject::new(format!("{raw} is out of bounds")))
            }

            fn show(&self, rule: &Rule) -> Option<String> {
                i64::try_from(*self).ok().and_then(|number| number.show(rule))
            }
        }
    )* };
}
narrow!(i16, i32, u16, u32, u64, usize);

impl Setting for IpAddr {
    fn read(raw: &Raw<'_>, _: &Rule) -> Result<Self, Reject> {
        let (Raw::Text(text) | Raw::Argument(text)) = raw else {
            return Err(Reject::new(format!("{raw} is not an address")));
        };
        text.parse().map_err(|_| {
            let reject = Reject::new(format!("{raw} is not an IP address"));
            match text.parse::<SocketAddr>() {
                Ok(both) => {
                    reject.with_help(format!("the port has a key of its own: write \"{}\"", both.ip()))
                }
                Err(_) if *text == "localhost" => reject.with_help("write \"127.0.0.1\""),
                Err(_) => reject,
            }
        })
    }

    fn show(&self, _: &Rule) -> Option<String> {
        Some(literal(&self.to_string()))
    }
}

impl Setting for SocketAddr {
    fn read(raw: &Raw<'_>, _: &Rule) -> Result<Self, Reject> {
        let (Raw::Text(text) | Raw::Argument(text)) = raw else {
            return Err(Reject::new(format!("{raw} is not an address")));
        };
        text.parse().map_err(|_| {
            let reject = Reject::new(format!("{raw} is not an IP address with a port"));
            match (text.parse::<IpAddr>(), text.strip_prefix("localhost:")) {
                (Ok(ip), _) if ip.is_ipv6() => reject.with_help(format!("add the port: \"[{ip}]:5001\"")),
                (Ok(ip), _) => reject.with_help(format!("add the port: \"{ip}:5001\"")),
                (_, Some(port)) => reject.with_help(format!("write \"127.0.0.1:{port}\"")),
                _ => reject,
            }
        })
    }

    fn show(&self, _: &Rule) -> Option<String> {
        Some(literal(&self.to_string()))
    }
}

impl Setting for PathBuf {
    fn read(raw: &Raw<'_>, _: &Rule) -> Result<Self, Reject> {
        match raw {
            Raw::Text("") | Raw::Argument("") => Err(Reject::new("the path is empty")),
            Raw::Text(text) | Raw::Argument(text) => Ok(Self::from(text)),
            _ => Err(Reject::new(format!("{raw} is not a path"))),
        }
    }

    fn show(&self, _: &Rule) -> Option<String> {
        Some(literal(&self.to_string_lossy()))
    }
}

/// A name: what goes into file names, log lines and the wire without any escaping.
impl Setting for String {
    fn read(raw: &Raw<'_>, _: &Rule) -> Result<Self, Reject> {
        let (Raw::Text(text) | Raw::Argument(text)) = raw else {
            return Err(Reject::new(format!("{raw} is not a string")));
        };
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if (1..=64).contains(&text.len()) && text.bytes().all(plain) {
            Ok((*text).to_owned())
        } else {
            Err(Reject::new(format!("{raw} is not a name")))
        }
    }

    fn show(&self, _: &Rule) -> Option<String> {
        Some(literal(self))
    }
}

/// A list of strings in the file; on the command line its items are separated by commas.
impl<T: FromStr<Err = String> + fmt::Display> Setting for Vec<T> {
    fn read(raw: &Raw<'_>, _: &Rule) -> Result<Self, Reject> {
        let items: Vec<&str> = match raw {
            Raw::List(items) => items.to_vec(),
            Raw::Argument("") => Vec::new(),
            Raw::Argument(text) => text.split(',').map(str::trim).collect(),
            Raw::Text(text) => {
                let quoted: Vec<String> = text.split(',').map(|item| literal(item.trim())).collect();
                let help = format!("write [{}]", quoted.join(", "));
                return Err(Reject::new(format!("{raw} is a string")).with_help(help));
            }
            _ => return Err(Reject::new(format!("{raw} is not a list of strings"))),
        };
        let read = |item: &str| item.parse().map_err(|why| Reject::new(format!("{item:?} {why}")));
        items.into_iter().map(read).collect()
    }

    fn show(&self, _: &Rule) -> Option<String> {
        let items: Vec<String> = self.iter().map(|item| literal(&item.to_string())).collect();
        Some(format!("[{}]", items.join(", ")))
    }
}

impl<T: Setting> Setting for Option<T> {
    fn read(raw: &Raw<'_>, rule: &Rule) -> Result<Self, Reject> {
        T::read(raw, rule).map(Some)
    }

    fn show(&self, rule: &Rule) -> Option<String> {
        self.as_ref().and_then(|value| value.show(rule))
    }
}

/// A type that is read from a string by its own `FromStr`, whose error says what is wrong.
pub(super) trait FromText: FromStr<Err = String> + fmt::Display {}

impl<T: FromText> Setting for T {
    fn read(raw: &Raw<'_>, rule: &Rule) -> Result<Self, Reject> {
        let (Raw::Text(text) | Raw::Argument(text)) = raw else {
            return Err(Reject::new(format!("{raw} is not a string")));
        };
        text.parse().map_err(|why: String| {
            let reject = Reject::new(format!("{raw} {why}"));
            let Rule::Choice(names) = rule else { return reject };
            match super::suggest::nearest(text, names.iter().copied()) {
                Some(name) => reject.with_help(format!("did you mean \"{name}\"?")),
                None => reject,
            }
        })
    }

    fn show(&self, _: &Rule) -> Option<String> {
        Some(literal(&self.to_string()))
    }
}

fn integer(digits: &str, radix: u32) -> Result<i64, Reject> {
    i64::from_str_radix(digits, radix)
        .map_err(|_| Reject::new(format!("`{digits}` is not a whole number of 64 bits")))
}

/// Reads `67108864`, `64MiB`, `64 MiB`, `64MB`: binary units are powers of 1024, decimal ones of 1000.
fn size(text: &str) -> Result<i64, Reject> {
    let text = text.trim();
    let split = text
        .find(|c: char| c != '-' && !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at(split);
    let unit = unit.trim_start();
    let scale = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        _ => {
            let reject = Reject::new(format!("{text:?} is not a size"));
            return Err(
                reject.with_help("units are B, KiB, MiB, GiB, TiB, and kB, MB, GB, TB for powers of 1000")
            );
        }
    };
    let number: i64 = digits
        .parse()
        .map_err(|_| Reject::new(format!("{text:?} is not a size")))?;
    number
        .checked_mul(scale)
        .ok_or_else(|| Reject::new(format!("{text:?} is too large")))
}

/// A TOML basic string.
fn literal(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Rule = Rule::bytes(0, i64::MAX);

    #[test]
    fn sizes_are_read_with_binary_and_decimal_units() {
        for (text, bytes) in [
            ("0", 0),
            ("512", 512),
            ("64MiB", 64 << 20),
            ("64 MiB", 64 << 20),
            ("2GB", 2_000_000_000),
        ] {
            assert_eq!(i64::read(&Raw::Text(text), &SIZE), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn a_size_that_does_not_fit_is_refused_and_does_not_wrap() {
        for text in [
            "9223372036854775807KiB",
            "99999999999999999999",
            "-",
            "",
            "MiB",
            "5 parsecs",
            "1-2",
        ] {
            assert!(i64::read(&Raw::Text(text), &SIZE).is_err(), "{text}");
        }
    }

    #[test]
    fn minus_one_is_a_size_only_where_it_stands_for_no_limit() {
        assert_eq!(
            i64::read(&Raw::Integer("-1", 10), &Rule::bytes_or_unlimited(0, 9)),
            Ok(-1)
        );
        assert!(i64::read(&Raw::Integer("-1", 10), &Rule::bytes(0, 9)).is_err());
    }

    #[test]
    fn what_is_shown_reads_back_as_the_same_size() {
        for bytes in [0, 1, 1023, 1024, 1025, 1 << 20, 3 << 30, 1_048_588] {
            let shown = bytes.show(&SIZE).expect("a size is always shown");
            let text = shown.trim_matches('"');
            assert_eq!(i64::read(&Raw::Argument(text), &SIZE), Ok(bytes), "{shown}");
        }
    }

    #[test]
    fn strings_are_quoted_as_toml_reads_them() {
        assert_eq!(literal("a\"b\\c\nd"), "\"a\\\"b\\\\c\\u000Ad\"");
    }
}
