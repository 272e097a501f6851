//! The map: all memory in the terminal, from zones down to the frames of a word.

use super::error::Error;
use super::paint::{Paint, Shade};
use super::state::Shell;
use crate::memory::frames;
use crate::{print, println};
use alloc::vec::Vec;
use bifolio::allocator::{BlockInfo, BlockState};
use bifolio::frame::{Mobility, PAGEBLOCK_FRAMES, Pfn, PfnRange, ZoneKind};
use line::{expect, number};

/// Frames in a word, which is a row of a pageblock's map.
const WORD: u64 = 64;
/// Columns of a row before its cells.
const MARGIN: u64 = 14;
/// Rows and columns of what is no terminal.
const ROWS: u64 = 24;
const COLUMNS: u64 = 80;

pub(super) fn map<'a>(shell: &mut Shell, words: &[&'a str]) -> Result<(), Error<'a>> {
    let words = expect(words, &[], 1)?;
    let paint = Paint(shell.terminal);
    match words.first() {
        None => zones(shell, paint, &ZoneKind::ALL),
        Some(name) => match ZoneKind::ALL.iter().find(|kind| kind.name().eq_ignore_ascii_case(name)) {
            Some(kind) => zones(shell, paint, &[*kind]),
            None => pageblock(paint, Pfn::new(number(name)?)),
        },
    }
}

/// What lies in a cell of the map of a zone.
#[derive(Clone, Copy, Default)]
struct Cell {
    /// Frames by the mobility of their pageblock.
    frames: [u32; Mobility::COUNT],
    free: u32,
    reserved: u32,
}

impl Cell {
    fn add(&mut self, block: &BlockInfo, frames: u32) {
        match block.state {
            BlockState::Reserved => self.reserved += frames,
            BlockState::Free => self.free += frames,
            BlockState::Allocated | BlockState::Cached => {}
        }
        self.frames[block.mobility.index()] += frames;
    }

    /// How it is drawn.
    fn shade(&self) -> Drawn {
        let all: u32 = self.frames.iter().sum();
        let most = Mobility::ALL.into_iter().max_by_key(|kind| self.frames[kind.index()])?;
        let used = all - self.free - self.reserved;
        Some(match all {
            0 => return None,
            _ if self.reserved == all => (Shade::Reserved, most),
            _ if used == 0 => (Shade::Free, most),
            // From one eighth up, all of them only where nothing is free.
            _ => (Shade::Used((used * 8 / all).clamp(1, if self.free > 0 { 7 } else { 8 }) as u8), most),
        })
    }
}

/// Draws zones, all of them together on about a screen.
fn zones<'a>(shell: &mut Shell, paint: Paint, kinds: &[ZoneKind]) -> Result<(), Error<'a>> {
    let (rows, columns) = shell.terminal.map_or((ROWS, COLUMNS), |it| (it.rows.into(), it.columns.into()));
    let columns = 1 << columns.saturating_sub(MARGIN).clamp(16, 256).ilog2();
    let all: u64 = kinds.iter().map(|kind| frames().zone(*kind).spanned).sum();
    let rows = rows.saturating_sub(8).max(4);
    let scale = all.div_ceil(rows * columns).next_power_of_two();
    for kind in kinds.iter().filter(|kind| frames().zone(**kind).present > 0) {
        zone(*kind, scale, columns, paint)?;
        shell.go_on()?;
    }
    paint.legend(scale);
    Ok(())
}

/// A cell as it is drawn; `None` where there is no RAM.
type Drawn = Option<(Shade, Mobility)>;

/// Empty rows, none of which takes more than a frame: the map is for memory that has nothing larger, too.
fn rows<'a>(count: usize, columns: usize) -> Result<Vec<Vec<Drawn>>, Error<'a>> {
    let no_heap = |_| Error::NoHeap(count * columns * size_of::<Drawn>());
    let mut rows = Vec::new();
    rows.try_reserve_exact(count).map_err(no_heap)?;
    for _ in 0..count {
        let mut row = Vec::new();
        row.try_reserve_exact(columns).map_err(no_heap)?;
        row.resize(columns, None);
        rows.push(row);
    }
    Ok(rows)
}

fn zone<'a>(kind: ZoneKind, scale: u64, columns: u64, paint: Paint) -> Result<(), Error<'a>> {
    let zone = frames().zone(kind);
    let start = zone.start.number() / (scale * columns) * (scale * columns);
    let end = zone.start.number() + zone.spanned;
    let mut rows = rows((end - start).div_ceil(scale * columns) as usize, columns as usize)?;
    // With the zone locked, nothing can be asked of the heap. Blocks come in ascending order, so one cell at a time is counted.
    let mut draw = |nth: usize, cell: &Cell| {
        if let Some(drawn) = rows.get_mut(nth / columns as usize).and_then(|row| row.get_mut(nth % columns as usize)) {
            *drawn = cell.shade();
        }
    };
    let (mut nth, mut cell) = (0, Cell::default());
    frames().for_each_block(kind, |block| {
        let (mut at, end) = (block.pfn.number(), block.pfn.number() + block.order.frames());
        while at < end {
            let next = ((at / scale + 1) * scale).min(end);
            let here = (at.saturating_sub(start) / scale) as usize;
            if here != nth {
                draw(nth, &cell);
                (nth, cell) = (here, Cell::default());
            }
            cell.add(&block, (next - at) as u32);
            at = next;
        }
    });
    draw(nth, &cell);
    println!("zone {kind}: {} of {} frames free", zone.free, zone.managed);
    let mut was_empty = false;
    for (nth, row) in rows.iter().enumerate() {
        if row.iter().all(Option::is_none) {
            if !was_empty {
                println!("{:>1$}  (no RAM)", "...", MARGIN as usize - 2);
            }
            was_empty = true;
            continue;
        }
        was_empty = false;
        print!("{:>#1$x}  ", start + nth as u64 * columns * scale, MARGIN as usize - 2);
        row.iter().for_each(|drawn| paint.cell(*drawn));
        paint.end();
    }
    Ok(())
}

/// Draws a pageblock: its words in rows, frame by frame.
fn pageblock<'a>(paint: Paint, pfn: Pfn) -> Result<(), Error<'a>> {
    let info = frames().look_at(pfn).ok_or(Error::NotRam(pfn))?;
    let start = info.pageblock;
    println!("pageblock {start}: {}, {} of {PAGEBLOCK_FRAMES} frames free", info.mobility.name(), info.free);
    println!("{:>1$}  0       8       16      24      32      40      48      56", "frame", MARGIN as usize - 2);
    let mut at = start;
    while at < start.offset(PAGEBLOCK_FRAMES) {
        let block = frames().look_at(at).ok_or(Error::NotRam(at))?.block;
        let end = PfnRange::of(block.pfn, block.order).end.min(start.offset(PAGEBLOCK_FRAMES));
        while at < end {
            if at.number().is_multiple_of(WORD) {
                print!("{:>#1$x}  ", at.number(), MARGIN as usize - 2);
            }
            paint.frame(&block, at == block.pfn);
            at = at.offset(1);
            if at.number().is_multiple_of(WORD) {
                paint.end();
            }
        }
    }
    paint.legend_of_frames();
    Ok(())
}
