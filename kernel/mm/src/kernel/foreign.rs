//! The types of other crates: boot protocols, and page tables. Each with a feature that is off by default.

#[cfg(feature = "bootloader")]
mod bootloader_0_9 {
    use bootloader::bootinfo::{MemoryRegion, MemoryRegionType};

    use crate::memory_map::{Region, RegionKind};

    impl From<&MemoryRegion> for Region {
        /// What the boot loader has used is reserved: the kernel, its stack and its page tables lie there.
        fn from(raw: &MemoryRegion) -> Self {
            let kind = match raw.region_type {
                MemoryRegionType::Usable => RegionKind::Usable,
                MemoryRegionType::AcpiReclaimable => RegionKind::AcpiReclaimable,
                _ => RegionKind::Reserved,
            };
            Self { start: raw.range.start_addr(), end: raw.range.end_addr(), kind }
        }
    }
}

#[cfg(feature = "bootloader_api")]
mod bootloader {
    use bootloader_api::info::{MemoryRegion, MemoryRegionKind};

    use crate::memory_map::{Region, RegionKind};

    /// UEFI's number for memory that holds ACPI tables.
    const UEFI_ACPI_RECLAIM: u32 = 9;
    /// The BIOS's number for memory that holds ACPI tables.
    const BIOS_ACPI_RECLAIM: u32 = 3;

    impl From<&MemoryRegion> for Region {
        /// Kinds that are not known, also those that the boot loader may invent, are reserved.
        fn from(raw: &MemoryRegion) -> Self {
            let kind = match raw.kind {
                MemoryRegionKind::Usable => RegionKind::Usable,
                MemoryRegionKind::UnknownUefi(UEFI_ACPI_RECLAIM) | MemoryRegionKind::UnknownBios(BIOS_ACPI_RECLAIM) => {
                    RegionKind::AcpiReclaimable
                }
                _ => RegionKind::Reserved,
            };
            Self { start: raw.start, end: raw.end, kind }
        }
    }
}

#[cfg(feature = "limine")]
mod limine_protocol {
    use limine::memory_map::{Entry, EntryType};

    use crate::memory_map::{Region, RegionKind};

    impl From<&Entry> for Region {
        /// What the boot loader has used is reserved: page tables and stack of the kernel lie there.
        fn from(entry: &Entry) -> Self {
            let kind = match entry.entry_type {
                EntryType::USABLE => RegionKind::Usable,
                EntryType::ACPI_RECLAIMABLE => RegionKind::AcpiReclaimable,
                _ => RegionKind::Reserved,
            };
            Self { start: entry.base, end: entry.base.saturating_add(entry.length), kind }
        }
    }
}

#[cfg(feature = "multiboot2")]
mod multiboot {
    use multiboot2::{MemoryArea, MemoryAreaType};

    use crate::memory_map::{Region, RegionKind};

    impl From<&MemoryArea> for Region {
        /// The kernel, its modules and what the boot loader says lie in what is usable: they are for
        /// [`Regions::reserve`](crate::kernel::Regions::reserve).
        fn from(area: &MemoryArea) -> Self {
            let kind = match area.typ().into() {
                MemoryAreaType::Available => RegionKind::Usable,
                MemoryAreaType::AcpiAvailable => RegionKind::AcpiReclaimable,
                _ => RegionKind::Reserved,
            };
            Self { start: area.start_address(), end: area.end_address(), kind }
        }
    }
}

#[cfg(feature = "uefi")]
mod uefi_map {
    use uefi_raw::table::boot::{MemoryDescriptor, MemoryType};

    use crate::memory_map::{Region, RegionKind};

    /// Bytes in a page of UEFI's, on any processor.
    const PAGE: u64 = 4096;

    impl From<&MemoryDescriptor> for Region {
        /// What the boot services have used is reserved: stack and page tables of whoever sends them away lie there.
        fn from(memory: &MemoryDescriptor) -> Self {
            let kind = match memory.ty {
                MemoryType::CONVENTIONAL => RegionKind::Usable,
                MemoryType::ACPI_RECLAIM => RegionKind::AcpiReclaimable,
                _ => RegionKind::Reserved,
            };
            let end = memory.phys_start.saturating_add(memory.page_count.saturating_mul(PAGE));
            Self { start: memory.phys_start, end, kind }
        }
    }
}

