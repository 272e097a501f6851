//! What each lab asks, and what it is worth.

use alloc::vec::Vec;

use crate::judge::{Kind, Rules};
use crate::layout::{BATCHED, LAYOUTS, Layout, SLABBED, ZONED};
use crate::operation::{Mix, Wanted};
use crate::subject::Subject;

/// A lab.
#[derive(Debug)]
pub struct Lab {
    /// Its number, from 1 on.
    pub number: u8,
    /// What it is about.
    pub title: &'static str,
    /// What the signs in its pictures mean.
    pub legend: &'static str,
    /// The largest order that the piece serves.
    pub largest: u8,
    /// The memory that it is tried on.
    pub layouts: &'static [Layout],
    /// Points for a piece that builds, on the host and for the kernel.
    pub builds: u32,
    /// What is tried on the host.
    pub exams: &'static [Exam],
    /// Points for a piece that leaves large blocks large, and how many of a thousand free frames must be in such.
    pub fragmentation: Option<(u32, u64)>,
    /// What is tried in a booted kernel.
    pub boots: &'static [Booted],
    /// Frames that the memory spans which it is given in a booted kernel.
    pub booted_frames: u64,
    /// Points for a piece that is not slow: as many instructions may an operation take on average, in a booted kernel.
    pub instructions: (u32, u64),
}

/// Something that is tried on the host, with sequences of one kind.
#[derive(Debug)]
pub struct Exam {
    /// What must hold.
    pub name: &'static str,
    /// Points.
    pub points: u32,
    mix: Mix,
    /// The mistakes that cost its points. With any other a sequence ends, and what comes behind it is not judged.
    pub kinds: &'static [Kind],
}

/// Something that is tried in a booted kernel.
#[derive(Debug)]
pub struct Booted {
    /// What must hold.
    pub name: &'static str,
    /// Points.
    pub points: u32,
    /// The kernel's test.
    pub test: &'static str,
    /// On a machine with so many CPUs.
    pub cpus: u32,
}

/// What [`Lab::fragmentation`] is called.
pub const FRAGMENTATION: &str = "large blocks are kept whole";
/// What [`Lab::instructions`] is called.
pub const INSTRUCTIONS: &str = "an operation takes few instructions";

/// As often something must have gone right for an exam's points to be given, in all its sequences together: a piece that does nothing does
/// nothing wrong.
pub const LEAST: usize = 20;
/// Sequences of each exam in little memory, where they are short.
const ROUNDS: u64 = 20;
/// The same in more.
const ROUNDS_IN_MORE: u64 = 5;
/// As many frames are little.
const LITTLE: u64 = 64;

const GOOD: Mix = Mix::GOOD;

const SERVES: &[Kind] = &[Kind::Served, Kind::Refused, Kind::NotTakenBack];
/// What comes of being disturbed, sooner or later.
const RACES: &[Kind] = &[Kind::Served, Kind::Refused, Kind::NotTakenBack, Kind::Took, Kind::Kept, Kind::GaveAway];
const REFUSES: &[Kind] = &[Kind::Accepted, Kind::Reason];

const BLOCKS: &str = "\
    (. free, | the first of a free block; 0 to A the first of an allocated block, and its order, # the rest of it;\n \
    + allocated in part, : free blocks; ^ what the last operation was about. What is shown is what should be.)";
const OBJECTS: &str = "\
    (. free, | the first of a free slot; 0 to B the first of an object, and its class, # the rest of it;\n \
    + used in part, : free slots; ^ what the last operation was about. What is shown is what should be.)";
const CACHED: &str = "\
    (. free in a batch of some CPU, 0 to 3 somebody's, from a batch of that CPU; ? somebody's, and in no batch;\n \
    ^ what the last operation was about. What is set in came in the middle of what stands above it.)";

/// Whether free blocks are counted.
const fn counts(points: u32) -> Exam {
    Exam { name: "free blocks are counted", points, mix: GOOD, kinds: &[Kind::Counts] }
}

/// Whether blocks larger than the largest are refused.
const fn too_large(points: u32) -> Exam {
    Exam { name: "larger blocks are refused", points, mix: Mix { too_large: 200, ..GOOD }, kinds: &[Kind::TooLarge] }
}

/// Whether a double free is refused.
const fn double_free(points: u32) -> Exam {
    Exam { name: "a double free is refused", points, mix: Mix { again: 200, ..GOOD }, kinds: REFUSES }
}

