//! Plots, as SVG: bars for each workload, and whole blocks over time.

use crate::case::{HARNESS, OURS};
use crate::results::{Figure, Suite, Unit};
use anyhow::Result;
use plotters::coord::Shift;
use plotters::prelude::*;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

const WIDTH: u32 = 1080;
const COLUMNS: usize = 3;
/// What a bar and its label take.
const LINE: i32 = 18;
/// From a panel's left edge to its bars.
const LABELS: i32 = 160;
const FONT: &str = "sans-serif";

/// A colour for each allocator, ours the only dark one.
fn colour(allocator: &str) -> RGBColor {
    match allocator {
        OURS => RGBColor(0xb0, 0x20, 0x20),
        "buddy_system_allocator" => RGBColor(0x4e, 0x79, 0xa7),
        "bitmap-allocator" => RGBColor(0x59, 0xa1, 0x4f),
        "buddy-slab-allocator" => RGBColor(0xf2, 0x8e, 0x2b),
        "buddy-alloc" => RGBColor(0x76, 0xb7, 0xb2),
        "acid_alloc" => RGBColor(0xaf, 0x7a, 0xa1),
        "talc" => RGBColor(0x59, 0xa1, 0x4f),
        "mimalloc" => RGBColor(0xed, 0xc9, 0x48),
        "snmalloc-rs" => RGBColor(0x9c, 0x75, 0x5f),
        "rlsf" => RGBColor(0x76, 0xb7, 0xb2),
        "good_memory_allocator" => RGBColor(0xaf, 0x7a, 0xa1),
        "slab_allocator_rs" => RGBColor(0xf2, 0x8e, 0x2b),
        "linked_list_allocator" => RGBColor(0xff, 0x9d, 0xa7),
        _ => RGBColor(0x99, 0x99, 0x99),
    }
}

/// All plots that the figures allow, each with the name of its file.
///
/// # Errors
/// Drawing fails.
pub fn all(figures: &[Figure]) -> Result<Vec<(&'static str, String)>> {
    let is_in_tables_only =
        |workload: &str| ["page-worst-", "page-llfree-", "smp-"].iter().any(|prefix| workload.starts_with(prefix));
    let is_shown = |figure: &&Figure| figure.allocator != HARNESS && !is_in_tables_only(&figure.workload);
    let mut plots = Vec::new();
    for (name, title, suite, unit, prefix) in [
        ("times.svg", "Host: ns per operation (logarithmic)", Suite::Host, Unit::NsPerOp, "page-"),
        ("heap-times.svg", "Host: ns per operation (logarithmic)", Suite::Host, Unit::NsPerOp, "heap-"),
        (
            "instructions.svg",
            "Host: instructions per operation (logarithmic)",
            Suite::Host,
            Unit::InstructionsPerOp,
            "page-",
        ),
        (
            "heap-instructions.svg",
            "Host: instructions per operation (logarithmic)",
            Suite::Host,
            Unit::InstructionsPerOp,
            "heap-",
        ),
        (
            "heap-memory.svg",
            "Host: memory taken, in percent over what is live (logarithmic)",
            Suite::Host,
            Unit::Percent,
            "heap-",
        ),
        (
            "kernel.svg",
            "Kernel: guest instructions per operation (logarithmic)",
            Suite::Kernel,
            Unit::InstructionsPerOp,
            "",
        ),
    ] {
        let is_on = |figure: &&Figure| (figure.suite, figure.unit) == (suite, unit);
        let figures: Vec<&Figure> = figures.iter().filter(is_on).filter(is_shown).collect();
        let figures: Vec<&Figure> = figures.into_iter().filter(|figure| figure.workload.starts_with(prefix)).collect();
        if !figures.is_empty() {
            plots.push((name, bars(title, &figures)?));
        }
    }
    let blocks: Vec<&Figure> = figures.iter().filter(|figure| figure.blocks.is_some()).collect();
    if !blocks.is_empty() {
        plots.push(("fragmentation.svg", over_time(&blocks)?));
    }
    Ok(plots)
}

/// Draws on a page of this height below a title.
fn page(title: &str, height: u32, draw: impl Fn(&Area<'_>) -> Result<()>) -> Result<String> {
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
        root.fill(&WHITE)?;
        draw(&root.titled(title, (FONT, 20))?)?;
        root.present()?;
    }
    Ok(svg)
}

