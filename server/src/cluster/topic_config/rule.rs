//! Which values a config takes.

use std::fmt;

/// The type of a config, as DescribeConfigs reports it (KIP-569).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i8)]
pub enum ConfigType {
    /// true or false.
    Boolean = 1,
    /// Text.
    String = 2,
    /// 32 bits.
    Int = 3,
    /// 16 bits.
    Short = 4,
    /// 64 bits.
    Long = 5,
    /// A fraction.
    Double = 6,
    /// Names with commas between them.
    List = 7,
}

/// Which values a config takes.
#[derive(Clone, Copy, Debug)]
pub enum Rule {
    /// A 32-bit number of at least this.
    Int {
        /// The smallest.
        min: i32,
    },
    /// A 64-bit number of at least this.
    Long {
        /// The smallest.
        min: i64,
    },
    /// true or false.
    Switch,
    /// One of these words.
    Word(&'static [&'static str]),
    /// One value, because it is what is done anyway.
    Only {
        /// Its type.
        kind: ConfigType,
        /// The value.
        value: &'static str,
        /// Why no other, for the client.
        why: &'static str,
    },
}

impl Rule {
    /// The type of the config.
    #[must_use]
    pub const fn kind(&self) -> ConfigType {
        match self {
            Self::Int { .. } => ConfigType::Int,
            Self::Long { .. } => ConfigType::Long,
            Self::Switch => ConfigType::Boolean,
            Self::Word(_) => ConfigType::String,
            Self::Only { kind, .. } => *kind,
        }
    }

    /// Checks a value and gives it its canonical form.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self, value: &str) -> Result<String, String> {
        let value = value.trim();
        match self {
            Self::Int { min } => {
                let number: i32 = value.parse().map_err(|_| "not a number of type INT".to_owned())?;
                at_least(number, *min)
            }
            Self::Long { min } => {
                let number: i64 = value
                    .parse()
                    .map_err(|_| "not a number of type LONG".to_owned())?;
                at_least(number, *min)
            }
            Self::Switch => match value.to_ascii_lowercase().as_str() {
                word @ ("true" | "false") => Ok(word.to_owned()),
                _ => Err("must be true or false".to_owned()),
            },
            Self::Word(words) if words.contains(&value) => Ok(value.to_owned()),
            Self::Word(words) => Err(format!("must be one of {}", words.join(", "))),
            Self::Only {
                kind,
                value: only,
                why,
            } => {
                let same = match kind {
                    ConfigType::Boolean => value.eq_ignore_ascii_case(only),
                    ConfigType::List => list(value).eq(std::iter::once(*only)),
                    _ => value == *only,
                };
                if same {
                    Ok((*only).to_owned())
                } else {
                    Err(format!("{why}; only {only} is accepted"))
                }
            }
        }
    }
}

fn at_least<N: PartialOrd + fmt::Display>(number: N, min: N) -> Result<String, String> {
    if number < min {
        Err(format!("must be at least {min}"))
    } else {
        Ok(number.to_string())
    }
}

/// The elements of a list: without the spaces around them and without empty ones.
pub fn list(value: &str) -> impl Iterator<Item = &str> {
    value
        .split(',')
        .map(str::trim)
        .filter(|element| !element.is_empty())
}
