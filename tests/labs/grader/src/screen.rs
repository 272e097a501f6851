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

/// What is refused besides in labs that build on nothing: their solutions are in it.
const OF_OTHER_LABS: &[(&str, &str)] = &[("given", "what it gives is what this lab is about")];
/// Labs that build on what is given.
const BUILDING_ON_IT: &[u8] = &[3, 4];

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

/// Everything in a file for a lab that is refused, in its order. What is not even Rust is left to the compiler.
pub fn refusals(source: &str, lab: u8) -> Vec<Refusal> {
    let mut found = Vec::new();
    let more = if BUILDING_ON_IT.contains(&lab) { &[] } else { OF_OTHER_LABS };
    if let Ok(tokens) = TokenStream::from_str(source) {
        walk(tokens, &[WORDS, more].concat(), &mut found);
    }
    found
}

fn walk(tokens: TokenStream, words: &[(&str, &'static str)], found: &mut Vec<Refusal>) {
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
            TokenTree::Group(group) => {
                let before = number.checked_sub(1).map(|before| &tokens[before]);
                // An inner attribute has a `!` before its brackets.
                let is_attribute = group.delimiter() == Delimiter::Bracket
                    && before
                        .is_some_and(|token| matches!(token, TokenTree::Punct(mark) if "#!".contains(mark.as_char())));
                if is_attribute {
                    walk(group.stream(), &[words, IN_ATTRIBUTES].concat(), found);
                } else {
                    walk(group.stream(), words, found);
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
    fn a_refusal_says_where() {
        let [refusal] = &refusals("fn f() {\n    unsafe {}\n}", 1)[..] else { panic!("one is refused") };
        assert_eq!(refusal.to_string(), "line 2: `unsafe` is refused: nothing here needs it");
    }
}
