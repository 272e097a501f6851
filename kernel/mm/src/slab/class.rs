//! Size classes: the object sizes that slabs are cut into.
//!
//! Steps of 8 bytes up to 128, then eight steps to each doubling, so that above 64 bytes no object wastes more than an
//! eighth of what it asked for, up to 8 KiB.

use core::alloc::Layout;
use core::hint;

use super::descriptor::{Slab, Slots};
use crate::frame::{FRAME_SIZE, Order};

/// The shape of a cache's slabs: everything that follows from the object size once and for all.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Geometry {
    /// The cache's name, as slabinfo prints it.
    pub(crate) name: &'static str,
    /// Bytes from one slot to the next.
    pub(crate) size: u32,
    /// The order of a slab.
    pub(crate) order: Order,
    /// The order of a slab where memory has come apart too much for `order`: the least that holds one object.
    pub(crate) least_order: Order,
    /// How an offset becomes a slot.
    pub(crate) divider: Divider,
}

impl Geometry {
    /// The order of a slab, unless it would waste much of it: larger ones would be fetched less often, and leave more
    /// memory idle.
    pub(super) const USUAL_ORDER: Order = Order::new(3).unwrap();
    /// The largest order of a slab, for objects that no smaller order holds without much waste.
    const MAX_ORDER: Order = Order::new(5).unwrap();
    /// At most this part of a slab lies behind its last slot.
    const MAX_WASTE: u64 = 16;

    /// The geometry for objects of `size` bytes, at most those of the largest class.
    pub(crate) const fn new(name: &'static str, size: u32) -> Self {
        let least_order = Order::covering((size as u64).div_ceil(FRAME_SIZE)).unwrap();
        let mut geometry = Self { name, size, order: Self::USUAL_ORDER, least_order, divider: Divider::new(size) };
        // Rather smaller than usual, and if that does not help, larger.
        while geometry.wastes() && geometry.order.get() > least_order.get() {
            geometry.order = Order::new(geometry.order.get() - 1).unwrap();
        }
        if geometry.wastes() {
            geometry.order = Self::USUAL_ORDER;
        }
        while geometry.wastes() && geometry.order.get() < Self::MAX_ORDER.get() {
            geometry.order = Order::new(geometry.order.get() + 1).unwrap();
        }
        geometry
    }

    /// Whether much of a slab of the usual order lies behind its last slot.
    const fn wastes(&self) -> bool {
        self.waste() * Self::MAX_WASTE > self.order.bytes()
    }

    /// Bytes behind the last slot of a slab of the usual order.
    const fn waste(&self) -> u64 {
        self.order.bytes() - self.count(self.order) as u64 * self.size as u64
    }

    /// How a block of `order` is cut into slots for the cache with this number.
    pub(crate) fn slots(&self, cache: u16, order: Order) -> Slots {
        Slots { cache, count: self.count(order), size: self.size, divider: self.divider }
    }

    /// How many slots a slab of `order` has.
    pub(crate) const fn count(&self, order: Order) -> u16 {
        let slots = order.bytes() / self.size as u64;
        if slots > Slab::MAX_SLOTS as u64 { Slab::MAX_SLOTS as u16 } else { slots as u16 }
    }
}

/// Exact division by a constant, and the proof that it was exact, in a multiplication and a rotation.
///
/// For `size = odd * 2^shift`, multiplying by the inverse of `odd` modulo 2^64 (or 2^32, where pointers have so many bits) and rotating right by `shift` is a
/// bijection on numbers of that size that takes `n * size` to `n`. So an offset maps to some `n < slots` exactly when it *is*
/// `n * size`: one comparison tells slot starts from interior pointers, from the rest behind the last slot, and from
/// addresses before or far beyond the slab, whose offset wraps around.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Divider {
    inverse: usize,
    shift: u8,
}

