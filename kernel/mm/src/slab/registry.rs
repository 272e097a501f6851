//! Opens and closes blocks: frames, descriptor and map entries, together or not at all.

use crate::sync::atomic::{AtomicBool, Ordering::Relaxed};
use core::alloc::Layout;
use core::ptr::NonNull;

use super::arena::ArenaId;
use super::descriptor::{Slab, Slots};
use super::error::HeapError;
use super::list::Meta;
use super::page_map::PageMap;
use super::pool::Pool;
use super::source::PageSource;
use crate::allocator::{At, Call, HeapCall, Recording};
use crate::cpu::Cpu;
use crate::error::FreeError;
use crate::frame::{FRAME_SIZE, Order};
use crate::sync::Mutex;
use spin::Once;

/// Everything that the heap took from its source is down here.
pub(crate) struct Registry<S, C> {
    pub(crate) source: S,
    pub(crate) map: PageMap,
    pub(crate) books: Mutex<Books, C>,
    pub(crate) hook: Mutex<fn(&HeapError), C>,
    /// So many descriptors wait for a grace period that one is to pass before the next is opened.
    pub(crate) is_grace_due: AtomicBool,
    /// What records the heap's operations, if anything does.
    pub(crate) recording: Once<&'static Recording<'static>>,
}

/// What the registry's lock guards besides the changes of the map.
pub(crate) struct Books {
    pub(crate) pool: Pool,
    tables: usize,
}

impl Books {
    /// Frames that hold descriptors or tables of the map.
    pub(crate) fn frames(&self) -> usize {
        self.pool.pages() + self.tables
    }
}

/// What a block or run could not be opened for want of.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lack {
    /// The memory itself.
    Memory,
    /// Frames for its descriptor, or for tables of the map: descriptors that [wait](Pool::closings) may do.
    Descriptor,
}

/// Frames fetched ahead, so that what is about to be changed under the lock can be changed as a whole.
struct Spare {
    pages: [Option<NonNull<u8>>; Spare::MAX],
    count: usize,
}

impl Spare {
    /// The tables of a path and a page of descriptors.
    const MAX: usize = PageMap::MAX_MISSING + 1;

    const fn new() -> Self {
        Self { pages: [None; Self::MAX], count: 0 }
    }

    fn pop(&mut self) -> Option<NonNull<u8>> {
        self.count = self.count.checked_sub(1)?;
        self.pages[self.count].take()
    }

    fn push(&mut self, page: NonNull<u8>) {
        self.pages[self.count] = Some(page);
        self.count += 1;
    }
}

/// How many frames of a block lead to its descriptor.
fn mapped_frames(slots: u16, order: Order) -> u64 {
    if slots > 1 { order.frames() } else { 1 }
}

impl<S: PageSource, C: Cpu> Registry<S, C> {
    pub(crate) const fn new(source: S) -> Self {
        let books = Books { pool: Pool::new(), tables: 0 };
        let hook = Mutex::new("heap: error hook", HeapError::panic as fn(&HeapError));
        Self {
            source,
            map: PageMap::new(),
            books: Mutex::new("heap: descriptors", books),
            hook,
            is_grace_due: AtomicBool::new(false),
            recording: Once::new(),
        }
    }

    /// Does what opens a slab of `order`, which is recorded where it is part of an operation that is.
    ///
    /// A replay has the answer from the record: another heap may lack frames for a table or a page of descriptors where
    /// this one has them, or have descriptors that wait.
    pub(crate) fn recorded(&self, order: Order, open: impl Fn() -> Option<Meta<Slab>>) -> Option<Meta<Slab>> {
        let Some(recording) = self.recording.get().filter(|recording| recording.is_in_heap::<C>()) else {
            return open();
        };
        let base = |slab: &Option<Meta<Slab>>| slab.map(|slab| self.source.number_of(slab.base().addr()));
        recording.within::<C, _>(Call::Heap(HeapCall::Slab { order }), At::Heap, base, open)
    }

