//! What the programs work on: files that are made up, and the same each time.

use std::fmt::Write;
use std::fs;
use std::io;
use std::path::Path;

/// A C file of so many functions.
pub fn c_source(count: usize) -> String {
    let mut text = String::from("#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n");
    for number in 0..count {
        write!(
            text,
            "struct s{number} {{ int a[{size}]; double d; struct s{number} *next; }};\n\
             static int f{number}(struct s{number} *s, int n) {{\n\
                 int sum = {number};\n\
                 for (int i = 0; i < n; i++) {{ sum += s->a[i % {size}] * (i ^ {number}); if (sum & {bit}) sum = f{other}_(sum); }}\n\
                 switch (sum & 7) {{ case 0: return sum * 3; case 1: return sum / (n | 1); case 5: s->d += sum; break; }}\n\
                 return s->next ? f{number}(s->next, n - 1) : (int)strlen(\"text {number}\") + sum;\n\
             }}\n\
             int g{number}(int n) {{ struct s{number} s = {{ {{ n }}, n, 0 }}; return f{number}(&s, n) + printf(\"%d\\n\", n); }}\n",
            size = 3 + number % 29,
            bit = 1 << (number % 20),
            other = number % 10,
        )
        .expect("a string takes everything");
    }
    // What is called above is declared at the top.
    let declared: String = (0..10).map(|number| format!("int f{number}_(int);\n")).collect();
    declared + &text
}

/// A Rust file of so many modules.
pub fn rust_source(count: usize) -> String {
    let mut text = String::new();
    for number in 0..count {
        write!(
            text,
            "pub mod m{number} {{\n\
                 use std::collections::{{BTreeMap, HashMap}};\n\
                 #[derive(Clone, Debug, PartialEq, Default)] pub struct S{number} {{ pub a: Vec<u{bits}>, pub b: String, pub c: Option<Box<S{number}>> }}\n\
                 pub fn build(n: usize) -> BTreeMap<String, S{number}> {{\n\
                     (0..n).map(|i| (format!(\"{{i:0{width}}}\"), S{number} {{ a: vec![i as u{bits}; i % 9], b: \"x\".repeat(i), c: None }})).collect()\n\
                 }}\n\
                 pub fn count(map: &BTreeMap<String, S{number}>) -> HashMap<usize, usize> {{\n\
                     let mut counts = HashMap::new();\n\
                     map.values().filter(|s| s.c.is_none()).for_each(|s| *counts.entry(s.a.len() * {number}).or_default() += s.b.len());\n\
                     counts\n\
                 }}\n\
             }}\n",
            bits = [8, 16, 32, 64][number % 4],
            width = 1 + number % 9,
        )
        .expect("a string takes everything");
    }
    text
}

/// A JSON document with so many entries.
pub fn json(count: usize) -> String {
    let entries = (0..count).map(|number| {
        let tags: Vec<String> = (0..number % 6).map(|tag| format!("\"t{}\"", number * 7 % (11 + tag))).collect();
        format!(
            "{{\"id\":{number},\"name\":\"entry {}\",\"tags\":[{}],\"at\":{{\"x\":{}.5,\"y\":null}}}}",
            number * 31 % 1009,
            tags.join(","),
            number % 77
        )
    });
    format!("[{}]", entries.collect::<Vec<_>>().join(",\n"))
}

/// Lines of text, as many, in no order.
pub fn lines(count: usize) -> String {
    let mut state = 1u32;
    let line = |number| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        format!("{:x} {number} {}\n", state, "word ".repeat(state as usize >> 28))
    };
    (0..count).map(line).collect()
}

/// So many versions of a folder of text files, each a little different from the one before.
///
/// # Errors
/// Those of writing them.
pub fn versions(folder: &Path, count: usize) -> io::Result<()> {
    for version in 0..count {
        let folder = folder.join(format!("{version:03}"));
        for file in 0..60 {
            let folder = folder.join(format!("part{}", file % 7));
            fs::create_dir_all(&folder)?;
            let line = |line: usize| {
                let changed = if (line * 13 + file) % count == version { version } else { 0 };
                format!("file {file}, line {line}: {}\n", (line * 2_654_435_761 + file * 977 + changed) % 1_000_003)
            };
            fs::write(folder.join(format!("file{file}.txt")), (0..300 + file * 9).map(line).collect::<String>())?;
        }
    }
    Ok(())
}
