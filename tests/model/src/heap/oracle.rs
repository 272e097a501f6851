//! The oracle of the heap: which blocks it has, and which slots of them are live objects. It shares no code with the heap:
//! sizes follow from a rule of its own, and slots from counting.

use std::alloc::Layout;

use bifolio::frame::{FRAME_SIZE, Order};
use bifolio::heap::HeapError;

const FRAME: usize = FRAME_SIZE as usize;
/// The most slots that a slab has.
const MOST_SLOTS: usize = 512;

/// Names for errors: they are static, so there is a list of them.
const NAMES: [(usize, &str); 64] = [
    (8, "kmalloc-8"),
    (16, "kmalloc-16"),
    (24, "kmalloc-24"),
    (32, "kmalloc-32"),
    (40, "kmalloc-40"),
    (48, "kmalloc-48"),
    (56, "kmalloc-56"),
    (64, "kmalloc-64"),
    (72, "kmalloc-72"),
    (80, "kmalloc-80"),
    (88, "kmalloc-88"),
    (96, "kmalloc-96"),
    (104, "kmalloc-104"),
    (112, "kmalloc-112"),
    (120, "kmalloc-120"),
    (128, "kmalloc-128"),
    (144, "kmalloc-144"),
    (160, "kmalloc-160"),
    (176, "kmalloc-176"),
    (192, "kmalloc-192"),
    (208, "kmalloc-208"),
    (224, "kmalloc-224"),
    (240, "kmalloc-240"),
    (256, "kmalloc-256"),
    (288, "kmalloc-288"),
    (320, "kmalloc-320"),
    (352, "kmalloc-352"),
    (384, "kmalloc-384"),
    (416, "kmalloc-416"),
    (448, "kmalloc-448"),
    (480, "kmalloc-480"),
    (512, "kmalloc-512"),
    (576, "kmalloc-576"),
    (640, "kmalloc-640"),
    (704, "kmalloc-704"),
    (768, "kmalloc-768"),
    (832, "kmalloc-832"),
    (896, "kmalloc-896"),
    (960, "kmalloc-960"),
    (1024, "kmalloc-1024"),
    (1152, "kmalloc-1152"),
    (1280, "kmalloc-1280"),
    (1408, "kmalloc-1408"),
    (1536, "kmalloc-1536"),
    (1664, "kmalloc-1664"),
    (1792, "kmalloc-1792"),
    (1920, "kmalloc-1920"),
    (2048, "kmalloc-2048"),
    (2304, "kmalloc-2304"),
    (2560, "kmalloc-2560"),
    (2816, "kmalloc-2816"),
    (3072, "kmalloc-3072"),
    (3328, "kmalloc-3328"),
    (3584, "kmalloc-3584"),
    (3840, "kmalloc-3840"),
    (4096, "kmalloc-4096"),
    (4608, "kmalloc-4608"),
    (5120, "kmalloc-5120"),
    (5632, "kmalloc-5632"),
    (6144, "kmalloc-6144"),
    (6656, "kmalloc-6656"),
    (7168, "kmalloc-7168"),
    (7680, "kmalloc-7680"),
    (8192, "kmalloc-8192"),
];

/// What a layout becomes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    /// A slot of a slab for objects of so many bytes.
    Slot(usize),
    /// A block of frames of its own.
    Large(Order),
    /// Nothing: there is no such block.
    TooLarge,
}

impl Kind {
    /// What becomes of `layout`: the smallest class that has room for it at its alignment, which is a step of eight bytes up
    /// to 128, and an eighth of a power of two above.
    pub fn of(layout: Layout) -> Self {
        let wanted = layout.size().max(1).next_multiple_of(layout.align());
        if let Some((size, _)) = NAMES.iter().find(|(size, _)| *size >= wanted) {
            return Self::Slot(*size);
        }
        let holds = |order: &Order| order.bytes() as usize >= wanted;
        Order::all().find(holds).map_or(Self::TooLarge, Self::Large)
    }

    /// The cache's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Slot(size) => NAMES.iter().find(|(of, _)| *of == size).expect("sizes are from the list").1,
            Self::Large(_) | Self::TooLarge => "kmalloc-large",
        }
    }

    /// Bytes that an object may use.
    pub fn bytes(self) -> usize {
        match self {
            Self::Slot(size) => size,
            Self::Large(order) => order.bytes() as usize,
            Self::TooLarge => 0,
        }
    }
}

