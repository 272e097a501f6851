//! Tables, for a terminal and for Markdown.

use crate::ROUNDS;
use crate::case::{FLOOR, HARNESS, OURS};
use crate::goals::{self, Bound, Goal, Verdict};
use crate::results::{Figure, Suite, Unit};
use comfy_table::{CellAlignment, Table, presets};
use std::fmt::Write;

/// What several CPUs of the kernel's do at once.
const OF_CPUS: &str = "smp-";
/// The worst of each order: details of `page-worst`.
const WORST_OF_ORDER: &str = "page-worst-";

/// Single operations: the median, and what 99 of 100 keep below. `page-worst` is the third of them.
const SINGLE: &str = "page-single-";
const WORST: &str = "page-worst";
/// LLFree's workloads.
const LLFREE: &str = "page-llfree-";

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
        let is_here = |figure: &&Figure| {
            figure.workload.starts_with(prefix) && !is_single(figure) && !figure.workload.starts_with(LLFREE)
        };
        let times = everybody(figures.iter().filter(host(Unit::NsPerOp)).filter(is_here), medium);
        add(&format!("Host, {what}: ns per operation on each thread, median (lowest..highest round)"), times);
        let counts = everybody(figures.iter().filter(host(Unit::InstructionsPerOp)).filter(is_here), medium);
        add(&format!("Host, {what}: instructions per operation, the harness's included"), counts);
    }
    let singles = figures.iter().filter(host(Unit::InstructionsPerOp)).filter(is_single);
    add("Host, page frames: instructions of single operations, without the harness's", everybody(singles, medium));
    let of_llfree = figures.iter().filter(host(Unit::NsPerOp)).filter(|figure| figure.workload.starts_with(LLFREE));
    add(
        "Host, LLFree's workloads: ns per operation on each thread, median (lowest..highest round)",
        everybody(of_llfree, medium),
    );
    add("Host: where Bifolio's instructions are", profiles(figures, medium));
    let metadata = figures.iter().filter(host(Unit::BytesPerFrame));
    add("Host: bytes of metadata for each frame", everybody(metadata, medium));
    let (regions, memory): (Vec<_>, Vec<_>) = figures
        .iter()
        .filter(host(Unit::Percent))
        .filter(|figure| figure.blocks.is_none())
        .partition(|figure| figure.is_of_region());
    add("Host: memory taken, in percent over what is live", everybody(memory.into_iter(), medium));
    let regions = everybody(regions.into_iter(), medium);
    add("Host: what of a region is live when a request is refused, in percent, median of 20 seeds", regions);
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
    table.set_header([
        "workload",
        "counted in",
        OURS,
        "best peer",
        "",
        "ours : peer",
        "must",
        "",
        "moonshot",
        "",
        FLOOR,
    ]);
    for ours in standing_rows(figures) {
        let peers = goals::peers(figures, ours);
        let best = peers.iter().min_by(|one, other| badness(one).total_cmp(&badness(other)));
        let goal = Goal::of(ours);
        let [must, moonshot] = [goal.map(|goal| goal.must), goal.and_then(|goal| goal.moonshot)];
        let of_bound = |bound: Option<Bound>| bound.map_or_else(String::new, |bound| in_words(bound, ours.unit));
        let verdict = |bound: Option<Bound>| bound.map_or("", |bound| verdict_in_words(bound.verdict(ours, &peers)));
        let floor = figures.iter().find(|figure| figure.allocator == FLOOR && figure.is_same_measurement(ours));
        table.add_row([
            format!("{}{}", place_of(ours.suite), title(ours)),
            if ours.blocks.is_some() { "blocks".into() } else { ours.unit.name().to_owned() },
            exact_enough(ours, &[must, moonshot]),
            best.map(|best| best.allocator.clone()).unwrap_or_default(),
            best.map(|best| short(best)).unwrap_or_default(),
            ratio(ours, &peers, best.copied()).map(|ratio| format!("{ratio:.2}")).unwrap_or_default(),
            of_bound(must),
            verdict(must).to_owned(),
            of_bound(moonshot),
            verdict(moonshot).to_owned(),
            floor.map(short).unwrap_or_default(),
        ]);
    }
    align(&mut table, &[2, 4, 5, 6, 8, 10]);
    (table.row_count() > 0).then_some(table)
}

/// A figure, with more digits where it is above a bound that it would else seem to keep.
fn exact_enough(ours: &Figure, bounds: &[Option<Bound>]) -> String {
    let seems_kept = |bound: &Option<Bound>| {
        matches!(*bound, Some(Bound::Most(bound))
            if ours.value > bound && rounded(ours.value, ours.unit) == rounded(bound, ours.unit))
    };
    if bounds.iter().any(seems_kept) { format!("{:.4}", ours.value) } else { short(ours) }
}

