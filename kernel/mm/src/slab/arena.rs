//! Per-CPU arenas: the slabs that one CPU allocates from, and the door to them.
//!
//! A CPU goes through its own door for every allocation and free, and touches no lock and no locked instruction: the door is
//! a [`Gate`], and what the CPU finds there is its arena. Somebody else may want all arenas to stand still: it closes all doors,
//! waits until nobody is inside, and opens them when it is done. A CPU that comes meanwhile finds an arena without a slab, and
//! uses the arena that all CPUs share, behind its lock.
//!
//! The shared arena also has the slabs of CPUs that have stopped allocating, and gives them to who needs one.

use crate::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use crate::sync::{Gate, Sign};
use core::cell::Cell;
use core::ptr;

use super::bin::Bin;
use super::descriptor::{Owner, Slab};
use super::list::Meta;
use super::page_map::PageMap;
use crate::frame::Order;

/// Which arena.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ArenaId(pub(super) u8);

impl ArenaId {
    /// How many CPUs can have an arena of their own.
    pub(crate) const CPUS: usize = 127;
    /// The arena that all CPUs share.
    pub(crate) const SHARED: Self = Self(Self::CPUS as u8);
    /// What a CPU finds that has no arena.
    pub(crate) const NOBODY: Self = Self(u8::MAX - 1);
    /// No arena.
    pub(crate) const NONE: Self = Self(u8::MAX);

    /// The arena of a CPU, if it can have one.
    pub(crate) fn of(cpu: usize) -> Option<Self> {
        (cpu < Self::CPUS).then_some(Self(cpu as u8))
    }

    /// The arena's place among the doors.
    #[inline]
    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }
}

/// The slabs that one CPU, or whoever holds the lock of the shared arena, allocates from.
#[repr(C, align(64))]
pub(crate) struct Arena {
    /// The tag of a slab of cache 0 of this arena.
    tag: Owner,
    id: ArenaId,
    /// Slabs that objects were freed in lately, each in the place of [those objects' addresses](Self::recent).
    recent: [Cell<Meta<Slab>>; Self::RECENT],
    bins: [Bin; Self::BINS],
}

// SAFETY: who is behind its door, or holds its lock, has an arena to itself (invariant *Ownership*). Others look into the
// stocks of its bins, at what is atomic there. All are behind closed doors at once, but nothing there ever changes.
unsafe impl Sync for Arena {}

// SAFETY: arenas are bound to no thread.
unsafe impl Send for Arena {}

impl Arena {
    /// The most caches that there can be.
    pub(crate) const BINS: usize = 73;
    /// Places for slabs that objects were freed in lately.
    const RECENT: usize = 128;
    /// Bytes that share a place among them: a usual slab.
    const RECENT_SHIFT: u32 = 15;
    /// Interrupts are not masked for longer than it takes to move this many slabs.
    const MOVED_AT_A_TIME: usize = 64;
    /// The block that an arena takes.
    pub(crate) const ORDER: Order = Order::new(1).unwrap();

    /// An arena without a slab.
    pub(crate) const fn new(id: ArenaId) -> Self {
        Self {
            tag: Owner::new(id, 0),
            id,
            recent: [const { Cell::new(PageMap::NO_SLAB) }; Self::RECENT],
            bins: [const { Bin::new() }; Self::BINS],
        }
    }

    /// The slab that an object near this address was freed in last: maybe the one that the address lies in.
    #[inline]
    pub(crate) fn recent(&self, address: usize) -> Meta<Slab> {
        self.recent[(address >> Self::RECENT_SHIFT) % Self::RECENT].get()
    }

    /// Remembers the slab that the address lies in.
    pub(crate) fn remember(&self, address: usize, slab: Meta<Slab>) {
        self.recent[(address >> Self::RECENT_SHIFT) % Self::RECENT].set(slab);
    }

    /// Forgets all slabs that objects were freed in.
    pub(crate) fn forget(&self) {
        self.recent.iter().for_each(|recent| recent.set(PageMap::NO_SLAB));
    }

    #[inline]
    pub(crate) fn id(&self) -> ArenaId {
        self.id
    }

    /// The owner that a cache's slabs in this arena have.
    #[inline]
    pub(crate) fn owner(&self, cache: u16) -> Owner {
        self.tag.of_cache(cache)
    }

