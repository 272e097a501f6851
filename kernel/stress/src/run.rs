//! A run from its beginning to its end: what all CPUs share meanwhile.

use crate::before::Before;
use crate::contents::Id;
use crate::failure::Failure;
use crate::handler::{self, Handler};
use crate::machine::Machine;
use crate::owners::Owners;
use crate::piece::{Memory, Piece, Record, Records};
use crate::plan::Plan;
use crate::summary::{Summary, Tally};
use crate::worker::{Room, Worker};
use alloc::vec::Vec;
use bifolio::cpu::Hooks;
use bifolio::frame::{Block, FRAME_SIZE, ZoneKind};
use bifolio::heap::CacheOptions;
use bifolio::sync::Mutex;
use core::mem;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering, compiler_fence};
use core::time::Duration;

/// Pieces that can be on their way to a CPU.
const MAIL: usize = 64;

/// One CPU, as far as others have to do with it, and its handler.
pub(super) struct Seat<M: Machine> {
    /// The CPU is inside a call of an allocator. Its own business, and its handlers'.
    inside: AtomicBool,
    /// A handler has interrupted the call that it is in, or was in last.
    interrupted: AtomicBool,
    /// The longest call that no handler has interrupted, in nanoseconds.
    longest: AtomicU64,
    /// How many pieces it has allocated, by whatever code.
    pieces: AtomicU64,
    /// Pieces that others have handed to it.
    mail: Mutex<Vec<Piece<M>>, M::Cpu>,
    pub handler: Mutex<Handler<M>, M::Cpu>,
    /// Until it begins to work.
    pub room: Mutex<Room<M>, M::Cpu>,
    /// What it has done in the end, but for its handler.
    tally: Mutex<Tally, M::Cpu>,
}

impl<M: Machine> Seat<M> {
    /// Calls an allocator, and notes so for handlers that interrupt it.
    pub fn inside<R>(&self, call: impl FnOnce() -> R) -> R {
        self.interrupted.store(false, Ordering::Relaxed);
        self.inside.store(true, Ordering::Relaxed);
        let start = M::Cpu::uptime();
        compiler_fence(Ordering::SeqCst);
        let result = call();
        compiler_fence(Ordering::SeqCst);
        let time = M::Cpu::uptime().saturating_sub(start);
        self.inside.store(false, Ordering::Relaxed);
        if !self.interrupted.load(Ordering::Relaxed) {
            self.longest.fetch_max(time.as_nanos() as u64, Ordering::Relaxed);
        }
        result
    }

    /// Whether a handler that runs now has interrupted such a call.
    pub fn interrupts(&self) -> bool {
        self.interrupted.store(true, Ordering::Relaxed);
        self.inside.load(Ordering::Relaxed)
    }

    pub fn take_mail(&self) -> Option<Piece<M>> {
        self.mail.with(Vec::pop)
    }
}

/// What all CPUs share.
pub(super) struct Run<M: Machine> {
    pub plan: Plan,
    pub owners: Owners,
    pub records: Records<M>,
    /// By the CPUs' numbers.
    pub seats: Vec<Seat<M>>,
    /// The numbers of those that take part.
    pub cpus: Vec<usize>,
    /// Bytes that each may have.
    pub share: usize,
    end: Duration,
    /// It is to end early.
    cancelled: AtomicBool,
    failed: AtomicBool,
    failure: Mutex<Option<Failure>, M::Cpu>,
}

impl<M: Machine> Run<M> {
    fn new(plan: Plan) -> Result<Self, Failure> {
        let highest = M::online().take(plan.cpus).last().map_or(0, |cpu| cpu + 1);
        let free: u64 = ZoneKind::ALL.map(|kind| M::frames().zone(kind).free).iter().sum();
        let share = (free * FRAME_SIZE / 2) as usize / plan.cpus;
        let mut seats = Vec::new();
        seats.try_reserve_exact(highest).map_err(|_| Failure::NoMemory)?;
        for number in 0..highest {
            let mut mail = Vec::new();
            mail.try_reserve_exact(MAIL).map_err(|_| Failure::NoMemory)?;
            seats.push(Seat {
                inside: AtomicBool::new(false),
                interrupted: AtomicBool::new(false),
                longest: AtomicU64::new(0),
                pieces: AtomicU64::new(0),
                mail: Mutex::new("stress mail", mail),
                handler: Mutex::new("stress handler", Handler::new(plan.seed ^ number as u64)),
                room: Mutex::new("stress room", Room::new(share)?),
                tally: Mutex::new("stress tally", Tally::default()),
            });
        }
        let mut cpus = Vec::new();
        cpus.try_reserve_exact(plan.cpus).map_err(|_| Failure::NoMemory)?;
        cpus.extend(M::online().take(plan.cpus));
        let owners = Owners::new(M::end_of_ram())?;
        let records = M::heap().cache::<Record>(CacheOptions::new("stress-record")).map_err(|_| Failure::NoMemory)?;
        let (failed, failure) = (AtomicBool::new(false), Mutex::new("stress failure", None));
        Ok(Self {
            plan,
            owners,
            records,
            seats,
            cpus,
            share,
            end: M::Cpu::uptime().saturating_add(plan.time),
            cancelled: AtomicBool::new(false),
            failed,
            failure,
        })
    }

