//! The shape of slabs with redzones and tracks.

use core::mem::size_of;

use super::slot::Track;
use crate::frame::Order;
use crate::slab::class::Divider;
use crate::slab::descriptor::Slab;

/// Redzones are at least this long.
const LEAST_ZONE: usize = 16;
/// A slab has at least so many slots, if no larger block than `USUAL_ORDER` is needed for them.
const USUAL_SLOTS: usize = 8;
const USUAL_ORDER: Order = Order::new(3).unwrap();

/// Where everything lies in a slab that is debugged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// The most bytes that an object may have.
    pub(crate) size: usize,
    /// Bytes of the left redzone.
    pub(crate) left: usize,
    /// Bytes from one slot to the next.
    pub(crate) stride: usize,
    pub(crate) order: Order,
    pub(crate) divider: Divider,
}

impl Shape {
    /// The shape for objects of `size` bytes at most, aligned to `align`, both at most as large as the largest class.
    pub(crate) fn new(size: usize, align: usize) -> Self {
        let left = LEAST_ZONE.max(align);
        let stride = (left + size + LEAST_ZONE).next_multiple_of(left);
        let mut shape = Self { size, left, stride, order: Order::ZERO, divider: Divider::new(stride as u32) };
        while shape.slots() < 2 || shape.slots() < USUAL_SLOTS && shape.order < USUAL_ORDER {
            shape.order = Order::new(shape.order.get() + 1).expect("two of the largest objects fit into a block");
        }
        shape
    }

    /// How many slots a slab has.
    pub(crate) fn slots(&self) -> usize {
        (self.order.bytes() as usize / (self.stride + size_of::<Track>())).min(Slab::MAX_SLOTS)
    }

    /// Bytes from the start of a slab to its first track.
    pub(crate) fn tracks(&self) -> usize {
        self.slots() * self.stride
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slab::class::SizeClass;

    #[test]
    fn everything_has_its_place() {
        for class in SizeClass::all() {
            let size = class.size();
            for align in [8, 1 << size.trailing_zeros()] {
                let shape = Shape::new(size, align);
                assert!(shape.left >= LEAST_ZONE && shape.left % align == 0 && shape.stride % align == 0);
                assert!(shape.left + size + LEAST_ZONE <= shape.stride);
                assert!(shape.slots() >= 2, "only slabs of several slots are found from all their frames");
                let end = shape.tracks() + shape.slots() * size_of::<Track>();
                assert!(end as u64 <= shape.order.bytes() && shape.tracks() % align_of::<Track>() == 0);
            }
        }
    }
}