/// Whether a free inside a block is refused.
const fn inside(points: u32) -> Exam {
    Exam { name: "a free inside a block is refused", points, mix: Mix { inside: 200, ..GOOD }, kinds: REFUSES }
}

/// Whether a free with a wrong order is refused.
const fn wrong_order(points: u32) -> Exam {
    Exam { name: "a free with a wrong order is refused", points, mix: Mix { wrong_order: 200, ..GOOD }, kinds: REFUSES }
}

/// Whether a free of what is not memory is refused.
const fn foreign(points: u32) -> Exam {
    Exam { name: "a free of what is not memory is refused", points, mix: Mix { foreign: 200, ..GOOD }, kinds: REFUSES }
}

/// All labs.
pub static LABS: &[Lab] = &[
    Lab {
        number: 1,
        title: "a free list",
        legend: BLOCKS,
        largest: 0,
        layouts: LAYOUTS,
        builds: 5,
        exams: &[
            Exam {
                name: "each frame is handed out, and once",
                points: 20,
                mix: Mix { keeps_all: true, ..GOOD },
                kinds: SERVES,
            },
            Exam { name: "what is freed is handed out again", points: 15, mix: GOOD, kinds: SERVES },
            Exam { name: "free frames are counted", points: 5, mix: GOOD, kinds: &[Kind::Counts] },
            too_large(5),
            double_free(10),
            foreign(5),
            wrong_order(5),
        ],
        fragmentation: None,
        boots: BOOTS,
        booted_frames: 4096,
        instructions: (5, 300),
    },
    Lab {
        number: 2,
        title: "buddies",
        legend: BLOCKS,
        largest: 10,
        layouts: LAYOUTS,
        builds: 5,
        exams: &[
            Exam {
                name: "blocks are split, and each handed out once",
                points: 15,
                mix: Mix { keeps_all: true, ..GOOD },
                kinds: SERVES,
            },
            Exam { name: "what is freed is merged", points: 15, mix: GOOD, kinds: SERVES },
            counts(5),
            too_large(5),
            double_free(5),
            inside(5),
            wrong_order(5),
            foreign(5),
        ],
        fragmentation: Some((5, 500)),
        boots: BOOTS,
        booted_frames: 4096,
        instructions: (5, 800),
    },
    Lab {
        number: 3,
        title: "zones and watermarks",
        legend: BLOCKS,
        largest: 10,
        layouts: ZONED,
        builds: 5,
        exams: &[
            Exam {
                name: "each frame is handed out in an emergency, and once",
                points: 10,
                mix: Mix { keeps_all: true, emergency: true, ..GOOD },
                kinds: SERVES,
            },
            Exam { name: "the highest zone that may give does", points: 15, mix: GOOD, kinds: &[Kind::Zone] },
            Exam { name: "marks and reserves hold", points: 20, mix: GOOD, kinds: &[Kind::Mark] },
            Exam { name: "what may be given is given", points: 15, mix: GOOD, kinds: &[Kind::Refused] },
            counts(5),
            double_free(5),
        ],
        fragmentation: None,
        boots: BOOTS,
        booted_frames: 4096,
        // What is given takes most of them.
        instructions: (0, 20_000),
    },
    Lab {
        number: 4,
        title: "bitmap slabs",
        legend: OBJECTS,
        largest: 0,
        layouts: SLABBED,
        builds: 5,
        exams: &[
            Exam {
                name: "each object has a place of its own",
                points: 10,
                mix: Mix { keeps_all: true, ..GOOD },
                kinds: SERVES,
            },
            Exam { name: "what is freed is handed out again", points: 10, mix: GOOD, kinds: SERVES },
            Exam { name: "objects lie among those of their class", points: 5, mix: GOOD, kinds: &[Kind::Class] },
            Exam { name: "a frame is taken only if no slot is free", points: 5, mix: GOOD, kinds: &[Kind::Took] },
            Exam { name: "an empty slab is given back", points: 10, mix: GOOD, kinds: &[Kind::Kept, Kind::GaveAway] },
            Exam {
                name: "larger objects are refused",
                points: 5,
                mix: Mix { too_large: 200, ..GOOD },
                kinds: &[Kind::TooLarge],
            },
            double_free(5),
            Exam {
                name: "a free inside an object is refused",
                points: 5,
                mix: Mix { inside: 200, ..GOOD },
                kinds: REFUSES,
            },
            Exam {
                name: "a free with a wrong size is refused",
                points: 5,
                mix: Mix { wrong_order: 200, ..GOOD },
                kinds: REFUSES,
            },
            foreign(5),
        ],
        fragmentation: None,
        boots: BOOTS,
        booted_frames: 128,
        instructions: (5, 2000),
    },
    Lab {
        number: 5,
        title: "a cache for each CPU",
        legend: CACHED,
        largest: 0,
        layouts: BATCHED,
        builds: 5,
        exams: &[
            Exam {
                name: "each frame is handed out, and once",
                points: 10,
                mix: Mix { keeps_all: true, ..GOOD },
                kinds: SERVES,
            },
            Exam { name: "what is freed is handed out again", points: 5, mix: GOOD, kinds: SERVES },
            Exam { name: "a batch is taken only if no frame is free", points: 10, mix: GOOD, kinds: &[Kind::Took] },
            Exam {
                name: "what is not needed is given back",
                points: 5,
                mix: GOOD,
                kinds: &[Kind::Kept, Kind::GaveAway],
            },
            Exam {
                name: "an interrupt may come at any step",
                points: 15,
                mix: Mix { interrupts: 300, ..GOOD },
                kinds: RACES,
            },
            Exam {
                name: "other CPUs may come at any step",
                points: 15,
                mix: Mix { meetings: 300, ..GOOD },
                kinds: RACES,
            },
            double_free(5),
            foreign(5),
        ],
        fragmentation: None,
        boots: BOOTS_OF_CACHES,
        booted_frames: 512,
        instructions: (0, 2000),
    },
    Lab {
        number: 6,
        title: "five mistakes",
        legend: BLOCKS,
        largest: 10,
        layouts: LAYOUTS,
        builds: 5,
        exams: &[
            Exam {
                name: "blocks are split, and each handed out once",
                points: 5,
                mix: Mix { keeps_all: true, ..GOOD },
                kinds: SERVES,
            },
            Exam { name: "what is free is found", points: 12, mix: GOOD, kinds: SERVES },
            counts(12),
            too_large(1),
            double_free(12),
            inside(1),
            wrong_order(12),
            foreign(12),
        ],
        fragmentation: None,
        boots: BOOTS,
        booted_frames: 4096,
        instructions: (3, 4000),
    },
];

