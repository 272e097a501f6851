//! Tables, for a terminal and for Markdown.

use crate::case::{FLOOR, HARNESS, OURS};
use crate::goals::Goal;
use crate::results::{Figure, Suite, Unit};
use comfy_table::{CellAlignment, Table, presets};
use std::fmt::Write;

/// What several CPUs of the kernel's do at once.
const OF_CPUS: &str = "smp-";
/// The worst of each order: details of `page-worst`.
const WORST_OF_ORDER: &str = "page-worst-";

/// Where tables go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Medium {
    /// A terminal.
    Terminal,
    /// A page.
    Markdown,
}

/// All tables, each with a title.
pub fn all(figures: &[Figure], medium: Medium) -> String {
    let mut text = String::new();
    let host = |unit| move |figure: &&Figure| figure.suite == Suite::Host && figure.unit == unit;
    let mut add = |title: &str, table: Option<Table>| {
        if let Some(table) = table {
            let title = if medium == Medium::Markdown { format!("### {title}\n") } else { title.to_owned() };
            writeln!(text, "{title}\n{table}\n").expect("a string takes everything");
        }
    };
    add("Bifolio, its goals and the best peer", standing(figures, medium));
    for (what, prefix) in [("page frames", "page-"), ("heap", "heap-")] {
        let of = |unit| figures.iter().filter(host(unit)).filter(move |figure| figure.workload.starts_with(prefix));
        let times = everybody(of(Unit::NsPerOp), medium);
        add(&format!("Host, {what}: ns per operation on each thread, median (lowest..highest round)"), times);
        let counts = everybody(of(Unit::InstructionsPerOp), medium);
        add(&format!("Host, {what}: instructions per operation, the harness's included"), counts);
    }
    add("Host: where Bifolio's instructions are", profiles(figures, medium));
    let metadata = figures.iter().filter(host(Unit::BytesPerFrame));
    add("Host: bytes of metadata for each frame", everybody(metadata, medium));
    let overhead = figures.iter().filter(host(Unit::Percent)).filter(|figure| figure.blocks.is_none());
    add("Host: memory taken, in percent over what is live", everybody(overhead, medium));
    let blocks = figures.iter().filter(|figure| figure.blocks.is_some());
    add("Host: blocks of 2 MiB that could be allocated in the end", everybody(blocks, medium));
    let is_worst = |figure: &&Figure| figure.workload.starts_with(WORST_OF_ORDER);
    let kernel = || figures.iter().filter(|figure| figure.suite == Suite::Kernel);
    for (what, prefix) in [("page frames", "page-"), ("heap", "heap-")] {
        let operations =
            kernel().filter(|figure| !is_worst(figure)).filter(|figure| figure.workload.starts_with(prefix));
        add(&format!("Kernel, {what}: guest instructions per operation"), everybody(operations, medium));
    }
    add(
        "Kernel: guest instructions of the worst single operation of each order",
        everybody(kernel().filter(is_worst), medium),
    );
    for (title, unit) in [
        ("Kernel, many CPUs at once: guest instructions of all for each operation", Unit::InstructionsPerOp),
        ("Kernel, many CPUs at once: locks taken for each operation", Unit::LocksPerOp),
    ] {
        add(title, by_cpus(kernel().filter(|figure| figure.unit == unit), medium));
    }
    let of = |unit| figures.iter().filter(move |figure| figure.unit == unit);
    add("Programs: seconds of processors", everybody(of(Unit::Seconds), medium));
    add("Programs: MiB at the peak", everybody(of(Unit::MiB), medium));
    text
}

