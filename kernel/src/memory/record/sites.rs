//! Where in the program operations are asked for: chains of return addresses, each by a number.

/// Places for chains: a power of two.
const PLACES: usize = 4096;
/// Places that a chain can have.
const TRIES: usize = 16;
/// Odd, and its bits in no order.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// The chains that are known, by a hash of each: its number is one more than its place.
pub(super) struct Sites {
    known: [u64; PLACES],
    lost: u64,
}

impl Sites {
    pub(super) const fn new() -> Self {
        Self { known: [0; PLACES], lost: 0 }
    }

    /// How many operations were without a number since there was no room for their chains.
    pub(super) fn lost(&self) -> u64 {
        self.lost
    }

    /// The number of a chain, and whether this is the first time that it is asked for; 0 if there is no room.
    pub(super) fn number_of(&mut self, addresses: &[u64]) -> (u32, bool) {
        let mix = |hash: u64, address: &u64| (hash ^ address).wrapping_mul(SPREAD).rotate_left(23);
        let hash = addresses.iter().fold(SPREAD, mix).max(1);
        let first = (hash >> 32) as usize;
        for place in (first..first + TRIES).map(|place| place % PLACES) {
            let known = &mut self.known[place];
            let is_new = *known == 0;
            if is_new {
                *known = hash;
            }
            if *known == hash {
                return (place as u32 + 1, is_new);
            }
        }
        self.lost += 1;
        (0, false)
    }
}
