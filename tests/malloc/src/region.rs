//! The heap's page frames: address space that becomes memory as it is needed.
//!
//! A region is a stretch of reserved address space with a [`PageAllocator`] over it. A page's address is the address of
//! its frame, so the allocator sees a machine whose RAM lies in one piece high up, most of it to be added later. When
//! there is no frame left, the next stretch of it is made usable and added. When the whole region is in use, another one,
//! four times as large, is reserved.
//!
//! Frames that are free may still have memory behind them. That is kept for the next who needs frames, as long as it is
//! not much beside what is in use; what is freed beyond that is given back to the system first.

use core::alloc::Layout;
use core::ptr::NonNull;
use core::slice;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use bifolio::allocator::{PageAllocator, PerCpuPages, Plan};
use bifolio::error::FreeError;
use bifolio::frame::{FRAME_SIZE, Gfp, Order, Pfn, PfnRange};
use bifolio::heap::PageSource;
use bifolio::memory_map::{MemoryMap, Region as Entry, RegionKind};
use spin::{Mutex, Once};

use crate::system::PAGE;
use crate::thread::Thread;
use crate::{mapped, system};

/// Every block is aligned to its size, and this is the largest.
const BLOCK: usize = Order::MAX.bytes() as usize;
/// Bytes in the first region, if the process may have as many.
const FIRST_REGION: usize = 16 << 30;
/// A region that is not even this large is not worth it.
const LEAST_REGION: usize = 2 * BLOCK;
/// Bytes that a region is made usable by at least.
const STEP: usize = 32 << 20;
/// Bytes of memory that is kept although nobody uses it, whatever is in use: 16 MiB.
pub const IDLE: usize = 16 << 20;
/// At most one in so many bytes in use is kept idle.
pub const IDLE_SHARE: usize = 8;
/// For fewer frames it takes no system call to give their memory back.
const LEAST_FORGOTTEN: u64 = 8;
/// The most regions there can be. Each is four times as large as the one before, unless the process may have no more.
const REGIONS: usize = 32;

/// How many threads have page frames of their own each. The heap seldom asks for any, and who frees a frame that another one
/// may hold looks into all of them: so they are fewer than threads.
const CPUS: usize = 16;

static PAGES: [PerCpuPages; CPUS] = [const { PerCpuPages::new() }; CPUS];

struct Region {
    start: *mut u8,
    bytes: usize,
    /// How much of it is usable; changed with [`GROWING`] locked.
    usable: AtomicUsize,
    frames: PageAllocator<'static, Thread>,
}

// SAFETY: the pointer is to memory of no particular thread, and is only computed with.
unsafe impl Send for Region {}
// SAFETY: the pointer is only computed with, and what changes is atomic or behind a lock.
unsafe impl Sync for Region {}

static REGIONS_BY_AGE: [Once<Region>; REGIONS] = [const { Once::new() }; REGIONS];
static COUNT: AtomicUsize = AtomicUsize::new(0);
static GROWING: Mutex<()> = Mutex::new(());
/// Frames in use, of all regions.
static TAKEN: AtomicU64 = AtomicU64::new(0);
/// About as many free frames have memory behind them.
static FREE_WITH_MEMORY: AtomicU64 = AtomicU64::new(0);

