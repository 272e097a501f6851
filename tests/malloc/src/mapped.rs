//! Runs larger than any block: mappings of their own, with a guard page on both sides.
//!
//! Each has more address space than it needs, so that it can grow where it is: that costs nothing, and copying costs time
//! and, for a moment, as much memory again. They are few, and each costs several system calls anyway: so they stand in one
//! sorted table behind a lock.

use core::ptr::{self, NonNull};
use core::slice;

use bifolio::error::FreeError;
use bifolio::frame::Pfn;
use spin::{Mutex, MutexGuard};

use crate::system::{self, PAGE};

/// How many times as much address space as it needs a mapping has, if the process may have as much.
const SLACK: usize = 8;

/// Address space for one run: usable from its start on as far as the run goes, and nobody's behind that.
#[derive(Clone, Copy)]
struct Mapping {
    start: *mut u8,
    bytes: usize,
}

/// All of them, by address.
struct Table {
    mappings: *mut Mapping,
    count: usize,
    /// Bytes of memory that the table has.
    room: usize,
}

// SAFETY: the pointers are to memory of no particular thread.
unsafe impl Send for Table {}

static TABLE: Mutex<Table> = Mutex::new(Table { mappings: ptr::null_mut(), count: 0, room: 0 });

impl Table {
    fn lock() -> MutexGuard<'static, Self> {
        loop {
            if let Some(table) = TABLE.try_lock() {
                return table;
            }
            system::yield_now();
        }
    }

    fn all(&self) -> &[Mapping] {
        if self.count == 0 {
            return &[];
        }
        // SAFETY: the first `count` entries were written, and nobody changes them meanwhile.
        unsafe { slice::from_raw_parts(self.mappings, self.count) }
    }

    /// The last mapping that starts at or before this address.
    fn before(&self, address: usize) -> Option<usize> {
        self.all().partition_point(|mapping| mapping.start.addr() <= address).checked_sub(1)
    }

    fn insert(&mut self, mapping: Mapping) -> bool {
        if (self.count + 1) * size_of::<Mapping>() > self.room && !self.grow() {
            return false;
        }
        let place = self.before(mapping.start.addr()).map_or(0, |before| before + 1);
        // SAFETY: there is room for one more entry behind the last.
        unsafe {
            let place_there = self.mappings.add(place);
            ptr::copy(place_there, place_there.add(1), self.count - place);
            place_there.write(mapping);
        }
        self.count += 1;
        true
    }

    fn remove(&mut self, start: *mut u8) -> Option<Mapping> {
        let place = self.before(start.addr()).filter(|&place| self.all()[place].start == start)?;
        let mapping = self.all()[place];
        // SAFETY: the entries behind the one that goes move up by one.
        unsafe { ptr::copy(self.mappings.add(place + 1), self.mappings.add(place), self.count - place - 1) };
        self.count -= 1;
        Some(mapping)
    }

    fn grow(&mut self) -> bool {
        let room = (2 * self.room).max(PAGE);
        let Some(start) = system::reserve(room) else { return false };
        // SAFETY: the new space is ours; the old one is, and the table is locked.
        unsafe {
            if !system::make_usable(start.as_ptr(), room) {
                system::unreserve(start.as_ptr(), room);
                return false;
            }
            ptr::copy_nonoverlapping(self.mappings, start.as_ptr().cast(), self.count);
            system::unreserve(self.mappings.cast(), self.room);
        }
        self.mappings = start.as_ptr().cast();
        self.room = room;
        true
    }
}

/// Reserves this many bytes, whole pages, between two more pages.
fn reserve(bytes: usize, align: usize) -> Option<Mapping> {
    let whole = bytes.checked_add(2 * PAGE)?.checked_add(align - PAGE)?;
    let outer = system::reserve(whole)?.as_ptr();
    let start = outer.wrapping_add(PAGE);
    let start = start.wrapping_add(start.align_offset(align));
    let (front, end) = (start.addr() - PAGE - outer.addr(), start.wrapping_add(bytes + PAGE));
    // SAFETY: these are the ends of what was reserved just now, outside of the guard pages.
    unsafe {
        system::unreserve(outer, front);
        system::unreserve(end, outer.addr() + whole - end.addr());
    }
    Some(Mapping { start, bytes })
}

/// A run of so many bytes, whole pages that are all zero, aligned to `align`.
pub fn allocate(bytes: usize, align: usize) -> Option<NonNull<u8>> {
    let align = align.max(PAGE);
    // Where address space is scarce, it is not for what may never be.
    let may_grow = system::address_space_limit() == usize::MAX;
    let with_slack = || reserve(bytes.checked_mul(SLACK)?, align);
    let mapping = may_grow.then(with_slack).flatten().or_else(|| reserve(bytes, align))?;
    // SAFETY: the space was reserved just now.
    unsafe {
        if !system::make_usable(mapping.start, bytes) || !Table::lock().insert(mapping) {
            unmap(mapping);
            return None;
        }
    }
    NonNull::new(mapping.start)
}

/// Unmaps a run and its guard pages.
///
/// # Safety
/// Nobody uses it any more.
unsafe fn unmap(mapping: Mapping) {
    // SAFETY: the mapping and its guard pages are reserved, and nobody uses them any more.
    unsafe { system::unreserve(mapping.start.wrapping_sub(PAGE), mapping.bytes + 2 * PAGE) };
}

/// Takes back a run.
///
/// # Errors
/// There is none.
///
/// # Safety
/// Nobody uses it any more.
pub unsafe fn release(run: NonNull<u8>) -> Result<(), FreeError> {
    let address = run.as_ptr().addr() as u64;
    let removed = Table::lock().remove(run.as_ptr()).ok_or(FreeError::NotManaged(Pfn::containing(address)))?;
    // SAFETY: it is in the table no more, so it is ours; and nobody uses it.
    unsafe { unmap(removed) };
    Ok(())
}

/// Makes a run of `from` bytes one of `to` where it is; false if it has not so much address space, or the system no memory.
///
/// # Safety
/// Nobody uses what lies behind the first `to` bytes.
pub unsafe fn resize(run: NonNull<u8>, from: usize, to: usize) -> bool {
    let find = || {
        let table = Table::lock();
        let place = table.before(run.as_ptr().addr())?;
        Some(table.all()[place]).filter(|mapping| mapping.start == run.as_ptr())
    };
    let Some(mapping) = find() else { return false };
    // SAFETY: what is behind the run is nobody's, and nobody uses what lies behind its first `to` bytes.
    unsafe {
        if to <= from {
            system::make_unusable(mapping.start.wrapping_add(to), from - to)
        } else {
            to <= mapping.bytes && system::make_usable(mapping.start.wrapping_add(from), to - from)
        }
    }
}
