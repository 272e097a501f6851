//! The lessons are true as well: what each shows is what a boot prints, what it quotes stands in the code, and what it names is
//! defined where it says.
//!
//! `UPDATE=1 cargo test -p boot --test readme lessons` puts there what this build prints. What is left out stays so.

use super::compare::{self, LEFT_OUT};
use super::machine::Machine;
use super::markdown::{Block, Document, root};
use super::runs;
use std::fs;
use std::sync::Mutex;
use std::thread;

const DIRECTORY: &str = "docs/lessons/";
const COUNT: usize = 10;
const PROMPT: &str = "bifolio> ";

/// The lessons in their order, as the index links to them.
fn lessons() -> Vec<Document> {
    let index = Document::read("docs/lessons/README.md");
    let links = links(&index).into_iter().map(|(_, path)| path).filter(|path| path.ends_with(".md"));
    let lessons: Vec<String> =
        links.filter(|path| path.strip_prefix(DIRECTORY).is_some_and(|name| !name.contains('/'))).collect();
    assert_eq!(lessons.len(), COUNT, "{lessons:?}");
    for (number, lesson) in lessons.iter().enumerate() {
        assert!(lesson.starts_with(&format!("{DIRECTORY}{number}-")), "lesson {number} is not {lesson}");
    }
    lessons.iter().map(|path| Document::read(path)).collect()
}

/// What the document links to within the project: the words that lead there, and the path from the root.
fn links(document: &Document) -> Vec<(String, String)> {
    let prose = document.prose();
    let links = prose.split('[').skip(1).filter_map(|rest| {
        let (words, rest) = rest.split_once("](")?;
        let path = rest.split([')', '#']).next()?;
        (!path.contains("://") && !path.is_empty()).then(|| (words.to_owned(), from_root(path)))
    });
    links.collect()
}

/// A path as seen from the lessons' directory.
fn from_root(path: &str) -> String {
    path.strip_prefix("../../").map_or_else(|| format!("{DIRECTORY}{path}"), str::to_owned)
}

#[test]
fn what_a_lesson_shows_is_what_a_boot_prints() {
    let lessons = lessons();
    let all = lessons.iter().flat_map(|lesson| runs(lesson).into_iter().map(move |run| (lesson, run)));
    let mut all: Vec<(&Document, (String, Block))> = all.collect();
    assert!(all.len() >= COUNT, "{} runs", all.len());
    // Those of a lesson from its end, so that an update leaves the lines before it where they are.
    all.reverse();
    let printed = each_at_once(&all, |(_, (command, _))| Machine::of(command).run_anyhow());
    let mut wrong = Vec::new();
    for ((lesson, (_, block)), (printed, errors)) in all.iter().zip(printed) {
        let printed: Vec<&str> = printed.lines().map(str::trim_end).collect();
        if std::env::var_os("UPDATE").is_some_and(|value| value == "1") {
            let lines = updated(&block.lines, &printed);
            Document::read(&lesson.path).replace(block, &lines.iter().map(String::as_str).collect::<Vec<_>>());
            continue;
        }
        let place = format!("{}, line {}", lesson.path, block.line);
        let is_to_fail = block.lines.iter().any(|line| line.starts_with("error: "));
        if is_to_fail != errors.is_some() {
            wrong.push(format!("{place}: {}", errors.as_deref().unwrap_or("no command failed")));
        }
        wrong.extend(compare::texts(&block.lines[1..], &printed).err().map(|error| format!("{place}: {error}")));
    }
    let hint = "UPDATE=1 cargo test -p boot --test readme lessons puts there what is printed";
    assert!(wrong.is_empty(), "{}\n{hint}", wrong.join("\n"));
}

#[test]
fn each_run_that_a_lesson_only_names_works() {
    let commands: Vec<String> = lessons().iter().flat_map(Document::commands).collect();
    let runs: Vec<Machine> =
        commands.iter().filter_map(|line| line.strip_prefix("make run ")).map(Machine::of).collect();
    assert!(!runs.is_empty(), "{commands:?}");
    each_at_once(&runs, Machine::run);
}

