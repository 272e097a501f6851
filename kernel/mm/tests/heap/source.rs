//! Page sources for tests, which remember every block and can run short.

use std::alloc::{alloc, dealloc};
use std::collections::BTreeMap;
use std::ptr::NonNull;
use std::sync::Mutex;

use bifolio::error::FreeError;
use bifolio::frame::{Order, Pfn};
use bifolio::heap::PageSource;
pub use kit::Thread;
use kit::source::layout;

/// Blocks from the host's allocator, at most `limit` frames at a time.
///
/// A released block is the next of its order to be given out. So whether the heap's page map needs one table more or less does
/// not depend on where the host's allocator has room just now.
pub struct Blocks(Mutex<State>);

struct State {
    /// The blocks given out, by address.
    out: BTreeMap<usize, (NonNull<u8>, Order)>,
    /// The blocks that were released, by order, the last one last.
    released: BTreeMap<Order, Vec<NonNull<u8>>>,
    frames: u64,
    limit: u64,
    /// The largest order there is.
    largest: Order,
    /// How many requests will be served before one is refused.
    until_refusal: Option<u64>,
    requests: u64,
}

// SAFETY: the pointers are to memory of no particular thread.
unsafe impl Send for State {}

impl Blocks {
    /// The thread that makes it is CPU 0, unless it is another.
    pub fn new(limit: u64) -> Self {
        Thread::become_first();
        Self(Mutex::new(State {
            out: BTreeMap::new(),
            released: BTreeMap::new(),
            frames: 0,
            limit,
            largest: Order::MAX,
            until_refusal: None,
            requests: 0,
        }))
    }

    /// The blocks that are given out: address and order.
    pub fn out(&self) -> Vec<(usize, Order)> {
        self.0.lock().unwrap().out.iter().map(|(&address, &(_, order))| (address, order)).collect()
    }

    /// Gives every block back behind the heap's back, but leaves the memory be.
    pub fn forget(&self) {
        self.0.lock().unwrap().out.clear();
    }

    pub fn frames(&self) -> u64 {
        self.0.lock().unwrap().frames
    }

    pub fn requests(&self) -> u64 {
        self.0.lock().unwrap().requests
    }

    pub fn set_limit(&self, limit: u64) {
        self.0.lock().unwrap().limit = limit;
    }

    pub fn set_largest(&self, largest: Order) {
        self.0.lock().unwrap().largest = largest;
    }

    /// Serves `requests` more requests and refuses all behind them; `None` for no such end.
    pub fn refuse_after(&self, requests: Option<u64>) {
        self.0.lock().unwrap().until_refusal = requests;
    }
}

// SAFETY: blocks come from the host's allocator with the layout asked for, and go back to it when released.
unsafe impl PageSource for Blocks {
    fn allocate(&self, order: Order) -> Option<NonNull<u8>> {
        let mut state = self.0.lock().unwrap();
        state.requests += 1;
        let refused = match &mut state.until_refusal {
            Some(0) => true,
            Some(left) => {
                *left -= 1;
                false
            }
            None => false,
        };
        if refused || order > state.largest || state.frames + order.frames() > state.limit {
            return None;
        }
        let block = match state.released.get_mut(&order).and_then(Vec::pop) {
            Some(block) => block,
            // SAFETY: the layout is not empty.
            None => NonNull::new(unsafe { alloc(layout(order)) })?,
        };
        // SAFETY: the block is ours, and this long. Whoever takes it for zeroed will be disappointed.
        unsafe { block.write_bytes(0xa5, order.bytes() as usize) };
        state.frames += order.frames();
        state.out.insert(block.as_ptr().addr(), (block, order));
        Some(block)
    }

    unsafe fn release(&self, block: NonNull<u8>, order: Order) -> Result<(), FreeError> {
        let mut state = self.0.lock().unwrap();
        let address = block.as_ptr().addr();
        let pfn = Pfn::containing(address as u64);
        let &(own, actual) = state.out.get(&address).ok_or(FreeError::AlreadyFree(pfn))?;
        if actual != order {
            return Err(FreeError::WrongOrder { pfn, given: order, actual });
        }
        state.out.remove(&address);
        state.frames -= order.frames();
        // SAFETY: the block is this long, and given back by its only user.
        unsafe { own.write_bytes(0xaa, order.bytes() as usize) };
        state.released.entry(order).or_default().push(own);
        Ok(())
    }
}

impl Drop for Blocks {
    fn drop(&mut self) {
        let state = self.0.get_mut().unwrap();
        let released = std::mem::take(&mut state.released).into_iter();
        let released = released.flat_map(|(order, blocks)| blocks.into_iter().map(move |block| (block, order)));
        for (block, order) in std::mem::take(&mut state.out).into_values().chain(released) {
            // SAFETY: the block came from `alloc` with this layout; the heap that used it is gone.
            unsafe { dealloc(block.as_ptr(), layout(order)) };
        }
    }
}