/// What every piece is tried at in a booted kernel.
const BOOTS: &[Booted] = &[
    Booted { name: "it works in a kernel", points: 10, test: "stress", cpus: 1 },
    Booted { name: "it works with four CPUs", points: 10, test: "stress", cpus: 4 },
    Booted { name: "it stands bad frees in a kernel", points: 5, test: "bad_frees", cpus: 1 },
];

/// The same of pieces that work on several CPUs at a time.
const BOOTS_OF_CACHES: &[Booted] = &[
    Booted { name: "it works in a kernel, with interrupts", points: 10, test: "stress", cpus: 1 },
    Booted { name: "it works with four CPUs", points: 10, test: "stress", cpus: 4 },
    Booted { name: "it stands bad frees in a kernel", points: 5, test: "bad_frees", cpus: 1 },
];

impl Lab {
    /// The lab with this number.
    pub fn find(number: u8) -> Option<&'static Self> {
        LABS.iter().find(|lab| lab.number == number)
    }

    /// All points that it gives.
    pub fn points(&self) -> u32 {
        let exams: u32 = self.exams.iter().map(|exam| exam.points).sum();
        let boots: u32 = self.boots.iter().map(|boot| boot.points).sum();
        let fragmentation = self.fragmentation.map_or(0, |(points, _)| points);
        self.builds + exams + boots + fragmentation + self.instructions.0
    }
}

impl Exam {
    /// The rules that it holds a piece of the lab to.
    pub fn rules(&self, lab: &Lab) -> Rules {
        Rules { largest: lab.largest, counts: self.kinds.contains(&Kind::Counts) }
    }

    /// Its sequences, in the order in which they are tried: small memory first.
    pub fn sequences<S: Subject>(
        &self,
        lab: &Lab,
        seed: u64,
    ) -> impl Iterator<Item = (&'static Layout, Vec<S::Operation>)> {
        lab.layouts.iter().enumerate().flat_map(move |(number, layout)| {
            (0..if layout.frames() <= LITTLE { ROUNDS } else { ROUNDS_IN_MORE }).map(move |round| {
                let wanted = Wanted {
                    mix: self.mix,
                    largest: lab.largest,
                    zones: layout.zones.len(),
                    length: S::length(layout, self.mix.keeps_all),
                    frames: layout.ranges,
                };
                (layout, S::sequence(seed << 16 | (number as u64) << 8 | round, wanted))
            })
        })
    }
}