/// A block that the heap has.
struct Block {
    order: Order,
    /// What the first object that was seen in it was. Where none ever was, the block is the heap's own.
    kind: Option<Kind>,
    /// Whether there are redzones around the objects.
    debugged: bool,
    /// One more than the highest slot that was seen: those that are debugged have something else behind the last.
    seen: usize,
    live: [u64; MOST_SLOTS / 64],
    count: usize,
}

impl Block {
    /// Bytes from the start of a slot to its object, and to the next slot.
    fn shape(&self, kind: Kind) -> (usize, usize) {
        let size = kind.bytes();
        if !self.debugged {
            return (0, size);
        }
        // Redzones are 16 bytes long at least, and as long as the object is aligned.
        let left = (1 << size.trailing_zeros()).max(16);
        (left, (left + size + 16).div_ceil(left) * left)
    }

    fn slots(&self, kind: Kind) -> usize {
        match kind {
            Kind::Slot(_) if self.debugged => self.seen,
            Kind::Slot(size) => (self.order.bytes() as usize / size).min(MOST_SLOTS),
            _ => 1,
        }
    }

    fn is_live(&self, slot: usize) -> bool {
        self.live[slot / 64] >> (slot % 64) & 1 != 0
    }
}

/// All blocks that the heap has.
pub struct Blocks {
    start: usize,
    /// For each frame of the round's memory, the first frame of the block that it belongs to.
    heads: Vec<u32>,
    blocks: Vec<Option<Box<Block>>>,
    count: usize,
    frames: u64,
}

const NOBODY: u32 = u32::MAX;

impl Blocks {
    /// The heap has nothing of this memory yet.
    pub fn new(start: usize, bytes: usize) -> Self {
        let frames = bytes / FRAME;
        let blocks = (0..frames).map(|_| None).collect();
        Self { start, heads: vec![NOBODY; frames], blocks, count: 0, frames: 0 }
    }

    /// How many blocks the heap has.
    pub fn count(&self) -> usize {
        self.count
    }

    /// How many frames the heap has.
    pub fn frames(&self) -> u64 {
        self.frames
    }

    fn frame(&self, address: usize) -> usize {
        (address - self.start) / FRAME
    }

    /// The heap gets a block.
    pub fn open(&mut self, address: usize, order: Order) {
        let (first, frames) = (self.frame(address), order.frames() as usize);
        assert!(self.heads[first..first + frames].iter().all(|head| *head == NOBODY), "a block was given out twice");
        self.heads[first..first + frames].fill(first as u32);
        let block = Block { order, kind: None, debugged: false, seen: 0, live: [0; MOST_SLOTS / 64], count: 0 };
        self.blocks[first] = Some(Box::new(block));
        self.count += 1;
        self.frames += order.frames();
    }

    /// The heap gives a block back.
    pub fn close(&mut self, address: usize, order: Order) {
        let first = self.frame(address);
        let block = self.blocks[first].take().expect("what is given back was given out");
        assert_eq!(block.order, order, "what is given back at {address:#x} was given out with another order");
        assert_eq!(block.count, 0, "the block that is given back at {address:#x} has live objects");
        self.heads[first..first + order.frames() as usize].fill(NOBODY);
        self.count -= 1;
        self.frames -= order.frames();
    }

    fn around(&self, address: usize) -> Option<(usize, &Block)> {
        let frame = address.checked_sub(self.start)? / FRAME;
        let head = self.heads.get(frame).copied().filter(|head| *head != NOBODY)? as usize;
        Some((self.start + head * FRAME, self.blocks[head].as_deref()?))
    }

    fn around_mut(&mut self, address: usize) -> Option<(usize, &mut Block)> {
        let head = self.heads[self.frame(address)] as usize;
        Some((self.start + head * FRAME, self.blocks.get_mut(head)?.as_deref_mut()?))
    }

    /// The heap gave out an object.
    ///
    /// # Panics
    /// If that cannot be: if it is not a slot of a block of the heap's, or lives already.
    pub fn take(&mut self, address: usize, layout: Layout, debugged: bool) {
        let kind = Kind::of(layout);
        assert!(address.is_multiple_of(layout.align()), "{address:#x} is not aligned for {layout:?}");
        let (base, block) = self.around_mut(address).expect("objects lie in blocks that the heap has");
        if block.count == 0 {
            (block.kind, block.debugged) = (Some(kind), debugged);
        }
        assert_eq!(
            (block.kind, block.debugged),
            (Some(kind), debugged),
            "{address:#x} lies in a block of other objects than {layout:?}"
        );
        if let Kind::Large(order) = kind {
            assert_eq!((block.order, address), (order, base), "a large object is a block of its order");
        }
        let (left, stride) = block.shape(kind);
        let (slot, rest) = ((address - base - left) / stride, (address - base - left) % stride);
        block.seen = block.seen.max(slot + 1);
        assert!(rest == 0 && slot < block.slots(kind), "{address:#x} is not a slot of {}", kind.name());
        assert!(!block.is_live(slot), "{address:#x}, slot {slot} of {}, was given out twice", kind.name());
        block.live[slot / 64] |= 1 << (slot % 64);
        block.count += 1;
    }

