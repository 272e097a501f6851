//! Tables.

use crate::case::{FLOOR, HARNESS, OURS};
use crate::results::{Figure, Unit};
use comfy_table::{CellAlignment, Table, presets};

/// A column of the big table.
fn columns(figures: &[Figure]) -> Vec<(String, usize)> {
    let mut columns: Vec<(String, usize)> = Vec::new();
    for figure in figures {
        let column = (figure.workload.clone(), figure.threads);
        if !columns.contains(&column) {
            columns.push(column);
        }
    }
    columns
}

/// Prints everything.
pub fn print(figures: &[Figure]) {
    println!("{}", everything(figures, presets::UTF8_BORDERS_ONLY));
}

fn everything(figures: &[Figure], preset: &str) -> Table {
    let mut allocators: Vec<&str> = Vec::new();
    for figure in figures {
        if !allocators.contains(&figure.allocator.as_str()) {
            allocators.push(&figure.allocator);
        }
    }
    allocators.sort_by_key(|name| match *name {
        OURS => 0,
        FLOOR => 2,
        HARNESS => 3,
        _ => 1,
    });
    let mut table = Table::new();
    table.load_preset(preset);
    let mut header = vec![String::from("ns (min..max) | instructions")];
    header.extend(allocators.iter().map(|name| (*name).to_owned()));
    table.set_header(header);
    for (workload, threads) in columns(figures) {
        let title = if threads == 1 { workload.clone() } else { format!("{workload}, {threads} threads") };
        let mut row = vec![title];
        for allocator in &allocators {
            let own = figures.iter().filter(|figure| {
                figure.workload == workload && figure.threads == threads && figure.allocator == *allocator
            });
            let text: Vec<String> = own.map(show).collect();
            row.push(text.join(" | "));
        }
        table.add_row(row);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn show(figure: &Figure) -> String {
    let (low, high) = figure.spread;
    let refused = if figure.refused == 0 { String::new() } else { format!(" ({} refused)", figure.refused) };
    match (figure.unit, &figure.blocks) {
        (Unit::NsPerOp, _) => format!("{:.1} ({low:.1}..{high:.1}){refused}", figure.value),
        (_, Some(blocks)) => format!("{} of {}", blocks.allocated, blocks.limit),
        (Unit::BytesPerFrame, _) => format!("{:.2}", figure.value),
        _ => format!("{:.0}", figure.value),
    }
}
