//! What `config reference` and `config show` print: TOML that reads back as the same configuration.

use std::fmt::Write;

use super::key::{Key, Rule};
use super::parse::{Effective, Origin};
use super::{Config, FLAGS};

const HEAD: &str = "\
# Every key of the configuration of chronik-server, with its default.
#
# A file needs only the keys that differ from these. An unknown key is an error. Sizes are bytes, or strings with a
# unit (\"64MiB\"); time spans are milliseconds, as the names say. A command-line flag wins over the file.
# `chronik-server config check --config FILE` says what is wrong with a file; `config show` prints what is in force.
#
# This file is the output of `chronik-server config reference`.
";

/// The complete reference.
pub fn reference() -> String {
    let config = Config::default();
    let mut out = String::from(HEAD);
    for section in Config::SECTIONS {
        out.push('\n');
        comment(&mut out, section.doc);
        line(&mut out, format_args!("[{}]", section.name));
        for key in section.keys {
            out.push('\n');
            comment(&mut out, key.doc);
            line(&mut out, format_args!("# Allowed: {}.", key.rule));
            if let Some((flag, _)) = FLAGS.iter().find(|(_, path)| *path == key.path()) {
                line(&mut out, format_args!("# Flag: {flag}"));
            }
            match (key.value(&config), key.rule) {
                (Some(value), rule) => line(
                    &mut out,
                    format_args!("{} = {value}{}", key.name, in_words(rule, &value)),
                ),
                (None, Rule::Text { example, .. } | Rule::List { example, .. }) => {
                    line(&mut out, format_args!("# {} = \"{example}\"", key.name))
                }
                (None, Rule::Whole { min, .. }) => line(&mut out, format_args!("# {} = {min}", key.name)),
                (None, _) => line(&mut out, format_args!("# {} =", key.name)),
            }
        }
    }
    out
}

/// The configuration in force, each value with its origin.
pub fn show(effective: &Effective) -> String {
    let mut out = String::new();
    for section in Config::SECTIONS {
        let gap = if out.is_empty() {
            ""
        } else {
            "
"
        };
        line(&mut out, format_args!("{gap}[{}]", section.name));
        for key in section.keys {
            let (mark, value) = match key.value(&effective.config) {
                Some(value) => ("", value),
                None => ("# ", "(unset)".to_owned()),
            };
            let setting = format!("{mark}{} = {value}", key.name);
            line(
                &mut out,
                format_args!("{setting:<48} # {}", origin(effective, key)),
            );
        }
    }
    out
}

fn origin(effective: &Effective, key: &Key) -> String {
    match effective.origin(key) {
        Origin::Default => "default".to_owned(),
        Origin::File(place) => format!("{}:{}", place.file, place.line),
        Origin::Flag(name) | Origin::Command(name) => (*name).to_owned(),
    }
}

/// A time span in the largest unit that leaves a whole number, as a comment.
fn in_words(rule: Rule, value: &str) -> String {
    const UNITS: [(&str, i64); 4] = [
        ("day", 86_400_000),
        ("hour", 3_600_000),
        ("minute", 60_000),
        ("second", 1_000),
    ];
    let (Rule::Millis { .. }, Ok(millis)) = (rule, value.parse::<i64>()) else {
        return String::new();
    };
    for (unit, size) in UNITS {
        if millis >= size && millis % size == 0 {
            let count = millis / size;
            return format!(" # {count} {unit}{}", if count == 1 { "" } else { "s" });
        }
    }
    String::new()
}

fn comment(out: &mut String, lines: &[&str]) {
    for text in lines {
        line(out, format_args!("#{text}"));
    }
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{text}");
}
