//! Objects larger than any block: mappings of their own, with a guard page on both sides.
//!
//! They are few, and each costs several system calls anyway: so they stand in one sorted table behind a lock.

use core::ptr::{self, NonNull};
use core::slice;

use bifolio::frame::Order;
use bifolio::heap::HeapError;
use spin::{Mutex, MutexGuard};

use crate::report;
use crate::system::{self, PAGE};

/// Objects of up to so many bytes are the heap's.
pub const LARGEST_BLOCK: usize = Order::MAX.bytes() as usize;

/// One object, from its first byte to the end of its last page.
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
fn reserve(bytes: usize, align: usize) -> Option<*mut u8> {
    let whole = bytes.checked_add(2 * PAGE)?.checked_add(align.saturating_sub(PAGE))?;
    let outer = system::reserve(whole)?.as_ptr();
    let start = outer.wrapping_add(PAGE);
    let start = start.wrapping_add(start.align_offset(align.max(PAGE)));
    let (front, end) = (start.addr() - PAGE - outer.addr(), start.wrapping_add(bytes + PAGE));
    // SAFETY: these are the ends of what was reserved just now, outside of the guard pages.
    unsafe {
        system::unreserve(outer, front);
        system::unreserve(end, outer.addr() + whole - end.addr());
    }
    Some(start)
}

/// Unmaps an object and its guard pages.
///
/// # Safety
/// Nobody uses it any more.
unsafe fn unmap(mapping: Mapping) {
    // SAFETY: the caller's word.
    unsafe { system::unreserve(mapping.start.wrapping_sub(PAGE), mapping.bytes + 2 * PAGE) };
}

/// Allocates an object that holds zeros.
pub fn allocate(size: usize, align: usize) -> Option<NonNull<u8>> {
    let bytes = size.checked_next_multiple_of(PAGE)?;
    let start = reserve(bytes, align)?;
    let mapping = Mapping { start, bytes };
    // SAFETY: the space was reserved just now.
    unsafe {
        if !system::make_usable(start, bytes) || !Table::lock().insert(mapping) {
            unmap(mapping);
            return None;
        }
    }
    NonNull::new(start)
}

/// The mapping that an address lies in.
fn find(object: NonNull<u8>) -> Option<Mapping> {
    let table = Table::lock();
    let mapping = table.all()[table.before(object.as_ptr().addr())?];
    (object.as_ptr().addr() - mapping.start.addr() < mapping.bytes).then_some(mapping)
}

/// Ends the program if an object has this address inside.
pub fn die_if_inside(object: NonNull<u8>) {
    if let Some(mapping) = find(object) {
        let offset = object.as_ptr().addr() - mapping.start.addr();
        report::die(format_args!(
            "bad free of {object:p}: {offset} bytes inside a mapped object of {} bytes",
            mapping.bytes
        ));
    }
}

fn die(object: NonNull<u8>) -> ! {
    die_if_inside(object);
    report::heap_error(&HeapError::Foreign { address: object.as_ptr().addr() });
    unreachable!("the program has ended")
}

/// How many bytes the object has that starts here. Ends the program if none does.
pub fn size_of_object(object: NonNull<u8>) -> usize {
    match find(object) {
        Some(mapping) if mapping.start == object.as_ptr() => mapping.bytes,
        _ => die(object),
    }
}

/// Frees the object that starts here. Ends the program if none does.
///
/// # Safety
/// Nobody uses it any more.
pub unsafe fn free(object: NonNull<u8>) {
    let removed = Table::lock().remove(object.as_ptr());
    // SAFETY: it is in the table no more, so it is ours; and nobody uses it.
    unsafe { unmap(removed.unwrap_or_else(|| die(object))) };
}

/// Changes the size of the object that starts here by moving its pages, not what they hold. `None` if there is no such
/// object, or no memory.
///
/// # Safety
/// Nobody else uses it.
pub unsafe fn resize(object: *mut u8, size: usize) -> Option<NonNull<u8>> {
    let bytes = size.checked_next_multiple_of(PAGE)?;
    let mut table = Table::lock();
    let old = table.before(object.addr()).map(|place| table.all()[place]).filter(|old| old.start == object)?;
    if old.bytes == bytes {
        return NonNull::new(object);
    }
    let start = reserve(bytes, PAGE)?;
    let new = Mapping { start, bytes };
    // SAFETY: the old pages are the caller's object, the new ones were reserved just now.
    unsafe {
        if !table.insert(new) {
            unmap(new);
            return None;
        }
        if !system::move_pages(object, old.bytes, start, bytes) {
            table.remove(start);
            unmap(new);
            return None;
        }
    }
    table.remove(object);
    // SAFETY: the guard pages are all that is left of the old object.
    unsafe {
        system::unreserve(object.wrapping_sub(PAGE), PAGE);
        system::unreserve(object.wrapping_add(old.bytes), PAGE);
    }
    NonNull::new(start)
}
