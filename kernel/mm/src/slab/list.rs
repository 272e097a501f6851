//! Pointers to metadata, and circular doubly linked lists of it.

use core::cell::Cell;
use core::fmt;
use core::ops::Deref;
use core::ptr::NonNull;

/// A pointer to metadata of the heap: a descriptor, or a page of them. Copied freely, compared by address.
///
/// Reading through it is safe by the invariant *Metadata* of [`crate::slab`].
pub(crate) struct Meta<T>(NonNull<T>);

impl<T> Meta<T> {
    /// # Safety
    /// `target` is initialised, and the invariant *Metadata* holds for it.
    pub(crate) const unsafe fn new(target: NonNull<T>) -> Self {
        Self(target)
    }

    pub(crate) fn as_ptr(self) -> *mut T {
        self.0.as_ptr()
    }
}

impl<T> Clone for Meta<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Meta<T> {}

impl<T> PartialEq for Meta<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<T> Deref for Meta<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the invariant *Metadata*, which the creator of this `Meta` vouched for. Only shared references to
        // metadata are ever made: what changes is a `Cell` or an atomic.
        unsafe { self.0.as_ref() }
    }
}

impl<T> fmt::Debug for Meta<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An element's neighbours; both `None` while it is on no list.
pub(crate) struct Links<T> {
    next: Cell<Option<Meta<T>>>,
    previous: Cell<Option<Meta<T>>>,
}

impl<T> Links<T> {
    pub(crate) const fn new() -> Self {
        Self { next: Cell::new(None), previous: Cell::new(None) }
    }

    pub(crate) fn is_linked(&self) -> bool {
        self.next.get().is_some()
    }
}

/// What can be on a [`List`].
pub(crate) trait Linked: Sized {
    fn links(&self) -> &Links<Self>;
}

/// A list of metadata that carries its own links. Whoever has the list to itself has its elements' links too.
pub(crate) struct List<T> {
    front: Cell<Option<Meta<T>>>,
}

// SAFETY: a list is a pointer to metadata, which by the invariant *Metadata* is not bound to a thread; whoever has the
// list has its elements to itself.
unsafe impl<T> Send for List<T> {}

impl<T: Linked> List<T> {
    pub(crate) const fn new() -> Self {
        Self { front: Cell::new(None) }
    }

    #[inline]
    pub(crate) fn front(&self) -> Option<Meta<T>> {
        self.front.get()
    }

    #[inline]
    pub(crate) fn back(&self) -> Option<Meta<T>> {
        self.front().and_then(|front| front.links().previous.get())
    }

    pub(crate) fn push_back(&self, element: Meta<T>) {
        let links = element.links();
        let front = self.front().unwrap_or(element);
        self.front.set(Some(front));
        // In a list of one, the element is its own neighbour on both sides.
        let back = front.links().previous.get().unwrap_or(element);
        links.next.set(Some(front));
        links.previous.set(Some(back));
        back.links().next.set(Some(element));
        front.links().previous.set(Some(element));
    }

    pub(crate) fn push_front(&self, element: Meta<T>) {
        self.push_back(element);
        self.front.set(Some(element));
    }

    /// Takes an element that is on this list off it.
    pub(crate) fn remove(&self, element: Meta<T>) {
        let links = element.links();
        let (Some(next), Some(previous)) = (links.next.take(), links.previous.take()) else {
            debug_assert!(false, "the element is on no list");
            return;
        };
        if next == element {
            self.front.set(None);
            return;
        }
        previous.links().next.set(Some(next));
        next.links().previous.set(Some(previous));
        if self.front() == Some(element) {
            self.front.set(Some(next));
        }
    }

    /// Makes the last element the first, and returns it.
    pub(crate) fn rotate(&self) -> Option<Meta<T>> {
        // A list that all CPUs have behind closed gates must not even be written to.
        let last = self.back()?;
        self.front.set(Some(last));
        Some(last)
    }

    /// The elements from front to back.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Meta<T>> {
        let front = self.front();
        core::iter::successors(front, move |element| element.links().next.get().filter(|&next| Some(next) != front))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Element(u32, Links<Element>);

    impl Linked for Element {
        fn links(&self) -> &Links<Self> {
            &self.1
        }
    }

    fn order(list: &List<Element>) -> Vec<u32> {
        list.iter().map(|element| (*element).0).collect()
    }

    #[test]
    fn elements_keep_their_order_and_leave_without_a_trace() {
        let elements: Vec<Element> = (0..4).map(|number| Element(number, Links::new())).collect();
        // SAFETY: the vector outlives the list and does not move.
        let at = |i: usize| unsafe { Meta::new(NonNull::from(&elements[i])) };
        let list = List::new();
        assert_eq!((list.back(), list.rotate()), (None, None));
        list.push_back(at(1));
        list.push_back(at(2));
        list.push_front(at(0));
        list.push_back(at(3));
        assert_eq!(order(&list), [0, 1, 2, 3]);
        assert_eq!((list.front(), list.back()), (Some(at(0)), Some(at(3))));
        assert_eq!(list.rotate(), Some(at(3)));
        assert_eq!(order(&list), [3, 0, 1, 2]);
        (0..3).for_each(|_| assert!(list.rotate().is_some()));
        list.remove(at(0));
        assert_eq!(order(&list), [1, 2, 3]);
        list.remove(at(2));
        assert_eq!(order(&list), [1, 3]);
        list.remove(at(3));
        list.remove(at(1));
        assert!(order(&list).is_empty());
        assert!(elements.iter().all(|element| !element.1.is_linked()));
        assert_eq!(Clone::clone(&at(0)), at(0));
        assert_eq!(format!("{:?}", at(0)), format!("{:?}", NonNull::from(&elements[0])));
    }
}
