//! A heap over a few frames, of two CPUs that take turns: what can be done with it, and what must hold whatever was done.
//!
//! A state is all that the heap does next depends on: arenas, slabs and large objects, as [`hash`](bifolio::heap::Heap::hash) has them; every
//! word of the frames that it keeps its books in, which are arenas with what they remember, descriptors and tables; which frames it has;
//! and which objects are allocated. What it only counts is no part of that. It is returned to by doing everything once more that has
//! led to it.

mod shapes;
mod source;

use std::alloc::Layout;
use std::ptr::NonNull;

use bifolio::frame::{FRAME_SIZE, Order};
use bifolio::heap::{HeapError, HeapFrames, SizeClass};
use kit::Turns;

use super::States;
pub use shapes::{SHAPES, Shape};
use source::{Memory, Source};

const CPUS: usize = 2;
/// Frames that a request may lack for what describes it: the tables of the page map and a page of descriptors.
const BOOKS: u32 = 4;

type Heap = bifolio::heap::Heap<Source, Turns, CPUS>;

/// What can be done, by a CPU. Objects are named by their number among those that are allocated, by address.
#[derive(Clone, Copy, Debug)]
pub enum Operation {
    /// Asks for an object of so many bytes.
    Allocate(usize),
    /// Frees an object.
    Free(usize),
    /// Gives the CPU's slabs to all.
    Retire,
    /// Gives back what is not used.
    Shrink,
}

/// An operation, and the CPU that does it.
pub type Step = (u8, Operation);

/// An object that is allocated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Held {
    start: NonNull<u8>,
    size: usize,
}

impl Held {
    fn layout(self) -> Layout {
        layout(self.size)
    }
}

/// A heap, in one of its states.
pub struct Machine {
    shape: &'static Shape,
    /// Does not move, since it is part of lists that lead through its frames.
    heap: Box<Heap>,
    held: Vec<Held>,
    /// What has led here.
    path: Vec<Step>,
    // Goes last.
    memory: Memory,
}

fn layout(size: usize) -> Layout {
    Layout::from_size_align(size, 8).expect("shapes have sizes that there are")
}

impl Machine {
    /// A heap of this shape, which has nothing yet.
    pub fn new(shape: &'static Shape) -> Self {
        let memory = Memory::new(shape.frames);
        let heap = Box::new(Heap::new(memory.source(shape.is_scarce)));
        Self { shape, heap, held: Vec::new(), path: Vec::new(), memory }
    }

    /// Takes note of an object, of which no byte may be part of another.
    fn hold(&mut self, start: NonNull<u8>, size: usize) {
        let (address, end) = (start.addr().get(), start.addr().get() + size);
        assert!(self.heap.source().has_given(address, size), "{size} bytes at {start:?} are not the heap's");
        let overlaps = |other: &Held| other.start.addr().get() < end && address < other.start.addr().get() + other.size;
        assert!(!self.held.iter().any(overlaps), "the {size} bytes at {start:?} were handed out twice");
        assert!(address.is_multiple_of(layout(size).align()));
        self.held.push(Held { start, size });
        self.held.sort_unstable();
    }

    /// A request that was refused could have taken all there is. So there is no free slot of the size, nor room for one and for what describes it.
    fn check_refusal(&self, size: usize) {
        let frames = (size as u64).div_ceil(FRAME_SIZE);
        let order = Order::covering(frames).expect("shapes have sizes that there are");
        let has_room = self.heap.source().has_room(order, order.frames() as u32 + BOOKS);
        assert!(!has_room, "{size} bytes were refused, and there are frames for them");
        if let Some(class) = SizeClass::of(layout(size)) {
            let stats = self.heap.cache_stats(class);
            assert_eq!(stats.active_objects, stats.objects, "{size} bytes were refused, and there is a free slot");
        }
    }

