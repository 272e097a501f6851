//! What a stretch of operations prefers: a run that does a little of everything all the time never fills a slab, nor
//! empties one.

use bifolio::frame::Order;

use crate::choices::Choices;

/// Which sizes.
#[derive(Clone, Copy)]
enum Sizes {
    /// Half of them below 16 bytes, half of the others below 32, and so on, up to so many doublings.
    Halving(u32),
    /// All below this alike.
    Uniform(usize),
    /// These alone, which fills slabs.
    Few([usize; 3]),
    /// Blocks of frames.
    Large,
}

const SIZES: &[Sizes] = &[
    Sizes::Halving(10),
    Sizes::Halving(18),
    Sizes::Uniform(128),
    Sizes::Uniform(2048),
    Sizes::Uniform(10_000),
    Sizes::Few([8, 8, 8]),
    Sizes::Few([64, 96, 1024]),
    Sizes::Few([2048, 5000, 8192]),
    Sizes::Few([24, 4096, 9000]),
    Sizes::Large,
];

/// The alignments, as shifts, of which each is as likely as the next.
const ALIGNMENTS: &[&[u32]] = &[&[0], &[3], &[0, 1, 2, 3, 4], &[3, 3, 3, 3, 6, 12], &[0, 3, 5, 8, 11, 13, 14, 22]];

/// Preferences, until they are over.
pub(super) struct Phase {
    left: u64,
    /// How much of memory live objects tend to take, in thousandths; above what is there it runs into refusals.
    pub fill: u64,
    sizes: Sizes,
    alignments: &'static [u32],
    /// In thousandths of the operations.
    pub bad_frees: u64,
    pub oddities: u64,
    pub switches: u64,
}

impl Phase {
    pub fn random(random: &mut Choices) -> Self {
        let sizes = random.one_of(SIZES);
        let is_large = matches!(sizes, Sizes::Large);
        Self {
            left: if is_large { random.between(50, 300) } else { random.between(500, 20_000) },
            fill: random.one_of(&[0, 5, 50, 200, 500, 900, 1100]),
            sizes,
            alignments: if is_large { &[3] } else { random.one_of(ALIGNMENTS) },
            bad_frees: random.one_of(&[10, 30, 150]),
            oddities: random.one_of(&[20, 60, 200]),
            switches: random.one_of(&[1, 30, 300]),
        }
    }

    /// Counts an operation; true if it was the last.
    pub fn is_over(&mut self) -> bool {
        self.left = self.left.saturating_sub(1);
        self.left == 0
    }

    pub fn size_and_align(&self, random: &mut Choices) -> (usize, usize) {
        let size = match self.sizes {
            Sizes::Halving(most) => {
                let doublings = random.below(1 << most).trailing_zeros().min(most);
                1 + random.below(16 << doublings) as usize
            }
            Sizes::Uniform(below) => 1 + random.below(below as u64) as usize,
            Sizes::Few(sizes) => random.one_of(&sizes),
            Sizes::Large => {
                let most =
                    Order::new(random.below(1 << 8).trailing_zeros().min(8) as u8 + 2).expect("it is at most 10");
                // Now and then more than any block has.
                1 + random.below(most.bytes() + most.bytes() / 64) as usize
            }
        };
        (size, 1 << random.one_of(self.alignments))
    }
}
