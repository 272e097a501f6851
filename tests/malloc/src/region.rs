//! The heap's page frames: address space that becomes memory as it is needed.
//!
//! A region is a stretch of reserved address space with a [`PageAllocator`] over it. A page's address is the address of
//! its frame, so the allocator sees a machine whose RAM lies in one piece high up, most of it to be added later. When
//! there is no frame left, the next stretch of it is made usable and added. When the whole region is in use, another one,
//! four times as large, is reserved.
//!
//! Frames that are free may still have memory behind them. That is kept for the next who needs frames, as long as it is
//! not much beside what is in use; what is freed beyond that is given back to the system first.

use core::ptr::NonNull;
use core::slice;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use bifolio::allocator::{Arena, PageAllocator, Plan};
use bifolio::error::FreeError;
use bifolio::frame::{FRAME_SIZE, Gfp, Order, Pfn, PfnRange};
use bifolio::heap::PageSource;
use bifolio::memory_map::{MemoryMap, Region as Entry, RegionKind};
use spin::{Mutex, Once};

use crate::system;
use crate::thread::{CPUS, Thread};

/// Every block is aligned to its size, and this is the largest.
const BLOCK: usize = Order::MAX.bytes() as usize;
/// Bytes in the first region, if the process may have as many.
const FIRST_REGION: usize = 16 << 30;
/// A region that is not even this large is not worth it.
const LEAST_REGION: usize = 4 * BLOCK;
/// Bytes that a region is made usable by at least.
const STEP: usize = 32 << 20;
/// Free frames below which the memory behind them is kept, whatever is in use: 16 MiB.
const IDLE: u64 = (16 << 20) / FRAME_SIZE;
/// At most one in so many frames in use is kept idle.
const IDLE_SHARE: u64 = 8;
/// Blocks that it takes a system call to give back for, at least.
const LEAST_FORGOTTEN: Order = Order::new(3).unwrap();
/// The most regions there can be. Each is four times as large as the one before, unless the process may have no more.
const REGIONS: usize = 32;

static ARENAS: [Arena; CPUS] = [const { Arena::new() }; CPUS];

struct Region {
    start: *mut u8,
    bytes: usize,
    /// How much of it is usable; changed with [`GROWING`] locked.
    usable: AtomicUsize,
    frames: PageAllocator<'static, Thread>,
}

// SAFETY: the pointer is to memory of no particular thread, and is only computed with.
unsafe impl Send for Region {}
// SAFETY: as above.
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
    fn new(bytes: usize, arenas: &'static [Arena]) -> Option<Self> {
        let mut bytes = bytes.min(system::address_space_limit() / 4) / BLOCK * BLOCK;
        let start = loop {
            if bytes < LEAST_REGION {
                return None;
            }
            if let Some(start) = system::reserve(bytes + BLOCK) {
                break start;
            }
            bytes = bytes / 2 / BLOCK * BLOCK;
        };
        let start = start.as_ptr().map_addr(|address| address.next_multiple_of(BLOCK));
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
        let frames = PageAllocator::new(&plan, metadata, arenas).ok()?;
        Some(Self { start, bytes, usable: AtomicUsize::new(usable), frames })
    }

    fn holds(&self, block: *mut u8) -> bool {
        block.addr().wrapping_sub(self.start.addr()) < self.bytes
    }

    fn allocate(&self, order: Order) -> Option<NonNull<u8>> {
        let pfn = self.frames.allocate(order, Gfp::NOWAIT).ok()?;
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
        self.frames.add(range).expect("the plan has this memory as to be added, and it was not added yet");
        self.usable.store(usable + step, Relaxed);
        true
    }
}

/// The regions that there are, the newest first.
fn regions() -> impl Iterator<Item = &'static Region> {
    REGIONS_BY_AGE[..COUNT.load(Relaxed)].iter().rev().filter_map(Once::get)
}

/// Whether an address lies in a region.
#[inline]
pub fn holds(address: *mut u8) -> bool {
    regions().any(|region| region.holds(address))
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
    let arenas = if count == 0 { Some(&ARENAS[..]) } else { more_arenas() };
    let bytes = regions().next().map_or(FIRST_REGION, |region| region.bytes.saturating_mul(4));
    let Some(region) = arenas.and_then(|arenas| Region::new(bytes, arenas)) else { return false };
    slot.call_once(|| region);
    COUNT.store(count + 1, Relaxed);
    true
}

/// Arenas for one more region.
fn more_arenas() -> Option<&'static [Arena]> {
    let bytes = (CPUS * size_of::<Arena>()).next_multiple_of(system::PAGE);
    let start = system::reserve(bytes)?.as_ptr().cast::<Arena>();
    // SAFETY: the space was reserved just now, so nobody has it; it has room for so many, and pages are aligned to more
    // than arenas; each is written before the slice is made.
    unsafe {
        if !system::make_usable(start.cast(), bytes) {
            system::unreserve(start.cast(), bytes);
            return None;
        }
        (0..CPUS).for_each(|number| start.add(number).write(Arena::new()));
        Some(slice::from_raw_parts(start, CPUS))
    }
}

/// The calling CPU will allocate no more for now: what its arenas hold goes back.
pub fn retire_cpu() {
    for region in regions() {
        // An arena is only emptied if it was idle since the last time, which it was when asked again.
        region.frames.decay();
        region.frames.decay();
    }
}

/// Where the heap has its page frames from.
pub struct Regions;

// SAFETY: an allocator gives a block to one owner at a time, out of frames that are usable memory at the frames' own
// addresses, which are those of user space and so have upper bits of zero. Blocks are aligned to their size.
unsafe impl PageSource for Regions {
    fn allocate(&self, order: Order) -> Option<NonNull<u8>> {
        let block = loop {
            let seen = usable();
            if let Some(block) = regions().find_map(|region| region.allocate(order)) {
                break block;
            }
            if !grow(seen) {
                return None;
            }
        };
        TAKEN.fetch_add(order.frames(), Relaxed);
        let less = |idle: u64| Some(idle.saturating_sub(order.frames()));
        let _ = FREE_WITH_MEMORY.fetch_update(Relaxed, Relaxed, less);
        Some(block)
    }

    unsafe fn release(&self, block: NonNull<u8>, order: Order) -> Result<(), FreeError> {
        let pfn = Pfn::containing(block.as_ptr().addr() as u64);
        let region = regions().find(|region| region.holds(block.as_ptr())).ok_or(FreeError::NotManaged(pfn))?;
        let taken = TAKEN.fetch_sub(order.frames(), Relaxed);
        let is_kept = order < LEAST_FORGOTTEN || FREE_WITH_MEMORY.load(Relaxed) < IDLE.max(taken / IDLE_SHARE);
        // SAFETY: nobody uses the block any more, and nobody else can have it yet.
        if is_kept || !unsafe { system::forget(block.as_ptr(), order.bytes() as usize) } {
            FREE_WITH_MEMORY.fetch_add(order.frames(), Relaxed);
        }
        region.frames.free(pfn, order)
    }
}
