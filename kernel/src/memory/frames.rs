//! Page frames: the allocator over the machine's memory, and its face for the crate `x86_64`.

use super::{early, map};
use crate::arch::local::MAX_CPUS;
use crate::arch::window;
use crate::host::Ticks;
use crate::sync;
use bifolio::allocator::{PageAllocator, PerCpuPages};
use bifolio::frame::{Gfp, Order, Pfn, PfnRange, ZoneKind};
use bifolio::kernel::{Mappings, Memory};
use bifolio::memory_map::RegionKind;
use log::{error, info};
use x86_64::PhysAddr;
use x86_64::structures::paging::{FrameAllocator, FrameDeallocator, PageSize, PhysFrame, Size2MiB, Size4KiB};

pub use crate::sync::Processor;

/// The page allocator over all of the machine's memory.
pub type Frames = PageAllocator<'static, Processor>;

/// All memory: page frames, and the [heap](super::heap) on top of them.
#[global_allocator]
pub(super) static MEMORY: Memory<Processor> = Memory::new();

/// The processors' own pages.
pub(super) static PAGES: [PerCpuPages; MAX_CPUS] = [const { PerCpuPages::new() }; MAX_CPUS];

/// The machine's page frames.
///
/// # Panics
/// Before [`memory::init`](super::init).
pub fn frames() -> &'static Frames {
    try_frames().expect("page frames are set up at boot")
}

/// The machine's page frames; `None` before [`memory::init`](super::init).
pub(super) fn try_frames() -> Option<&'static Frames> {
    MEMORY.try_frames().map(|frames| frames.allocator())
}

/// Takes charge of page frames; the heap works from here on, with these mappings.
///
/// # Panics
/// The second time.
///
/// # Safety
/// They are the machine's, and the window is open.
pub(super) unsafe fn init(allocator: Frames, mappings: &'static dyn Mappings) {
    // SAFETY: the window shows all RAM that can be given out, for as long as the kernel runs; each CPU has a number of its own.
    let started = unsafe { MEMORY.start(allocator, window::START.as_u64(), mappings) };
    started.unwrap_or_else(|error| panic!("no memory: {error}"));
}

/// Says in the log what became of the machine's memory.
pub(super) fn summarise(time: Ticks) {
    let zones = ZoneKind::ALL.map(|kind| frames().zone(kind));
    info!("page frames: zones set up in {time}");
    for zone in &zones {
        info!(
            "  zone {:<6} {:>9} spanned {:>9} present {:>9} managed pages",
            zone.kind, zone.spanned, zone.present, zone.managed
        );
    }
    let managed: u64 = zones.iter().map(|zone| zone.managed).sum();
    let metadata = frames().metadata();
    let ram = PfnRange::new(Pfn::new(0), map::end_of_ram());
    let reserved: u64 = map::map().ranges(RegionKind::Reserved).map(|range| range.intersection(ram).frames()).sum();
    info!("  {managed} managed, {reserved} reserved, {} metadata pages (at {metadata})", metadata.frames());
}

/// The page allocator as the crate `x86_64` knows one, for page tables and for what they map.
///
/// It is more than [`bifolio::kernel::Frames`], which is there once there is an allocator: before, it has the single frames that are set
/// apart for tables. Then it waits for memory where it may, and a bad free is logged and no panic.
#[derive(Clone, Copy, Debug, Default)]
pub struct KernelFrames;

/// The flags of those who cannot say whether they may wait, since nobody tells them where they are: that is looked at.
pub(super) fn gfp() -> Gfp {
    if sync::may_sleep() { Gfp::KERNEL } else { Gfp::ATOMIC }
}

/// The allocator's order for a frame of this size.
fn order_of<S: PageSize>() -> Order {
    Order::covering(S::SIZE / Size4KiB::SIZE).expect("4 KiB and 2 MiB are orders 0 and 9")
}

fn allocate<S: PageSize>() -> Option<PhysFrame<S>> {
    let order = order_of::<S>();
    let pfn = match try_frames() {
        Some(frames) => frames.allocate(order, gfp()).ok()?.into_raw().0,
        None if order == Order::ZERO => early::take(1)?.start,
        None => return None,
    };
    let frame = PhysFrame::from_start_address(PhysAddr::new(pfn.address()));
    Some(frame.expect("blocks are aligned to their size"))
}

/// A frame that cannot be freed is a defect of whoever frees it. The trait has no way to return that, so it is logged;
/// the allocator is unchanged.
///
/// # Safety
/// Nobody uses the frame, or is to free it.
unsafe fn deallocate<S: PageSize>(frame: PhysFrame<S>) {
    let pfn = Pfn::containing(frame.start_address().as_u64());
    // SAFETY: by this function's contract.
    if let Err(error) = unsafe { frames().free_raw(pfn, order_of::<S>()) } {
        error!("bad free of a {} frame: {error}", S::DEBUG_STR);
    }
}

// SAFETY: the allocator gives a frame to one owner at a time, and only frames that the memory map calls usable.
unsafe impl FrameAllocator<Size4KiB> for KernelFrames {
    fn allocate_frame(&mut self) -> Option<PhysFrame<Size4KiB>> {
        allocate()
    }
}

// SAFETY: as for 4 KiB.
unsafe impl FrameAllocator<Size2MiB> for KernelFrames {
    fn allocate_frame(&mut self) -> Option<PhysFrame<Size2MiB>> {
        allocate()
    }
}

impl FrameDeallocator<Size4KiB> for KernelFrames {
    unsafe fn deallocate_frame(&mut self, frame: PhysFrame<Size4KiB>) {
        // SAFETY: by the trait's contract the frame is unused.
        unsafe { deallocate(frame) };
    }
}

impl FrameDeallocator<Size2MiB> for KernelFrames {
    unsafe fn deallocate_frame(&mut self, frame: PhysFrame<Size2MiB>) {
        // SAFETY: by the trait's contract the frame is unused.
        unsafe { deallocate(frame) };
    }
}
