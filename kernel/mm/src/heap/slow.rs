//! What allocation and free do when the quick way does not lead there.

use crate::sync::atomic::Ordering;
use core::alloc::Layout;
use core::ptr::NonNull;

use super::diagnose::{Wanted, name};
use super::{Heap, HeapError, SizeClass};
use crate::cpu::Cpu;
use crate::slab::arena::{Arena, ArenaId, Door};
use crate::slab::class::Geometry;
use crate::slab::debug::Site;
use crate::slab::descriptor::{Owner, Slab};
use crate::slab::list::Meta;
use crate::slab::source::PageSource;
use crate::slab::stock::{self, Put, Stock};

/// A cache: its number, and the shape of its slabs.
#[derive(Clone, Copy)]
pub(super) struct Kind<'a> {
    pub(super) number: u16,
    pub(super) geometry: &'a Geometry,
    /// What is run on each new slot, if anything is.
    pub(super) construct: Option<&'a dyn Fn(NonNull<u8>)>,
}

impl Kind<'static> {
    pub(super) fn of(class: SizeClass) -> Self {
        Self { number: class.number(), geometry: class.geometry(), construct: None }
    }
}

/// What a free did.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Freed {
    /// The slot is free.
    Kept,
    /// Likewise, and the cache has more empty slabs than it keeps.
    Surplus,
    /// Nothing was changed: no live object starts there, or none of that cache, or, where the free was to be quick, it takes
    /// longer to find out.
    Refused,
}

impl Freed {
    fn and(has_surplus: bool) -> Self {
        if has_surplus { Self::Surplus } else { Self::Kept }
    }
}

/// Two frees of one slot in the same instant, found when the second was taken over.
pub(super) struct Twice {
    address: usize,
    owner: Owner,
    slot: u16,
}

/// Takes over what others have freed in a slab of this arena, and puts it where it belongs.
pub(super) fn take_over(arena: &Arena, slab: Meta<Slab>) -> Option<Twice> {
    let owner = slab.owner();
    let twice = slab.collect(&arena.bin(owner.cache()).stock);
    // Once nobody is in the arena any more, the slab may be gone.
    let twice = twice.map(|slot| Twice { address: slab.base().addr() + usize::from(slot) * slab.size(), owner, slot });
    arena.refile(slab, slab.free());
    twice
}

impl<S: PageSource, C: Cpu, const CPUS: usize> Heap<S, C, CPUS> {
    /// Runs `f` in this CPU's own arena. `None` if it has none, or if all stand still.
    fn in_own<R>(&self, f: impl FnOnce(&Arena) -> R) -> Option<R> {
        self.inside(|arena| (arena.id() != ArenaId::NOBODY).then(|| f(arena)))
    }

    /// Runs `f` in the arena that this CPU is to use: its own, or the shared one.
    pub(super) fn in_arena<R>(&self, f: impl FnOnce(&Arena) -> R) -> R {
        let mut f = Some(f);
        let own = self.in_own(|arena| f.take().map(|f| f(arena)));
        match (own.flatten(), f) {
            (None, Some(f)) => self.in_shared(f),
            (Some(result), _) => result,
            (None, None) => unreachable!("`f` was run, or it is there"),
        }
    }

    fn in_shared<R>(&self, f: impl FnOnce(&Arena) -> R) -> R {
        self.shared_lock.with(|()| f(&self.shared))
    }

    /// What an arena's bin hands out next, for anybody to look into; nothing if the arena is not there.
    ///
    /// The caller is in an arena, or has made the heap stand still.
    fn stock_of(&self, owner: Owner) -> &Stock {
        let arena = match owner.arena() {
            ArenaId::SHARED => Some(&self.shared),
            // SAFETY: the arena stays there as long as the caller is where it is.
            id => self.doors.get(id.index()).and_then(|door| unsafe { door.arena() }),
        };
        arena.and_then(|arena| arena.get_bin(owner.cache())).map_or(&stock::EMPTY, |bin| &bin.stock)
    }

    /// Whether a slot is free, no matter where. The caller is in an arena, or has made the heap stand still.
    pub(super) fn is_free(&self, slab: Meta<Slab>, slot: u16) -> bool {
        slab.is_free(slot, self.stock_of(slab.owner()))
    }