impl Divider {
    pub(crate) const fn new(size: u32) -> Self {
        let shift = size.trailing_zeros();
        let odd = (size >> shift) as usize;
        // Newton's iteration doubles the number of right bits; an odd number is its own inverse modulo 8.
        let mut inverse = odd;
        let mut bits = 3;
        while bits < usize::BITS {
            inverse = inverse.wrapping_mul(2usize.wrapping_sub(odd.wrapping_mul(inverse)));
            bits *= 2;
        }
        Self { inverse, shift: shift as u8 }
    }

    /// What the divider consists of, for code that keeps the parts where others read them: an inverse and a shift.
    pub(crate) const fn parts(self) -> (usize, u8) {
        (self.inverse, self.shift)
    }

    /// The divider that consists of these [parts](Self::parts).
    #[inline]
    pub(crate) const fn from_parts(inverse: usize, shift: u8) -> Self {
        Self { inverse, shift }
    }

    /// `n` if `offset` is `n * size`, and a number above every possible slot otherwise.
    #[inline]
    pub(crate) const fn divide(self, offset: usize) -> usize {
        offset.wrapping_mul(self.inverse).rotate_right(self.shift as u32)
    }
}

macro_rules! geometries {
    ($($size:literal)*) => { [$(Geometry::new(concat!("kmalloc-", $size), $size)),*] };
}

const ALL: [Geometry; SizeClass::COUNT] = geometries![
    8 16 24 32 40 48 56 64
    72 80 88 96 104 112 120 128
    144 160 176 192 208 224 240 256
    288 320 352 384 416 448 480 512
    576 640 704 768 832 896 960 1024
    1152 1280 1408 1536 1664 1792 1920 2048
    2304 2560 2816 3072 3328 3584 3840 4096
    4608 5120 5632 6144 6656 7168 7680 8192
];

static GEOMETRIES: [Geometry; SizeClass::COUNT] = ALL;

/// Bytes that one entry of the table from size to class stands for.
const GRAIN_SHIFT: u32 = 3;

/// The class for sizes from `8 * index + 1` to `8 * index + 8`.
static CLASS_OF: [u8; SizeClass::MAX_SIZE >> GRAIN_SHIFT] = {
    let mut table = [0; SizeClass::MAX_SIZE >> GRAIN_SHIFT];
    let mut class = 0;
    let mut index = 0;
    while index < table.len() {
        if (index + 1) << GRAIN_SHIFT > ALL[class].size as usize {
            class += 1;
        }
        table[index] = class as u8;
        index += 1;
    }
    table
};

/// One of the sizes that general allocations are rounded up to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SizeClass(u8);

impl SizeClass {
    /// How many classes there are.
    pub const COUNT: usize = 64;
    /// The largest class, in bytes.
    pub const MAX_SIZE: usize = 8192;

    /// The smallest class whose slots have room and alignment for `layout`; `None` if it takes whole page frames. A
    /// size of zero is taken for one byte.
    ///
    /// The size rounded up to the alignment decides alone: between two powers of two the classes are a power of two
    /// apart, so an alignment at least that far leaves only sizes that are classes, and a smaller one divides them all.
    /// A slab is aligned to its own size, so its slots are aligned as their size is.
    #[inline]
    pub const fn of(layout: Layout) -> Option<Self> {
        Self::of_sized(layout.size() + (layout.size() == 0) as usize, layout.align())
    }

    /// [`of`](Self::of) a layout of so many bytes, aligned to so many; `None` also for a size of zero, which takes no branch of its own.
    #[inline]
    pub(crate) const fn of_sized(size: usize, align: usize) -> Option<Self> {
        // The padded size less one; beyond all classes for a size of zero.
        let last = size.wrapping_sub(1) | (align - 1);
        let index = last >> GRAIN_SHIFT;
        if index < CLASS_OF.len() { Some(Self(CLASS_OF[index])) } else { None }
    }

    /// All classes, smallest first.
    pub fn all() -> impl ExactSizeIterator<Item = Self> {
        (0..Self::COUNT as u8).map(Self)
    }

