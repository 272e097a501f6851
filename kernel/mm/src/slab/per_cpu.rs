//! The places of all CPUs in a heap, and the gates to their arenas.

use crate::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use crate::sync::{Gate, Sign};
use core::ops::Deref;
use core::ptr;

use super::arena::{Arena, CpuArena};
use super::incoming::Incoming;
use crate::cpu::{Cpu, Place};

/// A CPU's place in a heap. It is always there; the arena behind its gate comes and goes.
#[repr(C, align(64))]
pub(crate) struct PerCpu {
    /// What its CPU goes through, and finds behind it: the arena, or [`NOBODY`].
    gate: Gate<AtomicPtr<CpuArena>>,
    /// The arena, even while the gate is closed; null if there is none.
    arena: AtomicPtr<CpuArena>,
    /// The gate in use is the [slow one](Self::slow_gate).
    is_slow: AtomicBool,
    /// Times that its CPU found no slot in its slabs and looked for more.
    pub(crate) refills: Count,
    /// Objects that its CPU has freed in slabs of others.
    pub(crate) remote_frees: Count,
    /// The same as the gate, in its place while more is done than the fast paths know of; of the two, the one that is not in use is closed.
    slow_gate: Gate<AtomicPtr<CpuArena>>,
    /// Others write here, so it has a cache line of its own.
    pub(crate) incoming: Apart<Incoming>,
}

/// The places of all CPUs.
#[repr(C)]
pub(crate) struct Places<const CPUS: usize> {
    /// Of each that can have an arena.
    per_cpu: [PerCpu; CPUS],
    /// Of all others: there never is an arena.
    pub(crate) without: PerCpu,
    /// So many of the first had an arena some time. Raised under the shared arena's lock.
    used: AtomicUsize,
}

impl<const CPUS: usize> Places<CPUS> {
    /// Nobody has an arena.
    pub(crate) const fn new() -> Self {
        assert!(CPUS <= Place::CPUS, "there are no numbers for so many arenas");
        Self { per_cpu: [const { PerCpu::new() }; CPUS], without: PerCpu::new(), used: AtomicUsize::new(0) }
    }

    /// That of a CPU.
    #[inline(always)]
    pub(crate) fn at(&self, place: Place) -> &PerCpu {
        if CPUS < Place::CPUS || size_of::<PerCpu>() != Place::STRIDE {
            return self.per_cpu.get(place.offset() / Place::STRIDE).unwrap_or(&self.without);
        }
        // SAFETY: so many places of this size lie one behind the other, and the last offset that there is leads to the one behind
        // them, where `without` is: both have the same alignment, so there is nothing between them.
        unsafe { &*(&raw const *self).cast::<PerCpu>().byte_add(place.offset()) }
    }

    /// Those that ever had an arena, and maybe more: all of them for a CPU that holds the shared arena's lock.
    pub(crate) fn used(&self) -> &[PerCpu] {
        &self.per_cpu[..self.used.load(Ordering::Relaxed)]
    }

    /// The CPU with this number is about to get an arena. The shared arena's lock is held.
    pub(crate) fn use_place(&self, cpu: usize) {
        self.used.store(self.used().len().max(cpu + 1), Ordering::Relaxed);
    }
}

impl<const CPUS: usize> Deref for Places<CPUS> {
    type Target = [PerCpu];

