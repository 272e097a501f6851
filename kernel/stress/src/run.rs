//! A run from its beginning to its end: what all CPUs share meanwhile.

use super::before::Before;
use super::contents::Id;
use super::handler::{self, Handler};
use super::owners::Owners;
use super::piece::{Memory, Piece, Record, Records};
use super::worker::Worker;
use super::{Failure, Plan, Summary, Tally};
use crate::console;
use crate::cpu::{self, MAX_CPUS, clock, timer};
use crate::memory::frames;
use crate::memory::heap::HEAP;
use crate::sync::Mutex;
use alloc::vec::Vec;
use bifolio::frame::{FRAME_SIZE, Order, Pfn, PfnRange, ZoneKind};
use bifolio::heap::CacheOptions;
use core::mem;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering, compiler_fence};
use core::time::Duration;

/// Pieces that can be on their way to a CPU.
const MAIL: usize = 64;

/// One CPU, as far as others have to do with it, and its handler.
pub(super) struct Seat {
    /// The CPU is inside a call of an allocator. Its own business, and its handlers'.
    inside: AtomicBool,
    /// How many pieces it has allocated, by whatever code.
    pieces: AtomicU64,
    /// Pieces that others have handed to it.
    mail: Mutex<Vec<Piece>>,
    pub handler: Mutex<Handler>,
    /// What it has done in the end, but for its handler.
    tally: Mutex<Tally>,
}

impl Seat {
    /// Calls an allocator, and notes so for handlers that interrupt it.
    pub fn inside<R>(&self, call: impl FnOnce() -> R) -> R {
        self.inside.store(true, Ordering::Relaxed);
        compiler_fence(Ordering::SeqCst);
        let result = call();
        compiler_fence(Ordering::SeqCst);
        self.inside.store(false, Ordering::Relaxed);
        result
    }

    pub fn is_inside(&self) -> bool {
        self.inside.load(Ordering::Relaxed)
    }

    pub fn take_mail(&self) -> Option<Piece> {
        self.mail.lock().pop()
    }
}

/// What all CPUs share.
pub(super) struct Run {
    pub plan: Plan,
    pub owners: Owners,
    pub records: Records,
    /// By the CPUs' numbers.
    pub seats: Vec<Seat>,
    /// The numbers of those that take part.
    pub cpus: Vec<usize>,
    /// Bytes that each may have.
    pub share: usize,
    end: Duration,
    /// It is to end early.
    cancelled: AtomicBool,
    failed: AtomicBool,
    failure: Mutex<Option<Failure>>,
}

impl Run {
    fn new(plan: Plan) -> Result<Self, Failure> {
        let highest = cpu::online().take(plan.cpus).last().map_or(0, |cpu| cpu + 1);
        let mut seats = Vec::new();
        seats.try_reserve_exact(highest).map_err(|_| Failure::NoMemory)?;
        for number in 0..highest {
            let mut mail = Vec::new();
            mail.try_reserve_exact(MAIL).map_err(|_| Failure::NoMemory)?;
            seats.push(Seat {
                inside: AtomicBool::new(false),
                pieces: AtomicU64::new(0),
                mail: Mutex::new("stress mail", mail),
                handler: Mutex::new("stress handler", Handler::new(plan.seed ^ number as u64)),
                tally: Mutex::new("stress tally", Tally::default()),
            });
        }
        let mut cpus = Vec::new();
        cpus.try_reserve_exact(plan.cpus).map_err(|_| Failure::NoMemory)?;
        cpus.extend(cpu::online().take(plan.cpus));
        let owners = Owners::new()?;
        let records = HEAP.cache::<Record>(CacheOptions::new("stress-record")).map_err(|_| Failure::NoMemory)?;
        let free: u64 = ZoneKind::ALL.map(|kind| frames().zone(kind).free).iter().sum();
        let share = (free * FRAME_SIZE / 2) as usize / plan.cpus;
        let (failed, failure) = (AtomicBool::new(false), Mutex::new("stress failure", None));
        Ok(Self {
            plan,
            owners,
            records,
            seats,
            cpus,
            share,
            end: clock::uptime().saturating_add(plan.time),
            cancelled: AtomicBool::new(false),
            failed,
            failure,
        })
    }

    /// Whether it is time to stop, or something was found.
    pub fn is_over(&self) -> bool {
        self.failed.load(Ordering::Relaxed) || self.cancelled.load(Ordering::Relaxed) || clock::uptime() >= self.end
    }

