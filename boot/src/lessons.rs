//! The lessons as the explorer's page shows them: the very files of `docs/lessons`, made HTML.
//!
//! As much of Markdown as the lessons use: headings, paragraphs, lists, tables, quotations and fences; code, links, bold and italic.

use std::fmt::Write;
use std::iter::Peekable;
use std::str::Lines;

/// The lessons, by their numbers.
const LESSONS: [&str; 10] = [
    include_str!("../../docs/lessons/0-two-posts.md"),
    include_str!("../../docs/lessons/1-buddies.md"),
    include_str!("../../docs/lessons/2-firmware.md"),
    include_str!("../../docs/lessons/3-watermarks.md"),
    include_str!("../../docs/lessons/4-fragmentation.md"),
    include_str!("../../docs/lessons/5-per-cpu.md"),
    include_str!("../../docs/lessons/6-slabs.md"),
    include_str!("../../docs/lessons/7-large.md"),
    include_str!("../../docs/lessons/8-bad-frees.md"),
    include_str!("../../docs/lessons/9-many-cpus.md"),
];

/// All lessons, each in a template that is named by its number.
#[must_use]
pub fn templates() -> String {
    let lessons = LESSONS.iter().enumerate();
    lessons.map(|(number, text)| format!("<template id=\"lesson-{number}\">\n{}</template>\n", html(text))).collect()
}

/// A document as HTML. Headings are one level lower: the page has one of its own.
fn html(text: &str) -> String {
    let (mut out, mut lines) = (String::new(), text.lines().peekable());
    while let Some(line) = lines.next() {
        if line.starts_with("```") {
            let code: Vec<&str> = lines.by_ref().take_while(|line| !line.starts_with("```")).collect();
            let _ = writeln!(out, "<pre tabindex=\"0\"><code>{}</code></pre>", escaped(&code.join("\n")));
        } else if let Some((marks, title)) =
            line.split_once("# ").filter(|(marks, _)| marks.trim_matches('#').is_empty())
        {
            let level = marks.len() + 2;
            let _ = writeln!(out, "<h{level}>{}</h{level}>", inline(title));
        } else if line.starts_with('|') {
            table(line, &mut lines, &mut out);
        } else if let Some(first) = item(line) {
            list(line.starts_with('-'), first, &mut lines, &mut out);
        } else if let Some(first) = line.strip_prefix("> ") {
            let rest = continued(&mut lines);
            let _ = writeln!(out, "<blockquote><p>{}</p></blockquote>", inline(&[first, &rest].concat()));
        } else if !line.is_empty() {
            let rest = continued(&mut lines);
            let _ = writeln!(out, "<p>{}</p>", inline(&[line, &rest].concat()));
        }
    }
    out
}

/// The lines up to an empty one, or to one that begins something else.
fn continued(lines: &mut Peekable<Lines<'_>>) -> String {
    let goes_on =
        |line: &&str| !line.is_empty() && !line.starts_with("```") && !line.starts_with('|') && item(line).is_none();
    let rest = std::iter::from_fn(|| lines.next_if(goes_on));
    rest.map(|line| format!("\n{}", line.trim_start().trim_start_matches("> "))).collect()
}

/// What an item of a list says in its first line.
fn item(line: &str) -> Option<&str> {
    line.strip_prefix("- ").or_else(|| line.trim_start_matches(|sign: char| sign.is_ascii_digit()).strip_prefix(". "))
}

fn list(has_dots: bool, first: &str, lines: &mut Peekable<Lines<'_>>, out: &mut String) {
    let name = if has_dots { "ul" } else { "ol" };
    let _ = writeln!(out, "<{name}>");
    let mut next = Some(first.to_owned());
    while let Some(first) = next.take() {
        let rest = continued(lines);
        let _ = writeln!(out, "<li>{}</li>", inline(&[first, rest].concat()));
        next = lines.next_if(|line| item(line).is_some()).and_then(item).map(str::to_owned);
    }
    let _ = writeln!(out, "</{name}>");
}

fn table(head: &str, lines: &mut Peekable<Lines<'_>>, out: &mut String) {
    let row = |line: &str, cell: &str| {
        let cells = line.trim().trim_matches('|').split('|');
        cells.map(|text| format!("<{cell}>{}</{cell}>", inline(text.trim()))).collect::<String>()
    };
    let _ = writeln!(out, "<div class=\"wide\" tabindex=\"0\"><table>\n<tr>{}</tr>", row(head, "th"));
    while let Some(line) = lines.next_if(|line| line.starts_with('|')) {
        if !line.starts_with("|-") {
            let _ = writeln!(out, "<tr>{}</tr>", row(line, "td"));
        }
    }
    out.push_str("</table></div>\n");
}

/// Text with its code, links, and what is bold or italic.
fn inline(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['`', '[', '*']) {
        out += &escaped(&rest[..at]);
        rest = &rest[at..];
        let (html, end) = marked(rest).unwrap_or_else(|| (escaped(&rest[..1]), 1));
        out += &html;
        rest = &rest[end..];
    }
    out + &escaped(rest)
}

