//! Blocks of frames.

use alloc::format;
use alloc::string::String;

use kernel::sync::Mutex;
use kit::Random;
use labs::exam::free_blocks;
use labs::lab::Lab;
use labs::layout::Layout;
use labs::{BadFree, Frames, Refused};

use super::{Store, on_all_cpus};
use crate::memory;

/// The largest order that is asked for here: nobody takes all there is.
const LARGEST: u8 = 6;

/// A piece that one CPU at a time asks.
struct Locked<'a, P> {
    piece: Mutex<P>,
    layout: &'a Layout,
    largest: u8,
}

impl<P: Frames + Send> Store for Locked<'_, P> {
    type Request = u8;

    fn request(&self, random: &mut Random) -> u8 {
        random.below(u64::from(self.largest) + 1) as u8
    }

    fn allocate(&self, _: usize, order: u8) -> Result<u64, Refused> {
        self.piece.lock().allocate(self.layout.request(order)).map(|frame| frame.saturating_mul(4096))
    }

    fn free(&self, _: usize, address: u64, order: u8) -> Result<(), BadFree> {
        self.piece.lock().free(address / 4096, order)
    }

    fn bytes(order: u8) -> u64 {
        4096 << order
    }

    fn name(address: u64, order: u8) -> String {
        format!("the block of order {order} at {:#x}", address / 4096)
    }
}

/// Has all CPUs of the machine work with a piece.
///
/// # Errors
/// What the piece did wrong.
pub fn stress<P: Frames + Send>(lab: &Lab) -> Result<(), String> {
    let layout = &memory::layout(lab);
    let piece = Mutex::new("piece", P::new(layout.memory()));
    let store = Locked { piece, layout, largest: lab.largest.min(LARGEST) };
    on_all_cpus(&store, layout)?;
    let piece = store.piece.lock();
    for (order, right) in (0..).zip(free_blocks(&layout.oracle(), lab.largest)) {
        let counted = piece.free_blocks(order);
        if counted != right {
            return Err(format!("all is free again: free_blocks({order}) says {counted}, and there are {right}"));
        }
    }
    Ok(())
}
