//! The mistakes of lab 6. All five are in the file that learners begin with.

use super::Mistake;

pub(super) const MISTAKES: &[Mistake] = &[
    Mistake {
        lab: 6,
        name: "what is freed below the lowest is not found",
        edits: &[(
            "        self.lowest[usize::from(order)] = index.min(self.lowest[usize::from(order)]);\n",
            "        if order > 0 {\n            self.lowest[usize::from(order)] = index.min(self.lowest[usize::from(order)]);\n        }\n",
        )],
        fails: &["blocks are split, and each handed out once", "what is free is found"],
        says: "order 0 was refused as OutOfMemory: the frames 0x1009..0x100a are a free block",
        operations: 6,
        boots: [&[], &[]],
    },
    Mistake {
        lab: 6,
        name: "a merged buddy is counted still",
        edits: &[(
            "Some(index) if self.is_free(index, order) => self.take(index, order),",
            "Some(index) if self.is_free(index, order) => self.memory.words[index] = 0,",
        )],
        fails: &["free blocks are counted"],
        says: "free_blocks(0) says 8, and there are 0",
        operations: 1,
        boots: [&["stress"], &["stress"]],
    },
    Mistake {
        lab: 6,
        name: "the largest free blocks are not looked at",
        edits: &[("        (0..=MAX_ORDER).any(|order| {", "        (0..MAX_ORDER).any(|order| {")],
        fails: &["a double free is refused"],
        says: "the free of order 1 at 0x1000 was refused as Inside: it is AlreadyFree (that is free already)",
        operations: 3,
        boots: [&[], &[]],
    },
    Mistake {
        lab: 6,
        name: "a free of less than there is",
        edits: &[("Some(actual) if actual != order =>", "Some(actual) if actual < order =>")],
        fails: &["a free with a wrong order is refused"],
        says: "the free of order 0 at 0x1000 was accepted, and must be refused as WrongOrder: the block there is not of that order",
        operations: 2,
        boots: [&["bad_frees"], &["bad_frees"]],
    },
    Mistake {
        lab: 6,
        name: "the end is one of them",
        edits: &[("frame >= range.start && frame < range.end", "frame >= range.start && frame <= range.end")],
        fails: &["a free of what is not memory is refused"],
        says: "the free of order 0 at 0x1010 was refused as Inside: it is NotMemory (that is not memory of this allocator)",
        operations: 1,
        boots: [&["bad_frees"], &["bad_frees"]],
    },
];