impl Region {
    /// Reserves up to `bytes` of address space and makes the first of it usable.
    fn new(bytes: usize, pages: &'static [PerCpuPages]) -> Option<Self> {
        let mut bytes = bytes.min(system::address_space_limit() / 4) / BLOCK * BLOCK;
        let start = loop {
            if bytes < LEAST_REGION {
                return None;
            }
            if let Some(start) = reserve_aligned(bytes) {
                break start;
            }
            bytes = bytes / 2 / BLOCK * BLOCK;
        };
        let (from, end) = (start.addr() as u64, (start.addr() + bytes) as u64);
        // The metadata goes to the end of what is usable at first: so there must be room for it.
        let mut usable = BLOCK.max(bytes / 1024).next_multiple_of(BLOCK) + BLOCK;
        usable = usable.min(bytes);
        let middle = from + usable as u64;
        let mut entries = [
            Entry { start: from, end: middle, kind: RegionKind::Usable },
            Entry { start: middle, end, kind: RegionKind::AcpiReclaimable },
        ];
        let plan = Plan::new(MemoryMap::sanitise(&mut entries).ok()?).ok()?;
        // SAFETY: the space was reserved just now.
        if !unsafe { system::make_usable(start, usable) } {
            return None;
        }
        let metadata = start.with_addr(plan.metadata().start.address() as usize);
        // SAFETY: the plan put the metadata into what is usable, where it stays reserved, so it is nobody else's; all
        // words are zero, and aligned since frames are.
        let metadata = unsafe { slice::from_raw_parts_mut(metadata.cast::<u64>(), plan.metadata_words()) };
        // SAFETY: the frames are the space that was reserved just now, at their own addresses, and each region has others.
        let frames = unsafe { PageAllocator::new(&plan, metadata, pages) }.ok()?;
        Some(Self { start, bytes, usable: AtomicUsize::new(usable), frames })
    }

    fn holds(&self, block: *mut u8) -> bool {
        block.addr().wrapping_sub(self.start.addr()) < self.bytes
    }

    /// Where a frame of the region is.
    fn at(&self, pfn: Pfn) -> Option<NonNull<u8>> {
        NonNull::new(self.start.with_addr(pfn.address() as usize))
    }

    /// Makes more of the region usable; false if all of it is, or the system has no memory. [`GROWING`] is locked.
    fn grow(&self) -> bool {
        let usable = self.usable.load(Relaxed);
        let step = STEP.max(usable / 8 / BLOCK * BLOCK).min(self.bytes - usable);
        let start = self.start.wrapping_add(usable);
        // The limit may have come after the reservation, which counted in whole when it was made.
        if self::usable() + step > system::address_space_limit() {
            return false;
        }
        // SAFETY: all behind what is usable is reserved, and nobody's.
        if step == 0 || !unsafe { system::make_usable(start, step) } {
            return false;
        }
        let first = Pfn::containing(start.addr() as u64);
        let range = PfnRange::new(first, first.offset(step as u64 / FRAME_SIZE));
        // SAFETY: it was made usable just now, and nobody knows of it.
        let added = unsafe { self.frames.add(range) };
        added.expect("the plan has this memory as to be added, and it was not added yet");
        self.usable.store(usable + step, Relaxed);
        true
    }
}

/// Reserves address space, aligned to a block.
fn reserve_aligned(bytes: usize) -> Option<*mut u8> {
    let outer = system::reserve(bytes + BLOCK)?.as_ptr();
    let start = outer.map_addr(|address| address.next_multiple_of(BLOCK));
    let before = start.addr() - outer.addr();
    // SAFETY: these are the ends of what was reserved just now. They would count where address space is limited.
    unsafe {
        system::unreserve(outer, before);
        system::unreserve(start.wrapping_add(bytes), BLOCK - before);
    }
    Some(start)
}

/// The regions that there are, the newest first.
fn regions() -> impl Iterator<Item = &'static Region> {
    REGIONS_BY_AGE[..COUNT.load(Relaxed)].iter().rev().filter_map(Once::get)
}

/// The region that these frames are of.
fn region_of(frames: NonNull<u8>) -> Option<&'static Region> {
    regions().find(|region| region.holds(frames.as_ptr()))
}

fn frame_at(start: NonNull<u8>) -> Pfn {
    Pfn::containing(start.as_ptr().addr() as u64)
}

