//! Lab 3: zones and watermarks. `make lab N=3` builds this file, tries it and says what it is worth.
//!
//! Memory is in three zones, of which the lower ones are scarce: some devices reach nothing else. You decide which zone serves a
//! request, and whether any does. What hands out the blocks of a zone is given: `Buddies`, with `allocate`, `free`,
//! `free_frames` and `free_blocks`.
//!
//! The rules:
//! - A request names the highest zone that will do, `request.highest`. That one is asked first, then the next lower one, and so
//!   on. The first that may give a block, and has a free one that is large enough, gives it.
//! - A zone may give a block if enough is left behind it. How much that is depends on the request, `memory.zones` says it:
//!   `Normal` requests leave `low` frames, `High` ones `min`, and both leave `reserve` frames more in a zone that is lower than
//!   their highest: they could have had another. `Emergency` requests leave nothing.
//! - A request that no zone serves is refused as `OutOfMemory`; orders above `MAX_ORDER` are `TooLarge`.
//! - Everything is freed to the zone that it is in: `memory.zone_of(frame)`. What is wrong with a free, `Buddies` says.
//!
//! This file is compiled without `std` and without `unsafe`, for the host and for the kernel.
//! `Memory`, `Request` and the rest of `labs` are in `tests/labs/src/piece.rs`, `Buddies` is in `given.rs` there.

use labs::given::Buddies;
use labs::{BadFree, Frame, Frames, MAX_ORDER, Memory, Refused, Request, Urgency, Zone};

/// Zones that there are.
const ZONES: usize = 3;

/// Your allocator. Put into it what it has to remember.
pub struct Piece {
    zones: [Buddies; ZONES],
    memory: Memory,
}

impl Frames for Piece {
    fn new(memory: Memory) -> Self {
        let zones = core::array::from_fn(|zone| Buddies::new(memory.of_zone(zone)));
        Self { zones, memory }
    }

    fn allocate(&mut self, request: Request) -> Result<Frame, Refused> {
        todo!("a block of order {} from the first zone that may give it", request.order)
    }

    fn free(&mut self, frame: Frame, order: u8) -> Result<(), BadFree> {
        todo!("give {frame:#x}, of order {order}, back to its zone")
    }

    fn free_blocks(&self, order: u8) -> u64 {
        todo!("how many blocks of order {order} are free, in all zones")
    }
}

/// The first test, of a piece that has three zones of 15, 15 and 32 frames. `make lab N=3` runs it, and has more.
pub fn first_test(mut piece: Piece) {
    let request = |urgency| Request::of(3).up_to(1, urgency);
    // Zone 1 has 15 frames and must keep 4 of them: 8 can go, and 8 more only in an emergency.
    assert!((0x1010..0x101f).contains(&piece.allocate(request(Urgency::Normal)).expect("it may be had")));
    // Zone 1 has 7 left. Zone 0 has 15, keeps 3 of them, and 4 more from what could have zone 1.
    assert!((0x1000..0x100f).contains(&piece.allocate(request(Urgency::Normal)).expect("from the zone below")));
    assert_eq!(piece.allocate(request(Urgency::Normal)), Err(Refused::OutOfMemory), "there are 7 frames in each");
}