/// What begins with such a mark, and where it ends; none if the mark stands for itself.
fn marked(text: &str) -> Option<(String, usize)> {
    let until = |open: &str, close: &str| {
        let inside = text.strip_prefix(open)?;
        let inside = &inside[..inside.find(close)?];
        Some((inside, open.len() + inside.len() + close.len()))
    };
    if let Some((code, end)) = until("`", "`") {
        return Some((format!("<code>{}</code>", escaped(code)), end));
    }
    if let Some((words, middle)) = until("[", "](") {
        let address = &text[middle..middle + text[middle..].find(')')?];
        let html = format!("<a href=\"{}\">{}</a>", escaped(&from_page(address)), inline(words));
        return Some((html, middle + address.len() + 1));
    }
    if let Some((words, end)) = until("**", "**") {
        return Some((format!("<strong>{}</strong>", inline(words)), end));
    }
    let (words, end) = until("*", "*").filter(|(words, _)| !words.starts_with(' ') && !words.is_empty())?;
    Some((format!("<em>{}</em>", inline(words)), end))
}

/// Where a lesson's link leads from the page, which lies in a folder of the checkout's: another lesson is in the page itself.
fn from_page(address: &str) -> String {
    let number = address.split_once('-').map(|(number, _)| number).filter(|_| address.ends_with(".md"));
    match (number.and_then(|number| number.parse::<usize>().ok()), address.strip_prefix("../")) {
        _ if address.contains("://") => address.to_owned(),
        (Some(number), _) if !address.contains('/') => format!("#lesson={number}"),
        (_, Some(rest)) => {
            rest.strip_prefix("../").map_or_else(|| format!("../docs/{rest}"), |rest| format!("../{rest}"))
        }
        (_, None) => format!("../docs/lessons/{address}"),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn what_the_lessons_use_becomes_html() {
        for (text, expected) in [
            ("# A & B\n\nOne\ntwo.\n\nThree\n", "<h2>A &amp; B</h2>\n<p>One\ntwo.</p>\n<p>Three</p>\n"),
            (
                "## C\n```text\n<a> **b**\n\n```\n",
                "<h3>C</h3>\n<pre tabindex=\"0\"><code>&lt;a&gt; **b**\n</code></pre>\n",
            ),
            (
                "- one\n  more\n- two\n\n1. three\n",
                "<ul>\n<li>one\nmore</li>\n<li>two</li>\n</ul>\n<ol>\n<li>three</li>\n</ol>\n",
            ),
            ("> x & y\n", "<blockquote><p>x &amp; y</p></blockquote>\n"),
            (
                "| a | b |\n|---|---|\n| `c` | d |\n",
                "<div class=\"wide\" tabindex=\"0\"><table>\n<tr><th>a</th><th>b</th></tr>\n<tr><td><code>c</code></td><td>d</td></tr>\n</table></div>\n",
            ),
        ] {
            assert_eq!(html(text), expected);
        }
        for (text, expected) in [
            ("a * b ** c", "a * b ** c"),
            ("*a* and **b `*c*`**", "<em>a</em> and <strong>b <code>*c*</code></strong>"),
            ("[`X`](../../kernel/x.rs)", "<a href=\"../kernel/x.rs\"><code>X</code></a>"),
            (
                "[x](../architecture.md#y) [z](README.md)",
                "<a href=\"../docs/architecture.md#y\">x</a> <a href=\"../docs/lessons/README.md\">z</a>",
            ),
            ("[lesson 3](3-watermarks.md)", "<a href=\"#lesson=3\">lesson 3</a>"),
            ("[w](https://x.org/a-b.md)", "<a href=\"https://x.org/a-b.md\">w</a>"),
        ] {
            assert_eq!(inline(text), expected);
        }
    }

    /// Nothing of a lesson is left as Markdown, and each of its links leads somewhere from `target/`.
    #[test]
    fn every_lesson_is_made_html_to_its_end() {
        let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
        for (number, text) in LESSONS.iter().enumerate() {
            let html = html(text);
            assert!(html.starts_with(&format!("<h2>Lesson {number}: ")), "{}", &html[..60]);
            let mut prose = String::new();
            for (nth, part) in html.split("<pre").enumerate() {
                prose += if nth == 0 { part } else { part.split_once("</pre>").expect("it is closed").1 };
            }
            let without_code: String =
                prose.split("<code>").map(|part| part.split_once("</code>").map_or(part, |(_, rest)| rest)).collect();
            for left in ["`", "](", "**", "\n#", "\n- ", "|--"] {
                assert!(!without_code.contains(left), "lesson {number} has {left:?}");
            }
            for address in prose.split("href=\"").skip(1).filter_map(|part| part.split('"').next()) {
                let file = address.split('#').next().unwrap_or_default();
                let is_there = file.is_empty() || address.contains("://") || target.join(file).exists();
                assert!(is_there, "lesson {number} leads to {address}");
            }
            for tag in ["p", "ul", "ol", "li", "table", "pre", "a", "em", "strong"] {
                let closed = html.matches(&format!("</{tag}>")).count();
                let opened = html.matches(&format!("<{tag}>")).count() + html.matches(&format!("<{tag} ")).count();
                assert_eq!(opened, closed, "lesson {number}: <{tag}>");
            }
        }
    }
}