    /// Fetches a block of frames and opens it as these slots, which no arena has yet.
    ///
    /// # Errors
    /// What the source has too few frames for; nothing is kept then. No lock of the heap may be held.
    pub(crate) fn open(&self, order: Order, slots: Slots) -> Result<Meta<Slab>, Lack> {
        let block = self.source.allocate_slab(order).ok_or(Lack::Memory)?;
        let frames = mapped_frames(slots.count, order);
        let mut spare = Spare::new();
        let slab = loop {
            match self.enter(block, frames, &mut spare, |slab| slab.open(block, order, slots)) {
                Ok(slab) => break Ok(slab),
                Err(needed) if self.fetch(&mut spare, needed) => {}
                Err(_) => break Err(Lack::Descriptor),
            }
        };
        self.put_away(spare);
        if slab.is_err() {
            // SAFETY: the block came from the source a moment ago, and nothing was made of it.
            unsafe { self.give_back_slab(block, order) };
        }
        slab
    }

    /// Fetches a run like this, which is [one that there is](PageSource::run_for), that nobody owns yet.
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    pub(crate) fn open_run(&self, run: Layout) -> Result<Meta<Slab>, Lack> {
        let (mut spare, mut lack) = (Spare::new(), Lack::Memory);
        let slab = loop {
            let Some(start) = self.source.allocate_run(run) else { break Err(lack) };
            let entered = self.enter(start, 1, &mut spare, |slab| slab.open_run(start, run));
            let Err(needed) = entered else { break entered.map_err(|_| Lack::Descriptor) };
            // If there is no run any more, it is for the frames that are fetched now.
            lack = Lack::Descriptor;
            // Frames fetched now would stand right behind the run, which could never grow: so it makes room for them first.
            // SAFETY: the run came from the source a moment ago, and nothing was made of it.
            unsafe { self.give_back_run(start, run) };
            if !self.fetch(&mut spare, needed) {
                break Err(Lack::Descriptor);
            }
        };
        self.put_away(spare);
        slab
    }

    /// Takes a descriptor, which `describe` fills in, for what begins at `start`, and lets so many frames lead to it.
    ///
    /// # Errors
    /// How many frames it takes, if there are not as many to spare; nothing has changed then.
    fn enter(
        &self,
        start: NonNull<u8>,
        frames: u64,
        spare: &mut Spare,
        describe: impl Fn(Meta<Slab>),
    ) -> Result<Meta<Slab>, usize> {
        let address = start.as_ptr().addr();
        self.books.with(|books| {
            // SAFETY: we hold the lock.
            let missing = unsafe { self.map.missing(address) };
            let needed = missing + usize::from(books.pool.is_exhausted());
            if spare.count < needed {
                return Err(needed);
            }
            // SAFETY: we hold the lock, there are frames enough, and they come from the source for this alone.
            unsafe {
                self.map.link(address, || spare.pop());
                books.tables += missing;
                if books.pool.is_exhausted() {
                    spare.pop().into_iter().for_each(|page| books.pool.add(page));
                }
            }
            let slab = books.pool.take().ok_or(needed)?;
            describe(slab);
            // SAFETY: we hold the lock and have linked the tables; `leave` lets the entries lead elsewhere again.
            unsafe { self.map.set(address, frames, Some(slab)) };
            Ok(slab)
        })
    }

    /// Fetches frames until there are so many to spare; false if the source has too few.
    fn fetch(&self, spare: &mut Spare, needed: usize) -> bool {
        while spare.count < needed {
            match self.source.allocate(Order::ZERO) {
                Some(page) => spare.push(page),
                None => return false,
            }
        }
        true
    }

    /// Gives back what another CPU's block made superfluous meanwhile, or all of it.
    fn put_away(&self, mut spare: Spare) {
        while let Some(page) = spare.pop() {
            // SAFETY: the frame came from the source a moment ago, and nothing was made of it.
            unsafe { self.give_back(page, Order::ZERO) };
        }
    }

    /// Lets the frames that lead to a descriptor lead nowhere, and vacates it. Returns where they begin.
    fn leave(&self, slab: Meta<Slab>, frames: u64) -> NonNull<u8> {
        debug_assert!(slab.arena() == ArenaId::TRANSIT);
        let base = slab.base();
        self.books.with(|books| {
            // SAFETY: we hold the lock; nothing leads to the descriptor afterwards.
            unsafe { self.map.set(base.addr(), frames, None) };
            if books.pool.put(slab) {
                self.is_grace_due.store(true, Relaxed);
            }
        });
        // SAFETY: what a descriptor describes came from the source, which gives no null pointers.
        unsafe { NonNull::new_unchecked(base) }
    }

