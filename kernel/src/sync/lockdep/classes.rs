//! What is known of the locks: their classes, how each was taken, and which was taken while which was held.
//!
//! Everything is an atomic in a static: it grows by single words, is never taken back, and can be read and added to by any
//! CPU in any context, without a lock that would have to be validated itself.

use super::trace::Trace;
use core::slice;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use x86_64::VirtAddr;

/// How many classes there can be: as many as a word has bits.
const CLASSES: usize = 64;
/// How many pairs of classes can be told apart by where they were seen.
const EDGES: usize = 256;

/// All locks of one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Class(u8);

/// Taken, and waited for, in an interrupt handler.
pub(super) const IN_INTERRUPT: u32 = 1 << 0;
/// Held while interrupts were enabled, so that a handler may find it held.
pub(super) const ENABLED: u32 = 1 << 1;
/// That both are so has been reported.
const MIXED: u32 = 1 << 2;
/// That two locks of the class were held at once has been reported.
const NESTED: u32 = 1 << 3;

/// A class as it is kept.
struct Entry {
    /// The name's address, without the upper 16 bits, which a kernel's address has set, and its length in their place. 0
    /// for an entry that is free. One word, so that nobody ever sees half a name.
    name: AtomicU64,
    usage: AtomicU32,
    /// The classes of which locks were taken while one of this class was held, a bit each.
    after: AtomicU64,
    /// The classes that are known to be a hazard to this one, a bit each: see [`new_hazard`].
    hazards: AtomicU64,
    /// Where the class was taken in a handler first, and where it was held first with interrupts enabled.
    in_interrupt: Trace,
    enabled: Trace,
}

/// Where a class was taken first while another one was held.
struct Edge {
    /// The one that was held, and the one that was taken, and 1 in the bits above; 0 for an entry that is free.
    pair: AtomicU32,
    trace: Trace,
}

static ENTRIES: [Entry; CLASSES] = [const {
    Entry {
        name: AtomicU64::new(0),
        usage: AtomicU32::new(0),
        after: AtomicU64::new(0),
        hazards: AtomicU64::new(0),
        in_interrupt: Trace::new(),
        enabled: Trace::new(),
    }
}; CLASSES];

static TRACES: [Edge; EDGES] = [const { Edge { pair: AtomicU32::new(0), trace: Trace::new() } }; EDGES];

/// Something is known that was not when [`new_hazard`] looked last.
static CHANGED: AtomicBool = AtomicBool::new(false);

const ADDRESS_BITS: u32 = 48;

fn pack(name: &'static str) -> u64 {
    (name.as_ptr().expose_provenance() as u64) << (u64::BITS - ADDRESS_BITS) >> (u64::BITS - ADDRESS_BITS)
        | (name.len() as u64) << ADDRESS_BITS
}

fn unpack(word: u64) -> &'static str {
    let address = VirtAddr::new_truncate(word).as_u64();
    let start = core::ptr::with_exposed_provenance(address as usize);
    // SAFETY: only `pack` makes such words, out of a name that is static, shorter than 64 KiB and at a canonical address.
    unsafe { str::from_utf8_unchecked(slice::from_raw_parts(start, (word >> ADDRESS_BITS) as usize)) }
}

impl Class {
    /// The class of this name, which may be new; `None` if there are too many.
    pub(super) fn of(name: &'static str) -> Option<Self> {
        if name.is_empty() || name.len() >= 1 << (u64::BITS - ADDRESS_BITS) {
            return None;
        }
        let wanted = pack(name);
        // Nearly always it is known, by this very address.
        if let Some(number) = ENTRIES.iter().position(|entry| entry.name.load(Ordering::Relaxed) == wanted) {
            return Some(Self(number as u8));
        }
        // The same name may be there twice in memory, so the address alone does not tell two names apart.
        let is = |word: u64| word == wanted || word >> ADDRESS_BITS == name.len() as u64 && unpack(word) == name;
        for (number, entry) in ENTRIES.iter().enumerate() {
            let word = match entry.name.load(Ordering::Relaxed) {
                0 => entry.name.compare_exchange(0, wanted, Ordering::Relaxed, Ordering::Relaxed).unwrap_or_else(|w| w),
                word => word,
            };
            if word == 0 || is(word) {
                return Some(Self(number as u8));
            }
        }
        None
    }

    /// The class of that number, which must be one's.
    pub(super) fn numbered(number: u8) -> Option<Self> {
        (usize::from(number) < CLASSES).then_some(Self(number))
    }

    pub(super) fn number(self) -> u8 {
        self.0
    }

