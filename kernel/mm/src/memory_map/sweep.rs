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

/// A layer: the entries of one kind, and a cursor among them.
#[derive(Clone)]
struct Layer<'a> {
    /// The entries that no range was made of yet, by their start.
    rest: &'a [Region],
    of: RegionKind,
    /// What the frames are that the layer has.
    kind: RegionKind,
    /// The first of its ranges that ends behind the sweep's position.
    range: Option<PfnRange>,
}

impl Layer<'_> {
    /// The bytes of the next entries that touch each other.
    fn stretch(&mut self) -> Option<(u64, u64)> {
        let mut stretch: Option<(u64, u64)> = None;
        while let Some((entry, behind)) = self.rest.split_first() {
            if let Some(region) = entry.believed().filter(|region| region.kind == self.of) {
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

    /// The frames of a stretch, rounded outward if they are reserved. Nothing here can overflow: what is believed of an entry
    /// ends at the physical limit.
    fn rounded(&self, (start, end): (u64, u64)) -> PfnRange {
        let up = |address: u64| Pfn::containing(address.next_multiple_of(FRAME_SIZE));
        if self.kind == RegionKind::Reserved {
            return PfnRange::new(Pfn::containing(start), up(end));
        }
        PfnRange::new(up(start), Pfn::containing(end))
    }

    fn advance(&mut self, position: Pfn) {
        while self.range.is_some_and(|range| range.is_empty() || range.end <= position) {
            self.range = self.stretch().map(|stretch| self.rounded(stretch));
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

/// Every frame that has a kind, as maximal ranges in ascending order, of entries that are sorted by their start; `low` is
/// reserved.
pub(super) fn ranges(
    regions: &[Region],
    low: PfnRange,
) -> impl Iterator<Item = (PfnRange, RegionKind)> + Clone + use<'_> {
    use RegionKind::{AcpiReclaimable, Reserved, Usable};
    let layer = |of, kind| Layer { rest: regions, of, kind, range: Some(PfnRange::default()) };
    let layers = [
        layer(Reserved, Reserved),
        layer(AcpiReclaimable, AcpiReclaimable),
        layer(AcpiReclaimable, Reserved),
        layer(Usable, Usable),
    ];
    let mut pieces = Sweep { layers, low, position: Pfn::default() }.peekable();
    core::iter::from_fn(move || {
        let (mut range, kind) = pieces.next()?;
        while let Some((piece, _)) = pieces.next_if(|(piece, other)| piece.start == range.end && *other == kind) {
            range.end = piece.end;
        }
        Some((range, kind))
    })
}
