//! Runs larger than any block: mappings of their own, with a guard page on both sides.
//!
//! Each has more address space than it needs, so that it can grow where it is: that costs nothing, and copying costs time
//! and, for a moment, as much memory again. They are few, and each costs several system calls anyway: so they stand in one
//! sorted table behind a lock.
//!
//! A few that were freed are kept with the memory behind them, for the next of about their size: to have the system zero as much
//! again takes longer than most programs use it. What is kept is bounded as free frames are, and is given back on shortage.

use core::ptr::{self, NonNull};
use core::slice;

use bifolio::error::FreeError;
use bifolio::frame::Pfn;
use spin::{Mutex, MutexGuard};

use crate::region::{IDLE, IDLE_SHARE};
use crate::system::{self, PAGE};

/// How many times as much address space as it needs a mapping has, if the process may have as much.
const SLACK: usize = 8;

/// Address space for one run: usable from its start on as far as the run goes, and nobody's behind that.
#[derive(Clone, Copy)]
struct Mapping {
    start: *mut u8,
    bytes: usize,
}

/// A mapping that nobody uses, of whose start so many bytes are usable.
#[derive(Clone, Copy)]
struct Kept {
    mapping: Mapping,
    usable: usize,
}

/// How many mappings are kept at most.
const KEPT: usize = 8;

/// All of them, by address.
struct Table {
    mappings: *mut Mapping,
    count: usize,
    /// Bytes of memory that the table has.
    room: usize,
    /// Bytes in use.
    used: usize,
    /// Those that are kept, the oldest first.
    kept: [Option<Kept>; KEPT],
}

// SAFETY: the pointers are to memory of no particular thread.
unsafe impl Send for Table {}

static TABLE: Mutex<Table> =
    Mutex::new(Table { mappings: ptr::null_mut(), count: 0, room: 0, used: 0, kept: [None; KEPT] });

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

    fn kept(&self) -> usize {
        self.kept.iter().flatten().map(|kept| kept.usable).sum()
    }

    /// Takes out the oldest that is kept.
    fn pop_kept(&mut self) -> Option<Kept> {
        let oldest = self.kept[0].take();
        self.kept.rotate_left(1);
        oldest
    }

    /// Takes out the one that is kept for a run like this and needs the fewest bytes to change.
    fn take_kept(&mut self, bytes: usize, align: usize) -> Option<Kept> {
        let fits = |kept: &Kept| kept.mapping.bytes >= bytes && kept.mapping.start.addr().is_multiple_of(align);
        let change = |kept: Kept| kept.usable.abs_diff(bytes);
        let nearest = (0..KEPT)
            .filter_map(|place| Some((place, self.kept[place].filter(fits)?)))
            .min_by_key(|(_, kept)| change(*kept))?
            .0;
        self.kept[nearest..].rotate_left(1);
        self.kept[KEPT - 1].take()
    }

    /// Keeps a mapping, behind all others; the one that there is no place for.
    fn keep(&mut self, kept: Kept) -> Option<Kept> {
        match self.kept.iter().position(Option::is_none) {
            Some(place) => self.kept[place].replace(kept),
            None => {
                let oldest = self.pop_kept();
                self.kept[KEPT - 1] = Some(kept);
                oldest
            }
        }
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

/// A run of so many bytes, whole pages with unspecified contents, aligned to `align`.
pub fn allocate(bytes: usize, align: usize) -> Option<NonNull<u8>> {
    let align = align.max(PAGE);
    let kept = Table::lock().take_kept(bytes, align);
    let mapping = kept.and_then(|kept| adapt(kept, bytes)).or_else(|| map(bytes, align)).or_else(|| {
        // The system may have no more than what is kept.
        if give_back_kept() > 0 { map(bytes, align) } else { None }
    })?;
    let mut table = Table::lock();
    if !table.insert(mapping) {
        drop(table);
        // SAFETY: the mapping is ours, and nobody uses it.
        unsafe { unmap(mapping) };
        return None;
    }
    table.used += bytes;
    NonNull::new(mapping.start)
}

/// Maps so many bytes anew.
fn map(bytes: usize, align: usize) -> Option<Mapping> {
    // Where address space is scarce, it is not for what may never be.
    let may_grow = system::address_space_limit() == usize::MAX;
    let with_slack = || reserve(bytes.checked_mul(SLACK)?, align);
    let mapping = may_grow.then(with_slack).flatten().or_else(|| reserve(bytes, align))?;
    // SAFETY: the space was reserved just now.
    unsafe {
        if !system::make_usable(mapping.start, bytes) {
            unmap(mapping);
            return None;
        }
    }
    Some(mapping)
}

/// Makes what was kept so many bytes long; `None`, and it is unmapped, if the system has no memory for that.
fn adapt(kept: Kept, bytes: usize) -> Option<Mapping> {
    let Kept { mapping, usable } = kept;
    // SAFETY: the mapping is ours and nobody uses it, and it has as many bytes.
    unsafe {
        let is_done = if bytes <= usable {
            system::make_unusable(mapping.start.wrapping_add(bytes), usable - bytes)
        } else {
            system::make_usable(mapping.start.wrapping_add(usable), bytes - usable)
        };
        if !is_done {
            unmap(mapping);
            return None;
        }
    }
    Some(mapping)
}

/// Unmaps a run and its guard pages.
///
/// # Safety
/// Nobody uses it any more.
unsafe fn unmap(mapping: Mapping) {
    // SAFETY: the mapping and its guard pages are reserved, and nobody uses them any more.
    unsafe { system::unreserve(mapping.start.wrapping_sub(PAGE), mapping.bytes + 2 * PAGE) };
}

/// Bytes of memory that are kept.
pub fn kept() -> usize {
    Table::lock().kept()
}

/// Gives back all that is kept; how many bytes that was.
pub fn give_back_kept() -> usize {
    let mut bytes = 0;
    // Unlocked while it is unmapped, which takes time.
    while let Some(kept) = pop_first() {
        bytes += kept.usable;
        // SAFETY: the mapping is in no table any more, so it is ours; and nobody uses it.
        unsafe { unmap(kept.mapping) };
    }
    bytes
}

fn pop_first() -> Option<Kept> {
    Table::lock().pop_kept()
}

/// Takes back a run of so many bytes.
///
/// # Errors
/// There is none.
///
/// # Safety
/// Nobody uses it any more.
pub unsafe fn release(run: NonNull<u8>, bytes: usize) -> Result<(), FreeError> {
    let address = run.as_ptr().addr() as u64;
    let mut table = Table::lock();
    let mapping = table.remove(run.as_ptr()).ok_or(FreeError::NotManaged(Pfn::containing(address)))?;
    let most = IDLE.max(table.used / IDLE_SHARE);
    table.used -= bytes;
    let mut given_back =
        if bytes <= most { table.keep(Kept { mapping, usable: bytes }) } else { Some(Kept { mapping, usable: bytes }) };
    loop {
        let is_enough = table.kept() <= most;
        drop(table);
        if let Some(Kept { mapping, .. }) = given_back {
            // SAFETY: it is in no table any more, so it is ours; and nobody uses it.
            unsafe { unmap(mapping) };
        }
        if is_enough {
            return Ok(());
        }
        table = Table::lock();
        given_back = table.pop_kept();
    }
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
    let is_done = unsafe {
        if to <= from {
            system::make_unusable(mapping.start.wrapping_add(to), from - to)
        } else {
            to <= mapping.bytes && system::make_usable(mapping.start.wrapping_add(from), to - from)
        }
    };
    if is_done {
        let mut table = Table::lock();
        table.used = table.used - from + to;
    }
    is_done
}
