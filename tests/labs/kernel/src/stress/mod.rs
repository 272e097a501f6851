//! All CPUs at work with one piece: they allocate, write into what they have, hand it to each other, and free what others had.

pub mod caches;
mod frames;
mod objects;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};

use kernel::cpu;
use kernel::sync::Mutex;
use kit::Random;
use labs::layout::Layout;
use labs::{BadFree, Refused};

use crate::memory::{NOBODY, clear, replace};

pub use caches::stress as stress_caches;
pub use frames::stress as stress_frames;
pub use objects::{size, stress as stress_objects};

/// Operations on each CPU.
const OPERATIONS: u64 = 4000;
/// What a CPU has at a time, at most.
const HELD: usize = 24;

/// What gives CPUs something, and takes it back.
trait Store: Sync {
    /// What is asked for.
    type Request: Copy + Send;

    /// What a CPU asks for next.
    fn request(&self, random: &mut Random) -> Self::Request;

    /// Asks for it. An address.
    fn allocate(&self, cpu: usize, request: Self::Request) -> Result<u64, Refused>;

    /// Gives it back.
    fn free(&self, cpu: usize, address: u64, request: Self::Request) -> Result<(), BadFree>;

    /// How many bytes it has.
    fn bytes(request: Self::Request) -> u64;

    /// What it is called.
    fn name(address: u64, request: Self::Request) -> String;
}

/// Something that a CPU has, and the mark in it.
#[derive(Clone, Copy)]
struct Held<R> {
    address: u64,
    request: R,
    mark: u64,
}

/// A piece, and what the CPUs that work with it have in common.
struct Run<'a, S: Store> {
    store: &'a S,
    layout: &'a Layout,
    /// What was handed over, for whoever comes next.
    handed: Mutex<Vec<Held<S::Request>>>,
    /// What went wrong first, and that something did.
    wrong: Mutex<Option<String>>,
    is_over: AtomicBool,
}

/// Has all CPUs of the machine work with a piece. All is free in the end.
fn on_all_cpus<S: Store>(store: &S, layout: &Layout) -> Result<(), String> {
    clear(layout);
    let run = Run {
        store,
        layout,
        handed: Mutex::new("handed over", Vec::with_capacity(HELD)),
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
    match run.wrong.lock().take() {
        Some(text) => Err(text),
        None => left.into_iter().try_for_each(|held| run.give_back(0, held)),
    }
}

impl<S: Store> Run<'_, S> {
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
                    let request = self.store.request(&mut random);
                    let mark = (cpu as u64 + 1) << 40 | number << 8;
                    held.extend(self.take(cpu, request, mark)?);
                }
                _ if !held.is_empty() => self.give_back(cpu, held.swap_remove(random.index(held.len())))?,
                _ => {}
            }
        }
        held.into_iter().try_for_each(|block| self.give_back(cpu, block))
    }

    /// Asks for something, and writes a mark into all of it.
    fn take(&self, cpu: usize, request: S::Request, mark: u64) -> Result<Option<Held<S::Request>>, String> {
        let address = match self.store.allocate(cpu, request) {
            Ok(address) => address,
            Err(Refused::OutOfMemory) => return Ok(None),
            Err(refused) => return Err(format!("what can be had was refused as {refused:?}")),
        };
        replace(self.layout, address, S::bytes(request), mark, |before| {
            let name = || S::name(address, request);
            match before {
                None => Some(format!("{} was handed out, and is not memory of this allocator", name())),
                Some(NOBODY) => None,
                Some(mark) => Some(format!("{} was handed out, and CPU {} has it already", name(), (mark >> 40) - 1)),
            }
        })?;
        Ok(Some(Held { address, request, mark }))
    }

    /// Looks whether something is as it was left, and frees it.
    fn give_back(&self, cpu: usize, block: Held<S::Request>) -> Result<(), String> {
        let Held { address, request, mark } = block;
        replace(self.layout, address, S::bytes(request), NOBODY, |before| {
            let what = || format!("{} was handed out twice: somebody wrote into it", S::name(address, request));
            (before != Some(mark)).then(what)
        })?;
        let answer = self.store.free(cpu, address, request);
        answer.map_err(|reason| format!("{} was not taken back: {reason:?}", S::name(address, request)))
    }
}
