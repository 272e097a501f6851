//! Lab 3: zones and watermarks.

use labs::given::Buddies;
use labs::{BadFree, Frame, Frames, MAX_ORDER, Memory, Refused, Request, Urgency, Zone};

/// Zones that there are.
const ZONES: usize = 3;

/// The allocator: the blocks of each zone, and what each keeps for whom.
pub struct Piece {
    rules: &'static [Zone],
    zones: [Buddies; ZONES],
    memory: Memory,
}

impl Piece {
    /// How many frames a request has to leave in a zone.
    fn kept(&self, zone: usize, request: Request) -> u64 {
        let rules = &self.rules[zone];
        let reserve = if request.highest > zone { rules.reserve } else { 0 };
        match request.urgency {
            Urgency::Normal => rules.low + reserve,
            Urgency::High => rules.min + reserve,
            Urgency::Emergency => 0,
        }
    }
}

impl Frames for Piece {
    fn new(memory: Memory) -> Self {
        let zones = core::array::from_fn(|zone| Buddies::new(memory.of_zone(zone)));
        Self { rules: memory.zones, zones, memory }
    }

    fn allocate(&mut self, request: Request) -> Result<Frame, Refused> {
        if request.order > MAX_ORDER {
            return Err(Refused::TooLarge);
        }
        for zone in (0..=request.highest).rev() {
            let left = self.zones[zone].free_frames().checked_sub(1 << request.order);
            if left.is_none_or(|left| left < self.kept(zone, request)) {
                continue;
            }
            if let Some(frame) = self.zones[zone].allocate(request.order) {
                return Ok(frame);
            }
        }
        Err(Refused::OutOfMemory)
    }

    fn free(&mut self, frame: Frame, order: u8) -> Result<(), BadFree> {
        let zone = self.memory.zone_of(frame);
        self.zones[zone].free(frame, order)
    }

    fn free_blocks(&self, order: u8) -> u64 {
        self.zones.iter().map(|zone| zone.free_blocks(order)).sum()
    }
}

/// The first test, of a piece that has three zones of 15, 15 and 32 frames.
pub fn first_test(mut piece: Piece) {
    let request = |urgency| Request::of(3).up_to(1, urgency);
    // Zone 1 has 15 frames and must keep 4 of them: 8 can go, and 8 more only in an emergency.
    assert!((0x1010..0x101f).contains(&piece.allocate(request(Urgency::Normal)).expect("it may be had")));
    // Zone 1 has 7 left. Zone 0 has 15, keeps 3 of them, and 4 more from what could have zone 1.
    assert!((0x1000..0x100f).contains(&piece.allocate(request(Urgency::Normal)).expect("from the zone below")));
    assert_eq!(piece.allocate(request(Urgency::Normal)), Err(Refused::OutOfMemory), "there are 7 frames in each");
}
