//! Resizing an object: where it is if it can stay there, else by moving what it holds.
//!
//! There is one way, which `GlobalAlloc`, [`Malloc`](super::Malloc) and `allocator-api2` all take. An object stays where it is
//! if that is what its new layout asks for: a slot of the class that it has, or frames that its run can be made of, up or
//! down. One that is debugged, or a sample, always moves: its redzone would have to, and a user of the old address is
//! found out.

use core::alloc::Layout;
use core::ptr::NonNull;

use super::diagnose::Wanted;
use super::{Heap, HeapError, SizeClass};
use crate::cpu::Cpu;
use crate::slab::source::PageSource;

impl<S: PageSource, C: Cpu, const CPUS: usize> Heap<S, C, CPUS> {
    /// Changes an object's size: in place where the class stays the same, and for large objects where the page source can do
    /// that, else by moving its contents. `Ok(None)` if there is no memory for that; the object is then as it was.
    ///
    /// # Errors
    /// As for [`free`](Self::free).
    ///
    /// # Safety
    /// As for [`free`](Self::free); the caller goes on with what is returned, and with `layout` of the new size.
    #[track_caller]
    pub unsafe fn reallocate(
        &self,
        object: NonNull<u8>,
        layout: Layout,
        size: usize,
    ) -> Result<Option<NonNull<u8>>, HeapError> {
        match Layout::from_size_align(size, layout.align()) {
            // SAFETY: the caller promises what `relocate` asks for.
            Ok(wanted) => unsafe { self.relocate(object, Some(layout), wanted) },
            Err(_) => self.bytes_held(object, Some(layout)).map(|_| None),
        }
    }

    /// Makes an object whose layout is not known one of layout `wanted`, as C's `realloc` does: as
    /// [`reallocate`](Self::reallocate), where it is if it can stay there.
    ///
    /// # Errors
    /// As for [`free_unsized`](Self::free_unsized).
    ///
    /// # Safety
    /// As for [`free_unsized`](Self::free_unsized); the caller goes on with what is returned.
    #[track_caller]
    pub unsafe fn reallocate_unsized(
        &self,
        object: NonNull<u8>,
        wanted: Layout,
    ) -> Result<Option<NonNull<u8>>, HeapError> {
        // SAFETY: the caller promises what `relocate` asks for.
        unsafe { self.relocate(object, None, wanted) }
    }

    /// Makes an object, of this layout if that is known, one of layout `wanted`.
    ///
    /// # Errors
    /// As for [`free`](Self::free); nothing has changed then.
    ///
    /// # Safety
    /// If the object is live, it is the caller's, who goes on with what is returned.
    #[track_caller]
    pub(super) unsafe fn relocate(
        &self,
        object: NonNull<u8>,
        layout: Option<Layout>,
        wanted: Layout,
    ) -> Result<Option<NonNull<u8>>, HeapError> {
        let held = self.bytes_held(object, layout)?;
        if self.can_stay(object, layout, held, wanted) {
            return Ok(Some(object));
        }
        let Some(moved) = self.allocate(wanted) else {
            return Ok(None);
        };
        // SAFETY: both are live objects, and different ones, of at least as many bytes as are copied; the caller promises that
        // the old one is its own, and uses it no more.
        unsafe {
            moved.copy_from_nonoverlapping(object, held.min(wanted.size()));
            match layout {
                Some(layout) => self.free(object, layout)?,
                None => self.free_unsized(object)?,
            }
        }
        Ok(Some(moved))
    }

    /// How many bytes a live object holds: as many as its layout says, or, if that is not known, as it may use.
    ///
    /// # Errors
    /// No live object of this layout starts here.
    fn bytes_held(&self, object: NonNull<u8>, layout: Option<Layout>) -> Result<usize, HeapError> {
        match layout {
            Some(layout) if self.is_live(object, layout) => Ok(layout.size()),
            Some(layout) => Err(self.diagnose(object, Some(Wanted::Layout(layout)))),
            None => self.object_size(object),
        }
    }

    /// Whether a live object, which holds so many bytes, is one of layout `wanted` where it is, or has become one.
    fn can_stay(&self, object: NonNull<u8>, layout: Option<Layout>, held: usize, wanted: Layout) -> bool {
        let is_sample = self.judge_sample(object, None).is_some();
        if is_sample || self.is_debugged(object) || object.as_ptr().addr() % wanted.align() != 0 {
            return false;
        }
        let Some(class) = SizeClass::of(wanted) else {
            return self.resize_large(object, wanted);
        };
        match layout {
            Some(layout) => SizeClass::of(layout) == Some(class),
            // A run can be as short as a slot is.
            None => held == class.size() && self.object_layout(object).is_none(),
        }
    }
}
