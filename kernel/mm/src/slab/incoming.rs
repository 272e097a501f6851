//! The queue by which a slab comes to its owner's notice.

use crate::sync::atomic::{AtomicPtr, Ordering};
use core::ptr;

use super::descriptor::Slab;
use super::list::Meta;

/// The slabs that others have freed slots of and that their owner is to look at: a stack that all push to, and that is
/// taken off as a whole.
pub(crate) struct Incoming(pub(super) AtomicPtr<Slab>);

impl Incoming {
    /// No slab.
    pub(super) const fn new() -> Self {
        Self(AtomicPtr::new(ptr::null_mut()))
    }

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

    /// Whether there is no slab. Others may push one meanwhile.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.load(Ordering::Relaxed).is_null()
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
