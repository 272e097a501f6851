//! The lessons as the explorer's page shows them: the very files of `docs/lessons`, made HTML.

use pulldown_cmark::{Event, HeadingLevel, Options, Parser, Tag, TagEnd, html};

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

/// A document as HTML. What may be wider than the page can be scrolled to by keys.
fn html(text: &str) -> String {
    let (mut is_code, mut is_in_table) = (false, false);
    let events = Parser::new_ext(text, Options::ENABLE_TABLES).flat_map(|event| match event {
        Event::Start(Tag::Heading { level, id, classes, attrs }) => {
            vec![Event::Start(Tag::Heading { level: lower(level), id, classes, attrs })]
        }
        Event::End(TagEnd::Heading(level)) => vec![Event::End(TagEnd::Heading(lower(level)))],
        Event::Start(Tag::Link { link_type, dest_url, title, id }) => {
            vec![Event::Start(Tag::Link { link_type, dest_url: from_page(&dest_url).into(), title, id })]
        }
        Event::Start(Tag::CodeBlock(_)) => {
            is_code = true;
            vec![Event::Html("<pre tabindex=\"0\"><code>".into())]
        }
        Event::End(TagEnd::CodeBlock) => {
            is_code = false;
            vec![Event::Html("</code></pre>\n".into())]
        }
        Event::Text(text) if is_code && text.starts_with("$ ") => command(&text),
        Event::Code(code) if is_in_table => breakable(&code),
        Event::Start(Tag::Table(_)) => {
            is_in_table = true;
            vec![Event::Html("<div class=\"wide\" tabindex=\"0\">".into()), event]
        }
        Event::End(TagEnd::Table) => {
            is_in_table = false;
            vec![event, Event::Html("</div>\n".into())]
        }
        event => vec![event],
    });
    let mut out = String::new();
    html::push_html(&mut out, events);
    out
}

/// What is printed, behind the command that prints it, which is longer than a line and may be broken.
fn command(text: &str) -> Vec<Event<'static>> {
    let (command, printed) = text.split_once('\n').unwrap_or((text, ""));
    let [command, printed] = [command, printed].map(|text| Event::Text(text.to_owned().into()));
    vec![Event::Html("<span class=\"command\">".into()), command, Event::Html("</span>".into()), printed]
}

/// A name or a path in a table, which is broken between its words where the column is narrow.
fn breakable(code: &str) -> Vec<Event<'static>> {
    let mut events = vec![Event::InlineHtml("<code>".into())];
    let (mut start, mut before) = (0, None);
    for (at, sign) in code.char_indices() {
        let is_inside = code[start..at].contains(char::is_alphanumeric);
        if is_inside && sign.is_alphanumeric() && before.is_some_and(|before| "_/:".contains(before)) {
            events.extend([Event::Text(code[start..at].to_owned().into()), Event::InlineHtml("<wbr>".into())]);
            start = at;
        }
        before = Some(sign);
    }
    events.extend([Event::Text(code[start..].to_owned().into()), Event::InlineHtml("</code>".into())]);
    events
}

/// One level lower: the page has a heading of its own.
fn lower(level: HeadingLevel) -> HeadingLevel {
    HeadingLevel::try_from(level as usize + 1).unwrap_or(level)
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn a_page_can_take_a_lesson_in() {
        for (text, expected) in [
            ("# A & B\n", "<h2>A &amp; B</h2>\n"),
            ("```text\n<a> **b**\n```\n", "<pre tabindex=\"0\"><code>&lt;a&gt; **b**\n</code></pre>\n"),
            (
                "```text\n$ run \"a\"\nb <c>\n```\n",
                "<pre tabindex=\"0\"><code><span class=\"command\">$ run \"a\"</span>b &lt;c&gt;\n</code></pre>\n",
            ),
            ("[`X`](../../kernel/x.rs)", "<p><a href=\"../kernel/x.rs\"><code>X</code></a></p>\n"),
            ("[x](../architecture.md#y)", "<p><a href=\"../docs/architecture.md#y\">x</a></p>\n"),
            ("[z](README.md)", "<p><a href=\"../docs/lessons/README.md\">z</a></p>\n"),
            ("[lesson 3](3-watermarks.md)", "<p><a href=\"#lesson=3\">lesson 3</a></p>\n"),
            ("[w](https://x.org/a-b.md)", "<p><a href=\"https://x.org/a-b.md\">w</a></p>\n"),
        ] {
            assert_eq!(html(text), expected);
        }
        let table = html("| a |\n|---|\n| `c` |\n");
        assert!(table.starts_with("<div class=\"wide\" tabindex=\"0\"><table>"), "{table}");
        assert!(table.ends_with("</table>\n</div>\n"), "{table}");
        let table = html("| `__a_b<c>`: `x/y.c`, `A::d` |\n|---|\n");
        let broken = "<th><code>__a_<wbr>b&lt;c&gt;</code>: <code>x/<wbr>y.c</code>, <code>A::<wbr>d</code></th>";
        assert!(table.contains(broken), "{table}");
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