    /// The slabs of the cache with this number.
    #[inline]
    pub(crate) fn bin(&self, cache: u16) -> &Bin {
        &self.bins[usize::from(cache)]
    }

    /// The slabs of the cache with this number, if a cache can have it.
    pub(crate) fn get_bin(&self, cache: u16) -> Option<&Bin> {
        self.bins.get(usize::from(cache))
    }

    /// All bins, by the number of their cache.
    pub(crate) fn bins(&self) -> impl Iterator<Item = (u16, &Bin)> {
        (0..).zip(&self.bins)
    }

    /// Takes in a slab that no arena has, or that the caller has taken out of one that it has to itself.
    pub(crate) fn adopt(&self, slab: Meta<Slab>, cache: u16) {
        slab.set_owner(self.owner(cache));
        self.bin(cache).adopt(slab);
    }

    /// Puts a slab of the arena where it belongs, now that `free` of its slots are. Whether its cache has more empty slabs
    /// than it keeps.
    #[cold]
    pub(crate) fn refile(&self, slab: Meta<Slab>, free: u16) -> bool {
        let bin = self.bin(slab.owner().cache());
        bin.refile(slab, free);
        bin.has_surplus()
    }

    /// Gives slabs to another arena: all, or as many as are moved at a time. Whether it has no slab any more.
    pub(crate) fn move_to(&self, other: &Self) -> bool {
        let mut left = Self::MOVED_AT_A_TIME;
        for (cache, bin) in self.bins() {
            bin.set_aside();
            while let Some(slab) = bin.pop_any() {
                slab.set_owner(other.owner(cache));
                other.bin(cache).file(slab, slab.free());
                left -= 1;
                if left == 0 {
                    return self.is_vacant();
                }
            }
        }
        true
    }

    /// Whether it has no slab.
    pub(crate) fn is_vacant(&self) -> bool {
        self.bins.iter().all(Bin::is_vacant)
    }
}

/// What is behind a door that leads nowhere: no slot to take, and no slab to free into.
static NOBODY: Arena = Arena::new(ArenaId::NOBODY);

// loom's atomics are larger than any.
#[cfg(not(bifolio_loom))]
const _: () = assert!(size_of::<Arena>() as u64 <= Arena::ORDER.bytes());

/// The slabs that others have freed slots of and that their owner is to look at: a stack that all push to, and that is
/// taken off as a whole.
pub(crate) struct Incoming(pub(super) AtomicPtr<Slab>);

impl Incoming {
    /// Hands a slab to the arena. Only for who announced its first word ([`Slab::put_remotely`]), or took it off a queue.
    pub(crate) fn push(&self, slab: Meta<Slab>) {
        let mut next = self.0.load(Ordering::Relaxed);
        loop {
            slab.next_incoming.store(next, Ordering::Relaxed);
            match self.0.compare_exchange_weak(next, slab.as_ptr(), Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(other) => next = other,
            }
        }
    }

    /// Takes all slabs.
    pub(crate) fn take(&self) -> impl Iterator<Item = Meta<Slab>> + use<> {
        let mut next = self.0.load(Ordering::Relaxed);
        if !next.is_null() {
            next = self.0.swap(ptr::null_mut(), Ordering::Acquire);
        }
        core::iter::from_fn(move || {
            let slab = ptr::NonNull::new(next)?;
            // SAFETY: what is in a queue has a slot that is neither live nor free, so its descriptor is in use.
            let slab = unsafe { Meta::new(slab) };
            next = slab.next_incoming.load(Ordering::Relaxed);
            Some(slab)
        })
    }
}

/// What is behind a door.
impl Sign for AtomicPtr<Arena> {
    type Value = *mut Arena;

    const CLOSED: *mut Arena = (&raw const NOBODY).cast_mut();

    #[inline(always)]
    fn read(&self) -> *mut Arena {
        self.load(Ordering::Acquire)
    }

    fn write(&self, arena: *mut Arena, order: Ordering) {
        self.store(arena, order);
    }
}

/// The door to an arena. Doors are always there; what is behind them comes and goes.
#[repr(C, align(64))]
pub(crate) struct Door {
    /// What its CPU goes through, and finds behind it: the arena, or [`NOBODY`].
    pub(crate) gate: Gate<AtomicPtr<Arena>>,
    /// The arena, even while the door is closed; null if there is none.
    arena: AtomicPtr<Arena>,
    /// Times that its CPU found no slot in its slabs and looked for more.
    pub(crate) refills: Count,
    /// Objects that its CPU has freed in slabs of others.
    pub(crate) remote_frees: Count,
    /// Others write here, so it has a cache line of its own.
    pub(crate) incoming: Apart<Incoming>,
}

