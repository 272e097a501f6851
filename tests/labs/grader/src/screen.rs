//! What a learner's file may not have in it.
//!
//! A file is compiled without `std` and without `unsafe`, so what it can do is compute. What could get around that, or have the
//! compiler read other files, is refused by name before anything is compiled.

use std::fmt;
use std::str::FromStr;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// Words that are refused wherever they stand, and why.
const WORDS: &[(&str, &str)] = &[
    ("unsafe", "nothing here needs it"),
    ("extern", "there is only `core`, and `labs`"),
    ("std", "a piece runs in a kernel, where there is none"),
    ("asm", "a piece is Rust"),
    ("global_asm", "a piece is Rust"),
    ("naked_asm", "a piece is Rust"),
    ("include", "a piece is one file"),
    ("include_str", "a piece is one file"),
    ("include_bytes", "a piece is one file"),
    ("env", "a piece knows nothing of where it is built"),
    ("option_env", "a piece knows nothing of where it is built"),
];

/// Words that are refused in attributes.
const IN_ATTRIBUTES: &[(&str, &str)] = &[
    ("path", "a piece is one file"),
    ("feature", "a piece is stable Rust"),
    ("cfg_attr", "what it adds is not looked at"),
];

/// Words that are refused besides where a file is not taken for Rust.
const IN_NO_RUST: &[(&str, &str)] = &[("mod", "a piece is one file")];

/// What is refused besides in labs that build on nothing: their solutions are in it.
const OF_OTHER_LABS: &[(&str, &str)] = &[("given", "what it gives is what this lab is about")];
/// Labs that build on what is given.
const BUILDING_ON_IT: &[u8] = &[3, 4];
/// Brackets within brackets, at most: many times what anybody writes, and far from what a compiler's stack holds.
const DEEPEST: usize = 100;

/// Something that is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The line, from 1 on.
    pub line: usize,
    /// What stands there.
    pub word: String,
    /// Why that is refused.
    pub why: &'static str,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: `{}` is refused: {}", self.line, self.word, self.why)
    }
}

/// Everything in a file for a lab that is refused, in its order. What is not even Rust is left to the compiler, without such words.
pub fn refusals(source: &str, lab: u8) -> Vec<Refusal> {
    // The compiler takes such a line away. What it would hide of the rest is not looked for.
    let first = source.trim_start_matches('\u{feff}').strip_prefix("#!");
    if first.is_some_and(|rest| !rest.trim_start().starts_with('[')) {
        return vec![Refusal { line: 1, word: "#!".into(), why: "a piece is no script" }];
    }
    let more = if BUILDING_ON_IT.contains(&lab) { &[] } else { OF_OTHER_LABS };
    let words = [WORDS, more].concat();
    let mut found = Vec::new();
    match TokenStream::from_str(source) {
        Ok(tokens) => walk(tokens, &words, DEEPEST, &mut found),
        Err(_) => found.extend(among_letters(source, &[&words, IN_ATTRIBUTES, IN_NO_RUST].concat())),
    }
    found
}

