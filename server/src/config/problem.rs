//! What is wrong with a configuration, told so that it can be mended at once.

use std::fmt;
use std::ops::Range;

/// A place in the configuration file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file as it was named.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// The text of that line.
    pub text: String,
    /// How many characters of the line are meant; at least 1.
    pub width: usize,
}

impl Place {
    /// Turns a byte range of the text into a line and a column.
    pub(super) fn new(file: &str, text: &str, span: Range<usize>) -> Self {
        let start = floor(text, span.start);
        let end = floor(text, span.end).max(start);
        let line_start = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
        let line_end = text[start..]
            .find('\n')
            .map_or(text.len(), |newline| start + newline);
        let chars = |range: Range<usize>| text.get(range).map_or(0, |part| part.chars().count());
        Self {
            file: file.to_owned(),
            line: 1 + text[..line_start].matches('\n').count(),
            column: 1 + chars(line_start..start),
            text: text[line_start..line_end].trim_end().to_owned(),
            width: chars(start..end.min(line_end)).max(1),
        }
    }
}

/// The nearest character boundary at or before a byte position.
fn floor(text: &str, position: usize) -> usize {
    (0..=position.min(text.len()))
        .rev()
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(0)
}

/// Where a bad value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A place in the file.
    File(Place),
    /// A command-line flag.
    Flag(&'static str),
    /// What the command gives by itself.
    Command(&'static str),
    /// No single place: the file could not be read, or a default does not fit what was set.
    Whole(String),
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where it stands.
    pub source: Source,
    /// The key, as in `kafka.port`; empty if it is not about a key.
    pub key: String,
    /// What is wrong, with the bad value.
    pub message: String,
    /// What would be accepted.
    pub allowed: Option<String>,
    /// What to do.
    pub help: Option<String>,
}

impl Problem {
    fn position(&self) -> (usize, usize) {
        match &self.source {
            Source::Whole(_) | Source::Command(_) => (0, 0),
            Source::File(place) => (place.line, place.column),
            Source::Flag(_) => (usize::MAX, 0),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Source::File(place) => write!(out, "{}:{}:{}: ", place.file, place.line, place.column)?,
            Source::Flag(name) | Source::Command(name) => write!(out, "{name}: ")?,
            Source::Whole(file) => write!(out, "{file}: ")?,
        }
        if !self.key.is_empty() {
            write!(out, "{}: ", self.key)?;
        }
        writeln!(out, "{}", self.message)?;
        if let Source::File(place) = &self.source {
            let number = place.line.to_string();
            let gutter = " ".repeat(number.len());
            let (before, marks) = (" ".repeat(place.column - 1), "^".repeat(place.width));
            writeln!(
                out,
                "  {number} | {}\n  {gutter} | {before}{marks}",
                place.text.replace('\t', " ")
            )?;
        }
        if let Some(allowed) = &self.allowed {
            writeln!(out, "  allowed: {allowed}")?;
        }
        match &self.help {
            Some(help) => writeln!(out, "  help: {help}"),
            None => Ok(()),
        }
    }
}

/// Everything that is wrong with a configuration, in the order of the file; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

impl Problems {
    pub(super) fn new(mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(Problem::position);
        Self(problems)
    }

    /// The problems one by one.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.0.iter()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.0 {
            writeln!(out, "error: {problem}")?;
        }
        let count = self.0.len();
        write!(
            out,
            "the configuration has {count} error{}",
            if count == 1 { "" } else { "s" }
        )
    }
}

impl std::error::Error for Problems {}
