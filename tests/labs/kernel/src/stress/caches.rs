//! Caches of several CPUs, which interrupts come into.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use kernel::sync::Mutex;
use kit::Random;
use labs::caches::{BATCH, Batches, CPUS, Caches, Cpu};
use labs::lab::Lab;
use labs::layout::Layout;
use labs::{BadFree, Frame, Refused};
use x86_64::instructions::interrupts;

use super::{Store, on_all_cpus};
use crate::memory::{self, NOBODY, replace};

/// A CPU of this machine: its interrupts are what is masked.
pub struct Real<'a> {
    number: usize,
    /// What comes between two of its steps, where interrupts are enabled.
    handler: Option<&'a (dyn Fn(usize) + Sync)>,
}

impl Real<'_> {
    /// The CPU with this number, on which this runs. Nothing of the piece comes in between.
    pub const fn new(number: usize) -> Self {
        Self { number, handler: None }
    }
}

impl Cpu for Real<'_> {
    fn number(&self) -> usize {
        self.number
    }

    fn step(&self) {
        if let Some(handler) = self.handler.filter(|_| interrupts::are_enabled()) {
            handler(self.number);
        }
    }

    fn set_masked(&self, masked: bool) -> bool {
        let before = !interrupts::are_enabled();
        if masked {
            interrupts::disable();
        } else {
            interrupts::enable();
            // What had to wait comes now.
            self.step();
        }
        before
    }
}

/// What interrupts of a CPU have.
struct Handler {
    is_busy: AtomicBool,
    random: AtomicU64,
    held: Mutex<Vec<Frame>>,
}

/// Frames that a handler has at a time, at most.
const HELD: usize = 5;
/// One step of so many is interrupted.
const STEPS: u64 = 8;

/// A piece that all CPUs ask, and handlers in between.
struct Shared<'a, P> {
    piece: P,
    layout: &'a Layout,
    handlers: [Handler; CPUS],
    interrupts: AtomicU64,
    wrong: Mutex<Option<String>>,
}

impl<P: Caches> Shared<'_, P> {
    /// What an interrupt does that comes into the piece: it takes a frame, or gives one back.
    fn interrupt(&self, cpu: usize) {
        let handler = &self.handlers[cpu];
        if handler.is_busy.swap(true, Ordering::Relaxed) {
            return;
        }
        let mut random = Random::new(handler.random.fetch_add(1, Ordering::Relaxed) << 8 | cpu as u64);
        if random.below(STEPS) == 0 {
            self.interrupts.fetch_add(1, Ordering::Relaxed);
            if let Err(text) = self.handle(cpu, &mut random) {
                self.wrong.lock().get_or_insert(text);
            }
        }
        handler.is_busy.store(false, Ordering::Relaxed);
    }

    fn handle(&self, cpu: usize, random: &mut Random) -> Result<(), String> {
        let count = self.handlers[cpu].held.lock().len();
        if count < HELD && random.below(2) == 0 {
            let Ok(frame) = self.piece.allocate(&Real::new(cpu)) else { return Ok(()) };
            self.mark(frame, NOBODY, mark(cpu), "and somebody has it already")?;
            self.handlers[cpu].held.lock().push(frame);
        } else if count > 0 {
            let frame = self.handlers[cpu].held.lock().swap_remove(random.index(count));
            self.give_back(cpu, frame)?;
        }
        Ok(())
    }

    fn give_back(&self, cpu: usize, frame: Frame) -> Result<(), String> {
        self.mark(frame, mark(cpu), NOBODY, "twice: somebody wrote into it")?;
        let answer = self.piece.free(&Real::new(cpu), frame);
        answer.map_err(|reason| format!("frame {frame:#x} was not taken back from an interrupt: {reason:?}"))
    }

    fn mark(&self, frame: Frame, from: u64, to: u64, what: &str) -> Result<(), String> {
        let complaint = || format!("frame {frame:#x} was handed out to an interrupt, {what}");
        replace(self.layout, frame.saturating_mul(4096), 4096, to, |before| (before != Some(from)).then(complaint))
    }

    /// Whether all is given back when all is free.
    fn finish(&self) -> Result<(), String> {
        for cpu in 0..CPUS {
            let held = core::mem::take(&mut *self.handlers[cpu].held.lock());
            held.into_iter().try_for_each(|frame| self.give_back(cpu, frame))?;
        }
        for cpu in 0..CPUS {
            // Nobody else is at work any more: this CPU may speak for the others.
            self.piece.drain(&Real::new(cpu));
        }
        self.wrong.lock().take().map_or(Ok(()), Err)
    }
}

/// The mark of a CPU's interrupts.
fn mark(cpu: usize) -> u64 {
    (cpu as u64 + 1) << 40 | 1
}

impl<P: Caches> Store for Shared<'_, P> {
    type Request = ();

    fn request(&self, _: &mut Random) {}

    fn allocate(&self, cpu: usize, (): ()) -> Result<u64, Refused> {
        let handler = |cpu| self.interrupt(cpu);
        self.piece.allocate(&Real { number: cpu, handler: Some(&handler) }).map(|frame| frame.saturating_mul(4096))
    }

    fn free(&self, cpu: usize, address: u64, (): ()) -> Result<(), BadFree> {
        let handler = |cpu| self.interrupt(cpu);
        self.piece.free(&Real { number: cpu, handler: Some(&handler) }, address / 4096)
    }

    fn bytes((): ()) -> u64 {
        4096
    }

    fn name(address: u64, (): ()) -> String {
        format!("frame {:#x}", address / 4096)
    }
}

/// Has all CPUs of the machine work with a piece.
///
/// # Errors
/// What the piece did wrong.
pub fn stress<P: Caches + Send>(lab: &Lab) -> Result<(), String> {
    let layout = &memory::layout(lab);
    let source = layout.source(BATCH);
    let handler = |cpu| Handler {
        is_busy: AtomicBool::new(false),
        random: AtomicU64::new(cpu as u64),
        held: Mutex::new("an interrupt's frames", Vec::with_capacity(HELD)),
    };
    let shared = Shared {
        piece: P::new(Batches::new(source)),
        layout,
        handlers: core::array::from_fn(handler),
        interrupts: AtomicU64::new(0),
        wrong: Mutex::new("what went wrong in an interrupt", None),
    };
    on_all_cpus(&shared, layout)?;
    shared.finish()?;
    match (source.held().count(), shared.interrupts.load(Ordering::Relaxed)) {
        (0, 1..) => Ok(()),
        (0, 0) => Err("no interrupt ever came: are interrupts masked all the time?".into()),
        (count, _) => Err(format!("all is free again, and {count} batches were not given back")),
    }
}