/// Has some work done on all of a list, by so many threads as there are processors.
fn each_at_once<T: Sync, R: Send>(list: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let queue = Mutex::new(list.iter().enumerate());
    let take = || queue.lock().unwrap().next();
    let work_off = || std::iter::from_fn(take).map(|(number, one)| (number, work(one))).collect::<Vec<_>>();
    let mut results = thread::scope(|scope| {
        let threads = thread::available_parallelism().map_or(1, usize::from).min(4);
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work_off)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    results.sort_by_key(|(number, _)| *number);
    results.into_iter().map(|(_, result)| result).collect()
}

/// The block with what is printed now behind each command; where lines are left out, that stays as it is.
fn updated(shown: &[String], printed: &[&str]) -> Vec<String> {
    let commands = |line: &&str| line.starts_with(PROMPT);
    let old: Vec<&str> = shown.iter().map(String::as_str).collect();
    let old = parts(&old[1..], commands);
    let mut lines = vec![shown[0].clone(), LEFT_OUT.to_owned()];
    for (number, part) in parts(printed, commands).into_iter().enumerate().skip(1) {
        let before = old.get(number).filter(|old| old[0] == part[0] && old.contains(&LEFT_OUT));
        lines.extend(before.unwrap_or(&part).iter().map(ToString::to_string));
    }
    lines
}

/// The lines up to the first that begins a part, and then each part.
fn parts<'t>(lines: &[&'t str], begins: impl Fn(&&'t str) -> bool) -> Vec<Vec<&'t str>> {
    let mut parts = vec![Vec::new()];
    for line in lines {
        if begins(line) {
            parts.push(Vec::new());
        }
        parts.last_mut().expect("there is one").push(*line);
    }
    parts
}

#[test]
fn every_item_that_a_lesson_links_to_is_defined_there() {
    let mut count = 0;
    for lesson in lessons() {
        let before = count;
        for (words, path) in links(&lesson) {
            let Some(item) = words.strip_prefix('`').and_then(|words| words.strip_suffix('`')) else { continue };
            let Ok(text) = fs::read_to_string(root().join(&path)) else { panic!("{}: {path}", lesson.path) };
            if path.ends_with(".rs") && !item.ends_with(".rs") {
                assert!(defines(&text, item), "{}: {path} has no {item}", lesson.path);
                count += 1;
            }
        }
        assert!(count >= before + 4, "{} links to {} items", lesson.path, count - before);
    }
}

/// Whether a file has this item: `Type::item`, or an item by itself.
fn defines(text: &str, item: &str) -> bool {
    const KEYWORDS: [&str; 8] = ["fn", "struct", "enum", "trait", "const", "static", "type", "mod"];
    let mut names = item.rsplit("::");
    let name = names.next().unwrap_or_default();
    let is_word = |rest: &str| !rest.starts_with(|next: char| next.is_alphanumeric() || next == '_');
    let follows = |text: &str, word: &str| text.split(word).skip(1).any(is_word);
    let is_defined = KEYWORDS.iter().any(|keyword| follows(text, &format!("{keyword} {name}")));
    // Flags and variants have no keyword of their own.
    let stands = || text.lines().any(|line| line.trim_start().strip_prefix(name).is_some_and(is_word));
    (is_defined || stands()) && names.all(|outer| follows(text, outer))
}

#[test]
fn what_a_lesson_quotes_stands_in_a_file_that_it_links_to() {
    let lines = |text: &str| text.lines().map(|line| line.trim().to_owned()).collect::<Vec<_>>();
    for lesson in lessons() {
        let paths = links(&lesson).into_iter().map(|(_, path)| path).filter(|path| path.ends_with(".rs"));
        let files: Vec<Vec<String>> =
            paths.map(|path| lines(&fs::read_to_string(root().join(path)).unwrap_or_default())).collect();
        for block in lesson.blocks("rust") {
            let quoted = lines(&block.lines.join("\n"));
            let stands = files.iter().any(|file| file.windows(quoted.len()).any(|part| *part == *quoted));
            assert!(stands, "{}, line {}: quoted from nowhere:\n{}", lesson.path, block.line, block.lines.join("\n"));
        }
    }
}

#[test]
fn a_lesson_has_all_its_parts() {
    for (number, lesson) in lessons().iter().enumerate() {
        assert!(lesson.text.starts_with(&format!("# Lesson {number}: ")), "{}", lesson.path);
        for heading in ["Predict first", "Tasks", "The lines that do it"] {
            assert!(lesson.section(heading).len() > 100, "{}: {heading}", lesson.path);
        }
        let path = lesson.section("The lines that do it");
        assert!(path.contains("Linux") && path.contains(".c"), "{}: {path}", lesson.path);
        assert!(!runs(lesson).is_empty(), "{} shows no run", lesson.path);
        let words = lesson.prose().split_whitespace().count();
        assert!((500..3000).contains(&words), "{}: {words} words are not 20 to 40 minutes", lesson.path);
    }
}

#[test]
fn what_is_left_out_stays_out_and_the_rest_is_new() {
    let shown = ["$ make run CMD=\"a; b\"", "...", "bifolio> a", "1", "...", "bifolio> b", "old"].map(str::to_owned);
    let printed = ["log", "bifolio> a", "1", "2", "bifolio> b", "new"];
    let expected = ["$ make run CMD=\"a; b\"", "...", "bifolio> a", "1", "...", "bifolio> b", "new"];
    assert_eq!(updated(&shown, &printed), expected);
    assert_eq!(updated(&shown[..1], &printed)[1..], ["...", "bifolio> a", "1", "2", "bifolio> b", "new"]);
}

#[test]
fn an_item_is_found_where_it_is_defined_and_nowhere_else() {
    let text = "impl Batch {\n    pub(crate) fn allocate(&self) {}\n}\nenum Freed {\n    Empty(u8),\n}\n";
    for item in ["Batch::allocate", "allocate", "Freed", "Freed::Empty"] {
        assert!(defines(text, item), "{item}");
    }
    for item in ["alloc", "Zone::allocate", "Bat", "Full", "Freed::Emp"] {
        assert!(!defines(text, item), "{item}");
    }
}
