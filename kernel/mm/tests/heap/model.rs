//! Random operations against an oracle that knows nothing of slabs: a map of live byte ranges.

use std::collections::BTreeMap;

use kit::{Sound, scale};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::objects::{Object, TestHeap, assert_empties, bad_free, layout};
use crate::source::Blocks;

/// One step. Indices choose among what is there when the step is taken.
#[derive(Clone, Debug)]
enum Step {
    Allocate { size: usize, align_shift: u32 },
    Free { index: usize },
    Resize { index: usize, size: usize },
    FreeAgain { index: usize },
    FreeInside { index: usize, offset: usize },
    FreeAs { index: usize, size: usize },
    FreeNowhere { address: usize, size: usize },
    Refuse { after: Option<u64> },
    Shrink,
}

fn size() -> impl Strategy<Value = usize> {
    prop_oneof![
        8 => 1..=128usize,
        4 => 1..=2048usize,
        2 => 1..=10_000usize,
        1 => 1..=300_000usize,
        // The same few sizes again and again fill slabs.
        8 => prop_oneof![Just(2048usize), Just(5000), Just(8192)],
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        10 => (size(), prop_oneof![4 => 0..=4u32, 1 => 0..=14u32])
            .prop_map(|(size, align_shift)| Step::Allocate { size, align_shift }),
        7 => any::<usize>().prop_map(|index| Step::Free { index }),
        2 => (any::<usize>(), size()).prop_map(|(index, size)| Step::Resize { index, size }),
        1 => any::<usize>().prop_map(|index| Step::FreeAgain { index }),
        1 => (any::<usize>(), any::<usize>()).prop_map(|(index, offset)| Step::FreeInside { index, offset }),
        1 => (any::<usize>(), size()).prop_map(|(index, size)| Step::FreeAs { index, size }),
        1 => (1..usize::MAX, size()).prop_map(|(address, size)| Step::FreeNowhere { address, size }),
        1 => prop_oneof![Just(None), (0..4u64).prop_map(Some)].prop_map(|after| Step::Refuse { after }),
        1 => Just(Step::Shrink),
    ]
}

/// What must be true of the heap, known from the outside.
struct Model {
    heap: TestHeap,
    /// Live objects by their first address.
    live: BTreeMap<usize, Object>,
    /// Layouts of objects that were freed, and where they were.
    freed: Vec<(usize, std::alloc::Layout)>,
    refusing: bool,
    seed: u8,
}

impl Model {
    fn nth(&self, index: usize) -> Option<usize> {
        self.live.keys().nth(index % self.live.len().max(1)).copied()
    }

    fn insert(&mut self, object: Object) {
        let before = self.live.range(..object.start()).next_back();
        let after = self.live.range(object.start()..).next();
        assert!(before.is_none_or(|(_, other)| other.end() <= object.start()), "{object:?} overlaps {before:?}");
        assert!(after.is_none_or(|(&start, _)| object.end() <= start), "{object:?} overlaps {after:?}");
        self.live.insert(object.start(), object);
    }

    /// Whether freeing must succeed by the contract: a live object's start, with a layout that amounts to the same.
    fn is_good_free(&self, address: usize, layout: std::alloc::Layout) -> bool {
        let size_of = TestHeap::usable_size;
        self.live.get(&address).is_some_and(|object| size_of(object.layout) == size_of(layout))
    }

    fn refuse(&self, address: usize, layout: std::alloc::Layout) {
        if address != 0 && !self.is_good_free(address, layout) {
            bad_free(&self.heap, address, layout);
        }
    }

    fn take(&mut self, step: Step) {
        self.seed = self.seed.wrapping_add(1);
        match step {
            Step::Allocate { size, align_shift } => {
                match Object::try_new(&self.heap, layout(size, 1 << align_shift), self.seed) {
                    Some(object) => self.insert(object),
                    None => assert!(self.refusing, "{size} bytes refused while there is memory"),
                }
            }
            Step::Free { index } => {
                if let Some(object) = self.nth(index).and_then(|start| self.live.remove(&start)) {
                    self.freed.push((object.start(), object.layout));
                    object.free(&self.heap);
                }
            }
            Step::Resize { index, size } => {
                if let Some(mut object) = self.nth(index).and_then(|start| self.live.remove(&start)) {
                    let resized = object.resize(&self.heap, size);
                    assert!(resized || self.refusing, "{size} bytes refused while there is memory");
                    self.insert(object);
                }
            }
            Step::FreeAgain { index } => {
                if let Some(&(address, layout)) = self.freed.get(index % self.freed.len().max(1)) {
                    self.refuse(address, layout);
                }
            }
            Step::FreeInside { index, offset } => {
                if let Some(object) = self.nth(index).map(|start| &self.live[&start])
                    && object.layout.size() > 1
                {
                    self.refuse(object.start() + 1 + offset % (object.layout.size() - 1), object.layout);
                }
            }
            Step::FreeAs { index, size } => {
                if let Some(start) = self.nth(index) {
                    self.refuse(start, layout(size, 1));
                }
            }
            Step::FreeNowhere { address, size } => self.refuse(address, layout(size, 1)),
            Step::Refuse { after } => {
                self.heap.source().refuse_after(after);
                self.refusing = after.is_some();
            }
            Step::Shrink => {
                self.heap.shrink();
            }
        }
        self.heap.sound();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: scale::rounds(150) as u32, ..ProptestConfig::default() })]

    #[test]
    fn the_heap_agrees_with_the_oracle(steps in vec(step(), 1..250)) {
        let heap = TestHeap::new(Blocks::new(1 << 15));
        let mut model = Model { heap, live: BTreeMap::new(), freed: Vec::new(), refusing: false, seed: 0 };
        for step in steps {
            model.take(step);
        }
        for object in model.live.into_values() {
            object.free(&model.heap);
            model.heap.sound();
        }
        assert_empties(&model.heap);
    }
}