    /// Closes a block that no cache owns, of which no slot can be freed any more, and gives its frames back. Returns how many.
    /// No lock of the heap may be held.
    pub(crate) fn close(&self, slab: Meta<Slab>) -> u64 {
        let order = slab.order();
        let block = self.leave(slab, mapped_frames(slab.slots(), order));
        // SAFETY: the block came from the source with this order, and its slab is closed: no cache owns it, and nobody uses it.
        unsafe { self.give_back_slab(block, order) }
    }

    /// Closes a run that nobody owns and nobody uses, and gives its frames back. No lock of the heap may be held.
    pub(crate) fn close_run(&self, slab: Meta<Slab>) {
        let run = slab.run();
        let start = self.leave(slab, 1);
        // SAFETY: the run came from the source with this length and alignment, and is closed: nobody owns or uses it.
        unsafe { self.give_back_run(start, run) };
    }

    /// The next table of the map at `level`, at or behind `from`, that leads nowhere; its first address.
    pub(crate) fn next_idle_table(&self, level: u32, mut from: Option<usize>) -> Option<usize> {
        // The lock is taken for each table anew: interrupts are not masked for long.
        loop {
            // SAFETY: we hold the lock.
            let (address, idle) = self.books.with(|_| unsafe {
                let address = self.map.next_table(level, from)?;
                Some((address, self.map.is_idle(level, address)))
            })?;
            if idle {
                return Some(address);
            }
            from = PageMap::behind(level, address);
        }
    }

    /// Takes a table out of the map, if it is still there and leads nowhere, and returns its frame.
    ///
    /// # Safety
    /// The caller holds every lock of the heap; `books` is what this registry's guards.
    pub(crate) unsafe fn remove_idle_table(&self, books: &mut Books, level: u32, at: usize) -> Option<NonNull<u8>> {
        // SAFETY: every lock is held; what is unlinked is there and idle.
        unsafe {
            if self.map.next_table(level, Some(at)) != Some(at) || !self.map.is_idle(level, at) {
                return None;
            }
            books.tables -= 1;
            self.map.unlink(level, at)
        }
    }

    /// Gives frames back to the source and returns how many it took; if it refuses them, that is reported.
    ///
    /// # Safety
    /// The block came from the source with this order, and nobody uses it any more.
    pub(crate) unsafe fn give_back(&self, block: NonNull<u8>, order: Order) -> u64 {
        // SAFETY: by this function's contract the block came from the source with this order, and is used no more.
        let released = unsafe { self.source.release(block, order) };
        self.given_back(released, block, order.frames())
    }

    /// [`give_back`](Self::give_back) for a slab's block.
    ///
    /// # Safety
    /// As there.
    unsafe fn give_back_slab(&self, block: NonNull<u8>, order: Order) -> u64 {
        // SAFETY: by this function's contract the block came from the source for a slab of this order, and is used no more.
        let released = unsafe { self.source.release_slab(block, order) };
        self.given_back(released, block, order.frames())
    }

    /// How many frames were given back: if none, that is reported.
    fn given_back(&self, released: Result<(), FreeError>, start: NonNull<u8>, frames: u64) -> u64 {
        match released {
            Ok(()) => frames,
            Err(error) => {
                self.report(&HeapError::Refused { address: start.as_ptr().addr(), frames, error });
                0
            }
        }
    }

    /// [`give_back`](Self::give_back) for a run.
    ///
    /// # Safety
    /// The run came from the source with this length, or was given it since, and with this alignment, and nobody uses it
    /// any more.
    unsafe fn give_back_run(&self, start: NonNull<u8>, run: Layout) {
        // SAFETY: by this function's contract the run came from the source with this length and alignment, and is used no more.
        let released = unsafe { self.source.release_run(start, run) };
        self.given_back(released, start, (run.size() as u64).div_ceil(FRAME_SIZE));
    }

    /// Hands an error that has no caller to return to to whoever asked for it. No lock of the heap may be held.
    #[cold]
    pub(crate) fn report(&self, error: &HeapError) {
        let hook = self.hook.with(|hook| *hook);
        hook(error);
    }
}