    /// All classes that there are.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..CLASSES as u8).map(Self).take_while(|class| class.entry().name.load(Ordering::Relaxed) != 0)
    }

    fn entry(self) -> &'static Entry {
        &ENTRIES[usize::from(self.0)]
    }

    /// The name that the locks of the class have.
    pub fn name(self) -> &'static str {
        unpack(self.entry().name.load(Ordering::Relaxed))
    }

    /// Whether one of these locks was waited for in an interrupt handler.
    pub fn is_taken_in_interrupts(self) -> bool {
        self.entry().usage.load(Ordering::Relaxed) & IN_INTERRUPT != 0
    }

    /// Whether one of these locks was held with interrupts enabled.
    pub fn is_held_with_interrupts(self) -> bool {
        self.entry().usage.load(Ordering::Relaxed) & ENABLED != 0
    }

    /// The classes of which locks were taken while one of this class was held.
    pub fn successors(self) -> impl Iterator<Item = Self> {
        let after = self.entry().after.load(Ordering::Relaxed);
        (0..CLASSES as u8).filter(move |number| after >> number & 1 == 1).map(Self)
    }

    /// Takes note of a usage. True if it is at odds with another one of this class, for the first time.
    pub(super) fn note_usage(self, usage: u32) -> bool {
        let entry = self.entry();
        if entry.usage.load(Ordering::Relaxed) & usage == 0 {
            let trace = if usage == ENABLED { &entry.enabled } else { &entry.in_interrupt };
            trace.record();
            entry.usage.fetch_or(usage, Ordering::Relaxed);
            CHANGED.store(true, Ordering::Release);
        }
        let all = entry.usage.load(Ordering::Relaxed);
        let mixed = all & (IN_INTERRUPT | ENABLED) == IN_INTERRUPT | ENABLED;
        mixed && all & MIXED == 0 && entry.usage.fetch_or(MIXED, Ordering::Relaxed) & MIXED == 0
    }

    /// Where the class was first used like this.
    pub(super) fn trace_of(self, usage: u32) -> &'static Trace {
        if usage == ENABLED { &self.entry().enabled } else { &self.entry().in_interrupt }
    }

    /// Whether it is the first time that two locks of this class are held at once.
    pub(super) fn note_nesting(self) -> bool {
        let usage = &self.entry().usage;
        usage.load(Ordering::Relaxed) & NESTED == 0 && usage.fetch_or(NESTED, Ordering::Relaxed) & NESTED == 0
    }

    /// Takes note that `taken` is taken while `self` is held. True if that was not known before.
    pub(super) fn note_order(self, taken: Self) -> bool {
        let (after, bit) = (&self.entry().after, 1 << taken.0);
        if after.load(Ordering::Relaxed) & bit != 0 || after.fetch_or(bit, Ordering::Relaxed) & bit != 0 {
            return false;
        }
        let pair = 1 << 16 | u32::from(self.0) << 8 | u32::from(taken.0);
        let free = |edge: &&Edge| edge.pair.compare_exchange(0, pair, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        // Without room the order is known all the same, and only where it was seen is not.
        if let Some(edge) = TRACES.iter().find(free) {
            edge.trace.record();
        }
        CHANGED.store(true, Ordering::Release);
        true
    }

    /// Where `taken` was taken first while `self` was held.
    pub(super) fn trace_of_order(self, taken: Self) -> Option<&'static Trace> {
        let pair = 1 << 16 | u32::from(self.0) << 8 | u32::from(taken.0);
        TRACES.iter().find(|edge| edge.pair.load(Ordering::Relaxed) == pair).map(|edge| &edge.trace)
    }

    /// The classes through which, each taken while the one before is held, `target` is reached from here: the next one on
    /// the shortest way. `None` if it is not reached.
    pub(super) fn next_towards(self, target: Self) -> Option<Self> {
        // Backwards from the target, so that the step that meets us is the first of a shortest way.
        let mut reach = 1_u64 << target.0;
        loop {
            let after = self.entry().after.load(Ordering::Relaxed);
            if after & reach != 0 {
                return Some(Self((after & reach).trailing_zeros() as u8));
            }
            let reaches = |class: &Self| class.entry().after.load(Ordering::Relaxed) & reach != 0;
            let grown = Self::all().filter(reaches).fold(reach, |reach, class| reach | 1 << class.0);
            if grown == reach {
                return None;
            }
            reach = grown;
        }
    }

    /// The classes that are reached from here, a bit each: those taken while this one is held, and those behind them.
    fn reach(self) -> u64 {
        let after = |number: u8| ENTRIES[usize::from(number)].after.load(Ordering::Relaxed);
        let mut reach = after(self.0);
        loop {
            let grown =
                (0..CLASSES as u8).filter(|number| reach >> number & 1 == 1).map(after).fold(reach, |a, b| a | b);
            if grown == reach {
                return reach;
            }
            reach = grown;
        }
    }
}

/// Two classes not known so far of which the first is taken in interrupt handlers, while the second is held with interrupts
/// enabled and, elsewhere, taken with the first held. A handler that interrupts a CPU that holds the second, and waits for the first,
/// then waits for a CPU that waits for what it interrupted.
pub(super) fn new_hazard() -> Option<(Class, Class)> {
    // What changes while this looks is for the next look.
    if !CHANGED.load(Ordering::Relaxed) || !CHANGED.swap(false, Ordering::AcqRel) {
        return None;
    }
    for first in Class::all().filter(|class| class.is_taken_in_interrupts()) {
        let known = &first.entry().hazards;
        let new = first.reach() & !known.load(Ordering::Relaxed) & !(1 << first.0);
        let is_new = |class: &Class| new >> class.0 & 1 == 1 && class.is_held_with_interrupts();
        if let Some(second) = Class::all().find(is_new)
            && known.fetch_or(1 << second.0, Ordering::Relaxed) >> second.0 & 1 == 0
        {
            CHANGED.store(true, Ordering::Release);
            return Some((first, second));
        }
    }
    None
}