/// What one CPU counts, and others look at.
pub(crate) struct Count(AtomicU64);

impl Count {
    /// One more. Only for who counts.
    pub(crate) fn increment(&self) {
        self.0.store(self.get() + 1, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A value that begins a cache line.
#[repr(align(64))]
pub(crate) struct Apart<T>(pub(crate) T);

impl Door {
    /// A door that leads nowhere.
    pub(crate) const fn new() -> Self {
        Self {
            gate: Gate::with(AtomicPtr::new(<AtomicPtr<Arena> as Sign>::CLOSED)),
            arena: AtomicPtr::new(ptr::null_mut()),
            refills: Count(AtomicU64::new(0)),
            remote_frees: Count(AtomicU64::new(0)),
            incoming: Apart(Incoming(AtomicPtr::new(ptr::null_mut()))),
        }
    }

    /// Goes in and runs `f` on what is there. Only for the door's CPU, with interrupts masked.
    #[inline(always)]
    pub(crate) fn enter<R>(&self, f: impl FnOnce(&Arena) -> R) -> R {
        let (_inside, arena) = self.gate.enter_anyway();
        // SAFETY: what is behind a door stays there until nobody is inside (invariant *Metadata*).
        f(unsafe { &*arena })
    }

    /// Whether there is an arena, behind the door or not.
    pub(crate) fn has_arena(&self) -> bool {
        !self.arena.load(Ordering::Relaxed).is_null()
    }

    /// Opens the door, if there is an arena.
    pub(crate) fn open(&self) {
        let arena = self.arena.load(Ordering::Relaxed);
        if !arena.is_null() {
            self.gate.open_to(arena);
        }
    }

    /// The arena; `None` if there is none.
    ///
    /// # Safety
    /// All arenas stand still, for as long as it is used.
    pub(crate) unsafe fn arena(&self) -> Option<&Arena> {
        // SAFETY: arenas come and go only while they stand still, and then by the caller's doing.
        unsafe { self.arena.load(Ordering::Relaxed).as_ref() }
    }

    /// Gives the door an arena, or takes it away: the block that it lived in is returned, if there was one.
    ///
    /// # Safety
    /// The shared arena's lock is held. What is given is initialised and the door's from now on; what is taken is behind a
    /// closed door, and vacant.
    pub(crate) unsafe fn set_arena(&self, arena: *mut Arena) -> *mut Arena {
        self.arena.swap(arena, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slab::class::SizeClass;
    use core::ptr::NonNull;

    #[test]
    fn so_many_slabs_are_moved_at_a_time_and_no_more() {
        let [from, to] = [0, 1].map(|cpu| Box::new(Arena::new(ArenaId::of(cpu).unwrap())));
        let slabs: Vec<_> = (0..2 * Arena::MOVED_AT_A_TIME + 1).map(|_| Slab::vacant()).collect();
        for (number, slab) in slabs.iter().enumerate() {
            let class = SizeClass::all().nth(number % 3).unwrap();
            let geometry = class.geometry();
            // Nothing lives there, and nothing of it is dereferenced.
            let base = NonNull::new(ptr::without_provenance_mut((number + 1) << 20)).unwrap();
            slab.open(base, geometry.order, geometry.size, geometry.slots(geometry.order), geometry.divider);
            // SAFETY: the descriptors stay where they are for as long as the arenas are used.
            from.adopt(unsafe { Meta::new(NonNull::from(slab)) }, class.number());
        }
        let count = |arena: &Arena| arena.bins().map(|(_, bin)| bin.slabs().count()).sum::<usize>();
        for moved in [Arena::MOVED_AT_A_TIME, 2 * Arena::MOVED_AT_A_TIME] {
            assert!(!from.move_to(&to));
            assert_eq!((count(&to), count(&from)), (moved, slabs.len() - moved));
        }
        assert!(from.move_to(&to) && from.is_vacant());
        assert_eq!(count(&to), slabs.len());
        assert!(to.bins().all(|(cache, bin)| bin.slabs().all(|slab| slab.owner() == to.owner(cache))));
    }
}
