//! A CPU's place in a heap: the gate to its arena, the slabs that others hand to it, and what it counts.

use core::ptr;

use super::arena::{Arena, CpuArena, NOBODY};
use super::descriptor::Slab;
use super::list::Meta;
use crate::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};
use crate::sync::{Gate, Sign};

/// The slabs that others have freed slots of and that their owner is to look at: a stack that all push to, and that is
/// taken off as a whole.
pub(crate) struct Incoming(pub(super) AtomicPtr<Slab>);

impl Incoming {
    /// Hands a slab to the arena. Only for a CPU that announced its first word ([`Slab::put_remotely`]), or took it off a queue.
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

    /// All slabs, which stay. Only while none is pushed or taken.
    pub(crate) fn slabs(&self) -> impl Iterator<Item = Meta<Slab>> + use<> {
        Self::chain(self.0.load(Ordering::Acquire))
    }

    /// Takes all slabs.
    pub(crate) fn take(&self) -> impl Iterator<Item = Meta<Slab>> + use<> {
        let mut next = self.0.load(Ordering::Relaxed);
        if !next.is_null() {
            next = self.0.swap(ptr::null_mut(), Ordering::Acquire);
        }
        Self::chain(next)
    }

    fn chain(mut next: *mut Slab) -> impl Iterator<Item = Meta<Slab>> + use<> {
        core::iter::from_fn(move || {
            let slab = ptr::NonNull::new(next)?;
            // SAFETY: what is in a queue has a slot that is neither live nor free, so its descriptor is in use.
            let slab = unsafe { Meta::new(slab) };
            next = slab.next_incoming.load(Ordering::Relaxed);
            Some(slab)
        })
    }
}

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

/// A CPU's place in a heap. It is always there; the arena behind its gate comes and goes.
#[repr(C, align(64))]
pub(crate) struct PerCpu {
    /// What its CPU goes through, and finds behind it: the arena, or [`NOBODY`].
    pub(crate) gate: Gate<AtomicPtr<CpuArena>>,
    /// The arena, even while the gate is closed; null if there is none.
    arena: AtomicPtr<CpuArena>,
    /// The gate stays closed, whoever would open it: what its CPU does is to be recorded.
    is_withheld: AtomicBool,
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
    /// One more. Only for the CPU that counts.
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

impl PerCpu {
    /// The place of a CPU without an arena.
    pub(crate) const fn new() -> Self {
        Self {
            gate: Gate::with(AtomicPtr::new(<AtomicPtr<CpuArena> as Sign>::CLOSED)),
            arena: AtomicPtr::new(ptr::null_mut()),
            is_withheld: AtomicBool::new(false),
            refills: Count(AtomicU64::new(0)),
            remote_frees: Count(AtomicU64::new(0)),
            incoming: Apart(Incoming(AtomicPtr::new(ptr::null_mut()))),
        }
    }

    /// Goes in and runs `f` on what is there. Only for the place's CPU, with interrupts masked.
    #[inline(always)]
    pub(crate) fn enter<R>(&self, f: impl FnOnce(&CpuArena) -> R) -> R {
        let (_inside, arena) = self.gate.enter_anyway();
        // SAFETY: what is behind a gate stays there until nobody is inside (invariant *Metadata*).
        f(unsafe { &*arena })
    }

    /// Whether there is an arena, whether or not the gate to it is open.
    pub(crate) fn has_arena(&self) -> bool {
        !self.arena.load(Ordering::Relaxed).is_null()
    }

    /// Opens the gate, if there is an arena, and it is not [withheld](Self::withhold).
    pub(crate) fn open(&self) {
        let arena = self.arena.load(Ordering::Relaxed);
        if !arena.is_null() && !self.is_withheld.load(Ordering::Relaxed) {
            self.gate.open_to(arena);
        }
    }

    /// Keeps the gate closed, or opens it again. Whether it was kept closed. Only for the place's CPU, which is outside, or before there
    /// is an arena.
    pub(crate) fn withhold(&self, is_withheld: bool) -> bool {
        let was_withheld = self.is_withheld.swap(is_withheld, Ordering::Relaxed);
        if is_withheld {
            self.gate.close()
        } else {
            self.open()
        }
        was_withheld
    }

    /// The arena; `None` if there is none.
    ///
    /// # Safety
    /// All arenas stand still, for as long as it is used.
    pub(crate) unsafe fn arena(&self) -> Option<&Arena> {
        // SAFETY: arenas come and go only while they stand still, and then by the caller's doing.
        unsafe { self.arena.load(Ordering::Relaxed).as_ref() }.map(CpuArena::arena)
    }

    /// Gives the CPU an arena, or takes it away: the block that it lived in is returned, if there was one.
    ///
    /// # Safety
    /// The shared arena's lock is held. What is given is initialised and the CPU's from now on; what is taken is behind a
    /// closed gate, and vacant.
    pub(crate) unsafe fn set_arena(&self, arena: *mut CpuArena) -> *mut CpuArena {
        self.arena.swap(arena, Ordering::Relaxed)
    }
}