/// Makes more memory usable, unless that has been done since there were `seen` usable bytes. False if there is none.
#[cold]
fn grow(seen: usize) -> bool {
    let _growing = loop {
        if let Some(growing) = GROWING.try_lock() {
            break growing;
        }
        system::yield_now();
    };
    usable() != seen || regions().next().is_some_and(Region::grow) || add_region()
}

fn usable() -> usize {
    regions().map(|region| region.usable.load(Relaxed)).sum()
}

fn add_region() -> bool {
    let count = COUNT.load(Relaxed);
    let Some(slot) = REGIONS_BY_AGE.get(count) else { return false };
    let pages = if count == 0 { Some(&PAGES[..]) } else { more_pages() };
    let bytes = regions().next().map_or(FIRST_REGION, |region| region.bytes.saturating_mul(4));
    let Some(region) = pages.and_then(|pages| Region::new(bytes, pages)) else { return false };
    slot.call_once(|| region);
    COUNT.store(count + 1, Relaxed);
    true
}

/// Threads' pages for one more region.
fn more_pages() -> Option<&'static [PerCpuPages]> {
    let bytes = (CPUS * size_of::<PerCpuPages>()).next_multiple_of(system::PAGE);
    let start = system::reserve(bytes)?.as_ptr().cast::<PerCpuPages>();
    // SAFETY: the space was reserved just now, so nobody has it; it has room for so many, and pages are aligned to more
    // than these; each is written before the slice is made.
    unsafe {
        if !system::make_usable(start.cast(), bytes) {
            system::unreserve(start.cast(), bytes);
            return None;
        }
        (0..CPUS).for_each(|number| start.add(number).write(PerCpuPages::new()));
        Some(slice::from_raw_parts(start, CPUS))
    }
}

/// The calling CPU will allocate no more for now: what it holds goes back.
pub fn retire_cpu() {
    for region in regions() {
        // Its pages are only given back if it was idle since the last time, which it was when asked again.
        region.frames.decay();
        region.frames.decay();
    }
}

/// Where the heap has its page frames from.
pub struct Regions;

/// Takes frames from the first region that has some, and makes more memory usable if none has.
fn take(frames: u64, take: impl Fn(&Region) -> Option<NonNull<u8>>) -> Option<NonNull<u8>> {
    let taken = loop {
        let seen = usable();
        if let Some(taken) = regions().find_map(&take) {
            break taken;
        }
        // Memory that is kept for mappings may be what the system has no more of.
        if !grow(seen) && mapped::give_back_kept() == 0 {
            return None;
        }
    };
    count_taken(frames);
    Some(taken)
}

/// Takes note of frames that are in use from now on.
fn count_taken(frames: u64) {
    TAKEN.fetch_add(frames, Relaxed);
    let _ = FREE_WITH_MEMORY.fetch_update(Relaxed, Relaxed, |idle| Some(idle.saturating_sub(frames)));
}

/// Takes note of frames that nobody uses any more, and gives the memory behind them back if there is enough such memory.
///
/// # Safety
/// Nobody uses them any more, and nobody else can have them yet.
unsafe fn leave(start: *mut u8, frames: u64) {
    let taken = TAKEN.fetch_sub(frames, Relaxed);
    let is_kept = frames < LEAST_FORGOTTEN
        || FREE_WITH_MEMORY.load(Relaxed) < (IDLE as u64 / FRAME_SIZE).max(taken / IDLE_SHARE as u64);
    // SAFETY: nobody uses the frames any more, nor has them yet: this function's own condition.
    if is_kept || !unsafe { system::forget(start, (frames * FRAME_SIZE) as usize) } {
        FREE_WITH_MEMORY.fetch_add(frames, Relaxed);
    }
}

// SAFETY: an allocator gives frames to one owner at a time, out of those that are usable memory at the frames' own
// addresses; a mapping has addresses of its own. All are those of user space and so have upper bits of zero. Blocks are
// aligned to their size, and runs as they are asked to be.
unsafe impl PageSource for Regions {
    fn allocate(&self, order: Order) -> Option<NonNull<u8>> {
        take(order.frames(), |region| {
            let block = region.frames.allocate(order, Gfp::NOWAIT).ok()?;
            region.at(block.into_raw().0)
        })
    }

