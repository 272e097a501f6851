//! What differs from one kind of machine to another, as far as page frames go.

use super::{Order, PHYSICAL_LIMIT, Pfn, PfnRange, ZoneKind};

/// A kind of machine: where its zones end, and how much at the bottom of its memory is not for an allocator.
///
/// A zone that makes no sense on it is [empty](Self::range), and a request for no other is refused with
/// [`AllocError::NoZone`](crate::error::AllocError::NoZone).
///
/// ```
/// use bifolio::frame::{Profile, ZoneKind};
///
/// assert_eq!(Profile::X86_64.range(ZoneKind::Dma).end.address(), 16 << 20);
/// assert!(Profile::MICROCONTROLLER.range(ZoneKind::Dma).is_empty());
/// // Devices that reach 512 MiB, others that reach 4 GiB, and nothing that firmware keeps.
/// const BOARD: Profile = Profile::new(512 << 20, 4 << 30);
/// assert_eq!(BOARD.range(ZoneKind::Dma32).start.address(), 512 << 20);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Profile {
    low_memory: Pfn,
    dma32: Pfn,
    normal: Pfn,
}

impl Profile {
    /// Zone DMA below 16 MiB, for ISA devices, DMA32 below 4 GiB, for those of PCI; and the first MiB is the BIOS's, and where other
    /// CPUs start.
    pub const X86_64: Self = Self::new(16 << 20, 4 << 30).with_low_memory(1 << 20);
    /// Zone DMA32 below 4 GiB, and no zone DMA.
    pub const RISCV64: Self = Self::new(0, 4 << 30);
    /// Zone DMA below 1 GiB, as far as the devices of a Raspberry Pi 4 reach, and DMA32 below 4 GiB.
    pub const AARCH64: Self = Self::new(1 << 30, 4 << 30);
    /// Nothing but zone Normal.
    pub const MICROCONTROLLER: Self = Self::new(0, 0);

    /// The one that the crate is compiled for: for a processor of 32 bits, all whose devices reach all its memory, that is
    /// [`MICROCONTROLLER`](Self::MICROCONTROLLER).
    pub const NATIVE: Self = if cfg!(target_arch = "riscv64") {
        Self::RISCV64
    } else if cfg!(target_arch = "aarch64") {
        Self::AARCH64
    } else if cfg!(any(target_arch = "x86", target_arch = "x86_64")) {
        Self::X86_64
    } else {
        Self::MICROCONTROLLER
    };

    /// Zone DMA up to the physical address `dma_end`, DMA32 from there up to `dma32_end`, and Normal from there on. Memory begins at
    /// address 0.
    ///
    /// # Panics
    /// If `dma32_end` lies below `dma_end`, or one of them is no multiple of the largest block, or beyond what can be addressed.
    pub const fn new(dma_end: u64, dma32_end: u64) -> Self {
        assert!(dma_end <= dma32_end && dma32_end <= PHYSICAL_LIMIT, "zones ascend");
        let (dma32, normal) = (Pfn::containing(dma_end), Pfn::containing(dma32_end));
        assert!(dma_end % Order::MAX.bytes() == 0 && dma32_end % Order::MAX.bytes() == 0, "no block is in two zones");
        Self { low_memory: Pfn::new(0), dma32, normal }
    }

    /// The same, but that so many bytes from address 0 on are reserved, whatever a memory map says of them.
    pub const fn with_low_memory(self, bytes: u64) -> Self {
        Self { low_memory: Pfn::new(bytes.div_ceil(super::FRAME_SIZE)), ..self }
    }

    /// The frames at the bottom of memory that are reserved, whatever a memory map says of them.
    pub const fn low_memory(&self) -> PfnRange {
        PfnRange::new(Pfn::new(0), self.low_memory)
    }

    /// The frames that belong to a zone, were there RAM everywhere.
    pub const fn range(&self, kind: ZoneKind) -> PfnRange {
        match kind {
            ZoneKind::Dma => PfnRange::new(Pfn::new(0), self.dma32),
            ZoneKind::Dma32 => PfnRange::new(self.dma32, self.normal),
            ZoneKind::Normal => PfnRange::new(self.normal, Pfn::containing(PHYSICAL_LIMIT)),
        }
    }

    /// The zone that a frame belongs to.
    #[inline(always)]
    pub const fn zone_of(&self, pfn: Pfn) -> ZoneKind {
        if pfn.0 >= self.normal.0 {
            ZoneKind::Normal
        } else if pfn.0 >= self.dma32.0 {
            ZoneKind::Dma32
        } else {
            ZoneKind::Dma
        }
    }
}
