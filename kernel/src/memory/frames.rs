//! Page frames: the allocator over the machine's memory.

use super::map;
use crate::arch::local::MAX_CPUS;
use crate::host::Ticks;
use crate::sync;
use bifolio::allocator::PageAllocator;
use bifolio::frame::{Gfp, Pfn, PfnRange, ZoneKind};
use bifolio::heap;
use bifolio::kernel::Kernel;
use bifolio::memory_map::RegionKind;
use log::info;

pub use crate::sync::Processor;

/// The page allocator over all of the machine's memory.
pub type Frames = PageAllocator<'static, Processor>;

/// All memory: page frames, and the [heap](super::heap) on top of them.
#[global_allocator]
pub static MEMORY: Kernel<Processor, MAX_CPUS, { heap::MAX_CPUS }> = Kernel::new();

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

/// The flags of those who cannot say whether they may wait, since nobody tells them where they are: that is looked at.
pub(super) fn gfp() -> Gfp {
    if sync::may_sleep() { Gfp::KERNEL } else { Gfp::ATOMIC }
}