#[cfg(feature = "x86_64")]
pub use page_tables::LargeFrames;

#[cfg(feature = "x86_64")]
mod page_tables {
    use core::fmt;

    use x86_64::PhysAddr;
    use x86_64::structures::paging::{FrameAllocator, FrameDeallocator, PageSize, PhysFrame, Size2MiB, Size4KiB};

    use crate::cpu::Cpu;
    use crate::frame::{Order, Pfn};
    use crate::kernel::Frames;

    /// The allocator's order for a frame of this size.
    fn order_of<S: PageSize>() -> Order {
        Order::covering(S::SIZE / Size4KiB::SIZE).expect("4 KiB and 2 MiB are orders 0 and 9")
    }

    fn allocate<S: PageSize, C: Cpu>(frames: &Frames<'_, C>) -> Option<PhysFrame<S>> {
        let (pfn, _) = frames.allocate(order_of::<S>(), frames.gfp()).ok()?.into_raw();
        let frame = PhysFrame::from_start_address(PhysAddr::new(pfn.address()));
        Some(frame.expect("blocks are aligned to their size"))
    }

    /// # Safety
    /// Nobody uses the frame, or is to free it.
    ///
    /// # Panics
    /// If there is no such frame to be freed.
    unsafe fn deallocate<S: PageSize, C: Cpu>(frames: &Frames<'_, C>, frame: PhysFrame<S>) {
        let pfn = Pfn::containing(frame.start_address().as_u64());
        // SAFETY: by this function's contract.
        if let Err(error) = unsafe { frames.free_raw(pfn, order_of::<S>()) } {
            panic!("bad free of a {} frame: {}", S::DEBUG_STR, frames.report(&error));
        }
    }

    // SAFETY: the allocator gives a frame to one owner at a time, and only frames that the memory map calls usable.
    unsafe impl<C: Cpu> FrameAllocator<Size4KiB> for Frames<'_, C> {
        fn allocate_frame(&mut self) -> Option<PhysFrame<Size4KiB>> {
            allocate(self)
        }
    }

    /// A kernel's page frames for that crate, those of 2 MiB.
    ///
    /// By a type of their own, since then the allocator alone tells the compiler how large a frame is: `frames.allocate_frame()` needs
    /// no further word, nor does `mapper.map_to(page, frame, flags, &mut frames)`, whose page tables are frames of 4 KiB in any case.
    pub struct LargeFrames<'a, C>(Frames<'a, C>);

    impl<'a, C: Cpu> Frames<'a, C> {
        /// The same frames, for pages of 2 MiB of the crate `x86_64`.
        pub fn large(&self) -> LargeFrames<'a, C> {
            LargeFrames(Frames(self.0))
        }
    }

    impl<C> fmt::Debug for LargeFrames<'_, C> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("LargeFrames")
        }
    }

    // SAFETY: the allocator gives a frame to one owner at a time, and only frames that the memory map calls usable.
    unsafe impl<C: Cpu> FrameAllocator<Size2MiB> for LargeFrames<'_, C> {
        fn allocate_frame(&mut self) -> Option<PhysFrame<Size2MiB>> {
            allocate(&self.0)
        }
    }

    /// A frame that cannot be freed is a defect of the code that frees it, and ends in a panic that names it: the trait has no way
    /// to return that. The allocator is unchanged.
    impl<C: Cpu> FrameDeallocator<Size4KiB> for Frames<'_, C> {
        unsafe fn deallocate_frame(&mut self, frame: PhysFrame<Size4KiB>) {
            // SAFETY: by the trait's contract the frame is unused.
            unsafe { deallocate(self, frame) };
        }
    }

    /// As for 4 KiB.
    impl<C: Cpu> FrameDeallocator<Size2MiB> for LargeFrames<'_, C> {
        unsafe fn deallocate_frame(&mut self, frame: PhysFrame<Size2MiB>) {
            // SAFETY: by the trait's contract the frame is unused.
            unsafe { deallocate(&self.0, frame) };
        }
    }
}
