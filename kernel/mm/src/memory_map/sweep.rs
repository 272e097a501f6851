//! One pass over sorted entries that gives every frame its kind, in no memory but a cursor for each layer.
//!
//! The map is painted in layers, and the first that has a frame says what it is:
//!
//! | layer | of entries | rounded | the frame is |
//! |---|---|---|---|
//! | 0 | reserved | outward | reserved |
//! | 1 | ACPI | inward | ACPI reclaimable |
//! | 2 | ACPI | outward | reserved: only a part of it will ever be free |
//! | 3 | usable | inward | usable |
//!
//! Each layer's entries are merged before they are rounded. Its cursor only ever moves on, so that a whole walk looks at
//! every entry once for each layer, however they overlap.

use super::{Region, RegionKind};
use crate::frame::{FRAME_SIZE, Pfn, PfnRange};

/// The bytes of the entries of one kind, as maximal stretches in ascending order.
#[derive(Clone)]
struct Stretches<'a> {
    /// The entries that no stretch was made of yet, by their start.
    rest: &'a [Region],
    kind: RegionKind,
}

impl Iterator for Stretches<'_> {
    type Item = (u64, u64);

    fn next(&mut self) -> Option<(u64, u64)> {
        let mut stretch: Option<(u64, u64)> = None;
        while let Some((entry, behind)) = self.rest.split_first() {
            if let Some(region) = entry.believed().filter(|region| region.kind == self.kind) {
                stretch = match stretch {
                    None => Some((region.start, region.end)),
                    Some((start, end)) if region.start <= end => Some((start, end.max(region.end))),
                    Some(_) => break,
                };
            }
            self.rest = behind;
        }
        stretch
    }
}

/// What becomes of the frames that a stretch has only a part of.
#[derive(Clone, Copy)]
enum Rounding {
    Inward,
    Outward,
}

impl Rounding {
    /// Nothing here can overflow: what is believed of an entry ends at the physical limit.
    fn frames(self, (start, end): (u64, u64)) -> PfnRange {
        let up = |address: u64| Pfn::containing(address.next_multiple_of(FRAME_SIZE));
        match self {
            Self::Inward => PfnRange::new(up(start), Pfn::containing(end)),
            Self::Outward => PfnRange::new(Pfn::containing(start), up(end)),
        }
    }
}

/// A layer, and the first of its ranges that ends behind the sweep's position.
#[derive(Clone)]
struct Layer<'a> {
    stretches: Stretches<'a>,
    rounding: Rounding,
    kind: RegionKind,
    range: Option<PfnRange>,
}

impl<'a> Layer<'a> {
    fn new(regions: &'a [Region], of: RegionKind, rounding: Rounding, kind: RegionKind) -> Self {
        Self { stretches: Stretches { rest: regions, kind: of }, rounding, kind, range: Some(PfnRange::default()) }
    }

    fn advance(&mut self, position: Pfn) {
        while self.range.is_some_and(|range| range.is_empty() || range.end <= position) {
            self.range = self.stretches.next().map(|stretch| self.rounding.frames(stretch));
        }
    }

    fn has(&self, position: Pfn) -> bool {
        self.range.is_some_and(|range| range.start <= position)
    }
}

/// The sweep: pieces of one kind each, in ascending order. Two of one kind may touch.
#[derive(Clone)]
struct Sweep<'a> {
    layers: [Layer<'a>; 4],
    /// What comes first, reserved, whatever the layers say. Empty where there is none.
    low: PfnRange,
    /// Everything below this frame has been dealt with.
    position: Pfn,
}

impl Iterator for Sweep<'_> {
    type Item = (PfnRange, RegionKind);

    fn next(&mut self) -> Option<(PfnRange, RegionKind)> {
        if self.position < self.low.end {
            self.position = self.low.end;
            return Some((self.low, RegionKind::Reserved));
        }
        self.layers.iter_mut().for_each(|layer| layer.advance(self.position));
        let ahead = |layers: &[Layer<'_>]| layers.iter().filter_map(|layer| Some(layer.range?.start)).min();
        if !self.layers.iter().any(|layer| layer.has(self.position)) {
            self.position = ahead(&self.layers)?;
        }
        let top = self.layers.iter().position(|layer| layer.has(self.position))?;
        let range = self.layers[top].range?;
        let end = ahead(&self.layers[..top]).map_or(range.end, |above| range.end.min(above));
        let piece = PfnRange::new(self.position, end);
        self.position = end;
        Some((piece, self.layers[top].kind))
    }
}

/// Every frame that has a kind, as maximal ranges in ascending order.
#[derive(Clone)]
pub(super) struct Ranges<'a> {
    sweep: Sweep<'a>,
    /// What the sweep gave that is of the next range.
    next: Option<(PfnRange, RegionKind)>,
}

impl<'a> Ranges<'a> {
    /// The ranges of entries that are sorted by their start, behind `low`, which is reserved.
    pub(super) fn new(regions: &'a [Region], low: PfnRange) -> Self {
        use RegionKind::{AcpiReclaimable, Reserved, Usable};
        let layers = [
            Layer::new(regions, Reserved, Rounding::Outward, Reserved),
            Layer::new(regions, AcpiReclaimable, Rounding::Inward, AcpiReclaimable),
            Layer::new(regions, AcpiReclaimable, Rounding::Outward, Reserved),
            Layer::new(regions, Usable, Rounding::Inward, Usable),
        ];
        Self { sweep: Sweep { layers, low, position: Pfn::default() }, next: None }
    }
}

impl Iterator for Ranges<'_> {
    type Item = (PfnRange, RegionKind);

    fn next(&mut self) -> Option<(PfnRange, RegionKind)> {
        let (mut range, kind) = self.next.take().or_else(|| self.sweep.next())?;
        for piece in self.sweep.by_ref() {
            if piece.0.start != range.end || piece.1 != kind {
                self.next = Some(piece);
                break;
            }
            range.end = piece.0.end;
        }
        Some((range, kind))
    }
}