    /// Allocates an object of `size` bytes, at most those of a slot. `site` is who asks for it.
    #[cold]
    pub(super) fn allocate_slowly(&self, kind: Kind<'_>, size: usize, site: Site) -> Option<NonNull<u8>> {
        if self.debugging.is_on(kind.number) {
            if let Some(debugged) = self.allocate_debugged(kind, size, site) {
                // What its last user left of it has been poisoned.
                debugged
                    .into_iter()
                    .for_each(|object| kind.construct.into_iter().for_each(|construct| construct(object)));
                return debugged;
            }
        } else if let Some(object) = self.inside(|arena| arena.bin(kind.number).take_any()) {
            // Mostly other slots of this CPU's slabs are free.
            return Some(object);
        }
        self.settle_in();
        self.take_any(kind).or_else(|| self.grow(kind)).or_else(|| {
            // Empty slabs of other caches and CPUs may make room; or else others have a free slot.
            self.shrink();
            self.grow(kind).or_else(|| {
                self.try_stopped(|all| {
                    let slab = all.arenas().find_map(|arena| {
                        arena.bin(kind.number).set_aside();
                        arena.bin(kind.number).pop()
                    })?;
                    all.shared.adopt(slab, kind.number);
                    Some(())
                })
                .flatten()?;
                self.take_any(kind)
            })
        })
    }

    fn take_any(&self, kind: Kind<'_>) -> Option<NonNull<u8>> {
        let (object, twice) = self.in_arena(|arena| self.take_slowly(arena, kind.number));
        self.report_twice(twice);
        object
    }

    /// Takes a slot of the arena, which becomes free where others freed it if need be, or of a slab that the shared arena
    /// has to spare.
    fn take_slowly(&self, arena: &Arena, number: u16) -> (Option<NonNull<u8>>, Option<Twice>) {
        let bin = arena.bin(number);
        if let Some(object) = bin.take_any() {
            return (Some(object), None);
        }
        self.door(arena.id().index()).refills.increment();
        let mut twice = self.collect(arena);
        let object = bin.take_any().or_else(|| {
            if arena.id() == ArenaId::SHARED {
                return None;
            }
            let _guard = self.shared_lock.lock();
            twice = twice.take().or(self.collect(&self.shared));
            self.shared.bin(number).set_aside();
            let slab = self.shared.bin(number).pop()?;
            arena.adopt(slab, number);
            bin.take_any()
        });
        (object, twice)
    }

    /// Takes over what others have freed in the arena's slabs, and passes on what is not the arena's any more.
    pub(super) fn collect(&self, arena: &Arena) -> Option<Twice> {
        let mut twice = None;
        for slab in self.door(arena.id().index()).incoming.0.take() {
            let owner = slab.owner();
            if owner.arena() == arena.id() {
                let found = take_over(arena, slab);
                twice = twice.or(found);
            } else {
                self.door(owner.arena().index()).incoming.0.push(slab);
            }
        }
        twice
    }

    pub(super) fn report_twice(&self, twice: Option<Twice>) {
        if let Some(Twice { address, owner, slot }) = twice {
            let cache = self.debugging.records.with(|records| name(records, owner)).unwrap_or("?");
            self.registry.report(&HeapError::DoubleFree { address, cache, slot });
        }
    }

    /// Gives this CPU an arena, if it has none and can have one.
    fn settle_in(&self) {
        let cpu = C::without_interrupts(C::current);
        if self.doors.get(cpu).is_none_or(Door::has_arena) || self.registry.source.is_scarce() {
            return;
        }
        let Some(block) = self.registry.source.allocate(Arena::ORDER) else {
            return;
        };
        let settled = self.in_shared(|_| {
            let cpu = C::current();
            let (id, door) = (ArenaId::of(cpu)?, self.doors.get(cpu)?);
            // Who stops all arenas says so before it takes the lock that we hold; an arena that came into being now would
            // not be stopped.
            if self.stopped.load(Ordering::Relaxed) || door.has_arena() {
                return None;
            }
            let arena = block.cast::<Arena>();
            // SAFETY: the block is ours, aligned to its size, and has room for an arena; the lock is held.
            unsafe {
                arena.write(Arena::new(id));
                door.set_arena(arena.as_ptr());
            }
            door.open();
            Some(())
        });
        if settled.is_none() {
            // SAFETY: the block came from the source a moment ago, and nothing was made of it.
            unsafe { self.registry.give_back(block, Arena::ORDER) };
        }
    }

