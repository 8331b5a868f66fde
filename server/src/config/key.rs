//! What the table of keys is made of: one row feeds the parser, the reference, `config show` and the defaults.

use std::fmt;

use super::Config;
use super::value::{Raw, Reject, Setting};

/// What a key accepts. The text of a refusal and of the reference is made from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// `true` or `false`.
    Switch,
    /// A whole number within inclusive bounds.
    Whole {
        /// The smallest value.
        min: i64,
        /// The largest value.
        max: i64,
    },
    /// A size: a whole number of bytes, or a string with a unit such as `"64MiB"`.
    Bytes {
        /// The smallest size.
        min: i64,
        /// The largest size.
        max: i64,
        /// Whether -1 stands for "no limit".
        unlimited: bool,
    },
    /// A time span: a whole number of milliseconds.
    Millis {
        /// The shortest span.
        min: i64,
        /// The longest span.
        max: i64,
        /// Whether -1 stands for "no limit".
        unlimited: bool,
    },
    /// One of a few names.
    Choice(&'static [&'static str]),
    /// A list of strings of the form that the words and the example describe.
    List {
        /// What each string is, in words.
        what: &'static str,
        /// A value that is accepted.
        example: &'static str,
    },
    /// A string of the form that the words and the example describe.
    Text {
        /// What the string is, in words.
        what: &'static str,
        /// A value that is accepted.
        example: &'static str,
    },
}

impl Rule {
    /// A whole number from `min` to `max`.
    pub(super) const fn whole(min: i64, max: i64) -> Self {
        Self::Whole { min, max }
    }

    /// A size from `min` to `max` bytes.
    pub(super) const fn bytes(min: i64, max: i64) -> Self {
        Self::Bytes {
            min,
            max,
            unlimited: false,
        }
    }

    /// A size from `min` to `max` bytes, or -1 for no limit.
    pub(super) const fn bytes_or_unlimited(min: i64, max: i64) -> Self {
        Self::Bytes {
            min,
            max,
            unlimited: true,
        }
    }

    /// A span from `min` to `max` milliseconds.
    pub(super) const fn millis(min: i64, max: i64) -> Self {
        Self::Millis {
            min,
            max,
            unlimited: false,
        }
    }

    /// A span from `min` to `max` milliseconds, or -1 for no limit.
    pub(super) const fn millis_or_unlimited(min: i64, max: i64) -> Self {
        Self::Millis {
            min,
            max,
            unlimited: true,
        }
    }

    /// Whether a number lies within the bounds; a rule that is not about numbers has none.
    pub(super) fn admits(&self, number: i64) -> bool {
        match *self {
            Self::Whole { min, max } => (min..=max).contains(&number),
            Self::Bytes { min, max, unlimited } | Self::Millis { min, max, unlimited } => {
                (min..=max).contains(&number) || (unlimited && number == -1)
            }
            Self::Switch | Self::Choice(_) | Self::List { .. } | Self::Text { .. } => false,
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Switch => out.write_str("true or false"),
            Self::Whole { min, max } => write!(out, "a whole number from {min} to {max}"),
            Self::Bytes { min, max, unlimited } => {
                write!(
                    out,
                    "a size {}, in bytes or with a unit (\"64MiB\")",
                    bounds(min, max, show_bytes)
                )?;
                out.write_str(if unlimited { "; -1 for no limit" } else { "" })
            }
            Self::Millis { min, max, unlimited } => {
                write!(
                    out,
                    "a whole number of milliseconds, {}",
                    bounds(min, max, |millis| millis.to_string())
                )?;
                out.write_str(if unlimited { "; -1 for no limit" } else { "" })
            }
            Self::Choice(names) => {
                for (position, name) in names.iter().enumerate() {
                    write!(out, "{}\"{name}\"", if position == 0 { "" } else { ", " })?;
                }
                Ok(())
            }
            Self::List { what, example } => write!(out, "a list of {what}, for example [\"{example}\"]"),
            Self::Text { what, example } => write!(out, "{what}, for example \"{example}\""),
        }
    }
}

/// Both bounds, or the lower one where the type is the only upper one.
fn bounds(min: i64, max: i64, show: impl Fn(i64) -> String) -> String {
    match max {
        i64::MAX => format!("of at least {}", show(min)),
        _ => format!("from {} to {}", show(min), show(max)),
    }
}

/// A size in the largest unit that leaves a whole number.
pub(super) fn show_bytes(bytes: i64) -> String {
    const UNITS: [(&str, i64); 4] = [
        ("TiB", 1 << 40),
        ("GiB", 1 << 30),
        ("MiB", 1 << 20),
        ("KiB", 1 << 10),
    ];
    for (unit, size) in UNITS {
        if bytes >= size && bytes % size == 0 {
            return format!("{}{unit}", bytes / size);
        }
    }
    format!("{bytes}B")
}

/// One key of the configuration.
pub struct Key {
    /// The section, as in `[kafka]`.
    pub section: &'static str,
    /// The name within the section.
    pub name: &'static str,
    /// What the key does, line by line.
    pub doc: &'static [&'static str],
    /// What the key accepts.
    pub rule: Rule,
    pub(super) set: fn(&mut Config, &Raw<'_>, &Rule) -> Result<(), Reject>,
    pub(super) show: fn(&Config, &Rule) -> Option<String>,
}

impl Key {
    /// The full name, as in `kafka.port`.
    pub fn path(&self) -> String {
        format!("{}.{}", self.section, self.name)
    }

    /// The value as a TOML literal, or nothing if the key is unset.
    pub fn value(&self, config: &Config) -> Option<String> {
        (self.show)(config, &self.rule)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Key")
            .field("path", &self.path())
            .field("rule", &self.rule)
            .finish_non_exhaustive()
    }
}

/// One section of the configuration with its keys, in the order of the reference.
#[derive(Debug)]
pub struct Section {
    /// The name, as in `[kafka]`.
    pub name: &'static str,
    /// What the section is about, line by line.
    pub doc: &'static [&'static str],
    /// The keys.
    pub keys: &'static [Key],
}

/// Reads a value into a field: the shape of every row's `set`.
pub(super) fn assign<T: Setting>(field: &mut T, raw: &Raw<'_>, rule: &Rule) -> Result<(), Reject> {
    *field = T::read(raw, rule)?;
    Ok(())
}
