//! One pass over sorted entries that gives every frame its kind, in no memory but a cursor for each layer.
//!
//! The map is painted in layers, and the first that has a frame says what it is:
//!
//! | layer | of entries | rounded | the frame is |
//! |---|---|---|---|
//! | 0 | none: low memory | | reserved |
//! | 1 | reserved | outward | reserved |
//! | 2 | ACPI | inward | ACPI reclaimable |
//! | 3 | ACPI | outward | reserved: only a part of it will ever be free |
//! | 4 | usable | inward | usable |
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

/// What the first layer that has any of the frames from `position` on makes of the first of them: a piece of one kind, behind which the
/// position is then.
fn next_piece(layers: &mut [Layer<'_>], position: &mut Pfn) -> Option<(PfnRange, RegionKind)> {
    layers.iter_mut().for_each(|layer| layer.advance(*position));
    let ahead = |layers: &[Layer<'_>]| layers.iter().filter_map(|layer| Some(layer.range?.start)).min();
    let start = ahead(layers)?.max(*position);
    let top = layers.iter().position(|layer| layer.has(start))?;
    let end = layers[top].range?.end;
    *position = ahead(&layers[..top]).map_or(end, |above| end.min(above));
    Some((PfnRange::new(start, *position), layers[top].kind))
}

/// Every frame that has a kind, as maximal ranges in ascending order, of entries that are sorted by their start; `low` is
/// reserved.
pub(super) fn ranges(
    regions: &[Region],
    low: PfnRange,
) -> impl Iterator<Item = (PfnRange, RegionKind)> + Clone + use<'_> {
    use RegionKind::{AcpiReclaimable, Reserved, Usable};
    let layer = |of, kind| Layer { rest: regions, of, kind, range: Some(PfnRange::default()) };
    let mut layers = [
        Layer { rest: &[], of: Reserved, kind: Reserved, range: Some(low) },
        layer(Reserved, Reserved),
        layer(AcpiReclaimable, AcpiReclaimable),
        layer(AcpiReclaimable, Reserved),
        layer(Usable, Usable),
    ];
    let mut position = Pfn::default();
    let mut pieces = core::iter::from_fn(move || next_piece(&mut layers, &mut position)).peekable();
    core::iter::from_fn(move || {
        let (mut range, kind) = pieces.next()?;
        while let Some((piece, _)) = pieces.next_if(|(piece, other)| piece.start == range.end && *other == kind) {
            range.end = piece.end;
        }
        Some((range, kind))
    })
}
