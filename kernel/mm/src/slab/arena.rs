//! Per-CPU arenas: the slabs that one CPU allocates from, and the gate to them.
//!
//! A CPU goes through its own gate for every allocation and free, and touches no lock and no locked instruction: what it finds
//! behind the [`Gate`](crate::sync::Gate) is its arena. Another CPU may want all arenas to stand still: it closes all gates, waits until nobody is
//! inside, and opens them when it is done. A CPU that comes meanwhile finds an arena without a slab, and uses the arena that all
//! CPUs share, behind its lock.
//!
//! The shared arena also has the slabs of CPUs that have stopped allocating, and gives them to any that needs one.

use crate::sync::Sign;
use crate::sync::atomic::{AtomicPtr, Ordering};
use core::cell::Cell;
use core::ptr::NonNull;

use super::bin::{Bin, Hand, Slabs};
use super::descriptor::Slab;
use super::list::Meta;
use super::page_map::PageMap;
use crate::cpu::Place;
use crate::frame::{FRAME_SHIFT, Order};

/// Which arena.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ArenaId(pub(super) u8);

impl ArenaId {
    /// How many CPUs can have an arena of their own.
    pub(crate) const CPUS: usize = Place::CPUS;
    /// The arena that all CPUs share.
    pub(crate) const SHARED: Self = Self(Self::CPUS as u8);
    /// What a CPU finds that has no arena.
    pub(crate) const NOBODY: Self = Self(u8::MAX - 2);
    /// Of slabs that are in no arena, and of large objects: a lock guards them.
    pub(crate) const NONE: Self = Self(u8::MAX - 1);
    /// Of what is on its way from or to the registry, and of descriptors that describe nothing.
    pub(crate) const TRANSIT: Self = Self(u8::MAX);

    /// The arena of a CPU, if it can have one.
    pub(crate) fn of(cpu: usize) -> Option<Self> {
        (cpu < Self::CPUS).then_some(Self(cpu as u8))
    }

    /// Whether it is an arena at all.
    #[inline]
    pub(crate) const fn is_there(self) -> bool {
        self.0 <= Self::SHARED.0
    }

    /// The arena's place among those of all CPUs.
    #[inline]
    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }
}

/// An empty slab that no arena has any more, to be closed.
#[must_use = "its frames are lost unless it is closed"]
pub(crate) struct Emptied(Meta<Slab>);

impl Emptied {
    /// Takes an empty slab that is on no list out of its arena. `None` if a slot of it is being freed for the second time: that
    /// will be found.
    pub(crate) fn new(slab: Meta<Slab>) -> Option<Self> {
        slab.leave_arena().then_some(Self(slab))
    }

    pub(crate) fn slab(&self) -> Meta<Slab> {
        self.0
    }
}

/// The slabs that one CPU, or whoever holds the lock of the shared arena, allocates from.
#[repr(C, align(64))]
pub(crate) struct Arena {
    id: ArenaId,
    /// What its CPU remembers; the shared arena has no such CPU.
    remembered: Option<Meta<Remembered>>,
    hands: [Hand; Self::BINS],
    slabs: [Slabs; Self::BINS],
}

// SAFETY: a CPU that is behind its gate, or holds the arena's lock, has it to itself (invariant *Ownership*). All CPUs are
// behind closed gates at once, but nothing there ever changes.
unsafe impl Sync for Arena {}

// SAFETY: arenas are bound to no thread.
unsafe impl Send for Arena {}

impl Arena {
    /// The most caches that there can be.
    pub(crate) const BINS: usize = 96;
    /// Interrupts are not masked for longer than it takes to move this many slabs.
    const MOVED_AT_A_TIME: usize = 64;

    /// An arena without a slab.
    pub(crate) const fn new(id: ArenaId) -> Self {
        Self {
            id,
            remembered: None,
            hands: [const { Hand::empty() }; Self::BINS],
            slabs: [const { Slabs::none() }; Self::BINS],
        }
    }

    #[inline]
    pub(crate) fn id(&self) -> ArenaId {
        self.id
    }

    /// What is in hand of the cache with this number.
    #[inline(always)]
    pub(crate) fn hand(&self, cache: u16) -> &Hand {
        &self.hands[usize::from(cache)]
    }