    /// Fetches a slab for a cache that has no free slot, and takes one. Tries a smaller slab where there is no block of the
    /// usual order.
    fn grow(&self, kind: Kind<'_>) -> Option<NonNull<u8>> {
        let geometry = kind.geometry;
        let open = |order| self.registry.open(order, geometry.size, geometry.slots(order), geometry.divider);
        let usual = if self.registry.source.is_scarce() { geometry.least_order } else { geometry.order };
        let slab = open(usual).or_else(|| if geometry.least_order < usual { open(geometry.least_order) } else { None });
        if let (Some(slab), Some(construct)) = (slab, kind.construct) {
            for slot in 0..slab.slots() {
                let start = slab.base().wrapping_add(usize::from(slot) * slab.size());
                NonNull::new(start).into_iter().for_each(construct);
            }
        }
        self.in_arena(|arena| {
            if let Some(slab) = slab {
                arena.adopt(slab, kind.number);
            }
            // Without a new slab there may still be a slot that was freed meanwhile.
            arena.bin(kind.number).take_any()
        })
    }

    /// What is left to do of a free of which the quick part said what it has `done`.
    #[cold]
    pub(super) fn free_slowly(
        &self,
        object: NonNull<u8>,
        layout: Layout,
        done: Freed,
        site: Site,
    ) -> Result<(), HeapError> {
        if done == Freed::Surplus {
            self.trim();
            return Ok(());
        }
        match SizeClass::of(layout) {
            None => self.free_large(object, layout),
            Some(class) => {
                self.free_any(object, Some(Wanted::Layout(layout)), |owner| owner.cache() == class.number(), site)
            }
        }
    }

    /// As [`free_slowly`](Self::free_slowly), where no layout was said.
    #[cold]
    pub(super) fn free_unsized_slowly(&self, object: NonNull<u8>, done: Freed, site: Site) -> Result<(), HeapError> {
        if done == Freed::Surplus {
            self.trim();
            return Ok(());
        }
        match self.object_layout(object) {
            Some(layout) => self.free_large(object, layout),
            None => self.free_any(object, None, |_| true, site),
        }
    }

    /// Frees the slot that starts at `object`, if its slab has an owner that will do.
    pub(super) fn free_any(
        &self,
        object: NonNull<u8>,
        wanted: Option<Wanted>,
        is_right: impl Fn(Owner) -> bool,
        site: Site,
    ) -> Result<(), HeapError> {
        let (freed, twice) = self.in_arena(|arena| self.put_slowly(arena, object.as_ptr().addr(), is_right));
        self.report_twice(twice);
        match freed {
            Freed::Kept => Ok(()),
            Freed::Surplus => {
                self.trim();
                Ok(())
            }
            Freed::Refused => {
                self.free_debugged(object, wanted, site).unwrap_or_else(|| Err(self.diagnose(object, wanted)))
            }
        }
    }

    fn put_slowly(&self, arena: &Arena, address: usize, is_right: impl Fn(Owner) -> bool) -> (Freed, Option<Twice>) {
        // SAFETY: we are inside an arena.
        let slab = unsafe { self.registry.map.find(address) };
        let owner = slab.owner();
        let slot = slab.slot_at(address).filter(|_| owner.arena() != ArenaId::NONE && is_right(owner));
        let Some(slot) = slot else {
            return (Freed::Refused, None);
        };
        if owner.arena() != arena.id() {
            return match slab.put_remotely(slot, self.stock_of(owner)) {
                Err(()) => (Freed::Refused, None),
                Ok(to) => {
                    // Of the shared arena they are nobody's.
                    if owner.arena() != ArenaId::SHARED {
                        self.door(arena.id().index()).remote_frees.increment();
                    }
                    if to != ArenaId::NONE {
                        self.door(to.index()).incoming.0.push(slab);
                    }
                    (Freed::Kept, None)
                }
            };
        }
        let twice = if slab.is_announced() { self.collect(arena) } else { None };
        let freed = match arena.bin(owner.cache()).stock.put(address) {
            Put::Done | Put::Look => Freed::Kept,
            Put::Twice => Freed::Refused,
            Put::Elsewhere if slab.put_any(slot) => Freed::and(arena.refile(slab, slab.free())),
            Put::Elsewhere => Freed::Refused,
        };
        (freed, twice)
    }

