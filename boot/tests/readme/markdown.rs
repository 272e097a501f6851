//! As much of Markdown as the project's documents use.

use std::fs;
use std::path::PathBuf;

/// The directory that all documents lie in.
pub fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// A document, by its path from the root.
pub struct Document {
    pub path: String,
    pub text: String,
}

/// What stands between two fences.
pub struct Block {
    /// The number of the first line of it.
    pub line: usize,
    pub lines: Vec<String>,
}

impl Document {
    pub fn read(path: &str) -> Document {
        let text = fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        Document { path: path.into(), text }
    }

    /// Every document of the project.
    pub fn all() -> Vec<Document> {
        let mut paths = Vec::new();
        for directory in ["", "docs/", "docs/guides/", "docs/lessons/", "docs/labs/", "tests/concurrency/"] {
            let files = fs::read_dir(root().join(directory)).unwrap_or_else(|error| panic!("{directory}: {error}"));
            let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
            paths.extend(names.filter(|name| name.ends_with(".md")).map(|name| format!("{directory}{name}")));
        }
        paths.iter().map(|path| Document::read(path)).collect()
    }

    /// The blocks whose fence says that they are in this language.
    pub fn blocks(&self, language: &str) -> Vec<Block> {
        let mut blocks = Vec::new();
        let mut open: Option<(bool, Block)> = None;
        for (number, line) in self.text.lines().enumerate() {
            match (line.trim_start().strip_prefix("```"), &mut open) {
                (Some(_), Some(_)) => blocks.extend(open.take().filter(|(wanted, _)| *wanted).map(|(_, block)| block)),
                (Some(of), None) => open = Some((of == language, Block { line: number + 2, lines: Vec::new() })),
                (None, Some((_, block))) => block.lines.push(line.to_owned()),
                (None, None) => {}
            }
        }
        blocks
    }

    /// The text outside of fences.
    pub fn prose(&self) -> String {
        let parts = self.text.split("\n```");
        parts.enumerate().filter(|(number, _)| number % 2 == 0).map(|(_, part)| part).collect()
    }

    /// What stands between single backticks, each with its line breaks as spaces.
    pub fn code(&self) -> Vec<String> {
        code(&self.prose())
    }

    /// The section under this heading, without what is fenced, on one line.
    pub fn section(&self, heading: &str) -> String {
        let prose = self.prose();
        let (_, section) = prose.split_once(&format!("\n## {heading}\n")).unwrap_or_else(|| panic!("no {heading:?}"));
        unwrapped(section.split("\n## ").next().unwrap_or_default())
    }

    /// The shell's lines, without their comments and what they read from, and what the prose has of the kind.
    pub fn commands(&self) -> Vec<String> {
        let lines = self.blocks("sh").into_iter().flat_map(|block| block.lines);
        let lines = lines.map(|line| line.split(" #").next().unwrap_or_default().trim().to_owned());
        let inline = self.code().into_iter().filter(|code| code.starts_with("make ") || code.starts_with("cargo "));
        let commands = lines.chain(inline).filter(|line| !line.is_empty());
        commands.map(|line| line.split(" < ").next().unwrap_or_default().to_owned()).collect()
    }

    /// Writes the document with other lines in a block.
    pub fn replace(&self, block: &Block, lines: &[&str]) {
        let old: Vec<&str> = self.text.lines().collect();
        let (before, rest) = old.split_at(block.line - 1);
        let text = [before, lines, &rest[block.lines.len()..]].concat().join("\n") + "\n";
        fs::write(root().join(&self.path), text).unwrap();
    }
}

/// What stands between single backticks.
pub fn code(prose: &str) -> Vec<String> {
    prose.split('`').skip(1).step_by(2).map(unwrapped).collect()
}

/// Text with single spaces for whatever was between its words.
pub fn unwrapped(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn a_document_is_taken_apart() {
    let text = "# T\n\n```text\none\n```\n\n## S\n\nSay `make\nrun` or\n`x`.\n\n```sh\nmake help  # all\n```\nend\n\n## N\n`y`\n";
    let document = Document { path: String::new(), text: text.into() };
    let blocks = document.blocks("text");
    assert_eq!((blocks[0].line, &*blocks[0].lines), (4, &["one".to_owned()][..]));
    assert_eq!(document.code(), ["make run", "x", "y"]);
    assert_eq!(document.section("S"), "Say `make run` or `x`. end");
    assert_eq!(document.commands(), ["make help", "make run"]);
}
