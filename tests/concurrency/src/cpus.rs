//! CPUs, and the orders of events in which they meet: shuttle's schedules, or what real threads happen to do.

#[cfg(not(bifolio_shuttle))]
use {
    kit::Random,
    std::{cell::RefCell, thread},
};

#[cfg(not(bifolio_shuttle))]
pub use kit::Thread;
#[cfg(bifolio_shuttle)]
use {
    bifolio::cpu::{Cpu, Hooks},
    bifolio::sync::{Acquire, Lock},
    shuttle::thread,
    std::cell::Cell,
};

#[cfg(bifolio_shuttle)]
shuttle::thread_local! {
    static NUMBER: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// A thread of shuttle's as a CPU: it has a number while [`on_cpus`] runs.
#[cfg(bifolio_shuttle)]
pub struct Thread;

#[cfg(bifolio_shuttle)]
impl Thread {
    fn become_cpu(number: usize) {
        NUMBER.with(|own| own.set(number));
    }
}

// SAFETY: the threads of `on_cpus` have different numbers, and there is one of it at a time; nothing interrupts them. To
// shuttle every step is a barrier.
#[cfg(bifolio_shuttle)]
unsafe impl Cpu for Thread {
    fn current() -> usize {
        NUMBER.with(Cell::get)
    }

    fn synchronize() {
        turn();
    }

    fn mask_interrupts() -> bool {
        false
    }

    fn restore_interrupts(_: bool) {}
}

#[cfg(bifolio_shuttle)]
impl Hooks for Thread {
    fn relax() {
        thread::yield_now();
    }

    fn acquire(_: &Lock, _: Acquire) {
        turn();
    }

    fn release(_: &Lock) {
        turn();
    }
}

/// Lets shuttle have another CPU go on.
#[cfg(bifolio_shuttle)]
fn turn() {
    // To shuttle, to sleep is to give others a turn, and no more.
    thread::sleep(core::time::Duration::ZERO);
}

/// Lets so many CPUs work at once; each is told its number. Returns when all are done.
pub fn on_cpus(count: usize, work: impl Fn(usize) + Sync) {
    let work = &work;
    thread::scope(|scope| {
        let start = |cpu| {
            scope.spawn(move || {
                Thread::become_cpu(cpu);
                work(cpu);
            })
        };
        let cpus: Vec<_> = (0..count).map(start).collect();
        cpus.into_iter().for_each(|cpu| cpu.join().expect("what a CPU finds wrong it says itself"));
    });
}

/// Lets up to so many steps pass before this CPU goes on, so that what it does meets another part of what others do.
pub fn linger(steps: usize) {
    for _ in 0..random(steps) {
        #[cfg(bifolio_shuttle)]
        turn();
        #[cfg(not(bifolio_shuttle))]
        core::hint::spin_loop();
    }
}

/// A number below `limit`.
#[cfg(bifolio_shuttle)]
pub fn random(limit: usize) -> usize {
    use shuttle::rand::Rng;
    shuttle::rand::thread_rng().gen_range(0..limit)
}

/// A number below `limit`.
#[cfg(not(bifolio_shuttle))]
pub fn random(limit: usize) -> usize {
    thread_local! {
        static RANDOM: RefCell<Random> = RefCell::new(Random::new(Thread::number() as u64));
    }
    RANDOM.with_borrow_mut(|random| random.index(limit))
}

/// How often something is tried, and how long each CPU is at it.
#[derive(Clone, Copy)]
pub struct Effort {
    /// Schedules under shuttle: half of them random, half with few changes of turn, at places that matter (PCT).
    pub schedules: usize,
    /// Rounds of real threads.
    pub rounds: usize,
    /// Steps of each CPU under shuttle.
    pub short: usize,
    /// Steps of each CPU on real threads.
    pub long: usize,
}

impl Effort {
    /// How many steps a CPU takes.
    pub fn steps(self) -> usize {
        if cfg!(bifolio_shuttle) { self.short } else { self.long }
    }

    /// Runs `round` in many orders of events.
    ///
    /// # Panics
    /// If one goes wrong. Shuttle then prints what `shuttle::replay` needs to see it again.
    #[cfg(bifolio_shuttle)]
    pub fn explore(self, round: impl Fn() + Send + Sync + 'static) {
        use shuttle::scheduler::{PctScheduler, RandomScheduler};
        use shuttle::{Config, Runner};

        /// Changes of turn that a schedule of few has: most mistakes take two or three.
        const CHANGES: usize = 3;
        let seed = std::env::var("SEED").ok().map_or(1, |seed| seed.parse().expect("SEED is a number"));
        let round = std::sync::Arc::new(round);
        let mut config = Config::new();
        // A heap is built on the stack.
        config.stack_size = 1 << 20;
        config.silence_warnings = true;
        let half = self.schedules / 2;
        let (first, second) = (round.clone(), round);
        Runner::new(RandomScheduler::new_from_seed(seed, half), config.clone()).run(move || first());
        Runner::new(PctScheduler::new_from_seed(seed, CHANGES, half), config).run(move || second());
        println!("explored: {}: {half} schedules at random, {half} with {CHANGES} changes of turn", name());
    }

    /// Runs `round` in many orders of events.
    ///
    /// # Panics
    /// If one goes wrong.
    #[cfg(not(bifolio_shuttle))]
    pub fn explore(self, round: impl Fn() + Send + Sync + 'static) {
        (0..self.rounds).for_each(|_| round());
        println!("explored: {}: rounds of real threads: {}", name(), self.rounds);
    }
}

/// The test's name.
fn name() -> String {
    std::thread::current().name().unwrap_or("?").replace('_', " ")
}
