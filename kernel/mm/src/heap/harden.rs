//! What is done beside serving requests and frees where it is [switched on](crate::hardening).
//!
//! As for page frames: the gates that fast paths know are closed then, and those of the slow paths are open, which ask what is on.

use core::ops::Range;
use core::ptr::NonNull;

use super::debug::Debugging;
use super::slow::Kind;
use super::{Heap, SizeClass};
use crate::cpu::Cpu;
use crate::hardening::Hardening;
use crate::slab::arena::Arena;
use crate::slab::source::PageSource;
use crate::sync::atomic::Ordering::Relaxed;

/// The number of the first cache that is no class.
const FIRST_CACHE: u16 = SizeClass::COUNT as u16;

const _: () = assert!(Arena::BINS - SizeClass::COUNT <= u32::BITS as usize);

impl<C: Cpu> Debugging<C> {
    /// Whether objects of the cache with this number are freed as its constructor left them.
    pub(super) fn is_constructed(&self, number: u16) -> bool {
        number.checked_sub(FIRST_CACHE).is_some_and(|nth| self.constructed.load(Relaxed) >> nth & 1 != 0)
    }

    /// Says so of a cache that is no class.
    pub(super) fn set_constructed(&self, number: u16, is_constructed: bool) {
        let bit = 1 << (number - FIRST_CACHE);
        if is_constructed {
            self.constructed.fetch_or(bit, Relaxed)
        } else {
            self.constructed.fetch_and(!bit, Relaxed)
        };
    }
}

impl<S: PageSource, C: Cpu, const CPUS: usize> Heap<S, C, CPUS> {
    /// Chooses what is done beside serving requests and frees, from now on; on other CPUs, once this returns. By default nothing.
    ///
    /// Left alone are objects that a [constructor](super::CacheOptions::constructor) made, which are to be found as they were freed, and
    /// those that are [poisoned](super::SlabDebug::POISON), as in Linux. An object that two CPUs free at the same moment, in a slab of
    /// a third, may be filled with zeros after it was allocated again.
    ///
    /// Not to be called by two CPUs at once. The heap stands still for a moment.
    pub fn harden(&self, hardening: Hardening) {
        let is_hardened = !hardening.is_empty();
        // What needs zeros finds out before it may begin, and what needs none ends before it may begin without.
        if is_hardened {
            self.hardening.set(hardening);
        }
        self.record_at_once();
        let is_slow = is_hardened || self.registry.recording.is_completed();
        self.stopped(|_| self.per_cpu.iter().for_each(|place| place.set_slow(is_slow)));
        self.hardening.set(hardening);
        self.record_at_once();
    }

    /// What is done beside serving requests and frees.
    pub fn hardening(&self) -> Hardening {
        self.hardening.get()
    }

    /// Whether objects of the cache with this number are filled with zeros then.
    pub(super) fn inits(&self, cache: u16, when: Hardening) -> bool {
        self.hardening().contains(when) && !self.debugging.is_constructed(cache)
    }

    /// Allocates an object that is not debugged, where nothing is in hand.
    pub(super) fn allocate_plain(&self, kind: Kind<'_>, size: usize) -> Option<NonNull<u8>> {
        let object = self.allocate_more(kind, size)?;
        // SAFETY: the slot was given to this call a moment ago.
        unsafe { self.init(kind.number, object.as_ptr(), kind.geometry.size as usize, Hardening::INIT_ON_ALLOC) };
        Some(object)
    }

    /// Fills a slot of so many bytes, of the cache with this number, with zeros, if that is to be done then.
    ///
    /// # Safety
    /// The slot is the caller's, or live and used by nobody.
    pub(super) unsafe fn init(&self, cache: u16, slot: *mut u8, bytes: usize, when: Hardening) {
        if self.inits(cache, when) {
            // SAFETY: the slot is as long, and by this function's contract nobody else uses it.
            unsafe { slot.write_bytes(0, bytes) };
        }
    }

    /// Fills a part of a run with zeros, if that is to be done then, and its source does not do so by itself.
    ///
    /// # Safety
    /// The part, unless it is empty, lies in a run of this heap, and nobody uses it.
    pub(super) unsafe fn init_run(&self, start: NonNull<u8>, part: Range<usize>, when: Hardening) {
        if !part.is_empty() && (self.hardening() - self.registry.source.hardening()).contains(when) {
            // SAFETY: the part lies in the run by this function's contract, whose caller has it to itself.
            unsafe { start.add(part.start).write_bytes(0, part.len()) };
        }
    }
}
