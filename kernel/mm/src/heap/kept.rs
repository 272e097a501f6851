//! Objects that the [source keeps itself](PageSource::allocate_object), where there is hardly any memory.
//!
//! What they take is the size of their class, as elsewhere, so a layout of the same class frees them. Two frees of one object
//! come one after the other, by the lock of large objects, among which these are counted.

use core::alloc::Layout;
use core::ptr::NonNull;

use super::diagnose::Wanted;
use super::large::Large;
use super::{Heap, HeapError, SizeClass};
use crate::cpu::Cpu;
use crate::slab::source::PageSource;

impl<S: PageSource, C: Cpu, const CPUS: usize> Heap<S, C, CPUS> {
    /// What the source is asked for: the class's size, and as aligned as C wants that, so that it can stay when it is resized.
    fn kept_as(layout: Layout) -> Option<Layout> {
        let bytes = Self::usable_size(layout)?;
        Layout::from_size_align(bytes, layout.align().max(1 << bytes.trailing_zeros().min(4))).ok()
    }

    #[cold]
    pub(super) fn allocate_kept(&self, layout: Layout) -> Option<NonNull<u8>> {
        // Whatever it has, no other source keeps any.
        let wanted = if self.registry.source.is_scarce() { Self::kept_as(layout)? } else { return None };
        self.large.with(|large| {
            let object = self.registry.source.allocate_object(wanted)?;
            large.0.count(wanted.size());
            Some(object)
        })
    }

    /// How many bytes the object has that starts here, if the source keeps one.
    pub(super) fn kept(&self, object: NonNull<u8>) -> Option<usize> {
        let address = object.as_ptr().addr();
        let (start, bytes) = self.registry.source.object_around(address)?;
        (start == address).then_some(bytes)
    }

    /// Whether the source keeps an object of this layout there.
    pub(super) fn is_kept(&self, object: NonNull<u8>, layout: Layout) -> bool {
        self.kept(object).is_some_and(|bytes| Self::usable_size(layout) == Some(bytes))
    }

    /// Frees the object that starts here, if the source keeps one; else `None`.
    pub(super) fn free_kept(&self, object: NonNull<u8>, layout: Option<Layout>) -> Option<Result<(), HeapError>> {
        self.kept(object)?;
        let freed = self.large.with(|large| {
            let bytes = self.kept(object)?;
            let is_right = layout.is_none_or(|layout| Self::usable_size(layout) == Some(bytes));
            // SAFETY: there is such an object; it is the caller's, who gives it back.
            let is_freed = is_right && unsafe { self.registry.source.release_object(object, bytes) };
            is_freed.then(|| large.0.discount(bytes))
        });
        Some(freed.ok_or_else(|| self.diagnose(object, layout.map(Wanted::Layout))))
    }

    /// Makes the object that starts here, which the source keeps, one of another layout, where it is. `false`, and nothing
    /// changed, if there is no room behind it.
    pub(super) fn resize_kept(&self, object: NonNull<u8>, wanted: Layout) -> bool {
        let Some(wanted) = Self::kept_as(wanted) else { return false };
        let (new, is_aligned) = (wanted.size(), object.as_ptr().addr() % wanted.align() == 0);
        self.large.with(|large| {
            let Some(bytes) = self.kept(object) else { return false };
            // SAFETY: whoever resizes the object promises that nobody uses what lies behind the new end.
            if is_aligned && (bytes == new || unsafe { self.registry.source.resize_object(object, new) }) {
                large.0.discount(bytes);
                large.0.count(new);
                large.0.resized += u64::from(bytes != new);
                return true;
            }
            large.0.moved += 1;
            false
        })
    }

    /// What is wrong with freeing what lies, or lay, in an object that the source keeps. `None` if there is none.
    pub(super) fn judge_kept(&self, address: usize, wanted: Option<Wanted>) -> Option<HeapError> {
        let source = &self.registry.source;
        let (start, actual) = source.object_around(address).or_else(|| Some((address, source.freed_at(address)?)))?;
        let class = Layout::from_size_align(actual, 1).ok().and_then(SizeClass::of);
        let (cache, slot) = (class.map_or(Large::NAME, SizeClass::name), 0);
        let is_live = source.object_around(address).is_some();
        Some(match wanted {
            _ if start != address => HeapError::Interior { address, cache, slot, offset: address - start },
            Some(Wanted::Layout(layout)) if is_live && Self::usable_size(layout) != Some(actual) => {
                HeapError::WrongLayout { address, cache, slot, given: layout.size(), actual }
            }
            Some(Wanted::Cache(_, given)) if is_live => HeapError::WrongLayout { address, cache, slot, given, actual },
            // It is free, or was when it was to be freed, and has been allocated again since.
            _ => HeapError::DoubleFree { address, cache, slot },
        })
    }
}
