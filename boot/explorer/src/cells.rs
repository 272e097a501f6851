//! What each frame of the machine is, to be drawn: in tiles of 1,024 frames, only where there is memory.

use alloc::vec;
use alloc::vec::Vec;

use bifolio::frame::{Order, Pfn, ZoneKind};
use replay::World;

use crate::palette::{Code, code};

/// Frames in a tile: those of the largest block.
pub const TILE: usize = 1024;

/// Tiles in a row of addresses, all of one zone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Section {
    /// The zone that they are of.
    pub zone: ZoneKind,
    /// The number of the first frame.
    pub start: u64,
    /// The number of the first tile among all.
    pub first: usize,
    /// How many tiles there are.
    pub tiles: usize,
}

/// What each frame is.
#[derive(Debug)]
pub struct Cells {
    sections: Vec<Section>,
    codes: Vec<Code>,
    before: Vec<Code>,
    /// The tiles that are not as they were drawn.
    changed: Vec<bool>,
}

/// Whether two tiles are the same, word by word: WebAssembly has no instruction that compares more.
fn is_same(one: &[Code], other: &[Code]) -> bool {
    let (one, other) = (one.as_chunks().0, other.as_chunks().0);
    one.iter().zip(other).all(|(one, other)| u64::from_ne_bytes(*one) == u64::from_ne_bytes(*other))
}

impl Cells {
    /// The cells of a world, as they are now.
    pub fn new(world: &World) -> Self {
        let mut sections: Vec<Section> = Vec::new();
        for zone in ZoneKind::ALL {
            world.frames().for_each_block(zone, |block| {
                let start = block.pfn.number() & !(TILE as u64 - 1);
                match sections.last_mut() {
                    Some(last) if last.zone == zone && start < last.start + (last.tiles * TILE) as u64 => {}
                    Some(last) if last.zone == zone && start == last.start + (last.tiles * TILE) as u64 => {
                        last.tiles += 1
                    }
                    last => {
                        let first = last.map_or(0, |last| last.first + last.tiles);
                        sections.push(Section { zone, start, first, tiles: 1 });
                    }
                }
            });
        }
        let tiles = sections.last().map_or(0, |last| last.first + last.tiles);
        let mut cells =
            Self { sections, codes: vec![0; tiles * TILE], before: vec![0; tiles * TILE], changed: vec![true; tiles] };
        cells.refresh(world);
        cells.before.copy_from_slice(&cells.codes);
        cells
    }

    /// Looks at all blocks again.
    pub fn refresh(&mut self, world: &World) {
        core::mem::swap(&mut self.codes, &mut self.before);
        for zone in ZoneKind::ALL {
            let mut section = None;
            world.frames().for_each_block(zone, |block| {
                let pfn = block.pfn.number();
                let is_in = |section: &Section| pfn.wrapping_sub(section.start) < (section.tiles * TILE) as u64;
                if !section.as_ref().is_some_and(is_in) {
                    section = self.sections.iter().find(|section| section.zone == zone && is_in(section)).copied();
                }
                let Some(section) = section else { return };
                let at = section.first * TILE + (pfn - section.start) as usize;
                let frames = self.codes.get_mut(at..).unwrap_or_default();
                match (block.order, frames) {
                    // Most are such, and not worth a loop.
                    (Order::ZERO, [frame, ..]) => *frame = code(&block),
                    (order, frames) => {
                        let count = frames.len().min(order.frames() as usize);
                        frames[..count].fill(code(&block));
                    }
                }
            });
        }
        for (tile, changed) in self.changed.iter_mut().enumerate() {
            let range = tile * TILE..(tile + 1) * TILE;
            *changed |= !is_same(&self.codes[range.clone()], &self.before[range]);
        }
    }

    /// Sections in the order of their addresses.
    pub fn sections(&self) -> &[Section] {
        &self.sections
    }

    /// The codes of a tile, in the order of their frames.
    pub fn tile(&self, tile: usize) -> &[Code] {
        &self.codes[tile * TILE..][..TILE]
    }

    /// Whether a tile has changed since this was last asked.
    pub fn take_changed(&mut self, tile: usize) -> bool {
        core::mem::take(&mut self.changed[tile])
    }

    /// The place of a frame among all that are drawn.
    pub fn index(&self, pfn: u64) -> Option<usize> {
        let behind = self.sections.partition_point(|section| section.start <= pfn);
        let section = self.sections.get(behind.checked_sub(1)?)?;
        let offset = pfn - section.start;
        (offset < (section.tiles * TILE) as u64).then(|| section.first * TILE + offset as usize)
    }

    /// The frame at a place.
    pub fn pfn(&self, index: usize) -> Option<u64> {
        let tile = index / TILE;
        let behind = self.sections.partition_point(|section| section.first <= tile);
        let section = self.sections.get(behind.checked_sub(1)?)?;
        Some(section.start + (index - section.first * TILE) as u64)
    }

    /// What a frame is now.
    pub fn code(&self, pfn: u64) -> Code {
        self.index(pfn).map_or(0, |index| self.codes[index])
    }

    /// What a frame was before the last [`refresh`](Self::refresh).
    pub fn code_before(&self, pfn: u64) -> Code {
        self.index(pfn).map_or(0, |index| self.before[index])
    }

    /// The first frame of the block of `order` that holds a frame.
    pub fn head(pfn: u64, order: Order) -> Pfn {
        Pfn::new(pfn & !(order.frames() - 1))
    }
}