/// A panel of bars for each workload.
fn bars(title: &str, figures: &[&Figure]) -> Result<String> {
    let key = |figure: &Figure| (figure.workload.clone(), figure.threads);
    let mut panels: Vec<Vec<&Figure>> = Vec::new();
    for figure in figures {
        match panels.iter_mut().find(|panel| key(panel[0]) == key(figure)) {
            Some(panel) => panel.push(figure),
            None => panels.push(vec![figure]),
        }
    }
    let longest = panels.iter().map(Vec::len).max().unwrap_or_default() as i32;
    let (rows, panel_height) = (panels.len().div_ceil(COLUMNS), (longest + 2) * LINE);
    page(title, 40 + rows as u32 * panel_height as u32, |area| {
        for (panel, area) in panels.iter().zip(area.split_evenly((rows, COLUMNS))) {
            draw_bars(panel, &area)?;
        }
        Ok(())
    })
}

fn draw_bars(panel: &[&Figure], area: &Area<'_>) -> Result<()> {
    let first = panel[0];
    let threads = if first.threads == 1 { String::new() } else { format!(", {} threads", first.threads) };
    area.draw(&Text::new(format!("{}{threads}", first.workload), (8, 4), (FONT, 15).into_font()))?;
    let room = f64::from(area.dim_in_pixel().0 as i32 - LABELS - 60);
    let logarithm = |value: f64| value.max(0.0).ln_1p();
    let most = panel.iter().map(|figure| logarithm(figure.value)).fold(0.0, f64::max);
    for (line, figure) in (1..).zip(panel) {
        let top = line * LINE + 6;
        let length = (room * logarithm(figure.value) / most.max(1.0)).max(1.0) as i32;
        let ends = [(LABELS, top), (LABELS + length, top + LINE - 5)];
        area.draw(&Text::new(figure.allocator.clone(), (8, top), (FONT, 12).into_font()))?;
        area.draw(&Rectangle::new(ends, colour(&figure.allocator).filled()))?;
        let value = if figure.value < 100.0 { format!("{:.1}", figure.value) } else { format!("{:.0}", figure.value) };
        area.draw(&Text::new(value, (LABELS + length + 4, top), (FONT, 12).into_font()))?;
    }
    Ok(())
}

/// Blocks of 2 MiB without an allocated frame, over the course of each fragmentation workload.
fn over_time(figures: &[&Figure]) -> Result<String> {
    let mut workloads: Vec<&str> = figures.iter().map(|figure| figure.workload.as_str()).collect();
    workloads.dedup();
    page("Blocks of 2 MiB without an allocated frame, over time", 40 + 300 * workloads.len() as u32, |area| {
        for (workload, area) in workloads.iter().zip(area.split_evenly((workloads.len(), 1))) {
            let lines: Vec<&&Figure> = figures.iter().filter(|figure| figure.workload == *workload).collect();
            draw_lines(workload, &lines, &area)?;
        }
        Ok(())
    })
}

fn draw_lines(workload: &str, figures: &[&&Figure], area: &Area<'_>) -> Result<()> {
    let blocks = |figure: &Figure| figure.blocks.clone().expect("only such figures get here");
    let most = figures.iter().flat_map(|figure| blocks(figure).over_time).max().unwrap_or(1).max(1) as f64;
    let limit = blocks(figures[0]).limit;
    let mut chart = ChartBuilder::on(area)
        .caption(format!("{workload} (at most {limit} in the end)"), (FONT, 15))
        .margin(8)
        .margin_right(200)
        .x_label_area_size(24)
        .y_label_area_size(48)
        .build_cartesian_2d(0.0..100.0, 0.0..most * 1.05)?;
    chart.configure_mesh().light_line_style(TRANSPARENT).x_desc("% of the operations").draw()?;
    // Ours comes last, so that it lies on top.
    for figure in figures.iter().rev() {
        let blocks = blocks(figure);
        let step = 100.0 / (blocks.over_time.len().max(2) - 1) as f64;
        let points = blocks.over_time.iter().enumerate().map(|(n, &whole)| (n as f64 * step, whole as f64));
        let style = colour(&figure.allocator).stroke_width(if figure.allocator == OURS { 3 } else { 2 });
        chart.draw_series(LineSeries::new(points, style))?;
    }
    let left = area.dim_in_pixel().0 as i32 - 195;
    for (line, figure) in (0..).zip(figures) {
        let top = 40 + line * LINE;
        area.draw(&Rectangle::new([(left, top), (left + 12, top + 12)], colour(&figure.allocator).filled()))?;
        let text = format!("{}: {}", figure.allocator, blocks(figure).allocated);
        area.draw(&Text::new(text, (left + 18, top), (FONT, 12).into_font()))?;
    }
    Ok(())
}
