//! What the booted tests of several subjects share.
//!
//! The subjects are in `tests/`: each file is a kernel of its own. All of them run on every firmware and with every
//! amount of memory, so none may count on a size.
#![no_std]

extern crate alloc;

pub mod pages;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use bifolio::frame::{Gfp, Order, Pfn, PfnRange, ZoneKind};
use core::hint::{self, black_box};
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
use core::time::Duration;
use framework::Snapshot;
use kernel::cpu::exceptions::{PAGE_FAULT, Report};
use kernel::cpu::{self, Trap, catch, clock, timer};
use kernel::memory::heap::HEAP;
use kernel::memory::{frames, paging};
use kit::Raw;
use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;
use x86_64::registers::control::Cr2;
use x86_64::structures::paging::Translate;
use x86_64::{PhysAddr, VirtAddr};

/// Random numbers, the same in every run.
pub fn random() -> Xoshiro256PlusPlus {
    Xoshiro256PlusPlus::seed_from_u64(0xb1f0_1105)
}

/// The frame that a virtual address is mapped to.
///
/// # Panics
/// If it is not mapped.
pub fn frame_of(address: VirtAddr) -> Pfn {
    let physical = paging::table().translate_addr(address);
    Pfn::containing(physical.expect("the address is mapped").as_u64())
}

/// The first word of a frame, in the window onto physical memory.
pub fn first_word(pfn: Pfn) -> *mut u64 {
    paging::to_virtual(PhysAddr::new(pfn.address())).as_mut_ptr()
}

/// All the memory that requests with some flags can get, held in blocks as large as they come.
#[derive(Debug)]
pub struct Hoard {
    blocks: Vec<(Pfn, Order)>,
}

impl Hoard {
    /// An empty hoard, with room to note what it will hold. The heap gives back what it does not use, which it would do
    /// when memory is short, and no sum would fit.
    pub fn new() -> Self {
        // Two blocks of the largest order for each frame of the list's own that holds notes, and small ones at the edges.
        let largest = frames_free() / Order::MAX.frames();
        let hoard = Self { blocks: Vec::with_capacity(largest as usize + 16 * 1024) };
        HEAP.shrink();
        hoard
    }

    /// Takes everything that these flags get, largest blocks first.
    ///
    /// # Panics
    /// If there are more pieces than there is room to note.
    pub fn take(&mut self, gfp: Gfp) {
        for order in Order::all().rev() {
            while let Ok(pfn) = frames().take(order, gfp) {
                assert!(self.blocks.len() < self.blocks.capacity(), "memory is in more pieces than expected");
                self.blocks.push((pfn, order));
            }
        }
    }

    /// Frames in the hoard.
    pub fn frames(&self) -> u64 {
        self.blocks.iter().map(|(_, order)| order.frames()).sum()
    }

    /// The blocks in the hoard.
    pub fn blocks(&self) -> impl Iterator<Item = PfnRange> {
        self.blocks.iter().map(|(pfn, order)| PfnRange::new(*pfn, pfn.offset(order.frames())))
    }

    /// Gives everything back.
    ///
    /// # Panics
    /// If the allocator does not take a block.
    pub fn give_back(&mut self) {
        for (pfn, order) in self.blocks.drain(..) {
            frames().give(pfn, order).expect("the block was allocated with this order");
        }
    }
}

impl Default for Hoard {
    fn default() -> Self {
        Self::new()
    }
}

/// Free frames: those in all zones and those that the CPUs' pages hold.
pub fn frames_free() -> u64 {
    let in_zones: u64 = ZoneKind::ALL.map(|kind| frames().zone(kind).free).iter().sum();
    in_zones + frames().cached()
}

/// Half of all memory, held in such a way that no block of more than 8 frames is free.
#[derive(Debug)]
pub struct Pieces {
    blocks: Vec<Pfn>,
}

impl Pieces {
    const ORDER: Order = Order::new(3).unwrap();

    /// Takes every other block of 8 frames.
    ///
    /// # Panics
    /// If there are larger blocks all the same.
    pub fn new() -> Self {
        let most = frames_free() / Self::ORDER.frames();
        let mut blocks = Vec::with_capacity(most as usize);
        HEAP.shrink();
        while let Ok(pfn) = frames().take(Self::ORDER, Gfp::MEMALLOC | Gfp::NOWARN) {
            blocks.push(pfn);
        }
        // In order of addresses: what is free between two that are kept is one block.
        blocks.sort_unstable();
        blocks.retain(|pfn| {
            let kept = pfn.number() / Self::ORDER.frames() % 2 == 1;
            if !kept {
                frames().give(*pfn, Self::ORDER).expect("the block was allocated a moment ago");
            }
            kept
        });
        let larger = Order::new(Self::ORDER.get() + 1).expect("there are larger ones");
        assert!(frames().take(larger, Gfp::MEMALLOC | Gfp::NOWARN).is_err(), "memory is in pieces");
        Self { blocks }
    }

    /// Gives everything back.
    ///
    /// # Panics
    /// If the allocator does not take a block.
    pub fn give_back(self) {
        for pfn in self.blocks {
            frames().give(pfn, Self::ORDER).expect("the block was allocated with this order");
        }
    }
}

impl Default for Pieces {
    fn default() -> Self {
        Self::new()
    }
}

/// Runs a test from an empty heap, and asserts that it leaves an empty heap and all frames as they were: in the same zones,
/// in blocks of the same orders at the same places.
///
/// # Panics
/// If it does not.
pub fn leaving_nothing(test: impl FnOnce()) {
    HEAP.shrink();
    let (held, before) = (HEAP.frames(), Snapshot::take());
    test();
    HEAP.validate().expect("the heap is sound");
    HEAP.shrink();
    assert_eq!(HEAP.frames(), held, "the heap holds frames without an object");
    assert_eq!(Snapshot::take(), before);
}

/// Runs `work` in an interrupt handler of this CPU, and returns once it has.
///
/// # Panics
/// If the interrupt does not come.
pub fn in_interrupt(work: fn()) {
    static WORK: AtomicPtr<fn()> = AtomicPtr::new(ptr::null_mut());
    fn run(_: &mut Trap) {
        let work = WORK.swap(ptr::null_mut(), Ordering::AcqRel);
        // SAFETY: it is null, or leads to the argument of the call below that waits for it to become null.
        if let Some(work) = unsafe { work.as_ref() } {
            assert!(cpu::in_interrupt());
            work();
            DONE.store(true, Ordering::Release);
        }
    }
    static DONE: AtomicBool = AtomicBool::new(false);
    assert!(timer::rate() > 0, "there is no timer to interrupt this CPU");
    DONE.store(false, Ordering::Relaxed);
    WORK.store((&raw const work).cast_mut(), Ordering::Release);
    timer::set_hook(Some(run));
    timer::set_alarm(Duration::from_micros(100));
    let start = clock::uptime();
    while !DONE.load(Ordering::Acquire) {
        assert!(clock::uptime() - start < Duration::from_secs(10), "the timer does not interrupt");
        hint::spin_loop();
    }
    timer::set_hook(None);
}

/// Reads a byte that is not mapped, and returns what the fault's report says.
///
/// # Panics
/// If it is mapped, or if another exception came.
#[track_caller]
pub fn fault_at(address: VirtAddr) -> String {
    // SAFETY: the closure owns nothing.
    let trap = unsafe { catch(|| _ = black_box(address.as_ptr::<u8>().read_volatile())) };
    let trap = trap.expect("the address is mapped");
    assert_eq!((trap.vector, Cr2::read_raw()), (PAGE_FAULT, address.as_u64()));
    format!("{}", Report(&trap))
}