    /// Frees the slot that starts at `address`, if it is one of the cache with this number in this arena, and others do not
    /// free slots of its slab just now; else does nothing.
    #[inline(always)]
    pub(super) fn put_quickly(&self, arena: &Arena, cache: u16, address: usize) -> Freed {
        match arena.bin(cache).stock.put(address) {
            Put::Done => Freed::Kept,
            Put::Elsewhere => self.put_in_slab(arena, cache, address),
            _ => Freed::Refused,
        }
    }

    // Apart, so that what frees into the stock is small enough to become a part of its callers.
    #[inline(never)]
    fn put_in_slab(&self, arena: &Arena, cache: u16, address: usize) -> Freed {
        let recent = arena.recent(address);
        match recent.slot_at(address) {
            Some(slot) if recent.is_settled(arena.owner(cache)) => Self::put_slot(arena, recent, slot),
            _ => self.put_after_search(arena, cache, address),
        }
    }

    #[inline(always)]
    fn put_slot(arena: &Arena, slab: Meta<Slab>, slot: u16) -> Freed {
        match slab.put(slot) {
            Put::Done => Freed::Kept,
            Put::Look => Freed::and(arena.refile(slab, slab.due())),
            _ => Freed::Refused,
        }
    }

    fn put_after_search(&self, arena: &Arena, cache: u16, address: usize) -> Freed {
        let Some(slab) = self.search(arena, address) else {
            return Freed::Refused;
        };
        match slab.slot_at(address) {
            Some(slot) if slab.is_settled(arena.owner(cache)) => Self::put_slot(arena, slab, slot),
            _ => Freed::Refused,
        }
    }

    /// The slab of this arena that has a slot which starts at `address`.
    #[inline]
    pub(super) fn own_slab(&self, arena: &Arena, address: usize) -> Option<Meta<Slab>> {
        let recent = arena.recent(address);
        if recent.owner().arena() == arena.id() && recent.slot_at(address).is_some() {
            Some(recent)
        } else {
            self.search(arena, address)
        }
    }

    /// As [`own_slab`](Self::own_slab), for slabs that are not remembered; and remembers what it finds.
    #[inline(never)]
    fn search(&self, arena: &Arena, address: usize) -> Option<Meta<Slab>> {
        if arena.id() == ArenaId::NOBODY {
            return None;
        }
        // SAFETY: we are inside an arena.
        let slab = unsafe { self.registry.map.find(address) };
        if slab.owner().arena() != arena.id() || slab.slot_at(address).is_none() {
            return None;
        }
        arena.remember(address, slab);
        Some(slab)
    }

    /// Gives back the empty slabs that this CPU's arena has more than it keeps.
    pub(super) fn trim(&self) {
        while let Some(slab) = self.in_arena(|arena| {
            let (_, bin) = arena.bins().find(|(_, bin)| bin.has_surplus())?;
            let slab = bin.pop_empty()?;
            slab.set_owner(Owner::TRANSIT);
            Some(slab)
        }) {
            self.registry.close(slab);
        }
    }

    /// This CPU stops allocating, for a while or for ever: its slabs go to the arena that all CPUs share. It may allocate
    /// again at any time. To be called by a thread that ends, and by a CPU before it idles for long.
    pub fn retire_cpu(&self) {
        loop {
            let retired = self.in_own(|arena| {
                let twice = self.collect(arena);
                let _guard = self.shared_lock.lock();
                let is_done = arena.move_to(&self.shared);
                // What came meanwhile is passed on.
                (twice.or(self.collect(arena)), is_done)
            });
            match retired {
                Some((twice, is_done)) => {
                    self.report_twice(twice);
                    if is_done {
                        return;
                    }
                }
                // Somebody has stopped it for a moment. Who does not come back must not leave it so.
                None if self.has_arena() => C::relax(),
                None => return,
            }
        }
    }

    /// Whether this CPU has an arena, stopped or not.
    fn has_arena(&self) -> bool {
        let cpu = C::without_interrupts(C::current);
        self.doors.get(cpu).is_some_and(Door::has_arena)
    }
}
