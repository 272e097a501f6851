use crate::frame::Order;

/// An operation on the heap, as a [`Recorder`](super::Recorder) is told of it. Addresses are as
/// [`PageSource::number_of`](crate::heap::PageSource::number_of) numbers them.
///
/// The memory of a large object is got and given back outside of these: what that asks of page frames are operations before and
/// behind them. So is what resizes one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(
    clippy::exhaustive_enums,
    reason = "a recorder that overlooked a new one would write what cannot be done again"
)]
pub enum HeapCall {
    /// An object is allocated; returns its address.
    Allocate {
        /// The number of the cache.
        cache: u16,
        /// Bytes that were asked for.
        size: u64,
    },
    /// An object is freed.
    Free {
        /// Its address.
        address: u64,
        /// The number of the cache that it is to be of, if that was said.
        cache: Option<u16>,
    },
    /// A slab is opened, within an operation that needs one; returns its address. What frames that takes, for itself and for what is
    /// known of it, come within this.
    Slab {
        /// The block's size.
        order: Order,
    },
    /// A run has become a large object.
    OpenRun {
        /// Its address.
        address: u64,
        /// Its length.
        bytes: u64,
        /// Its alignment in bytes, a power of two.
        align: u64,
    },
    /// A large object is one no more: its run is given back next.
    CloseRun {
        /// Its address.
        address: u64,
        /// The length that it is to have.
        bytes: u64,
    },
    /// A large object begins to be resized where it is.
    TakeRun {
        /// Its address.
        address: u64,
    },
    /// It was resized, or that could not be done.
    PutRun {
        /// Its address.
        address: u64,
        /// Its length, if that is another now.
        bytes: Option<u64>,
    },
    /// [`Heap::shrink`](crate::heap::Heap::shrink).
    Shrink,
    /// [`Heap::retire_cpu`](crate::heap::Heap::retire_cpu).
    Retire,
    /// [`Heap::prepare_cpu`](crate::heap::Heap::prepare_cpu); returns 1 if the CPU has an arena then.
    Prepare,
    /// The slots in hand of the cache of that number are put aside, since it is debugged from now on.
    SetAside {
        /// Its number.
        cache: u16,
    },
    /// All arenas take over what others have freed in their slabs, as they do before the heap is looked at.
    Settle,
    /// [`Heap::cache`](crate::heap::Heap::cache); returns its number.
    NewCache {
        /// Bytes in a slot.
        size: u64,
    },
    /// The cache of that number ends.
    EndCache {
        /// Its number.
        cache: u16,
    },
}
