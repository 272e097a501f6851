//! From an address to the slab that holds it.
//!
//! A radix tree over addresses, one entry of the lowest level for each frame: four levels of 512 entries over 48 bits, or, where
//! pointers are of 32 bits, two levels of 1024 over all of them. A table is a frame. Tables
//! exist only where blocks are, so the map's cost follows the memory in use, never its span.
//!
//! A walk takes the same four loads whatever the address: where there is no table, the entry leads to a table that is
//! always there and leads on to nothing, and in the end to a descriptor that nobody owns. So the path that every free
//! takes has no branch in it, and an address from nowhere is refused by the very comparison that every free makes.
//!
//! Frames inside a slab lead to its descriptor; of a large block only the first frame does, so that its cost does not
//! grow with its size.
//!
//! Walks take no lock of the map's own. Entries change under the registry's lock; a table is given back only with every
//! lock of the heap held, so whoever walks must hold one of them, no matter which.

use crate::sync::atomic::fixed::{AtomicPtr, Ordering};
use core::ptr::{self, NonNull};

use super::descriptor::Slab;
use super::list::Meta;
use crate::frame::{FRAME_SHIFT, Order};

/// Entries of a table: as many pointers as fill a frame.
const ENTRIES: usize = 1 << INDEX_BITS;
const INDEX_BITS: u32 = FRAME_SHIFT - size_of::<usize>().trailing_zeros();
const LEVELS: u32 = if usize::BITS == 64 { 4 } else { (usize::BITS - FRAME_SHIFT).div_ceil(INDEX_BITS) };
/// The last address that the map tells apart.
const LAST: usize = usize::MAX >> (usize::BITS - (FRAME_SHIFT + LEVELS * INDEX_BITS));

/// A table that fills a frame. Its entries lead to tables of the level below, those of level 0 to descriptors.
#[repr(C)]
struct Table {
    entries: [AtomicPtr<Table>; ENTRIES],
}

const _: () = assert!(size_of::<Table>() as u64 == Order::ZERO.bytes());

impl Table {
    const fn leading_to(target: *const Table) -> Self {
        let mut entries = [const { AtomicPtr::new(ptr::null_mut()) }; ENTRIES];
        let mut index = 0;
        while index < ENTRIES {
            entries[index] = AtomicPtr::new(target.cast_mut());
            index += 1;
        }
        Self { entries }
    }
}

static NO_SLAB: Slab = Slab::vacant();

/// For each level but the highest, the table that leads to nothing. Nothing is ever stored in them.
static NO_TABLE: [Table; LEVELS as usize - 1] = {
    let mut tables = [const { Table::leading_to((&raw const NO_SLAB).cast()) }; LEVELS as usize - 1];
    let mut level = 1;
    while level < tables.len() {
        tables[level] = Table::leading_to(&raw const NO_TABLE[level - 1]);
        level += 1;
    }
    tables
};

/// What an entry of a table at `level` holds while it leads to nothing.
fn nothing(level: u32) -> *mut Table {
    match level {
        0 => (&raw const NO_SLAB).cast_mut().cast(),
        _ => (&raw const NO_TABLE[level as usize - 1]).cast_mut(),
    }
}

/// The place of `address` in a table at `level`.
#[inline]
const fn index(address: usize, level: u32) -> usize {
    address >> (FRAME_SHIFT + level * INDEX_BITS) & (ENTRIES - 1)
}

/// Bytes of address space that one entry of a table at `level`, below the highest, stands for.
const fn entry_span(level: u32) -> usize {
    1 << (FRAME_SHIFT + level * INDEX_BITS)
}

/// The map.
pub(crate) struct PageMap {
    root: Table,
}

impl PageMap {
    /// What addresses lead to that no slab is at.
    // SAFETY: the descriptor is a static, of which nothing is changed, and whose address is not null.
    pub(crate) const NO_SLAB: Meta<Slab> =
        unsafe { Meta::new(NonNull::new_unchecked((&raw const NO_SLAB).cast_mut())) };
    /// How many tables can be missing for one address.
    pub(crate) const MAX_MISSING: usize = LEVELS as usize - 1;

    /// A map that leads nowhere.
    pub(crate) const fn new() -> Self {
        Self { root: Table::leading_to(&raw const NO_TABLE[LEVELS as usize - 2]) }
    }

