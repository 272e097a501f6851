//! Colours. Those of mobilities are Okabe and Ito's, which are told apart by (nearly) everybody; from some pixels a frame on a
//! pattern says the same.

use bifolio::allocator::{BlockInfo, BlockState};
use bifolio::frame::{Mobility, Order};

/// What a frame is, in a byte: 0 where there is none.
pub type Code = u8;

/// How many codes there are.
pub const CODES: usize = 1 + 4 * Mobility::COUNT * Order::COUNT;

const STATES: [BlockState; 4] = [BlockState::Free, BlockState::Allocated, BlockState::Cached, BlockState::Reserved];
const _: () = assert!(CODES <= 256);

/// The code of all frames of a block.
pub fn code(block: &BlockInfo) -> Code {
    let state = STATES.iter().position(|state| *state == block.state).unwrap_or(0);
    (1 + (state * Mobility::COUNT + block.mobility.index()) * Order::COUNT + block.order.index()) as Code
}

/// What a code stands for.
pub fn meaning(code: Code) -> Option<(BlockState, Mobility, Order)> {
    let code = usize::from(code).checked_sub(1)?;
    let (kind, order) = (code / Order::COUNT, code % Order::COUNT);
    let mobility = Mobility::ALL.into_iter().find(|mobility| mobility.index() == kind % Mobility::COUNT)?;
    Some((*STATES.get(kind / Mobility::COUNT)?, mobility, Order::new(order as u8)?))
}

/// A colour as the bytes red, green, blue.
pub type Rgb = [u8; 3];

/// The colours of a page that is light or dark.
#[derive(Debug)]
pub struct Palette {
    /// Behind everything.
    pub background: Rgb,
    /// The lines between blocks, by code.
    pub lines: [Rgb; CODES],
    /// Frames, by code.
    pub fills: [Rgb; CODES],
    /// The pattern on frames, by code.
    pub marks: [Rgb; CODES],
}

/// The patterns by which kinds are told apart without colour.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pattern {
    /// None.
    Plain,
    /// Lines from the lower left to the upper right.
    Rising,
    /// Dots.
    Dots,
    /// Lines in both directions.
    Crossed,
    /// Lines from left to right.
    Level,
}

/// The pattern of a code.
pub fn pattern(code: Code) -> Pattern {
    match meaning(code) {
        Some((BlockState::Allocated, Mobility::Unmovable, _)) => Pattern::Rising,
        Some((BlockState::Allocated, Mobility::Reclaimable, _)) => Pattern::Dots,
        Some((BlockState::Allocated, Mobility::HighAtomic, _)) => Pattern::Crossed,
        Some((BlockState::Cached, ..)) => Pattern::Level,
        Some((BlockState::Reserved, ..)) => Pattern::Rising,
        _ => Pattern::Plain,
    }
}

/// Whether the pattern has a mark at this pixel.
pub fn is_marked(pattern: Pattern, x: usize, y: usize) -> bool {
    match pattern {
        Pattern::Plain => false,
        Pattern::Rising => (x + y) % 8 < 2,
        Pattern::Dots => x % 6 < 2 && y % 6 < 2,
        Pattern::Crossed => (x + y) % 8 < 1 || (x + 8 - y % 8) % 8 < 1,
        Pattern::Level => y % 4 < 1,
    }
}

impl Palette {
    /// The colours of a page.
    pub fn new(is_dark: bool) -> Self {
        let background = if is_dark { [0x10, 0x14, 0x1a] } else { [0xf6, 0xf7, 0xf9] };
        let mut palette =
            Self { background, lines: [background; CODES], fills: [background; CODES], marks: [background; CODES] };
        for code in 1..CODES {
            let fill = fill(code as Code, is_dark);
            palette.fills[code] = fill;
            let is_free = matches!(meaning(code as Code), Some((BlockState::Free, ..)));
            palette.lines[code] = match (is_free, is_dark) {
                (true, false) => [0xb4, 0xbc, 0xc8],
                (true, true) => [0x3c, 0x46, 0x54],
                (false, false) => [0xf6, 0xf7, 0xf9],
                (false, true) => [0x10, 0x14, 0x1a],
            };
            palette.marks[code] = mixed(fill, if is_dark { [0, 0, 0] } else { [0xff, 0xff, 0xff] }, 72);
        }
        palette
    }
}

/// The colour of the frames of a code.
fn fill(code: Code, is_dark: bool) -> Rgb {
    let Some((state, mobility, _)) = meaning(code) else { return [0; 3] };
    match state {
        BlockState::Free if is_dark => mixed([0x1a, 0x20, 0x29], kind(mobility, true), 26),
        BlockState::Free => mixed([0xff, 0xff, 0xff], kind(mobility, false), 26),
        BlockState::Allocated => kind(mobility, is_dark),
        BlockState::Cached if is_dark => [0x12, 0xa0, 0x78],
        BlockState::Cached => [0x00, 0x9e, 0x73],
        BlockState::Reserved if is_dark => [0x4a, 0x52, 0x5e],
        BlockState::Reserved => [0xc3, 0xc9, 0xd2],
    }
}

/// The colour of a mobility.
pub fn kind(mobility: Mobility, is_dark: bool) -> Rgb {
    match mobility {
        Mobility::Unmovable => [0xd5, 0x5e, 0x00],
        Mobility::Movable if is_dark => [0x2c, 0x84, 0xc8],
        Mobility::Movable => [0x00, 0x72, 0xb2],
        Mobility::Reclaimable => [0xf0, 0xbe, 0x28],
        Mobility::HighAtomic => [0xcc, 0x79, 0xa7],
        _ => [0x80, 0x80, 0x80],
    }
}

/// `part` 256ths of one colour in another.
fn mixed(base: Rgb, other: Rgb, part: u32) -> Rgb {
    core::array::from_fn(|n| ((u32::from(base[n]) * (256 - part) + u32::from(other[n]) * part) / 256) as u8)
}
