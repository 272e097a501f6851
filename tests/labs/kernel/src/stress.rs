//! All CPUs at work with one piece: they allocate, write into what they have, hand it to each other, and free what others had.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use kernel::cpu;
use kernel::sync::Mutex;
use kit::Random;
use labs::exam::free_blocks;
use labs::lab::Lab;
use labs::layout::Layout;
use labs::{Frame, Frames, Refused};

use crate::memory;

/// Operations on each CPU.
const OPERATIONS: u64 = 4000;
/// Blocks that a CPU has at a time, at most.
const HELD: usize = 24;
/// The largest order that is asked for here: nobody takes all there is.
const LARGEST: u8 = 6;

/// In place of a mark: nobody has the frame.
const NOBODY: u64 = 0;

/// A block that a CPU has, and the mark in its frames.
#[derive(Clone, Copy)]
struct Held {
    frame: Frame,
    order: u8,
    mark: u64,
}

/// A piece, and what the CPUs that work with it have in common.
struct Run<'a, P> {
    piece: Mutex<P>,
    /// What was handed over, for whoever comes next.
    handed: Mutex<Vec<Held>>,
    layout: &'a Layout,
    largest: u8,
    /// What went wrong first, and that something did.
    wrong: Mutex<Option<String>>,
    is_over: AtomicBool,
}

/// Has all CPUs of the machine work with a piece.
///
/// # Errors
/// What the piece did wrong.
pub fn stress<P: Frames + Send>(lab: &Lab) -> Result<(), String> {
    let layout = memory::layout(lab);
    for place in layout.ranges.iter().cloned().flatten().filter_map(|frame| memory::marks(&layout, frame)).flatten() {
        // SAFETY: the place is in a frame that this crate has from the kernel's allocator, and that nobody else looks at.
        unsafe { place.as_ptr().write(NOBODY) };
    }
    let run = Run {
        piece: Mutex::new("piece", P::new(layout.memory())),
        handed: Mutex::new("handed over", Vec::with_capacity(HELD)),
        layout: &layout,
        largest: lab.largest.min(LARGEST),
        wrong: Mutex::new("what went wrong", None),
        is_over: AtomicBool::new(false),
    };
    cpu::on_cpus(cpu::count(), &|cpu| {
        if let Err(text) = run.work(cpu) {
            run.wrong.lock().get_or_insert(text);
            run.is_over.store(true, Ordering::Relaxed);
        }
    });
    let left = core::mem::take(&mut *run.handed.lock());
    if let Some(text) = run.wrong.lock().take() {
        return Err(text);
    }
    left.into_iter().try_for_each(|held| run.give_back(held))?;
    let piece = run.piece.lock();
    for (order, right) in (0..).zip(free_blocks(&layout.oracle(), lab.largest)) {
        let counted = piece.free_blocks(order);
        if counted != right {
            return Err(format!("all is free again: free_blocks({order}) says {counted}, and there are {right}"));
        }
    }
    Ok(())
}

impl<P: Frames> Run<'_, P> {
    fn work(&self, cpu: usize) -> Result<(), String> {
        let (mut random, mut held) = (Random::new(cpu as u64 + 1), Vec::with_capacity(HELD));
        for number in 0..OPERATIONS {
            if self.is_over.load(Ordering::Relaxed) {
                return Ok(());
            }
            match random.below(10) {
                0 => held.extend(self.handed.lock().pop()),
                1 if !held.is_empty() => {
                    let block = held.swap_remove(random.index(held.len()));
                    self.handed.lock().push(block);
                }
                2..6 if held.len() < HELD => {
                    let order = random.below(u64::from(self.largest) + 1) as u8;
                    let mark = (cpu as u64 + 1) << 40 | number << 8;
                    held.extend(self.take(order, mark)?);
                }
                _ if !held.is_empty() => self.give_back(held.swap_remove(random.index(held.len())))?,
                _ => {}
            }
        }
        held.into_iter().try_for_each(|block| self.give_back(block))
    }

    /// Asks for a block, and writes a mark into each of its frames.
    fn take(&self, order: u8, mark: u64) -> Result<Option<Held>, String> {
        let answer = self.piece.lock().allocate(self.layout.request(order));
        let frame = match answer {
            Ok(frame) => frame,
            Err(Refused::OutOfMemory) => return Ok(None),
            Err(refused) => return Err(format!("order {order} was refused as {refused:?}")),
        };
        for part in frame..frame.saturating_add(1 << order) {
            let places = memory::marks(self.layout, part);
            let places =
                places.ok_or_else(|| format!("frame {part:#x} was handed out, and is not memory of this allocator"))?;
            for place in places {
                // SAFETY: the place is in a frame that this crate has from the kernel's allocator. Where a piece hands one out
                // twice, two CPUs may come here at once: the word is replaced as a whole.
                let before = unsafe { AtomicU64::from_ptr(place.as_ptr()) }.swap(mark, Ordering::AcqRel);
                if before != NOBODY {
                    return Err(format!(
                        "frame {part:#x} was handed out, and CPU {} has it already",
                        (before >> 40) - 1
                    ));
                }
            }
        }
        Ok(Some(Held { frame, order, mark }))
    }

    /// Looks whether a block is as it was left, and frees it.
    fn give_back(&self, block: Held) -> Result<(), String> {
        let Held { frame, order, mark } = block;
        for part in frame..frame + (1 << order) {
            for place in memory::marks(self.layout, part).into_iter().flatten() {
                // SAFETY: as for taking it: the place is in one of this crate's frames, and replaced as a whole.
                let found = unsafe { AtomicU64::from_ptr(place.as_ptr()) }.swap(NOBODY, Ordering::AcqRel);
                if found != mark {
                    return Err(format!("frame {part:#x} was handed out twice: somebody wrote into it"));
                }
            }
        }
        let answer = self.piece.lock().free(frame, order);
        answer.map_err(|reason| format!("the block of order {order} at {frame:#x} was not taken back: {reason:?}"))
    }
}
