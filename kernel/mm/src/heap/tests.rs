//! What the heap's parts do between two steps of an operation, which no caller can bring about.

use core::alloc::Layout;
use core::ptr::NonNull;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use super::slow::Kind;
use super::{Heap, SizeClass};
use crate::cpu::{Cpu, Hooks};
use crate::error::FreeError;
use crate::frame::Order;
use crate::slab::arena::{ArenaId, Emptied};
use crate::slab::descriptor::Slab;
use crate::slab::list::Meta;
use crate::slab::page_map::tests::WALKS;
use crate::slab::source::PageSource;

pub(super) struct Host;

// SAFETY: one CPU at a time, which nothing interrupts.
unsafe impl Cpu for Host {
    fn current() -> usize {
        0
    }

    fn synchronize() {}

    fn mask_interrupts() -> bool {
        false
    }

    fn restore_interrupts(_: bool) {}
}

impl Hooks for Host {}

/// Blocks that are never given back: what is corrupt must not be freed.
pub(super) struct Leak;

// SAFETY: the host's allocator gives out exclusive memory of the layout asked for.
unsafe impl PageSource for Leak {
    fn allocate(&self, order: Order) -> Option<NonNull<u8>> {
        let bytes = order.bytes() as usize;
        // SAFETY: the layout is not empty.
        NonNull::new(unsafe { std::alloc::alloc(Layout::from_size_align(bytes, bytes).ok()?) })
    }

    unsafe fn release(&self, _: NonNull<u8>, _: Order) -> Result<(), FreeError> {
        Ok(())
    }
}

type HostHeap = Heap<Leak, Host, CPUS>;

/// The CPU that tests run on, and another.
const CPUS: usize = 2;

const OBJECT: Layout = Layout::new::<[u64; 8]>();

/// A heap, and an object on it.
fn with_object() -> (Box<HostHeap>, NonNull<u8>) {
    let heap = Box::new(HostHeap::new(Leak));
    let object = heap.allocate(OBJECT).unwrap();
    (heap, object)
}

/// Sees that every invariant holds: by a walk that Miri, which takes each step by hand, has no time for.
fn sound<S: PageSource>(heap: &Heap<S, Host, CPUS>) {
    assert_eq!(if cfg!(miri) { Ok(()) } else { heap.validate() }, Ok(()));
}

/// A CPU that comes while all stand still may be overlooked by the CPU that stopped them, and that gives tables back.
#[test]
fn a_cpu_whose_gate_is_closed_reads_no_table_of_the_page_map() {
    let (heap, object) = with_object();
    let address = object.as_ptr().addr();
    heap.stopped(|_| {
        let before = WALKS.get();
        let Err(entered) = heap.free_quickly(address, None) else { panic!("its gate is closed") };
        assert!(!heap.free_by_map(entered, address, None));
        assert_eq!(WALKS.get(), before);
    });
    let (entered, _) = heap.enter();
    assert!(heap.free_by_map(entered, address, None), "its gate is open again");
    assert!(WALKS.get() > 0);
    sound(&heap);
}

/// Where CPU 1 frees a slot of CPU 0's slab for the second time, and the slab goes elsewhere after CPU 1 has seen whose it is.
fn second_free_after(moved: impl FnOnce(&HostHeap, Meta<Slab>)) {
    let (heap, object) = with_object();
    // SAFETY: nothing else uses the heap.
    let slab = unsafe { heap.registry.map.find(object.as_ptr().addr()) };
    let slot = slab.slot_at(object.as_ptr().addr()).unwrap();
    // SAFETY: the object is ours, and not used afterwards.
    unsafe { heap.free(object, OBJECT) }.unwrap();
    assert_eq!(slab.arena(), ArenaId::of(0).unwrap());
    moved(&heap, slab);
    assert_eq!(heap.put_remotely(heap.per_cpu(1), slab, slot), Err(()));
    assert_eq!(slab.put_remotely(slot), Err(()), "nor if it did not look whose it is now");
    assert!(!slab.is_announced());
    sound(&heap);
}

#[test]
fn a_second_free_is_refused_wherever_its_slab_went_meanwhile() {
    second_free_after(|_, _| {});
    second_free_after(|heap, _| heap.retire_cpu());
    second_free_after(|heap, slab| {
        heap.retire_cpu();
        // As a CPU does that has found none of its own.
        let adopted = heap.shared.pop_partial(slab.cache()).unwrap();
        assert_eq!(adopted, slab);
        heap.in_own(|arena| arena.adopt(adopted)).unwrap();
    });
    second_free_after(|heap, slab| {
        heap.retire_cpu();
        let emptied = heap.shared.pop_any(slab.cache()).and_then(Emptied::new).unwrap();
        heap.close(emptied);
    });
}

/// CPU 0, while CPU 1 goes in and out of its arena.
struct Beside;

/// The heap that CPU 1 is in, until CPU 0 waits.
static VISITED: Mutex<Option<&'static Heap<Leak, Beside, CPUS>>> = Mutex::new(None);

// SAFETY: one CPU at a time, which nothing interrupts.
unsafe impl Cpu for Beside {
    fn current() -> usize {
        0
    }

