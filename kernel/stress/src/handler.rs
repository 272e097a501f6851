//! What a CPU does in its timer's handler: it allocates and frees there too, keeps some of it until the next time, and hands
//! some to other CPUs.

use crate::failure::Failure;
use crate::machine::{Machine, Tick};
use crate::piece::{Memory, Piece};
use crate::run::Run;
use crate::summary::Tally;
use bifolio::allocator::Cpu;
use bifolio::frame::{Gfp, Order};
use core::alloc::Layout;
use core::marker::PhantomData;
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};
use core::time::Duration;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};

/// Pieces that a handler can keep.
const KEPT: usize = 16;
/// A piece of more bytes is not for a handler to look at.
const LARGEST: usize = 32 << 10;
/// Between two interrupts on one CPU, for each CPU that takes part: where their time is counted in instructions of all of
/// them, the handlers take a fixed part of it.
const PERIOD: Duration = Duration::from_micros(1500);

/// The run that handlers take part in, or null: a [`Run`] of the machine whose [`Duty`] timers have.
static RUN: AtomicPtr<()> = AtomicPtr::new(ptr::null_mut());

/// The state of one CPU's handler.
pub(super) struct Handler<M> {
    random: Xoshiro256PlusPlus,
    kept: [Option<Piece<M>>; KEPT],
    tally: Tally,
}

impl<M: Machine> Handler<M> {
    pub fn new(seed: u64) -> Self {
        Self { random: Xoshiro256PlusPlus::seed_from_u64(!seed), kept: [None; KEPT], tally: Tally::default() }
    }

    /// One of the pieces that it keeps.
    pub fn take(&mut self) -> Option<Piece<M>> {
        self.kept.iter_mut().find_map(Option::take)
    }

    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// What is done in one interrupt.
    fn act(&mut self, run: &Run<M>, cpu: usize) -> Result<(), Failure> {
        for _ in 0..self.random.random_range(1..=3) {
            let place = self.random.random_range(0..KEPT);
            match self.kept[place].take() {
                Some(piece) => self.end(run, cpu, piece)?,
                None => self.kept[place] = self.begin(run, cpu)?,
            }
        }
        // What others have sent is freed here as well as by the code that is interrupted.
        match run.seats[cpu].take_mail() {
            Some(piece) if piece.memory.bytes() <= LARGEST => self.free(run, cpu, &piece),
            Some(piece) => run.post(cpu, piece).map_or_else(|piece| self.free(run, cpu, &piece), Ok),
            None => Ok(()),
        }
    }

    fn begin(&mut self, run: &Run<M>, cpu: usize) -> Result<Option<Piece<M>>, Failure> {
        let gfp = Gfp::ATOMIC | Gfp::NOWARN;
        let memory = match self.random.random_range(0..8) {
            0..4 => {
                let order = Order::new(self.random.random_range(0..=7_u8).saturating_sub(4)).unwrap_or(Order::ZERO);
                let gfp = if self.random.random() { gfp | Gfp::MOVABLE } else { gfp };
                M::frames().allocate(order, gfp).ok().map(Memory::from)
            }
            4..7 => {
                let size = 8 << self.random.random_range(0..10_u32);
                let layout = Layout::from_size_align(size, 8).map_err(|_| Failure::NoMemory)?;
                M::heap().allocate(layout).map(|object| Memory::Object(object, layout))
            }
            _ => run.records.allocate().map(Memory::Record),
        };
        self.tally.operations += 1;
        self.tally.refused += u64::from(memory.is_none());
        memory.map(|memory| run.mark(cpu, memory)).transpose()
    }

    fn end(&mut self, run: &Run<M>, cpu: usize, piece: Piece<M>) -> Result<(), Failure> {
        let to = run.cpus[self.random.random_range(0..run.cpus.len())];
        if to != cpu && self.random.random() {
            match run.post(to, piece) {
                Ok(()) => self.tally.handed_over += 1,
                Err(piece) => return self.free(run, cpu, &piece),
            }
            return Ok(());
        }
        self.free(run, cpu, &piece)
    }

    fn free(&mut self, run: &Run<M>, cpu: usize, piece: &Piece<M>) -> Result<(), Failure> {
        self.tally.operations += 1;
        self.tally.from_others += u64::from(piece.id.cpu() != cpu);
        run.give_back(piece)
    }
}

/// Has the timer of this CPU come after a random while.
fn set_alarm<M: Machine>(run: &Run<M>, random: &mut Xoshiro256PlusPlus) {
    let period = PERIOD * run.cpus.len() as u32;
    M::set_alarm(period / 4 + period * random.random_range(0..256) / 256);
}

/// Has the timer of this CPU come for the first time.
pub(super) fn wind_up<M: Machine>(run: &Run<M>, cpu: usize) {
    run.seats[cpu].handler.with(|handler| set_alarm(run, &mut handler.random));
}

/// What timers do as long as a run wants them to.
struct Duty<M>(PhantomData<M>);

impl<M: Machine> Tick for Duty<M> {
    fn tick() {
        // SAFETY: what is there lives until `OnDuty` ends, which waits for every CPU's handler; and as long as timers have the
        // duty of this machine, nobody but an `OnDuty` of the same has put it there.
        let Some(run) = (unsafe { RUN.load(Ordering::Acquire).cast::<Run<M>>().as_ref() }) else { return };
        let cpu = M::Cpu::current();
        let Some(seat) = run.seats.get(cpu) else { return };
        // Nobody has the lock while interrupts are enabled, and no other CPU takes it now.
        let mut handler = seat.handler.lock();
        let handler = &mut *handler;
        handler.tally.ticks += 1;
        handler.tally.re_entries += u64::from(seat.interrupts());
        if let Err(failure) = handler.act(run, cpu) {
            run.fail(failure);
        }
        if !run.is_over() {
            set_alarm(run, &mut handler.random);
        }
    }
}

/// As long as this is there, timers work on a run.
pub(super) struct OnDuty<M: Machine>(PhantomData<M>);

impl<M: Machine> OnDuty<M> {
    /// Only one at a time.
    pub fn new(run: &Run<M>) -> Result<Self, Failure> {
        let pointer = ptr::from_ref(run).cast_mut().cast();
        RUN.compare_exchange(ptr::null_mut(), pointer, Ordering::AcqRel, Ordering::Relaxed)
            .map_err(|_| Failure::Busy)?;
        M::on_tick::<Duty<M>>();
        Ok(Self(PhantomData))
    }
}

impl<M: Machine> Drop for OnDuty<M> {
    fn drop(&mut self) {
        M::off_tick();
        // A CPU that comes here is in no handler any more, nor comes into one that knows of the run. All of them: the timer of
        // one that takes no part may go off too.
        M::on_cpus(usize::MAX, &|_| ());
        RUN.store(ptr::null_mut(), Ordering::Release);
    }
}