    unsafe fn release(&self, block: NonNull<u8>, order: Order) -> Result<(), FreeError> {
        let pfn = frame_at(block);
        let region = region_of(block).ok_or(FreeError::NotManaged(pfn))?;
        // SAFETY: by this function's contract nobody uses them, and nobody can have them before the region is told.
        unsafe {
            leave(block.as_ptr(), order.frames());
            region.frames.free_raw(pfn, order)
        }
    }

    fn kept(&self) -> u64 {
        FREE_WITH_MEMORY.load(Relaxed) * FRAME_SIZE + mapped::kept() as u64
    }

    fn run_for(object: Layout) -> Option<Layout> {
        Layout::from_size_align(object.size().max(1).checked_next_multiple_of(PAGE)?, object.align()).ok()
    }

    fn allocate_run(&self, run: Layout) -> Option<NonNull<u8>> {
        let (frames, align) = (frames_of(run), run.align().div_ceil(PAGE) as u64);
        let most = Order::MAX.frames();
        if frames > most || align > most {
            // If there is no address space left, the regions may have some.
            return mapped::allocate(run.size(), run.align()).or_else(|| take_long(frames, align));
        }
        let found = take(frames, |region| {
            let found = region.frames.allocate_run(frames, align, Gfp::NOWAIT).ok()?;
            region.at(found.into_raw().start)
        });
        found.or_else(|| take_long(frames, align))
    }

    unsafe fn release_run(&self, start: NonNull<u8>, run: Layout) -> Result<(), FreeError> {
        let Some(region) = region_of(start) else {
            // SAFETY: the run came from `allocate_run`, and nobody uses it any more, as `release_run` demands.
            return unsafe { mapped::release(start, run.size()) };
        };
        let frames = frames_of(run);
        // SAFETY: as for a block.
        unsafe { leave(start.as_ptr(), frames) };
        // The heap knows what it frees, so it need not all be asked about before the first block is freed.
        let range = PfnRange::new(frame_at(start), frame_at(start).offset(frames));
        // SAFETY: as for a block.
        range.blocks().try_for_each(|(pfn, order)| unsafe { region.frames.free_raw(pfn, order) })
    }

    unsafe fn resize_run(&self, start: NonNull<u8>, run: Layout, bytes: usize) -> bool {
        let Some(region) = region_of(start) else {
            // SAFETY: nobody uses what lies behind the first `bytes` bytes, as `resize_run` demands.
            return unsafe { mapped::resize(start, run.size(), bytes) };
        };
        let (from, to) = (frames_of(run), (bytes / PAGE) as u64);
        let range = PfnRange::new(frame_at(start), frame_at(start).offset(from));
        if to > from {
            // SAFETY: the run is the caller's.
            let grown = unsafe { region.frames.resize_raw(range, to, Gfp::NOWAIT) }.is_ok();
            if grown {
                count_taken(to - from);
            }
            return grown;
        }
        // SAFETY: by this function's contract nobody uses what is behind the new end.
        unsafe {
            leave(start.as_ptr().wrapping_add(bytes), from - to);
            region.frames.resize_raw(range, to, Gfp::NOWAIT).is_ok()
        }
    }
}

fn frames_of(run: Layout) -> u64 {
    (run.size() / PAGE) as u64
}

/// Takes frames in a row wherever they are free, if that is possible without making more memory usable.
fn take_long(frames: u64, align: u64) -> Option<NonNull<u8>> {
    let run = regions().find_map(|region| {
        let long = region.frames.allocate_contiguous_aligned(frames, align, Gfp::NOWAIT).ok()?;
        region.at(long.into_raw().start)
    })?;
    count_taken(frames);
    Some(run)
}
