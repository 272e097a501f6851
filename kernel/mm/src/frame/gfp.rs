//! Request flags: where frames may come from, and how much may be done to get them.
//!
//! The names, values and combinations are Linux's (`GFP_…`, `__GFP_…`), so that what is known of those holds here.

use core::fmt;

use super::{Mobility, ZoneKind};

bitflags::bitflags! {
    /// How a request for frames may be served: where from, and how much of the reserves it may take.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
    pub struct Gfp: u32 {
        /// Only frames of zone DMA: on x86_64, those below 16 MiB.
        const DMA = 0x1;
        /// Only frames of zone DMA32 and below: mostly those below 4 GiB.
        const DMA32 = 0x4;
        /// The contents can be moved.
        const MOVABLE = 0x8;
        /// The contents can be dropped on demand.
        const RECLAIMABLE = 0x10;
        /// May take half of what is kept below the `min` watermark.
        const HIGH = 0x20;
        /// The frames hold zeros.
        const ZERO = 0x100;
        /// May wait for memory to be reclaimed (Linux: `__GFP_DIRECT_RECLAIM`).
        const WAIT = 0x400;
        /// A refusal is not reported.
        const NOWARN = 0x2000;
        /// May take everything: for a task that frees more than it takes.
        const MEMALLOC = 0x2_0000;
        /// Is refused rather than mix mobilities within a pageblock (Linux: `ALLOC_NOFRAGMENT`, which is not among its
        /// request flags).
        const NOFRAGMENT = 0x8000_0000;

        /// The kernel's own data.
        const KERNEL = Self::WAIT.bits();
        /// Cannot wait, as in an interrupt handler, and so may take all but three eighths of the reserve.
        const ATOMIC = Self::HIGH.bits();
        /// Cannot wait, has no claim on the reserves, and takes a refusal in its stride.
        const NOWAIT = Self::NOWARN.bits();
    }
}

impl Gfp {
    /// Of the allocator's own requests: goes no further than the fast path.
    pub(crate) const READILY: Self = Self::from_bits_retain(0x4000_0000);

    /// The highest zone that the request may use; `None` if the flags contradict each other.
    pub const fn highest_zone(self) -> Option<ZoneKind> {
        match (self.contains(Self::DMA), self.contains(Self::DMA32)) {
            (false, false) => Some(ZoneKind::Normal),
            (false, true) => Some(ZoneKind::Dma32),
            (true, false) => Some(ZoneKind::Dma),
            (true, true) => None,
        }
    }

    /// What may become of the contents; `None` if the flags contradict each other.
    pub const fn mobility(self) -> Option<Mobility> {
        /// By the two bits that say so, of which `MOVABLE` is the lower.
        const BY_BITS: [Option<Mobility>; 4] =
            [Some(Mobility::Unmovable), Some(Mobility::Movable), Some(Mobility::Reclaimable), None];
        const _: () = assert!(Gfp::RECLAIMABLE.bits() == Gfp::MOVABLE.bits() << 1);
        BY_BITS[(self.bits() >> Self::MOVABLE.bits().trailing_zeros() & 3) as usize]
    }
}

/// As Linux writes them: `GFP_KERNEL|__GFP_ZERO`. No flags at all are `none`.
impl fmt::Display for Gfp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let base = match (self.contains(Self::WAIT), self.contains(Self::HIGH), self.contains(Self::NOWARN)) {
            (true, ..) => (Self::KERNEL, "GFP_KERNEL"),
            (false, true, _) => (Self::ATOMIC, "GFP_ATOMIC"),
            (false, false, true) => (Self::NOWAIT, "GFP_NOWAIT"),
            (false, false, false) => (Self::empty(), ""),
        };
        let names = [
            base,
            (Self::DMA, "GFP_DMA"),
            (Self::DMA32, "GFP_DMA32"),
            (Self::HIGH, "__GFP_HIGH"),
            (Self::ZERO, "__GFP_ZERO"),
            (Self::NOWARN, "__GFP_NOWARN"),
            (Self::MEMALLOC, "__GFP_MEMALLOC"),
            (Self::MOVABLE, "__GFP_MOVABLE"),
            (Self::RECLAIMABLE, "__GFP_RECLAIMABLE"),
            (Self::NOFRAGMENT, "__GFP_NOFRAGMENT"),
        ];
        let mut rest = *self;
        let mut separator = "";
        for (flag, name) in names.into_iter().filter(|(flag, _)| !flag.is_empty()) {
            if rest.contains(flag) {
                write!(f, "{separator}{name}")?;
                rest.remove(flag);
                separator = "|";
            }
        }
        match (rest.bits(), separator) {
            (0, "") => f.write_str("none"),
            (0, _) => Ok(()),
            (unknown, _) => write!(f, "{separator}{unknown:#x}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_written_as_linux_writes_them() {
        for (gfp, written) in [
            (Gfp::KERNEL, "GFP_KERNEL"),
            (Gfp::ATOMIC, "GFP_ATOMIC"),
            (Gfp::NOWAIT, "GFP_NOWAIT"),
            (Gfp::KERNEL | Gfp::HIGH, "GFP_KERNEL|__GFP_HIGH"),
            (Gfp::KERNEL | Gfp::NOWARN | Gfp::ZERO, "GFP_KERNEL|__GFP_ZERO|__GFP_NOWARN"),
            (Gfp::ATOMIC | Gfp::DMA32, "GFP_ATOMIC|GFP_DMA32"),
            (Gfp::DMA | Gfp::MOVABLE, "GFP_DMA|__GFP_MOVABLE"),
            (Gfp::empty(), "none"),
            (Gfp::from_bits_retain(0x1_0000), "0x10000"),
            (Gfp::KERNEL | Gfp::from_bits_retain(0x1_0000), "GFP_KERNEL|0x10000"),
        ] {
            assert_eq!(gfp.to_string(), written);
        }
    }
}
