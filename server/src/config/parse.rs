//! From the text of a file and the flags to a `Config`, collecting every problem on the way.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::key::{Key, Section};
use super::problem::{Place, Problem, Problems, Source};
use super::value::{Raw, Reject};
use super::{Config, FLAGS, suggest, validate};

/// The largest configuration file; the reference is a hundredth of it.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Where the value of a key came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// The configuration file.
    File(Place),
    /// A command-line flag.
    Flag(&'static str),
    /// The command that was given, which has defaults of its own.
    Command(&'static str),
}

/// A value that a command gives a key where nobody else does: the command, the key, and the value as in a file.
pub type Preset = (&'static str, &'static str, &'static str);

/// A configuration that holds together, and where each value of it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effective {
    /// The values.
    pub config: Config,
    origins: BTreeMap<String, Origin>,
}

impl Effective {
    /// Where the value of a key came from.
    pub fn origin(&self, key: &Key) -> &Origin {
        self.origins.get(&key.path()).unwrap_or(&Origin::Default)
    }
}

/// A flag of the command line that overrides a key: its name, as in `--kafka-port`, and the argument.
pub type FlagValue = (&'static str, String);

/// Reads the file, if one is named, and lays the flags over it.
///
/// # Errors
/// Everything that is wrong, at once: the file cannot be read, is not TOML, has unknown or repeated keys or values
/// that their keys do not accept, a flag has such a value, or values do not fit each other.
pub fn load(file: Option<&Path>, presets: &[Preset], flags: &[FlagValue]) -> Result<Effective, Problems> {
    let Some(path) = file else {
        return parse_over(presets, "", "", flags);
    };
    let name = path.display().to_string();
    match read(path) {
        Ok(text) => parse_over(presets, &name, &text, flags),
        Err(why) => Err(Problems::new(vec![Problem {
            source: Source::Whole(name),
            key: String::new(),
            message: format!("cannot be read: {why}"),
            allowed: None,
            help: Some("`chronik-server config reference` prints a complete file to start from".to_owned()),
        }])),
    }
}

fn read(path: &Path) -> Result<String, String> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    file.take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| error.to_string())?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(format!("it is larger than {MAX_FILE_BYTES} bytes"));
    }
    String::from_utf8(bytes).map_err(|error| format!("it is not UTF-8: {error}"))
}

/// Reads the text of a file, which messages call `name`, and lays the flags over it.
///
/// # Errors
/// As `load`.
pub fn parse(name: &str, text: &str, flags: &[FlagValue]) -> Result<Effective, Problems> {
    parse_over(&[], name, text, flags)
}

fn parse_over(
    presets: &[Preset],
    name: &str,
    text: &str,
    flags: &[FlagValue],
) -> Result<Effective, Problems> {
    let mut reader = Reader {
        name,
        text,
        config: Config::default(),
        origins: BTreeMap::new(),
        problems: Vec::new(),
    };
    reader.presets(presets);
    reader.document();
    reader.flags(flags);
    let Reader {
        config,
        origins,
        mut problems,
        ..
    } = reader;
    let effective = Effective { config, origins };
    validate::check(&effective, name, &mut problems);
    if problems.is_empty() {
        Ok(effective)
    } else {
        Err(Problems::new(problems))
    }
}

struct Reader<'a> {
    name: &'a str,
    text: &'a str,
    config: Config,
    origins: BTreeMap<String, Origin>,
    problems: Vec<Problem>,
}

impl<'a> Reader<'a> {
    fn presets(&mut self, presets: &[Preset]) {
        for (command, path, value) in presets {
            let key = keys().find(|key| key.path() == *path);
            let key = key.expect("every preset names a key, as a test asserts");
            self.set(key, &Raw::Text(value), Source::Command(command));
        }
    }

    fn document(&mut self) {
        let (document, errors) = DeTable::parse_recoverable(self.text);
        for error in &errors {
            let place = self.place(error.span().unwrap_or(0..0));
            self.report(place, "", format!("is not TOML: {}", error.message()), None, None);
        }
        let broken: Vec<usize> = self.problems.iter().filter_map(line_of).collect();
        for (name, value) in document.get_ref() {
            match Config::SECTIONS
                .iter()
                .find(|section| section.name == name.get_ref().as_ref())
            {
                Some(section) => self.section(section, value),
                None => self.unknown_section(name, value),
            }
        }
        // What a parser makes of a line that is not TOML is a guess: what it leads to would only distract.
        let syntax = errors.len();
        let mut position = 0;
        self.problems.retain(|problem| {
            position += 1;
            position <= syntax || line_of(problem).is_none_or(|line| !broken.contains(&line))
        });
    }

    fn section(&mut self, section: &'static Section, value: &Spanned<DeValue<'_>>) {
        let DeValue::Table(table) = value.get_ref() else {
            let message = format!("is a section, not {}", describe(value.get_ref()));
            let help = Some(format!(
                "write the keys of [{}] on the lines below it",
                section.name
            ));
            return self.report(self.place(value.span()), section.name, message, None, help);
        };
        for (name, value) in table {
            match section
                .keys
                .iter()
                .find(|key| key.name == name.get_ref().as_ref())
            {
                Some(key) => self.key(key, value),
                None => self.unknown_key(section, name, value),
            }
        }
    }

