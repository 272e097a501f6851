//! The mistakes of lab 6. The first five are in the file that learners begin with, the others are wrong ways of mending one.

use super::Mistake;

/// So many are in that file.
pub const PLANTED: usize = 5;

pub(super) const MISTAKES: &[Mistake] = &[
    Mistake {
        lab: 6,
        name: "what is freed below the lowest is not found",
        edits: &[(
            "        self.lowest[usize::from(order)] = index.min(self.lowest[usize::from(order)]);\n",
            "        if order > 0 {\n            self.lowest[usize::from(order)] = index.min(self.lowest[usize::from(order)]);\n        }\n",
        )],
        fails: &["blocks are split, and each handed out once", "what is free is found"],
        says: "order 0 was refused as OutOfMemory: frame 0x1009 is free",
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
    Mistake {
        lab: 6,
        name: "a merged buddy is counted down twice",
        edits: &[(
            "=> self.take(index, order),",
            "=> {\n                    self.take(index, order);\n                    self.counts[usize::from(order)] -= 1;\n                }",
        )],
        fails: &[
            "blocks are split, and each handed out once",
            "what is free is found",
            "free blocks are counted",
            "larger blocks are refused",
            "a double free is refused",
            "a free inside a block is refused",
            "a free with a wrong order is refused",
            "a free of what is not memory is refused",
        ],
        says: "it panicked: attempt to subtract with overflow, at lab6_a_merged_buddy_is_counted_down_twice.rs:",
        operations: 0,
        boots: [&["stress", "bad_frees"], &["stress", "bad_frees"]],
    },
    Mistake {
        lab: 6,
        name: "another order is called inside",
        edits: &[(
            "Some(actual) if actual != order => Err(BadFree::WrongOrder)",
            "Some(actual) if actual != order => Err(BadFree::Inside)",
        )],
        fails: &["a free with a wrong order is refused"],
        says: "the free of order 2 at 0x1000 was refused as Inside: it is WrongOrder (the block there is not of that order)",
        operations: 2,
        boots: [&["bad_frees"], &["bad_frees"]],
    },
    Mistake {
        lab: 6,
        name: "what was freed is owned still",
        edits: &[(
            "                self.memory.words[index] = 0;\n                self.release(frame, order);\n",
            "                self.release(frame, order);\n",
        )],
        fails: &["a double free is refused", "a free inside a block is refused"],
        says: "the free of order 0 at 0x1002 was accepted, and must be refused as AlreadyFree: that is free already",
        operations: 5,
        boots: [&["bad_frees"], &["bad_frees"]],
    },
    Mistake {
        lab: 6,
        name: "what is free already may be freed",
        edits: &[("=> Err(BadFree::AlreadyFree),", "=> Ok(()),")],
        fails: &["a double free is refused"],
        says: "the free of order 0 at 0x1000 was accepted, and must be refused as AlreadyFree: that is free already",
        operations: 3,
        boots: [&["bad_frees"], &["bad_frees"]],
    },
    Mistake {
        lab: 6,
        name: "what lies inside is called free",
        edits: &[("            None => Err(BadFree::Inside),", "            None => Err(BadFree::AlreadyFree),")],
        fails: &["a free inside a block is refused"],
        says: "the free of order 0 at 0x1001 was refused as AlreadyFree: it is Inside (that lies inside of something allocated)",
        operations: 2,
        boots: [&["bad_frees"], &["bad_frees"]],
    },
];
