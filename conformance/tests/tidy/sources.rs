//! Rules about the text of the sources.

use proc_macro2::{TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use crate::tree::{Text, files, nothing_breaks};

const MAX_FUNCTION_LINES: usize = 70;
const MAX_FILE_LINES: usize = 799;
const SCRIPTS: &[&str] = &[".rs", ".py", ".sh", ".js", ".mjs", ".go", ".java", ".ci/run"];

/// The one file that may use `unsafe`.
const UNSAFE_HOME: &str = "storage-mmap/src/region/os.rs";

/// Words that stand for unfinished or boastful work, split so that this file does not contain them.
const BANNED: &[&str] = &[
    concat!("FIX", "ME"),
    concat!("TO", "DO"),
    concat!("XX", "X"),
    concat!("HA", "CK:"),
    concat!("dbg", "!("),
    concat!("#[ig", "nore"),
    concat!("unimpl", "emented!("),
    concat!("to", "do!("),
    concat!("production", " ready"),
    concat!("production", "-ready"),
    concat!("/wo", "rk/"),
];

#[test]
fn functions_have_at_most_70_lines() {
    let mut broken = Vec::new();
    for source in files(&[".rs"]) {
        let mut lengths = Lengths::default();
        lengths.visit_file(&parse(&source));
        for (name, line, lines) in lengths.0 {
            if lines > MAX_FUNCTION_LINES {
                broken.push(format!("{}:{line}: {name} has {lines} lines", source.path));
            }
        }
    }
    nothing_breaks("a function has at most 70 lines", &broken);
}

#[test]
fn files_have_fewer_than_800_lines() {
    let long = |source: &Text| {
        let lines = source.text.lines().count();
        (lines > MAX_FILE_LINES).then(|| format!("{}: {lines} lines", source.path))
    };
    let broken: Vec<_> = files(SCRIPTS).iter().filter_map(long).collect();
    nothing_breaks("a file has fewer than 800 lines", &broken);
}

#[test]
fn sources_are_ascii() {
    let mut broken = Vec::new();
    for source in files(&[SCRIPTS, &[".toml", ".md"]].concat()) {
        for (number, line) in source.text.lines().enumerate() {
            if let Some(odd) = line.chars().find(|c| !c.is_ascii()) {
                broken.push(format!("{}:{}: {odd:?}", source.path, number + 1));
            }
        }
    }
    nothing_breaks("sources and documents are ASCII", &broken);
}

#[test]
fn no_word_stands_for_unfinished_or_boastful_work() {
    let mut broken = Vec::new();
    for source in files(&[SCRIPTS, &[".toml", ".md"]].concat()) {
        for (number, line) in source.text.lines().enumerate() {
            for word in BANNED.iter().filter(|word| has_word(line, word)) {
                broken.push(format!("{}:{}: {word}", source.path, number + 1));
            }
        }
    }
    nothing_breaks("a banned word", &broken);
}

#[test]
fn comments_tell_no_history() {
    let mut broken = Vec::new();
    for source in files(&[".rs"]) {
        for (number, line) in source.text.lines().enumerate() {
            let comment = line.split_once("//").map_or("", |(_, comment)| comment);
            if has_version_tag(comment) {
                broken.push(format!("{}:{}: {}", source.path, number + 1, comment.trim()));
            }
        }
    }
    nothing_breaks("a comment carries no version tag of its own code", &broken);
}

#[test]
fn unsafe_code_lives_in_one_file() {
    let mut broken = Vec::new();
    for source in files(&[".rs"]).iter().filter(|source| source.path != UNSAFE_HOME) {
        let tokens = source
            .text
            .parse()
            .unwrap_or_else(|error| panic!("{}: {error}", source.path));
        unsafe_lines(tokens, &mut |line| broken.push(format!("{}:{line}", source.path)));
    }
    nothing_breaks("`unsafe` stands in storage-mmap/src/region/os.rs only", &broken);
}

fn parse(source: &Text) -> syn::File {
    syn::parse_file(&source.text).unwrap_or_else(|error| panic!("{}: {error}", source.path))
}

/// Name, first line and number of lines of each function, from its signature to its closing brace.
#[derive(Default)]
struct Lengths(Vec<(String, usize, usize)>);

impl Lengths {
    fn add(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let (first, last) = (signature.span().start().line, block.span().end().line);
        self.0
            .push((signature.ident.to_string(), first, last - first + 1));
    }
}

impl<'ast> Visit<'ast> for Lengths {
    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.add(&function.sig, &function.block);
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.add(&function.sig, &function.block);
        visit::visit_impl_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &'ast syn::TraitItemFn) {
        if let Some(block) = &function.default {
            self.add(&function.sig, block);
        }
        visit::visit_trait_item_fn(self, function);
    }
}

/// Looks into groups and macro bodies too, which a syntax tree does not see.
fn unsafe_lines(tokens: TokenStream, report: &mut impl FnMut(usize)) {
    for token in tokens {
        match token {
            TokenTree::Group(group) => unsafe_lines(group.stream(), report),
            TokenTree::Ident(ident) if ident == "unsafe" => report(ident.span().start().line),
            _ => {}
        }
    }
}

/// Whether the word stands in the line, not as a part of a longer word.
fn has_word(line: &str, word: &str) -> bool {
    let part = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    line.match_indices(word).any(|(start, _)| {
        let end = start + word.len();
        let starts = word.starts_with(|c: char| c.is_ascii_alphanumeric());
        let ends = word.ends_with(|c: char| c.is_ascii_alphanumeric());
        !(starts && part(line[..start].bytes().last()) || ends && part(line[end..].bytes().next()))
    })
}

/// Three numbers after a `v`, as a change log writes a version.
fn has_version_tag(comment: &str) -> bool {
    comment
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '.')
        .any(|word| {
            let Some(numbers) = word.trim_end_matches('.').strip_prefix('v') else {
                return false;
            };
            let numbers: Vec<_> = numbers.split('.').collect();
            let is_number = |text: &&str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            numbers.len() >= 3 && numbers.iter().all(is_number)
        })
}

#[test]
fn the_rules_about_words_find_what_they_look_for() {
    let tag = concat!("(v", "2.2.10) faster");
    assert!(
        has_version_tag(tag) && !has_version_tag("a v2 record batch, 2.2.10") && !has_version_tag("v1.2")
    );
    let word = concat!("TO", "DO");
    assert!(has_word(&format!("// {word}: x"), word) && !has_word(&format!("// {word}S_X"), word));
    let body = "x;\n".repeat(MAX_FUNCTION_LINES);
    let mut lengths = Lengths::default();
    lengths.visit_file(&syn::parse_file(&format!("mod a {{ fn f() {{\n{body}}} }}")).expect("it parses"));
    assert_eq!(lengths.0, [("f".to_owned(), 1, MAX_FUNCTION_LINES + 2)]);
    let mut lines = Vec::new();
    let code = "// unsafe\nm! { \"unsafe\"; a(unsafe { b }) }";
    unsafe_lines(code.parse().expect("it lexes"), &mut |line| lines.push(line));
    assert_eq!(lines, [2]);
}
