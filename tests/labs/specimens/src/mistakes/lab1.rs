//! Mistakes in a free list.

use super::Mistake;

pub(super) const MISTAKES: &[Mistake] = &[
    Mistake {
        lab: 1,
        name: "a double free is accepted",
        edits: &[(
            "        if *self.word(frame) != IN_USE {\n            return Err(BadFree::AlreadyFree);\n        }\n",
            "",
        )],
        fails: &["a double free is refused"],
        says: "the free of order 0 at 0x1000 was accepted, and must be refused as AlreadyFree: that is free already",
        operations: 3,
    },
    Mistake {
        lab: 1,
        name: "the last frame is left out",
        edits: &[("range.clone().rev()", "(range.start..range.end - 1).rev()")],
        fails: &["each frame is handed out, and once", "what is freed is handed out again", "free frames are counted"],
        says: "order 0 was refused as OutOfMemory: the frames 0x100f..0x1010 are a free block",
        operations: 16,
    },
    Mistake {
        lab: 1,
        name: "one frame behind the end",
        edits: &[("range.clone().rev()", "(range.start..range.end + 1).rev()")],
        fails: &[
            "each frame is handed out, and once",
            "what is freed is handed out again",
            "free frames are counted",
            "larger blocks are refused",
            "a double free is refused",
            "a free of what is not memory is refused",
            "a free with a wrong order is refused",
        ],
        says: "it panicked: index out of bounds: the len is 16 but the index is 16, at lab1_one_frame_behind_the_end.rs:21",
        operations: 0,
    },
    Mistake {
        lab: 1,
        name: "holes are handed out",
        edits: &[("range.clone().rev()", "(range.start..piece.memory.end()).rev()")],
        fails: &["each frame is handed out, and once", "what is freed is handed out again", "free frames are counted"],
        says: "frame 0x1010 was handed out, and is not memory of this allocator",
        operations: 26,
    },
    Mistake {
        lab: 1,
        name: "what is freed is lost",
        edits: &[(
            "        self.push(frame);\n        Ok(())",
            "        *self.word(frame) = LAST;\n        self.free += 1;\n        Ok(())",
        )],
        fails: &["what is freed is handed out again"],
        says: "order 0 was refused as OutOfMemory: the frames 0x100c..0x100d are a free block",
        operations: 18,
    },
    Mistake {
        lab: 1,
        name: "the list loses its tail",
        edits: &[("        let next = self.head;\n", "        let next = LAST;\n")],
        fails: &[
            "each frame is handed out, and once",
            "what is freed is handed out again",
            "a double free is refused",
            "a free with a wrong order is refused",
        ],
        says: "order 0 was refused as OutOfMemory: the frames 0x1001..0x1002 are a free block",
        operations: 2,
    },
    Mistake {
        lab: 1,
        name: "the count only rises",
        edits: &[("        self.free -= 1;\n", "")],
        fails: &["free frames are counted"],
        says: "free_blocks(0) says 16, and there are 15",
        operations: 1,
    },
    Mistake {
        lab: 1,
        name: "a frame for any order",
        edits: &[("        if request.order > 0 {\n            return Err(Refused::TooLarge);\n        }\n", "")],
        fails: &["larger blocks are refused"],
        says: "order 1 was served, with frame 0x1000: there is none here above 0",
        operations: 1,
    },
    Mistake {
        lab: 1,
        name: "any frame is looked up",
        edits: &[(
            "        if !self.memory.contains(frame) {\n            return Err(BadFree::NotMemory);\n        }\n",
            "",
        )],
        fails: &["a free of what is not memory is refused"],
        says: "it panicked: index out of bounds: the len is 16 but the index is 16, at lab1_any_frame_is_looked_up.rs:21",
        operations: 1,
    },
    Mistake {
        lab: 1,
        name: "the order of a free is ignored",
        edits: &[("        if order != 0 {\n            return Err(BadFree::WrongOrder);\n        }\n", "")],
        fails: &["a free with a wrong order is refused"],
        says: "the free of order 1 at 0x1000 was accepted, and must be refused as WrongOrder: the block there is not of that order",
        operations: 2,
    },
    Mistake {
        lab: 1,
        name: "the head stays where it is",
        edits: &[("        self.head = *self.word(frame);\n", "")],
        fails: &[
            "each frame is handed out, and once",
            "what is freed is handed out again",
            "a double free is refused",
            "a free with a wrong order is refused",
        ],
        says: "frame 0x1000 was handed out, and somebody has it already",
        operations: 2,
    },
    Mistake {
        lab: 1,
        name: "a ring is counted",
        edits: &[
            (
                "        if *self.word(frame) != IN_USE {\n            return Err(BadFree::AlreadyFree);\n        }\n",
                "",
            ),
            (
                "        if order == 0 { self.free } else { 0 }",
                "        let (mut at, mut count) = (self.head, 0);\n        while order == 0 && at != LAST {\n            \
                 at = self.memory.words[(at - 1 - self.memory.first()) as usize];\n            count += 1;\n        }\n        count",
            ),
            (
                "        self.push(frame);\n        Ok(())",
                "        self.push(frame);\n        let _ = self.free_blocks(0);\n        Ok(())",
            ),
        ],
        fails: &["a double free is refused"],
        says: "it hung: it never came back from this",
        operations: 3,
    },
];