/// How ours stands: a row for each of its figures.
fn standing(figures: &[Figure], medium: Medium) -> Option<Table> {
    let mut table = table(medium);
    table.set_header(["workload", "counted in", OURS, "goal", "", "best peer", "", "ours : peer", FLOOR]);
    // The figures of a workload stand together, as each workload first appears.
    let place = |figure: &Figure| {
        let is_it = |other: &Figure| (other.suite, &other.workload) == (figure.suite, &figure.workload);
        (figures.iter().position(is_it), figure.threads)
    };
    let is_detail = |figure: &Figure| {
        figure.workload.starts_with(WORST_OF_ORDER)
            || figure.workload.starts_with(OF_CPUS) && Goal::of(figure).is_none()
    };
    let is_shown = |figure: &&Figure| figure.allocator == OURS && !is_detail(figure);
    let mut rows: Vec<&Figure> = figures.iter().filter(is_shown).collect();
    rows.sort_by_key(|figure| place(figure));
    for ours in rows {
        let others = || figures.iter().filter(|figure| is_same_measurement(figure, ours));
        // Who refuses what others grant is not faster than they are.
        let is_peer = |figure: &&Figure| {
            ![OURS, FLOOR, HARNESS].contains(&figure.allocator.as_str()) && figure.refused <= ours.refused
        };
        let peers = others().filter(is_peer);
        let best = peers.min_by(|one, other| badness(one).total_cmp(&badness(other)));
        let goal = Goal::of(ours);
        let verdict = goal.map_or("", |goal| if goal.is_reached(ours) { "reached" } else { "MISSED" });
        let floor = others().find(|figure| figure.allocator == FLOOR).map(short);
        table.add_row([
            format!("{}{}", place_of(ours.suite), title(ours)),
            if ours.blocks.is_some() { "blocks".into() } else { ours.unit.name().to_owned() },
            short(ours),
            goal.map_or_else(String::new, |goal| bound(goal, ours)),
            verdict.to_owned(),
            best.map(|best| best.allocator.clone()).unwrap_or_default(),
            best.map(short).unwrap_or_default(),
            best.filter(|best| best.value > 0.0)
                .map(|best| format!("{:.2}", ours.value / best.value))
                .unwrap_or_default(),
            floor.unwrap_or_default(),
        ]);
    }
    align(&mut table, &[2, 3, 6, 7, 8]);
    (table.row_count() > 0).then_some(table)
}

/// All allocators next to each other: a row for each workload.
fn everybody<'a>(figures: impl Iterator<Item = &'a Figure>, medium: Medium) -> Option<Table> {
    let figures: Vec<&Figure> = figures.collect();
    let mut allocators: Vec<&str> = Vec::new();
    let mut rows: Vec<&Figure> = Vec::new();
    for figure in &figures {
        if !allocators.contains(&figure.allocator.as_str()) {
            allocators.push(&figure.allocator);
        }
        if !rows.iter().any(|row| is_same_measurement(row, figure)) {
            rows.push(figure);
        }
    }
    allocators.sort_by_key(|name| match *name {
        OURS => 0,
        FLOOR => 2,
        HARNESS => 3,
        _ => 1,
    });
    let mut table = table(medium);
    let header =
        allocators.iter().map(|name| if medium == Medium::Terminal { broken(name) } else { (*name).to_owned() });
    table.set_header([String::new()].into_iter().chain(header));
    for row in &rows {
        let cell = |allocator: &&str| {
            let own = figures.iter().find(|figure| is_same_measurement(figure, row) && figure.allocator == *allocator);
            own.map_or_else(String::new, |figure| long(figure))
        };
        table.add_row([title(row)].into_iter().chain(allocators.iter().map(cell)));
    }
    align(&mut table, &(1..=allocators.len()).collect::<Vec<_>>());
    (!rows.is_empty()).then_some(table)
}

/// What many CPUs do at once: a row for each workload, a column for each number of CPUs.
fn by_cpus<'a>(figures: impl Iterator<Item = &'a Figure>, medium: Medium) -> Option<Table> {
    let figures: Vec<&Figure> =
        figures.filter(|figure| figure.workload.starts_with(OF_CPUS) && figure.allocator == OURS).collect();
    let (mut workloads, mut cpus): (Vec<&str>, Vec<usize>) = Default::default();
    for figure in &figures {
        if !workloads.contains(&figure.workload.as_str()) {
            workloads.push(&figure.workload);
        }
        if !cpus.contains(&figure.threads) {
            cpus.push(figure.threads);
        }
    }
    let mut table = table(medium);
    let header = cpus.iter().map(|&cpus| if cpus == 1 { "1 CPU".to_owned() } else { format!("{cpus} CPUs") });
    table.set_header([String::new()].into_iter().chain(header));
    for workload in &workloads {
        let cell = |&cpus: &usize| {
            let figure = figures.iter().find(|figure| figure.workload == *workload && figure.threads == cpus);
            figure.map_or_else(String::new, |figure| short(figure))
        };
        table.add_row([(*workload).to_owned()].into_iter().chain(cpus.iter().map(cell)));
    }
    align(&mut table, &(1..=cpus.len()).collect::<Vec<_>>());
    (!workloads.is_empty()).then_some(table)
}

