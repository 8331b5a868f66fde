//! The command line of a conformance run.

use crate::world::Seed;
use std::time::Duration;

/// What to run and how hard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Args {
    /// Only checks whose clause and name contain one of these; all where it is empty.
    pub filters: Vec<String>,
    /// Not those that contain one of these.
    pub skips: Vec<String>,
    /// Filters must equal the whole name.
    pub exact: bool,
    /// Only name the checks.
    pub list: bool,
    /// Only those that are ignored, of which there are none.
    pub ignored: bool,
    /// Where to write the report as JSON.
    pub json: Option<String>,
    /// Where to write it for JUnit.
    pub junit: Option<String>,
    /// Where to write it as a page of HTML.
    pub html: Option<String>,
    /// Where to write the badge line.
    pub badge: Option<String>,
    /// The seed that every random choice follows.
    pub seed: Seed,
    /// Random checks run this many times as long.
    pub effort: u32,
    /// How many checks run at once.
    pub threads: usize,
    /// How long a check may take.
    pub limit: Duration,
    /// How much memory the process of the checks may take.
    pub memory_mib: u64,
    /// Checks run in the process that was started, where a debugger finds them: a subject that ends or blocks it ends the
    /// run.
    pub inline: bool,
}

impl Default for Args {
    fn default() -> Self {
        Self {
            filters: Vec::new(),
            skips: Vec::new(),
            exact: false,
            list: false,
            ignored: false,
            json: None,
            junit: None,
            html: None,
            badge: None,
            seed: Seed(1),
            effort: 1,
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            limit: Duration::from_secs(LIMIT_SECONDS),
            memory_mib: 4096,
            inline: false,
        }
    }
}

/// How long a check may take at effort 1, in seconds: none takes a tenth of it on two processors.
const LIMIT_SECONDS: u64 = 300;

/// Options of the standard harness that have a value and mean nothing here.
const IGNORED_WITH_VALUE: &[&str] = &[
    "--format",
    "--color",
    "--logfile",
    "-Z",
    "--report-time",
    "--shuffle-seed",
];

impl Args {
    /// Reads arguments: those of the standard harness, and `--seed S`, `--effort N`,
    /// `--json FILE`, `--junit FILE`, `--html FILE`, `--badge FILE`, `--limit SECONDS`, `--memory MIB`, `--inline`.
    ///
    /// # Errors
    /// Names the argument whose value is missing or wrong.
    pub fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let mut args = Self::default();
        let mut rest = arguments.into_iter();
        let mut limit = None;
        while let Some(argument) = rest.next() {
            let (name, mut inline) = match argument.split_once('=') {
                Some((name, value)) if name.starts_with('-') => (name.to_owned(), Some(value.to_owned())),
                _ => (argument, None),
            };
            let mut value = || {
                inline
                    .take()
                    .or_else(|| rest.next())
                    .ok_or_else(|| format!("{name} needs a value"))
            };
            match name.as_str() {
                "--exact" => args.exact = true,
                "--list" => args.list = true,
                "--ignored" => args.ignored = true,
                "--json" => args.json = Some(value()?),
                "--junit" => args.junit = Some(value()?),
                "--html" => args.html = Some(value()?),
                "--badge" => args.badge = Some(value()?),
                "--skip" => args.skips.push(value()?),
                "--seed" => args.seed = value()?.parse().map_err(|error| format!("--seed: {error}"))?,
                "--effort" => args.effort = number(&name, &value()?)?,
                "--limit" => limit = Some(number(&name, &value()?)?),
                "--memory" => args.memory_mib = number(&name, &value()?)?,
                "--inline" => args.inline = true,
                "--test-threads" => args.threads = number::<usize>(&name, &value()?)?.max(1),
                other if IGNORED_WITH_VALUE.contains(&other) => drop(value()?),
                other if other.starts_with('-') => {}
                _ => args.filters.push(name),
            }
        }
        let default = LIMIT_SECONDS.saturating_mul(u64::from(args.effort.max(1)));
        args.limit = Duration::from_secs(limit.unwrap_or(default));
        Ok(args)
    }

    /// Whether the check called `name` runs.
    #[must_use]
    pub fn selects(&self, name: &str) -> bool {
        let hit = |text: &String| {
            if self.exact {
                name == text
            } else {
                name.contains(text.as_str())
            }
        };
        !self.ignored
            && (self.filters.is_empty() || self.filters.iter().any(hit))
            && !self.skips.iter().any(hit)
    }
}

fn number<T: std::str::FromStr<Err = std::num::ParseIntError>>(name: &str, text: &str) -> Result<T, String> {
    text.parse().map_err(|error| format!("{name} {text}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Args, String> {
        Args::parse(arguments.iter().map(ToString::to_string))
    }

    #[test]
    fn the_standard_options_and_our_own_are_read() {
        let args = parse(&[
            "LS-DUR",
            "--seed=0x2a",
            "--effort",
            "3",
            "--nocapture",
            "--format",
            "pretty",
            "--json=out.json",
        ])
        .unwrap();
        assert_eq!((args.seed, args.effort), (Seed(42), 3));
        assert_eq!(args.json.as_deref(), Some("out.json"));
        assert!(!parse(&["--ignored"]).unwrap().selects("LS-DUR-01 x"));
        assert!(args.selects("LS-DUR-01 x") && !args.selects("LS-BAS-01 x"));
        let exact = parse(&["--exact", "LS-DUR-01", "--skip", "x"]).unwrap();
        assert!(!exact.selects("LS-DUR-01 x"));
    }

    #[test]
    fn a_wrong_value_is_named() {
        assert_eq!(parse(&["--seed"]).unwrap_err(), "--seed needs a value");
        assert!(
            parse(&["--effort", "much"])
                .unwrap_err()
                .contains("--effort much")
        );
    }
}