    /// The entry for `address` in the table at `level` on its path.
    ///
    /// # Safety
    /// Some lock of the heap is held, or the CPU is inside its arena, for as long as the entry is used.
    #[inline]
    unsafe fn entry(&self, address: usize, level: u32) -> &AtomicPtr<Table> {
        // SAFETY: the same contract, by which no table is given back meanwhile (invariant *Metadata*).
        &unsafe { self.table(address, level) }.entries[index(address, level)]
    }

    /// The table at `level` on the path of `address`.
    ///
    /// # Safety
    /// Some lock of the heap is held, or the CPU is inside its arena, for as long as the table is used.
    #[inline]
    unsafe fn table(&self, address: usize, level: u32) -> &Table {
        let mut table = &self.root;
        for above in (level + 1..LEVELS).rev() {
            let below = table.entries[index(address, above)].load(Ordering::Acquire);
            // SAFETY: an entry above level 0 always leads to a table, one of `NO_TABLE` at least, and the table is not
            // given back while a lock is held or a CPU inside (invariant *Metadata*).
            table = unsafe { &*below };
        }
        table
    }

    /// The slab whose block holds the frame of `address`; a vacant descriptor if there is none.
    ///
    /// # Safety
    /// Some lock of the heap is held, or the CPU is inside its arena.
    #[inline]
    pub(crate) unsafe fn find(&self, address: usize) -> Meta<Slab> {
        #[cfg(test)]
        tests::WALKS.set(tests::WALKS.get() + 1);
        // SAFETY: by this function's contract no table is given back meanwhile (invariant *Metadata*).
        let slab = unsafe { self.entry(address, 0) }.load(Ordering::Acquire).cast::<Slab>();
        // SAFETY: an entry at level 0 leads to an initialised descriptor, `NO_SLAB` at least (invariant *Metadata*).
        unsafe { Meta::new(NonNull::new_unchecked(slab)) }
    }