    fn key(&mut self, key: &'static Key, value: &Spanned<DeValue<'_>>) {
        let place = self.place(value.span());
        let strings: Option<Vec<&str>> = match value.get_ref() {
            DeValue::Array(items) => items.iter().map(|item| item.get_ref().as_str()).collect(),
            _ => None,
        };
        let raw = match (value.get_ref(), &strings) {
            (_, Some(items)) => Raw::List(items),
            (DeValue::String(text), _) => Raw::Text(text),
            (DeValue::Integer(number), _) => Raw::Integer(number.as_str(), number.radix()),
            (DeValue::Boolean(value), _) => Raw::Boolean(*value),
            (other, _) => Raw::Other(other.type_str()),
        };
        self.set(key, &raw, Source::File(place));
    }

    fn set(&mut self, key: &'static Key, raw: &Raw<'_>, source: Source) {
        match (key.set)(&mut self.config, raw, &key.rule) {
            Ok(()) => {
                let origin = match source {
                    Source::File(place) => Origin::File(place),
                    Source::Flag(flag) => Origin::Flag(flag),
                    Source::Command(command) => Origin::Command(command),
                    Source::Whole(_) => Origin::Default,
                };
                self.origins.insert(key.path(), origin);
            }
            Err(Reject { why, help }) => {
                let allowed = Some(key.rule.to_string());
                self.problems.push(Problem {
                    source,
                    key: key.path(),
                    message: why,
                    allowed,
                    help,
                });
            }
        }
    }

    fn unknown_section(&mut self, name: &Spanned<impl AsRef<str>>, value: &Spanned<DeValue<'_>>) {
        let written = name.get_ref().as_ref();
        let place = self.place(name.span());
        let homes: Vec<String> = homes_of(written);
        let help = if !matches!(value.get_ref(), DeValue::Table(_)) && !homes.is_empty() {
            Some(format!(
                "`{written}` is a key of {}: move it below that line",
                homes.join(" and ")
            ))
        } else {
            let near = suggest::nearest(written, Config::SECTIONS.iter().map(|section| section.name));
            near.map(|near| format!("did you mean [{near}]?"))
        };
        let names: Vec<String> = Config::SECTIONS
            .iter()
            .map(|section| format!("[{}]", section.name))
            .collect();
        self.report(
            place,
            written,
            "is not a section".to_owned(),
            Some(names.join(", ")),
            help,
        );
    }

    fn unknown_key(
        &mut self,
        section: &Section,
        name: &Spanned<impl AsRef<str>>,
        value: &Spanned<DeValue<'_>>,
    ) {
        let written = dotted(name.get_ref().as_ref(), value.get_ref());
        let place = self.place(name.span());
        let homes = homes_of(&written);
        let help = match suggest::nearest(&written, section.keys.iter().map(|key| key.name)) {
            Some(near) => Some(format!("did you mean `{near}`?")),
            None if homes.is_empty() => None,
            None => Some(format!("`{written}` is a key of {}", homes.join(" and "))),
        };
        let names: Vec<&str> = section.keys.iter().map(|key| key.name).collect();
        let path = format!("{}.{written}", section.name);
        self.report(
            place,
            &path,
            "is not a key".to_owned(),
            Some(names.join(", ")),
            help,
        );
    }

    fn flags(&mut self, flags: &[FlagValue]) {
        for (flag, argument) in flags {
            let path = FLAGS.iter().find(|(name, _)| name == flag).map(|(_, path)| *path);
            let key = keys().find(|key| Some(key.path().as_str()) == path);
            let key =
                key.expect("every flag of the command line stands in FLAGS with a key, as a test asserts");
            self.set(key, &Raw::Argument(argument), Source::Flag(flag));
        }
    }

    fn place(&self, span: std::ops::Range<usize>) -> Place {
        Place::new(self.name, self.text, span)
    }

    fn report(
        &mut self,
        place: Place,
        key: &str,
        message: String,
        allowed: Option<String>,
        help: Option<String>,
    ) {
        self.problems.push(Problem {
            source: Source::File(place),
            key: key.to_owned(),
            message,
            allowed,
            help,
        });
    }
}

/// Every key of every section.
pub(super) fn keys() -> impl Iterator<Item = &'static Key> {
    Config::SECTIONS.iter().flat_map(|section| section.keys.iter())
}

fn line_of(problem: &Problem) -> Option<usize> {
    match &problem.source {
        Source::File(place) => Some(place.line),
        _ => None,
    }
}

/// The sections that have a key of this name, in brackets.
fn homes_of(name: &str) -> Vec<String> {
    keys()
        .filter(|key| key.name == name)
        .map(|key| format!("[{}]", key.section))
        .collect()
}

/// The key as it was meant: `retention.ms = 1`, the way Kafka writes it, is a table to TOML.
fn dotted(name: &str, value: &DeValue<'_>) -> String {
    match value {
        DeValue::Table(table) if table.len() == 1 => {
            let inner = table
                .iter()
                .next()
                .map(|(inner, value)| dotted(inner.get_ref(), value.get_ref()));
            format!("{name}.{}", inner.unwrap_or_default())
        }
        _ => name.to_owned(),
    }
}

fn describe(value: &DeValue<'_>) -> String {
    format!("a value of type {}", value.type_str())
}