/// The same in what is not taken for Rust here, whatever the compiler takes it for: wherever such a word stands, even in a comment.
fn among_letters(source: &str, words: &[(&str, &'static str)]) -> Vec<Refusal> {
    let in_line = |(number, line): (usize, &str)| {
        let names = line.split(|sign: char| !sign.is_alphanumeric() && sign != '_');
        let bad = names.filter_map(|name| words.iter().find(|(word, _)| *word == name));
        bad.map(|(word, why)| Refusal { line: number + 1, word: (*word).into(), why }).collect::<Vec<_>>()
    };
    source.lines().enumerate().flat_map(in_line).collect()
}

fn walk(tokens: TokenStream, words: &[(&str, &'static str)], deeper: usize, found: &mut Vec<Refusal>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    for (number, token) in tokens.iter().enumerate() {
        match token {
            TokenTree::Ident(ident) => {
                let text = ident.to_string();
                let name = text.strip_prefix("r#").unwrap_or(&text);
                let line = ident.span().start().line;
                let why = words.iter().find(|(word, _)| *word == name).map(|(_, why)| *why);
                found.extend(why.map(|why| Refusal { line, word: name.into(), why }));
                if name == "mod" && is_elsewhere(&tokens[number + 1..]) {
                    found.push(Refusal { line, word: "mod ...;".into(), why: "a piece is one file" });
                }
            }
            TokenTree::Group(group) if deeper == 0 => {
                let line = group.span_open().start().line;
                found.push(Refusal {
                    line,
                    word: "((...))".into(),
                    why: "nobody needs so many brackets within brackets",
                });
            }
            TokenTree::Group(group) => {
                let before = number.checked_sub(1).map(|before| &tokens[before]);
                // An inner attribute has a `!` before its brackets.
                let is_attribute = group.delimiter() == Delimiter::Bracket
                    && before
                        .is_some_and(|token| matches!(token, TokenTree::Punct(mark) if "#!".contains(mark.as_char())));
                if is_attribute {
                    walk(group.stream(), &[words, IN_ATTRIBUTES].concat(), deeper - 1, found);
                } else {
                    walk(group.stream(), words, deeper - 1, found);
                }
            }
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
}

/// Whether what follows a `mod` is a name and a semicolon: a module in another file.
fn is_elsewhere(rest: &[TokenTree]) -> bool {
    matches!(rest, [TokenTree::Ident(_), TokenTree::Punct(mark), ..] if mark.as_char() == ';')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(source: &str) -> Vec<String> {
        refusals(source, 1).into_iter().map(|refusal| refusal.word).collect()
    }

    #[test]
    fn what_could_get_out_is_refused_by_name() {
        for (source, word) in [
            ("fn f() { unsafe { g() } }", "unsafe"),
            ("extern crate std;", "extern"),
            ("extern \"C\" { fn system(); }", "extern"),
            ("fn f() { std::process::exit(0) }", "std"),
            ("use ::std::fs;", "std"),
            ("fn f() { core::arch::asm!(\"nop\") }", "asm"),
            ("global_asm!(\"\");", "global_asm"),
            ("include!(\"/etc/passwd\");", "include"),
            ("const S: &str = include_str!(\"/etc/passwd\");", "include_str"),
            ("const S: &[u8] = include_bytes!(\"/etc/passwd\");", "include_bytes"),
            ("use core::include as harmless;", "include"),
            ("const S: &str = env!(\"HOME\");", "env"),
            ("const S: Option<&str> = option_env!(\"HOME\");", "option_env"),
            ("#[path = \"/etc/passwd\"] mod x {}", "path"),
            ("#![feature(core_intrinsics)]", "feature"),
            ("#[cfg_attr(all(), path = \"x\")] mod x {}", "cfg_attr"),
            ("mod other;", "mod ...;"),
            ("fn f() { r#unsafe }", "unsafe"),
            ("macro_rules! m { () => { include!(\"x\") } }", "include"),
            ("#[doc = include_str!(\"x\")] fn f() {}", "include_str"),
        ] {
            assert!(words(source).iter().any(|found| found == word), "{source}: {:?}", words(source));
        }
    }

    #[test]
    fn harmless_words_are_not() {
        let source = "//! unsafe, std::fs and include!\n/* asm! */ mod inside { fn path() -> &'static str { \"unsafe env!\" } }\n\
                      #[derive(Clone)] struct Environment { feature: u8 }\nfn f(path: u8) { /* extern */ }";
        assert_eq!(refusals(source, 1), []);
        for lab in labs::lab::LABS {
            let source = std::fs::read_to_string(crate::piece(lab.number)).unwrap();
            assert_eq!(refusals(&source, lab.number), [], "lab {}", lab.number);
        }
    }

    #[test]
    fn what_a_lab_is_about_is_not_taken_from_another_one() {
        let source = "use labs::given::Buddies;";
        for (lab, count) in [(1, 1), (2, 1), (3, 0), (6, 1)] {
            assert_eq!(refusals(source, lab).len(), count, "lab {lab}");
        }
    }

    #[test]
    fn nothing_is_hidden_from_the_screen() {
        // The compiler leaves a first line such as these out, and so sees no comment and no text begin there.
        for first in ["#!/*", "#!/\"", "\u{feff}#! /usr/bin/it's"] {
            assert_eq!(words(&format!("{first}\ninclude!(\"/etc/passwd\");\n// */\n")), ["#!"], "{first:?}");
        }
        assert_eq!(refusals("#![allow(unused)]\n#! [allow(unused)]", 1), []);
        // What is not taken for Rust here may be for the compiler.
        let source = "fn f() { \"\nmod /* */ ada;\ninclude!(\"x\")";
        assert_eq!(words(source), ["mod", "include"]);
        assert_eq!(words("fn f() { ("), [""; 0]);
        for (depth, refused) in [(DEEPEST, 0), (DEEPEST + 1, 1), (1_000_000, 1)] {
            let source = ["const N: u8 = ", &"(".repeat(depth), "1", &")".repeat(depth), ";"].concat();
            assert_eq!(refusals(&source, 1).len(), refused, "{depth}");
        }
    }

    #[test]
    fn a_refusal_says_where() {
        let [refusal] = &refusals("fn f() {\n    unsafe {}\n}", 1)[..] else { panic!("one is refused") };
        assert_eq!(refusal.to_string(), "line 2: `unsafe` is refused: nothing here needs it");
    }
}