    /// What the cache with this number has here.
    pub(crate) fn bin(&self, cache: u16) -> Bin<'_> {
        Bin { hand: self.hand(cache), slabs: &self.slabs[usize::from(cache)] }
    }

    /// All bins, by the number of their cache.
    pub(crate) fn bins(&self) -> impl Iterator<Item = (u16, Bin<'_>)> {
        (0..Self::BINS as u16).map(|cache| (cache, self.bin(cache)))
    }

    /// Takes in a slab that no arena has, or that the caller has taken out of one that it has to itself.
    pub(crate) fn adopt(&self, slab: Meta<Slab>) {
        slab.set_arena(self.id);
        self.bin(slab.cache()).adopt(slab);
    }

    /// Puts a slab of the arena where it belongs, after slots of it were freed; if it `is_due`, by the free down to which it
    /// counted. If that makes one empty slab more than its bin
    /// keeps, it is taken out, and returned to be closed.
    pub(crate) fn refile(&self, slab: Meta<Slab>, is_due: bool) -> Option<Emptied> {
        let bin = self.bin(slab.cache());
        if bin.refile(slab, is_due) { self.pop_empty(bin) } else { None }
    }

    /// Takes an empty slab out, to be closed.
    fn pop_empty(&self, bin: Bin<'_>) -> Option<Emptied> {
        let slab = bin.pop_empty()?;
        let emptied = Emptied::new(slab);
        if emptied.is_some() {
            self.forget(slab)
        } else {
            bin.file(slab)
        }
        emptied
    }

    /// Takes an empty slab of any cache out, to be closed.
    pub(crate) fn pop_any_empty(&self) -> Option<Emptied> {
        self.bins().find_map(|(_, bin)| {
            bin.set_empty_aside();
            self.pop_empty(bin)
        })
    }

    /// Takes a slab of a cache out that is known to have a free slot, the fullest first.
    pub(crate) fn pop_partial(&self, cache: u16) -> Option<Meta<Slab>> {
        self.bin(cache).set_aside();
        self.take_out(self.bin(cache).pop_partial())
    }

    /// Takes any slab of a cache out that has a free slot, whatever it takes to find it.
    pub(crate) fn pop_with_room(&self, cache: u16) -> Option<Meta<Slab>> {
        self.take_out(self.bin(cache).pop_with_room())
    }

    /// Takes any slab of a cache out.
    pub(crate) fn pop_any(&self, cache: u16) -> Option<Meta<Slab>> {
        self.take_out(self.bin(cache).pop_any())
    }

    /// Every slab that leaves the arena comes by here, or by [`pop_empty`](Self::pop_empty) (invariant *Remembered*).
    fn take_out(&self, slab: Option<Meta<Slab>>) -> Option<Meta<Slab>> {
        slab.inspect(|&slab| self.forget(slab))
    }

    fn forget(&self, slab: Meta<Slab>) {
        self.remembered.iter().for_each(|remembered| remembered.forget(slab));
    }

    /// Gives slabs to another arena: all, or as many as are moved at a time. Whether it has no slab any more.
    pub(crate) fn move_to(&self, other: &Self) -> bool {
        let mut left = Self::MOVED_AT_A_TIME;
        for cache in 0..Self::BINS as u16 {
            while let Some(slab) = self.pop_any(cache) {
                slab.set_arena(other.id);
                other.bin(cache).file(slab);
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
        self.bins().all(|(_, bin)| bin.is_vacant())
    }

    /// Whether all slabs that are remembered are the arena's own, and open (invariant *Remembered*).
    pub(crate) fn remembers_its_own(&self) -> bool {
        let mut slabs = self.remembered.iter().flat_map(|remembered| &remembered.0).map(Cell::get);
        slabs.all(|slab| slab == PageMap::NO_SLAB || slab.arena() == self.id)
    }
}

/// The slabs that objects were freed in lately, each in the place of the block of two pages that its object lay in: so long are
/// slabs of small objects, which many are; and a longer slab takes few places of many.
pub(crate) struct Remembered([Cell<Meta<Slab>>; Self::PLACES]);

impl Remembered {
    const PLACES: usize = 1024;
    const BLOCK_SHIFT: u32 = FRAME_SHIFT + 1;

    #[inline(always)]
    fn place(&self, address: usize) -> &Cell<Meta<Slab>> {
        &self.0[(address >> Self::BLOCK_SHIFT) % Self::PLACES]
    }

    /// The slab that an object in this block was freed in last: maybe the one that the address lies in.
    #[inline(always)]
    fn slab(&self, address: usize) -> Meta<Slab> {
        self.place(address).get()
    }

    fn forget(&self, slab: Meta<Slab>) {
        let places =
            (0..slab.bytes()).step_by(1 << Self::BLOCK_SHIFT).map(|offset| self.place(slab.base().addr() + offset));
        places.filter(|place| place.get() == slab).for_each(|place| place.set(PageMap::NO_SLAB));
    }
}

/// The arena of a CPU, and what that remembers of it.
#[repr(C)]
pub(crate) struct CpuArena {
    arena: Arena,
    remembered: Remembered,
}

// SAFETY: as for what it consists of.
unsafe impl Sync for CpuArena {}

impl CpuArena {
    /// The block that it takes.
    pub(crate) const ORDER: Order = Order::new(2).unwrap();

    const fn new(id: ArenaId) -> Self {
        let remembered = Remembered([const { Cell::new(PageMap::NO_SLAB) }; Remembered::PLACES]);
        Self { arena: Arena::new(id), remembered }
    }

    /// Makes one, without a slab, where it is to be: it is too large for a kernel's stack.
    ///
    /// # Safety
    /// The block is the arena's from now on, and of [`ORDER`](Self::ORDER).
    pub(crate) unsafe fn new_in(block: NonNull<u8>, id: ArenaId) -> NonNull<Self> {
        let place = block.cast::<Self>();
        let own = place.as_ptr();
        // SAFETY: the block is ours, aligned, and as large; what is written here is all of it.
        unsafe {
            let hands = (&raw mut (*own).arena.hands).cast::<Hand>();
            (0..Arena::BINS).for_each(|nth| hands.add(nth).write(Hand::empty()));
            let slabs = (&raw mut (*own).arena.slabs).cast::<Slabs>();
            (0..Arena::BINS).for_each(|nth| slabs.add(nth).write(Slabs::none()));
            let places = (&raw mut (*own).remembered.0).cast::<Cell<Meta<Slab>>>();
            (0..Remembered::PLACES).for_each(|nth| places.add(nth).write(Cell::new(PageMap::NO_SLAB)));
            (&raw mut (*own).arena.id).write(id);
            let remembered = Meta::new(NonNull::new_unchecked(&raw mut (*own).remembered));
            (&raw mut (*own).arena.remembered).write(Some(remembered));
        }
        place
    }

    #[inline(always)]
    pub(crate) fn arena(&self) -> &Arena {
        &self.arena
    }

    /// The slab that an object near `address` was freed in last.
    #[inline(always)]
    pub(crate) fn remembered(&self, address: usize) -> Meta<Slab> {
        self.remembered.slab(address)
    }

    /// Remembers a slab of the arena that has a slot at this address.
    #[inline(always)]
    pub(crate) fn remember(&self, address: usize, slab: Meta<Slab>) {
        self.remembered.place(address).set(slab);
    }
}

/// What is behind a gate that is closed: no slot to take, and no slab to free into.
static NOBODY: CpuArena = CpuArena::new(ArenaId::NOBODY);

// loom's atomics are larger than any.
#[cfg(not(bifolio_loom))]
const _: () = assert!(size_of::<CpuArena>() as u64 <= CpuArena::ORDER.bytes());

/// What is behind a gate.
impl Sign for AtomicPtr<CpuArena> {
    type Value = *mut CpuArena;

    const CLOSED: *mut CpuArena = (&raw const NOBODY).cast_mut();

    #[inline(always)]
    fn read(&self) -> *mut CpuArena {
        self.load(Ordering::Acquire)
    }

    fn write(&self, arena: *mut CpuArena, order: Ordering) {
        self.store(arena, order);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slab::class::SizeClass;
    use core::ptr::{self, NonNull};

    impl Arena {
        /// Remembers a slab, whosever it is.
        pub(crate) fn remember(&self, slab: Meta<Slab>) {
            self.remembered.unwrap().place(slab.base().addr()).set(slab);
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "walks dozens of slabs, again and again")]
    fn so_many_slabs_are_moved_at_a_time_and_no_more() {
        let [from, to] = [0, 1].map(|cpu| Box::new(Arena::new(ArenaId::of(cpu).unwrap())));
        let slabs: Vec<_> = (0..2 * Arena::MOVED_AT_A_TIME + 1).map(|_| Slab::vacant()).collect();
        for (number, slab) in slabs.iter().enumerate() {
            let class = SizeClass::all().nth(number % 3).unwrap();
            let geometry = class.geometry();
            // Nothing lives there, and nothing of it is dereferenced.
            let base = NonNull::new(ptr::without_provenance_mut((number + 1) << 20)).unwrap();
            slab.open(base, geometry.order, geometry.slots(class.number(), geometry.order));
            // SAFETY: the descriptors stay where they are for as long as the arenas are used.
            from.adopt(unsafe { Meta::new(NonNull::from(slab)) });
        }
        let count = |arena: &Arena| arena.bins().map(|(_, bin)| bin.slabs().count()).sum::<usize>();
        for moved in [Arena::MOVED_AT_A_TIME, 2 * Arena::MOVED_AT_A_TIME] {
            assert!(!from.move_to(&to));
            assert_eq!((count(&to), count(&from)), (moved, slabs.len() - moved));
        }
        assert!(from.move_to(&to) && from.is_vacant());
        assert_eq!(count(&to), slabs.len());
        assert!(to.bins().all(|(cache, bin)| bin.slabs().all(|slab| (slab.arena(), slab.cache()) == (to.id, cache))));
    }
}