    /// The slab that the frame of `address` leads to, or else the last frame before it that leads to one: whatever begins at
    /// or before the address and reaches furthest, if anything does. A walk from table to table, to
    /// explain an error.
    ///
    /// # Safety
    /// Some lock of the heap is held.
    pub(crate) unsafe fn last_until(&self, address: usize) -> Option<Meta<Slab>> {
        let mut address = Self::masked(address);
        'again: loop {
            for level in (0..LEVELS).rev() {
                // SAFETY: by this function's contract a lock of the heap is held (invariant *Metadata*).
                let entry = unsafe { self.entry(address, level) }.load(Ordering::Acquire);
                if entry == nothing(level) {
                    // Behind the last address that this entry does not stand for.
                    address = (address & !(entry_span(level) - 1)).checked_sub(1)?;
                    continue 'again;
                }
            }
            // SAFETY: by this function's contract a lock of the heap is held (invariant *Metadata*).
            return Some(unsafe { self.find(address) });
        }
    }

    /// How many tables are missing for the frame of `address`.
    ///
    /// # Safety
    /// The caller holds the registry's lock.
    pub(crate) unsafe fn missing(&self, address: usize) -> usize {
        let leads_nowhere = |&level: &u32| {
            // SAFETY: by this function's contract a lock of the heap is held (invariant *Metadata*).
            unsafe { self.entry(address, level) }.load(Ordering::Relaxed) == nothing(level)
        };
        (1..LEVELS).filter(leads_nowhere).count()
    }

    /// Makes the missing tables for `address`, each in a frame from `pages`.
    ///
    /// # Safety
    /// The caller holds the registry's lock. `pages` yields as many frames as [`missing`](Self::missing) counts, which
    /// become the map's.
    pub(crate) unsafe fn link(&self, address: usize, mut pages: impl FnMut() -> Option<NonNull<u8>>) {
        for level in (1..LEVELS).rev() {
            // SAFETY: by this function's contract the registry's lock is held (invariant *Metadata*).
            let entry = unsafe { self.entry(address, level) };
            if entry.load(Ordering::Relaxed) != nothing(level) {
                continue;
            }
            let Some(page) = pages() else {
                debug_assert!(false, "fewer frames than tables");
                return;
            };
            let table = page.cast::<Table>();
            for index in 0..ENTRIES {
                // SAFETY: the frame is ours and as large as a table; entries are written before the table is reachable.
                unsafe { table.cast::<AtomicPtr<Table>>().add(index).write(AtomicPtr::new(nothing(level - 1))) };
            }
            entry.store(table.as_ptr(), Ordering::Release);
        }
    }

    /// Lets `frames` frames from `address` on lead to `slab`, or to nothing. Their tables exist, and are one table: the
    /// frames are those of an aligned block of no more than a table stands for.
    ///
    /// # Safety
    /// The caller holds the registry's lock; `slab` stays initialised until its entries lead elsewhere.
    pub(crate) unsafe fn set(&self, address: usize, frames: u64, slab: Option<Meta<Slab>>) {
        let target = slab.map_or(nothing(0), |slab| slab.as_ptr().cast());
        // SAFETY: by this function's contract the registry's lock is held, so that no table is given back (invariant *Metadata*).
        let table = unsafe { self.table(address, 0) };
        for entry in &table.entries[index(address, 0)..][..frames as usize] {
            debug_assert!((entry.load(Ordering::Relaxed) == nothing(0)) == slab.is_some());
            entry.store(target, Ordering::Release);
        }
    }

    /// The part of an address that the map goes by.
    pub(crate) const fn masked(address: usize) -> usize {
        address & LAST
    }

    /// Bytes of address space that a table at `level`, below the highest, stands for.
    const fn table_span(level: u32) -> usize {
        entry_span(level + 1)
    }

    /// The first address behind the table at `level` that begins at one; `None` at the end of all addresses.
    pub(crate) const fn behind(level: u32, table: usize) -> Option<usize> {
        table.checked_add(Self::table_span(level))
    }

    /// The start of the first stretch at or behind `from` that has a table at `level` of its own.
    ///
    /// # Safety
    /// The caller holds the registry's lock.
    pub(crate) unsafe fn next_table(&self, level: u32, from: Option<usize>) -> Option<usize> {
        let mut next = from;
        'again: while let Some(address) = next.filter(|address| (0..=LAST).contains(address)) {
            for above in (level + 1..LEVELS).rev() {
                // SAFETY: by this function's contract a lock of the heap is held (invariant *Metadata*).
                if unsafe { self.entry(address, above) }.load(Ordering::Relaxed) == nothing(above) {
                    next = (address & !(entry_span(above) - 1)).checked_add(entry_span(above));
                    continue 'again;
                }
            }
            return Some(address & !(Self::table_span(level) - 1));
        }
        None
    }

    /// The slabs that frames from `address` on lead to, in the table at level 0 there.
    ///
    /// # Safety
    /// Some lock of the heap is held, for as long as the iterator is used.
    pub(crate) unsafe fn slabs(&self, address: usize) -> impl Iterator<Item = (usize, Meta<Slab>)> {
        (0..ENTRIES).map(move |frame| address + (frame << FRAME_SHIFT)).filter_map(move |address| {
            // SAFETY: by this function's contract a lock of the heap is held (invariant *Metadata*).
            let slab = unsafe { self.find(address) };
            (slab.as_ptr().cast() != nothing(0)).then_some((address, slab))
        })
    }

    /// Whether the table at `level` for `address`, which exists, leads nowhere.
    ///
    /// # Safety
    /// The caller holds the registry's lock.
    pub(crate) unsafe fn is_idle(&self, level: u32, address: usize) -> bool {
        let first = address & !(Self::table_span(level) - 1);
        (0..ENTRIES).map(|index| first + index * entry_span(level)).all(|address| {
            // SAFETY: by this function's contract a lock of the heap is held (invariant *Metadata*).
            unsafe { self.entry(address, level) }.load(Ordering::Relaxed) == nothing(level)
        })
    }

    /// Takes the table at `level` for `address` out of the map and returns its frame.
    ///
    /// # Safety
    /// The caller holds every lock of the heap, and the table [is idle](Self::is_idle).
    pub(crate) unsafe fn unlink(&self, level: u32, address: usize) -> Option<NonNull<u8>> {
        // SAFETY: by this function's contract every lock of the heap is held (invariant *Metadata*).
        let entry = unsafe { self.entry(address, level + 1) };
        let table = entry.swap(nothing(level + 1), Ordering::Relaxed);
        NonNull::new(table.cast())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use core::cell::Cell;

    std::thread_local! {
        /// How often this thread has looked for a slab.
        pub(crate) static WALKS: Cell<usize> = const { Cell::new(0) };
    }
}