    /// Each bad free is refused, whichever CPU it is that tries: of what is no object, of what is inside of one, and with another layout.
    fn check_bad_frees(&self) {
        let heap = &self.heap;
        for cpu in 0..CPUS {
            Turns::switch_to(cpu);
            for start in heap.source().frames().filter(|start| self.held.iter().all(|held| held.start != *start)) {
                for &size in self.shape.sizes {
                    // SAFETY: no live object starts there, so nothing is freed.
                    let freed = unsafe { heap.free(start, layout(size)) };
                    assert!(
                        freed.is_err(),
                        "a free of {size} bytes at {start:?}, which is no object, was taken for a good one"
                    );
                }
            }
            for held in &self.held {
                // SAFETY: the layout is not the object's, and 8 bytes behind its start there is none, so nothing is freed.
                let (other, inside) =
                    unsafe { (heap.free(held.start, layout(8)), heap.free(held.start.add(8), held.layout())) };
                assert!(matches!(other, Err(HeapError::WrongLayout { .. })), "{other:?}");
                assert!(inside.is_err(), "a free inside of {held:?} was taken for a good one");
                assert!(heap.is_live(held.start, held.layout()), "{held:?} is not live on CPU {cpu}");
            }
        }
    }

    /// What the heap says of itself is what is known of it.
    fn check_counts(&self) {
        let heap = &self.heap;
        for &size in self.shape.sizes {
            let held = self.held.iter().filter(|held| held.size == size).count();
            let counted = SizeClass::of(layout(size)).map(|class| heap.cache_stats(class).active_objects);
            assert_eq!(counted.unwrap_or_else(|| heap.large_stats().objects()), held, "objects of {size} bytes");
        }
        let HeapFrames { slabs, large, metadata, .. } = heap.frames();
        assert_eq!(slabs + large + metadata, u64::from(heap.source().count()), "frames are missing, or too many");
    }

    /// Frees everything, by all CPUs in turn. The heap has nothing then.
    fn take_down(&mut self) {
        for (nth, held) in self.held.drain(..).enumerate() {
            Turns::switch_to(nth % CPUS);
            // SAFETY: the object is ours, and nobody uses it.
            assert_eq!(unsafe { self.heap.free(held.start, held.layout()) }, Ok(()));
        }
        self.heap.shrink();
        assert_eq!((self.heap.frames(), self.heap.source().count()), (HeapFrames::default(), 0), "all was freed");
        assert_eq!(self.heap.validate(), Ok(()));
    }
}

impl States for Machine {
    type Step = Step;
    type State = Box<[Step]>;

    fn key(&self) -> u64 {
        let held = self.held.iter().fold(0, |hash: u64, held| {
            (hash.rotate_left(7) ^ held.start.addr().get() as u64 ^ held.size as u64)
                .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        });
        self.heap.hash() ^ self.heap.source().hash().rotate_left(1) ^ held
    }

    fn state(&mut self) -> Self::State {
        self.path.clone().into()
    }

    fn return_to(&mut self, state: &Self::State) {
        *self.heap = Heap::new(self.memory.source(self.shape.is_scarce));
        self.held.clear();
        self.path.clear();
        state.iter().for_each(|step| self.go(*step));
    }

    fn steps(&self) -> Vec<Step> {
        let mut all = vec![(0, Operation::Shrink)];
        for cpu in 0..CPUS as u8 {
            if self.held.len() < self.shape.most {
                all.extend(self.shape.sizes.iter().map(|size| (cpu, Operation::Allocate(*size))));
            }
            all.extend((0..self.held.len()).map(|nth| (cpu, Operation::Free(nth))));
            all.push((cpu, Operation::Retire));
        }
        all
    }

    fn go(&mut self, (cpu, operation): Step) {
        Turns::switch_to(cpu.into());
        self.path.push((cpu, operation));
        match operation {
            Operation::Allocate(size) => match self.heap.allocate(layout(size)) {
                Some(start) => self.hold(start, size),
                None => self.check_refusal(size),
            },
            Operation::Free(nth) => {
                let held = self.held.remove(nth);
                // SAFETY: the object is ours, and nobody uses it.
                assert_eq!(unsafe { self.heap.free(held.start, held.layout()) }, Ok(()));
            }
            Operation::Retire => self.heap.retire_cpu(),
            Operation::Shrink => _ = self.heap.shrink(),
        }
    }

    /// Bad frees come first, while what others have freed is still to be taken over; then again, when that is done and nothing changes any
    /// more. In the end all is freed, and the heap must have nothing.
    fn check(&mut self) {
        self.check_bad_frees();
        assert_eq!(self.heap.validate(), Ok(()));
        let before = self.key();
        self.check_bad_frees();
        assert_eq!((self.heap.validate(), self.key()), (Ok(()), before), "a bad free has changed something");
        self.check_counts();
        self.take_down();
    }
}