/// The functions that most of our instructions are in, what the compiler inlined included.
fn profiles(figures: &[Figure], medium: Medium) -> Option<Table> {
    const MOST: usize = 6;
    let mut table = table(medium);
    table.set_header(["workload", "instructions", "of which"]);
    for figure in figures.iter().filter(|figure| !figure.profile.is_empty()) {
        let parts = figure.profile.iter().take(MOST).filter(|(_, count)| *count >= 1.0);
        let parts: Vec<String> = parts.map(|(function, count)| format!("{function} {count:.0}")).collect();
        table.add_row([title(figure), short(figure), parts.join(", ")]);
    }
    align(&mut table, &[1]);
    (table.row_count() > 0).then_some(table)
}

fn table(medium: Medium) -> Table {
    let mut table = Table::new();
    table.load_preset(if medium == Medium::Markdown { presets::ASCII_MARKDOWN } else { presets::UTF8_BORDERS_ONLY });
    table
}

fn align(table: &mut Table, right: &[usize]) {
    for &column in right {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}

/// A long name on two lines.
fn broken(name: &str) -> String {
    match name.rfind(['_', '-']) {
        Some(place) if name.len() > 12 => format!("{}\n{}", &name[..=place], &name[place + 1..]),
        _ => name.to_owned(),
    }
}

/// Where it was measured, if not on the host.
fn place_of(suite: Suite) -> &'static str {
    match suite {
        Suite::Host => "",
        Suite::Kernel => "kernel: ",
        Suite::Programs => "program: ",
    }
}

fn title(figure: &Figure) -> String {
    if figure.threads == 1 {
        figure.workload.clone()
    } else {
        let what = if figure.suite == Suite::Kernel { "CPUs" } else { "threads" };
        format!("{}, {} {what}", figure.workload, figure.threads)
    }
}

fn is_same_measurement(one: &Figure, other: &Figure) -> bool {
    let key = |figure: &Figure| (figure.suite, figure.threads, figure.unit);
    key(one) == key(other) && one.workload == other.workload
}

/// The smaller, the better.
fn badness(figure: &Figure) -> f64 {
    if figure.blocks.is_some() { -figure.value } else { figure.value }
}

fn bound(goal: &Goal, figure: &Figure) -> String {
    format!("{} {}", if figure.blocks.is_some() { "≥" } else { "≤" }, rounded(goal.bound, figure.unit))
}

fn short(figure: &Figure) -> String {
    let refused = if figure.refused == 0 { String::new() } else { format!(", {} refused", figure.refused) };
    match &figure.blocks {
        Some(blocks) => format!("{} of {}", blocks.allocated, blocks.limit),
        None => rounded(figure.value, figure.unit) + &refused,
    }
}

fn long(figure: &Figure) -> String {
    let (low, high) = figure.spread;
    if figure.unit == Unit::NsPerOp && low < high {
        format!("{} ({}..{})", short(figure), rounded(low, figure.unit), rounded(high, figure.unit))
    } else {
        short(figure)
    }
}

/// A number with as many digits as mean something.
fn rounded(value: f64, unit: Unit) -> String {
    match unit {
        Unit::BytesPerFrame | Unit::Seconds => format!("{value:.2}"),
        Unit::LocksPerOp => format!("{value:.4}"),
        Unit::NsPerOp | Unit::Percent | Unit::MiB if value < 100.0 => format!("{value:.1}"),
        _ => {
            let digits = format!("{value:.0}");
            let groups: Vec<&str> =
                digits.as_bytes().rchunks(3).rev().map(|group| str::from_utf8(group).unwrap_or_default()).collect();
            groups.join(",")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_groups_and_no_false_precision() {
        assert_eq!(rounded(1_526_402.4, Unit::InstructionsPerOp), "1,526,402");
        assert_eq!(rounded(12.34, Unit::NsPerOp), "12.3");
        assert_eq!(rounded(123.4, Unit::NsPerOp), "123");
        assert_eq!(rounded(0.324, Unit::BytesPerFrame), "0.32");
    }

    #[test]
    fn the_best_peer_is_neither_ours_nor_the_floor() {
        let figure = |allocator, value| Figure::instructions(Suite::Host, "page-pair", allocator, value, 0);
        let figures = [figure(OURS, 50.0), figure("slow", 200.0), figure("fast", 100.0), figure(FLOOR, 20.0)];
        let text = all(&figures, Medium::Markdown);
        let row = text.lines().find(|line| line.contains("page-pair")).unwrap();
        for part in ["≤ 40", "MISSED", "fast", "100", "0.50", "20"] {
            assert!(row.contains(part), "{part} in {row}");
        }
    }
}