    fn deref(&self) -> &[PerCpu] {
        &self.per_cpu
    }
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
            is_slow: AtomicBool::new(false),
            refills: Count(AtomicU64::new(0)),
            remote_frees: Count(AtomicU64::new(0)),
            slow_gate: Gate::with(AtomicPtr::new(<AtomicPtr<CpuArena> as Sign>::CLOSED)),
            incoming: Apart(Incoming::new()),
        }
    }

    /// Goes in, to what is there. Only for the place's CPU, with interrupts masked, and which then [leaves](Self::leave).
    #[inline(always)]
    pub(crate) fn enter(&self) -> &CpuArena {
        // SAFETY: what is behind a gate stays there until nobody is inside (invariant *Metadata*).
        unsafe { &*self.gate.enter_anyway() }
    }

    /// What is there, once more, for the CPU that is inside: nobody's arena if the gate was closed meanwhile.
    #[inline(always)]
    pub(crate) fn own(&self) -> &CpuArena {
        // SAFETY: what is behind a gate stays there until nobody is inside (invariant *Metadata*).
        unsafe { &*self.gate.sign() }
    }

    /// Goes out. Only for the CPU that is inside.
    #[inline(always)]
    pub(crate) fn leave(&self) {
        self.gate.leave();
    }

    /// Runs `inside` on what is there by whichever gate is in use, where [`enter`](Self::enter) led to nobody's arena: for the slow paths,
    /// which do what fast paths know nothing of. Only for the place's CPU, with interrupts masked.
    #[cold]
    pub(crate) fn inside_slowly<R>(&self, inside: impl FnOnce(&CpuArena) -> R) -> R {
        let gate = self.gate_in_use();
        // SAFETY: what is behind a gate stays there until nobody is inside (invariant *Metadata*).
        let result = inside(unsafe { &*gate.enter_anyway() });
        gate.leave();
        result
    }

    /// The gate in use. Its CPU may read this outside, since it is changed only while all stand still, and the other one is closed.
    pub(crate) fn gate_in_use(&self) -> &Gate<AtomicPtr<CpuArena>> {
        if self.is_slow.load(Ordering::Relaxed) { &self.slow_gate } else { &self.gate }
    }

    /// Lets the CPU in [slowly](Self::inside_slowly) alone, or as ever. Only with the gate in use closed: while all arenas stand still, or
    /// before there are any.
    pub(crate) fn set_slow(&self, is_slow: bool) {
        self.is_slow.store(is_slow, Ordering::Relaxed);
    }

    /// Waits until the CPU is outside, from where it may come back. By whichever gate it is inside: it comes to the slow one from behind
    /// the other.
    pub(crate) fn await_outside<C: Cpu>(&self) {
        self.gate.await_owner::<C>();
    }

    /// Whether there is an arena, whether or not the gate to it is open.
    pub(crate) fn has_arena(&self) -> bool {
        !self.arena.load(Ordering::Relaxed).is_null()
    }

    /// Opens the gate, if there is an arena.
    pub(crate) fn open(&self) {
        let arena = self.arena.load(Ordering::Relaxed);
        if !arena.is_null() {
            self.gate_in_use().open_to(arena);
        }
    }

    /// The arena; `None` if there is none.
    ///
    /// # Safety
    /// All arenas stand still, for as long as it is used.
    pub(crate) unsafe fn arena(&self) -> Option<&Arena> {
        // SAFETY: by this function's contract.
        unsafe { self.cpu_arena() }.map(CpuArena::arena)
    }

    /// The same, with what its CPU remembers of it.
    ///
    /// # Safety
    /// As for [`arena`](Self::arena).
    #[inline(always)]
    pub(crate) unsafe fn cpu_arena(&self) -> Option<&CpuArena> {
        // SAFETY: arenas come and go only while they stand still, and then by the caller's doing.
        unsafe { self.arena.load(Ordering::Relaxed).as_ref() }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slab::arena::ArenaId;

    /// Whether each CPU that has a place gets that, and all others the one behind those.
    fn leads_to_each<const CPUS: usize>() {
        let places = Box::new(Places::<CPUS>::new());
        for (number, place) in places.iter().enumerate() {
            assert!(core::ptr::eq(places.at(Place::of(number)), place), "CPU {number} of {CPUS}");
        }
        for number in [CPUS, CPUS + 1, ArenaId::SHARED.index(), 1 << 20, usize::MAX] {
            assert!(core::ptr::eq(places.at(Place::of(number)), &places.without), "CPU {number} of {CPUS}");
        }
    }

    #[test]
    fn a_cpu_has_the_place_of_its_number() {
        leads_to_each::<{ Place::CPUS }>();
        leads_to_each::<3>();
        leads_to_each::<0>();
    }
}