    fn synchronize() {}

    fn mask_interrupts() -> bool {
        false
    }

    fn restore_interrupts(_: bool) {}
}

impl Hooks for Beside {
    fn relax() {
        let heap = VISITED.lock().unwrap().take().expect("it waits for nothing else");
        assert_eq!(heap.registry.books.with(|books| books.pool.closings()), Some(1), "it has not waited yet");
        heap.per_cpu(1).leave();
    }
}

#[test]
fn a_descriptor_is_opened_again_once_every_cpu_was_outside() {
    let heap: &'static Heap<Leak, Beside, CPUS> = Box::leak(Box::new(Heap::new(Leak)));
    let object = heap.allocate(OBJECT).unwrap();
    // SAFETY: nothing else uses the heap.
    let slab = unsafe { heap.registry.map.find(object.as_ptr().addr()) };
    // SAFETY: the object is ours, and not used afterwards.
    unsafe { heap.free(object, OBJECT) }.unwrap();
    heap.per_cpu.use_place(1);
    heap.per_cpu(1).enter();
    heap.retire_cpu();
    heap.close(heap.shared.pop_any(slab.cache()).and_then(Emptied::new).unwrap());
    let take = || heap.registry.books.with(|books| books.pool.take().unwrap());
    assert_ne!(take(), slab, "CPU 1 may be at it");
    *VISITED.lock().unwrap() = Some(heap);
    assert!(heap.pass_grace_period() && VISITED.lock().unwrap().is_none());
    assert_eq!(take(), slab);
    assert!(!heap.pass_grace_period(), "nothing waits");
}

#[test]
fn a_free_slot_has_no_size_for_anybody() {
    let (heap, object) = with_object();
    assert_eq!(heap.object_size(object), Ok(OBJECT.size()));
    // SAFETY: the object is ours, and not used afterwards.
    unsafe { heap.free(object, OBJECT) }.unwrap();
    assert!(heap.object_size(object).is_err());
}

#[test]
fn in_a_shortage_the_current_slab_of_another_cpu_is_taken_too() {
    let (heap, object) = with_object();
    // SAFETY: nothing else uses the heap.
    let slab = unsafe { heap.registry.map.find(object.as_ptr().addr()) };
    let taken = heap.in_own(|arena| arena.pop_with_room(slab.cache())).unwrap();
    assert_eq!(taken, Some(slab));
    heap.in_own(|arena| arena.adopt(slab)).unwrap();
    sound(&heap);
}

#[test]
#[cfg_attr(miri, ignore = "takes hundreds of slots")]
fn what_others_have_freed_is_taken_over_once_nothing_else_is_free() {
    let (heap, object) = with_object();
    // SAFETY: nothing else uses the heap.
    let slab = unsafe { heap.registry.map.find(object.as_ptr().addr()) };
    let slot = slab.slot_at(object.as_ptr().addr()).unwrap();
    assert_eq!(heap.put_remotely(heap.per_cpu(1), slab, slot), Ok(()));
    let take = || heap.take_any(Kind::of(SizeClass::of(OBJECT).unwrap()));
    let refills = || heap.per_cpu(0).refills.get();
    let before = refills();
    for _ in 1..slab.slots() {
        assert!(take().is_some() && slab.is_announced(), "others are free");
    }
    assert_eq!(refills(), before);
    assert_eq!(take(), Some(object));
    assert_eq!((slab.is_announced(), refills()), (false, before + 1));
    sound(&heap);
}

/// Where, once, what the heap asks for a block is interrupted, and the handler allocates.
struct Interrupted {
    handler: Mutex<Option<&'static Heap<Self, Host, CPUS>>>,
    /// Frames that are given out.
    out: AtomicU64,
}

// SAFETY: the blocks are those of `Leak`.
unsafe impl PageSource for Interrupted {
    fn allocate(&self, order: Order) -> Option<NonNull<u8>> {
        let heap = self.handler.lock().unwrap().take();
        heap.into_iter().for_each(|heap| _ = heap.allocate(OBJECT).unwrap());
        self.out.fetch_add(order.frames(), Relaxed);
        Leak.allocate(order)
    }

    unsafe fn release(&self, _: NonNull<u8>, order: Order) -> Result<(), FreeError> {
        self.out.fetch_sub(order.frames(), Relaxed);
        Ok(())
    }
}

#[test]
fn a_cpu_that_gets_its_arena_meanwhile_keeps_it_and_no_block_for_another() {
    let source = Interrupted { handler: Mutex::new(None), out: AtomicU64::new(0) };
    let heap: &'static Heap<_, Host, CPUS> = Box::leak(Box::new(Heap::new(source)));
    *heap.source().handler.lock().unwrap() = Some(heap);
    assert!(heap.prepare_cpu(), "it has one");
    assert_eq!(heap.in_own(|arena| arena.is_vacant()), Some(false), "it is the one with the handler's object");
    let frames = heap.frames();
    assert_eq!(heap.source().out.load(Relaxed), frames.slabs + frames.metadata);
    sound(heap);
}