    /// An object is about to be freed. (At once, because the block may go back with it.)
    pub fn give(&mut self, address: usize) {
        let (base, block) = self.around_mut(address).expect("objects lie in blocks that the heap has");
        let kind = block.kind.expect("a block with an object is of its kind");
        let (left, stride) = block.shape(kind);
        let slot = (address - base - left) / stride;
        assert!(block.is_live(slot));
        block.live[slot / 64] &= !(1 << (slot % 64));
        block.count -= 1;
    }

    /// The cache and slot of an object, live or not.
    pub fn place(&self, address: usize) -> (&'static str, u16) {
        match self.verdict(address, None) {
            Err(HeapError::DoubleFree { cache, slot, .. } | HeapError::Interior { cache, slot, .. }) => (cache, slot),
            Ok(()) => match self.verdict(address + 1, None) {
                Err(HeapError::Interior { cache, slot, .. }) => (cache, slot),
                other => panic!("{address:#x} is inside an object: {other:?}"),
            },
            Err(error) => panic!("{address:#x} is no object: {error}"),
        }
    }

    /// Whether the block around an address is there to be debugged, and nobody knows how many slots it has.
    pub fn is_debugged(&self, address: usize) -> bool {
        self.around(address).is_some_and(|(_, block)| block.debugged)
    }

    /// What freeing this address, with a layout or without, must say.
    pub fn verdict(&self, address: usize, layout: Option<Layout>) -> Result<(), HeapError> {
        let Some((base, kind, block)) = self.around(address).and_then(|(base, block)| Some((base, block.kind?, block)))
        else {
            return Err(HeapError::Foreign { address });
        };
        let (left, stride) = block.shape(kind);
        let Some(inside) = (address - base).checked_sub(left) else {
            return Err(HeapError::Foreign { address });
        };
        let (slot, offset) = (inside / stride, inside % stride);
        if slot >= block.slots(kind) || offset >= kind.bytes() {
            return Err(HeapError::Foreign { address });
        }
        let (live, cache, slot) = (block.is_live(slot), kind.name(), slot as u16);
        match layout {
            _ if offset != 0 => Err(HeapError::Interior { address, cache, slot, offset }),
            _ if !live => Err(HeapError::DoubleFree { address, cache, slot }),
            Some(layout) if Kind::of(layout) != kind => {
                Err(HeapError::WrongLayout { address, cache, slot, given: layout.size(), actual: kind.bytes() })
            }
            _ => Ok(()),
        }
    }

    /// Slots that a cache has in all of its slabs, and how many of them are live.
    pub fn slots(&self, kind: Kind) -> (usize, usize) {
        let of = self.blocks.iter().flatten().filter(|block| block.kind == Some(kind));
        of.fold((0, 0), |(slots, live), block| (slots + block.slots(kind), live + block.count))
    }

    /// How many live objects the block around an address has.
    pub fn live_around(&self, address: usize) -> usize {
        self.around(address).map_or(0, |(_, block)| block.count)
    }

    /// An address in a block that holds no object and never did: the heap's own.
    pub fn own(&self) -> Option<usize> {
        let own = |block: &Option<Box<Block>>| block.as_ref().is_some_and(|block| block.kind.is_none());
        self.blocks.iter().position(own).map(|frame| self.start + frame * FRAME)
    }

    /// The first address, and how many bytes there are.
    pub fn memory(&self) -> (usize, usize) {
        (self.start, self.heads.len() * FRAME)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_follows_the_rule() {
        let steps = (8..=128).step_by(8);
        let eighths = (4..=9).flat_map(|shift| (9..=16).map(move |eighth| eighth << shift));
        let sizes: Vec<usize> = steps.chain(eighths).collect();
        assert_eq!(sizes, NAMES.map(|(size, _)| size));
        assert!(NAMES.iter().all(|(size, name)| *name == format!("kmalloc-{size}")));
    }
}