/// Our figures that stand for more than a detail; those of a workload together, as each workload first appears.
fn standing_rows(figures: &[Figure]) -> Vec<&Figure> {
    let place = |figure: &Figure| {
        let is_it = |other: &Figure| (other.suite, &other.workload) == (figure.suite, &figure.workload);
        (figures.iter().position(is_it), figure.threads)
    };
    let is_detail = |figure: &Figure| {
        [WORST_OF_ORDER, LLFREE].iter().any(|prefix| figure.workload.starts_with(prefix))
            || figure.workload.starts_with(OF_CPUS) && Goal::of(figure).is_none()
    };
    let is_shown = |figure: &&Figure| figure.allocator == OURS && !is_detail(figure);
    let mut rows: Vec<&Figure> = figures.iter().filter(is_shown).collect();
    rows.sort_by_key(|figure| place(figure));
    rows
}

/// Ours in proportion to the best peer's; for times, the median of that in each round.
fn ratio(ours: &Figure, peers: &[&Figure], best: Option<&Figure>) -> Option<f64> {
    if ours.unit == Unit::NsPerOp {
        return ours.time_ratio(peers);
    }
    best.filter(|best| best.value > 0.0).map(|best| ours.value / best.value)
}

/// How many goals are met, and which ones nothing is known of.
pub fn verdicts(figures: &[Figure]) -> String {
    let mut text = String::new();
    for (name, is_must) in [("must", true), ("moonshot", false)] {
        let bound = |goal: &Goal| if is_must { Some(goal.must) } else { goal.moonshot };
        let verdict = |ours| Some(bound(Goal::of(ours)?)?.verdict(ours, &goals::peers(figures, ours)));
        let verdicts: Vec<Verdict> = figures.iter().filter_map(verdict).collect();
        let count = |wanted| verdicts.iter().filter(|verdict| **verdict == wanted).count();
        let (met, missed, open) = (count(Verdict::Met), count(Verdict::Missed), count(Verdict::Open));
        if !verdicts.is_empty() {
            let open = if open == 0 { String::new() } else { format!(", {open} without a peer to compare with") };
            writeln!(text, "Goals, {name}: {met} met, {missed} MISSED{open}.").expect("a string takes everything");
        }
    }
    let rounds = figures.iter().map(|figure| figure.rounds.len()).filter(|rounds| *rounds > 0).min();
    if let Some(rounds) = rounds.filter(|rounds| *rounds < ROUNDS) {
        writeln!(text, "Goals for times are judged by {ROUNDS} rounds; here they are judged by {rounds}.")
            .expect("a string takes everything");
    }
    let unmeasured: Vec<String> = Goal::unmeasured(figures).into_iter().map(Goal::title).collect();
    if !unmeasured.is_empty() {
        writeln!(text, "Goals not measured: {}.", unmeasured.join("; ")).expect("a string takes everything");
    }
    text
}

fn verdict_in_words(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Met => "met",
        Verdict::Missed => "MISSED",
        Verdict::Open => "no peer",
    }
}

fn is_single(figure: &&Figure) -> bool {
    figure.workload.starts_with(SINGLE) || figure.workload == WORST
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
        if !rows.iter().any(|row| row.is_same_measurement(figure)) {
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
            let own = figures.iter().find(|figure| figure.is_same_measurement(row) && figure.allocator == *allocator);
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

/// The smaller, the better.
fn badness(figure: &Figure) -> f64 {
    if figure.blocks.is_some() || figure.is_of_region() { -figure.value } else { figure.value }
}

fn in_words(bound: Bound, unit: Unit) -> String {
    match bound {
        Bound::Most(bound) => format!("≤ {}", rounded(bound, unit)),
        Bound::Least(bound) => format!("≥ {bound}"),
        Bound::OfBestPeer(bound) => format!("≤ {bound:.2} : 1"),
        Bound::OfPeer(name, bound) => format!("≤ {bound:.2} × {name}"),
    }
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
    fn a_figure_just_above_its_bound_does_not_look_as_if_it_kept_it() {
        let row = |value| all(&[Figure::instructions(Suite::Host, "page-pair", OURS, value, 0)], Medium::Markdown);
        assert!(row(56.003).contains("| 56.0030 "), "{}", row(56.003));
        assert!(!row(56.0).contains("56.0") && !row(57.0).contains("57.0"));
    }

    #[test]
    fn the_best_peer_is_neither_ours_nor_the_floor() {
        let figure = |allocator, value| Figure::instructions(Suite::Host, "page-pair", allocator, value, 0);
        let figures = [figure(OURS, 50.0), figure("slow", 200.0), figure("fast", 100.0), figure(FLOOR, 20.0)];
        let text = all(&figures, Medium::Markdown);
        let row = text.lines().find(|line| line.contains("page-pair")).unwrap();
        for part in ["≤ 56", "met", "≤ 40", "MISSED", "fast", "100", "0.50", "20"] {
            assert!(row.contains(part), "{part} in {row}");
        }
        let verdicts = verdicts(&figures);
        assert!(verdicts.contains("must: 1 met, 0 MISSED.") && verdicts.contains("moonshot: 0 met, 1 MISSED."));
        assert!(verdicts.contains("not measured: page-pair, 2 at once, ns/op."), "{verdicts}");
    }
}