    /// Whether it is time to stop, or something was found.
    pub fn is_over(&self) -> bool {
        self.failed.load(Ordering::Relaxed) || self.cancelled.load(Ordering::Relaxed) || M::Cpu::uptime() >= self.end
    }

    /// Ends it if somebody on the console wants that.
    pub fn look_at_console(&self) {
        if self.plan.cancellable && M::is_cancelled() {
            self.cancelled.store(true, Ordering::Relaxed);
        }
    }

    /// Something was found: the first of several is told.
    pub fn fail(&self, failure: Failure) {
        self.failure.with(|first| _ = first.get_or_insert(failure));
        self.failed.store(true, Ordering::Relaxed);
    }

    /// A name for what this CPU has just allocated.
    fn next(&self, cpu: usize) -> Id {
        Id::new(cpu, self.seats[cpu].pieces.fetch_add(1, Ordering::Relaxed))
    }

    /// Marks memory that this CPU has just allocated.
    pub fn mark(&self, cpu: usize, memory: Memory) -> Result<Piece<M>, Failure> {
        // SAFETY: the memory was just allocated, and whoever has a piece of this run either hands it on or frees it.
        unsafe { Piece::mark(memory, self.next(cpu), &self.owners) }
    }

    /// Takes note of a block that this CPU has just allocated, and that it writes nothing to.
    pub fn own(&self, cpu: usize, block: &Block) -> Result<(), Failure> {
        self.owners.take(block.range()).map_err(|pfn| Failure::FrameTaken { pfn, id: self.next(cpu) })
    }

    /// Such a block is about to be freed.
    pub fn disown(&self, block: &Block) {
        self.owners.give_back(block.range());
    }

    /// Checks a piece and frees it.
    pub fn give_back(&self, piece: &Piece<M>) -> Result<(), Failure> {
        piece.unmark(&self.owners)?;
        piece.free(&self.records)
    }

    /// Hands a piece to another CPU; returns it if that has enough on its hands.
    pub fn post(&self, to: usize, piece: Piece<M>) -> Result<(), Piece<M>> {
        self.seats[to].mail.with(|mail| {
            if mail.len() == mail.capacity() {
                return Err(piece);
            }
            mail.push(piece);
            Ok(())
        })
    }

    /// What one CPU does from the beginning to the end.
    fn work(&self, cpu: usize) {
        if self.plan.timers {
            handler::wind_up(self, cpu);
        }
        let mut worker = Worker::new(self, cpu);
        if let Err(failure) = worker.work() {
            self.fail(failure);
        }
        // No handler winds it up again: it is over.
        M::stop_timer();
        self.seats[cpu].tally.with(|tally| *tally = worker.tally());
    }

    /// Gives back what is still under way.
    fn clear(&self) -> Result<(), Failure> {
        for seat in &self.seats {
            while let Some(piece) = seat.take_mail() {
                self.give_back(&piece)?;
            }
            while let Some(piece) = seat.handler.with(Handler::take) {
                self.give_back(&piece)?;
            }
        }
        Ok(())
    }
}

/// Does what is planned, and gives everything back.
///
/// # Errors
/// What was found to be wrong. What is left then is not given back: nobody knows whose it is.
pub fn run<M: Machine>(plan: Plan) -> Result<Summary, Failure> {
    plan.check::<M>()?;
    // What is to be there afterwards has its memory before.
    let mut summary = Summary::new(M::online().take(plan.cpus))?;
    let before = Before::<M>::take();
    go::<M>(plan, &mut summary)?;
    before.compare()?;
    Ok(summary)
}

fn go<M: Machine>(plan: Plan, summary: &mut Summary) -> Result<(), Failure> {
    let run = Run::<M>::new(plan)?;
    summary.begin::<M>(run.share * plan.cpus);
    let cpus = plan.cpus;
    {
        let _on_duty = handler::OnDuty::new(&run)?;
        M::on_cpus(cpus, &|cpu| run.work(cpu));
    }
    let failure = run.failure.with(|failure| *failure);
    if let Some(failure) = failure.or_else(|| run.clear().err()) {
        // Its records are still there, which their cache would take ill at its end.
        mem::forget(run);
        return Err(failure);
    }
    summary.was_cancelled = run.cancelled.load(Ordering::Relaxed);
    let longest = run.seats.iter().map(|seat| seat.longest.load(Ordering::Relaxed)).max();
    summary.longest = Duration::from_nanos(longest.unwrap_or(0));
    summary.end::<M>(|cpu| {
        let mut tally = run.seats[cpu].tally.with(|tally| *tally);
        tally.add(run.seats[cpu].handler.with(|handler| handler.tally()));
        tally
    });
    match run.records.destroy(|_| {}) {
        0 => Ok(()),
        left => Err(Failure::Records(left)),
    }
}