    /// Bytes in an object of this class.
    pub fn size(self) -> usize {
        self.geometry().size as usize
    }

    /// The name of the class's cache.
    pub fn name(self) -> &'static str {
        self.geometry().name
    }

    /// The number of the class's cache.
    #[inline]
    pub const fn number(self) -> u16 {
        self.index() as u16
    }

    #[inline]
    pub(crate) const fn index(self) -> usize {
        // SAFETY: a class comes from `CLASS_OF`, whose entries index `ALL`, or from `all`.
        unsafe { hint::assert_unchecked((self.0 as usize) < Self::COUNT) };
        self.0 as usize
    }

    #[inline]
    pub(crate) fn geometry(self) -> &'static Geometry {
        &GEOMETRIES[self.index()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg_attr(miri, ignore = "arithmetic, of which there is much and no memory")]
    fn the_smallest_class_with_room_is_chosen() {
        for size in 1..=SizeClass::MAX_SIZE {
            let class = SizeClass::of(Layout::from_size_align(size, 1).unwrap()).unwrap();
            let expected = SizeClass::all().find(|class| class.size() >= size).unwrap();
            assert_eq!(class, expected, "for {size} bytes");
        }
        assert_eq!(SizeClass::of(Layout::from_size_align(0, 1).unwrap()).unwrap().size(), 8);
        for size in [SizeClass::MAX_SIZE + 1, isize::MAX as usize] {
            assert_eq!(SizeClass::of(Layout::from_size_align(size, 1).unwrap()), None);
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "arithmetic, of which there is much and no memory")]
    fn every_class_respects_every_alignment_it_is_chosen_for() {
        for shift in 0..=22 {
            let align = 1usize << shift;
            for size in 0..=SizeClass::MAX_SIZE {
                let class = SizeClass::of(Layout::from_size_align(size, align).unwrap());
                assert_eq!(class.is_none(), size.max(1).next_multiple_of(align) > SizeClass::MAX_SIZE);
                if let Some(class) = class {
                    assert!(class.size() >= size && class.size() % align == 0, "{size} bytes at {align}");
                    assert!(class.geometry().least_order.bytes() >= align as u64);
                }
            }
        }
    }

    #[test]
    fn classes_grow_by_an_eighth_at_most() {
        let mut previous = None;
        for class in SizeClass::all() {
            if let Some(previous) = previous {
                let step = class.size() - previous;
                assert!(step == 8 || step * 8 <= previous, "{previous} to {}", class.size());
            }
            previous = Some(class.size());
        }
        assert_eq!(previous, Some(SizeClass::MAX_SIZE));
    }

    #[test]
    fn slabs_waste_little_and_their_slots_fit() {
        for geometry in &GEOMETRIES {
            for order in [geometry.least_order, geometry.order] {
                let slots = u64::from(geometry.count(order));
                assert!((1..=Slab::MAX_SLOTS as u64).contains(&slots));
                assert!(slots * u64::from(geometry.size) <= order.bytes());
            }
            assert!(geometry.waste() * Geometry::MAX_WASTE <= geometry.order.bytes(), "{}", geometry.name);
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "arithmetic, of which there is much and no memory")]
    fn division_is_exact_or_out_of_range() {
        for geometry in &GEOMETRIES {
            let (size, bytes) = (geometry.size as usize, geometry.order.bytes() as usize);
            for offset in 0..bytes {
                let slot = geometry.divider.divide(offset);
                if offset % size == 0 {
                    assert_eq!(slot, offset / size);
                } else {
                    assert!(slot > Slab::MAX_SLOTS);
                }
            }
            // Before the slab, and at the same place under other upper address bits.
            const UPPER: usize = 1 << (usize::BITS / 4 * 3);
            for far in [1usize.wrapping_neg(), size.wrapping_neg(), UPPER, UPPER.wrapping_neg(), usize::MAX / 2] {
                assert!(geometry.divider.divide(far) > Slab::MAX_SLOTS);
            }
        }
    }
}