    /// Ends it if somebody on the console wants that.
    pub fn look_at_console(&self) {
        if self.plan.cancellable && console::is_cancelled() {
            self.cancelled.store(true, Ordering::Relaxed);
        }
    }

    /// Something was found: the first of several is told.
    pub fn fail(&self, failure: Failure) {
        self.failure.lock().get_or_insert(failure);
        self.failed.store(true, Ordering::Relaxed);
    }

    /// A name for what this CPU has just allocated.
    fn next(&self, cpu: usize) -> Id {
        Id::new(cpu, self.seats[cpu].pieces.fetch_add(1, Ordering::Relaxed))
    }

    /// Marks memory that this CPU has just allocated.
    pub fn mark(&self, cpu: usize, memory: Memory) -> Result<Piece, Failure> {
        // SAFETY: the memory was just allocated, and whoever has a piece of this run either hands it on or frees it.
        unsafe { Piece::mark(memory, self.next(cpu), &self.owners) }
    }

    /// Takes note of a block that this CPU has just allocated, and that it writes nothing to.
    pub fn own(&self, cpu: usize, pfn: Pfn, order: Order) -> Result<(), Failure> {
        let range = PfnRange::new(pfn, pfn.offset(order.frames()));
        self.owners.take(range).map_err(|pfn| Failure::FrameTaken { pfn, id: self.next(cpu) })
    }

    /// Such a block is about to be freed.
    pub fn disown(&self, pfn: Pfn, order: Order) {
        self.owners.give_back(PfnRange::new(pfn, pfn.offset(order.frames())));
    }

    /// Checks a piece and frees it.
    pub fn give_back(&self, piece: &Piece) -> Result<(), Failure> {
        piece.unmark(&self.owners)?;
        piece.free(&self.records)
    }

    /// Hands a piece to another CPU; returns it if that has enough on its hands.
    pub fn post(&self, to: usize, piece: Piece) -> Result<(), Piece> {
        let mut mail = self.seats[to].mail.lock();
        if mail.len() == mail.capacity() {
            return Err(piece);
        }
        mail.push(piece);
        Ok(())
    }

    /// What one CPU does from the beginning to the end.
    fn work(&self, cpu: usize) {
        if self.plan.timers {
            handler::wind_up(self, cpu);
        }
        let mut worker = Worker::new(self, cpu);
        let done = worker.as_mut().map_err(|failure| *failure).and_then(Worker::work);
        if let Err(failure) = done {
            self.fail(failure);
        }
        // No handler winds it up again: it is over.
        timer::set_period(Duration::ZERO);
        if let Ok(worker) = worker {
            *self.seats[cpu].tally.lock() = worker.tally();
        }
    }

    /// Gives back what is still under way.
    fn clear(&self) -> Result<(), Failure> {
        for seat in &self.seats {
            while let Some(piece) = seat.take_mail() {
                self.give_back(&piece)?;
            }
            let mut handler = seat.handler.lock();
            while let Some(piece) = handler.take() {
                drop(handler);
                self.give_back(&piece)?;
                handler = seat.handler.lock();
            }
        }
        Ok(())
    }
}

/// Does what is planned, and gives everything back.
///
/// # Errors
/// What was found to be wrong. What is left then is not given back: nobody knows whose it is.
pub fn run(plan: Plan) -> Result<Summary, Failure> {
    plan.check()?;
    // What is to be there afterwards has its memory before.
    let mut summary = Summary::new(cpu::online().take(plan.cpus))?;
    let before = Before::take();
    go(plan, &mut summary)?;
    before.compare()?;
    Ok(summary)
}

fn go(plan: Plan, summary: &mut Summary) -> Result<(), Failure> {
    let run = Run::new(plan)?;
    summary.begin(run.share * plan.cpus);
    let cpus = plan.cpus;
    {
        let _on_duty = handler::OnDuty::new(&run)?;
        cpu::on_cpus(cpus, &|cpu| run.work(cpu));
    }
    let failure = *run.failure.lock();
    if let Some(failure) = failure.or_else(|| run.clear().err()) {
        // Its records are still there, which their cache would take ill at its end.
        mem::forget(run);
        return Err(failure);
    }
    summary.was_cancelled = run.cancelled.load(Ordering::Relaxed);
    summary.end(|cpu| {
        let mut tally = *run.seats[cpu].tally.lock();
        tally.add(run.seats[cpu].handler.lock().tally());
        tally
    });
    match run.records.destroy(|_| {}) {
        0 => Ok(()),
        left => Err(Failure::Records(left)),
    }
}

const _: () = assert!(MAX_CPUS <= 256, "an Id has a byte for the CPU's number");
