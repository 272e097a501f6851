//! Barriers that CPUs pass for each other when they are interrupted.

use core::fmt;
use core::sync::atomic::{AtomicUsize, Ordering, fence};

use crate::cpu::Hooks;

/// Memory barriers by interrupts between up to `CPUS` CPUs: what others ask of each, and how far it has come. With it,
/// [`Cpu::try_synchronize`](crate::cpu::Cpu::try_synchronize) is [`ask`](Self::ask), and what the handler of that interrupt does, and
/// [`Hooks::relax`], is [`answer`](Self::answer).
///
/// ```
/// use bifolio::cpu::{Cpu, Hooks};
/// use bifolio::sync::Barriers;
/// # fn per_cpu_number() -> usize { 0 }
/// # fn online() -> impl Iterator<Item = usize> { 0..1 }
/// # fn interrupt(cpu: usize) {}
///
/// static BARRIERS: Barriers<8> = Barriers::new();
///
/// struct Processor;
/// // SAFETY: each CPU has a number of its own; each other one that runs passes a barrier, or is named; interrupts are masked where
/// // that is asked for.
/// unsafe impl Cpu for Processor {
///     fn current() -> usize {
///         per_cpu_number() // such as a word at the GS base
///     }
///
///     fn synchronize() {
///         Self::synchronize_by_trying();
///     }
///
///     fn try_synchronize(missed: &mut dyn FnMut(usize)) {
///         let own = per_cpu_number();
///         let mut patience = (0..1 << 20).skip(1); // some milliseconds
///         let gives_up = || patience.next().is_none();
///         BARRIERS.ask::<Self>(online().filter(|cpu| *cpu != own), interrupt, gives_up, missed);
///     }
/// #   fn mask_interrupts() -> bool { false }
/// #   fn restore_interrupts(_: bool) {}
///     // ...
/// }
///
/// impl Hooks for Processor {
///     fn relax() {
///         BARRIERS.answer(per_cpu_number()); // and so does the handler, before anything that could wait
///         core::hint::spin_loop();
///     }
/// }
/// # Processor::synchronize();
/// # Processor::relax();
/// ```
pub struct Barriers<const CPUS: usize> {
    /// For each CPU, how many barriers others have asked of it, and how many of those it has passed. The numbers may wrap.
    asked: [AtomicUsize; CPUS],
    passed: [AtomicUsize; CPUS],
}

impl<const CPUS: usize> Barriers<CPUS> {
    /// Nothing was asked yet.
    pub const fn new() -> Self {
        Self { asked: [const { AtomicUsize::new(0) }; CPUS], passed: [const { AtomicUsize::new(0) }; CPUS] }
    }

    /// Passes a barrier on this CPU, of that number, for all that have asked for one.
    ///
    /// # Panics
    /// If there is no such number.
    pub fn answer(&self, own: usize) {
        let asked = self.asked[own].load(Ordering::Acquire);
        fence(Ordering::SeqCst);
        // An interrupt may have answered more meanwhile.
        let further = |passed: usize| is_behind(passed, asked).then_some(asked);
        let _ = self.passed[own].fetch_update(Ordering::Release, Ordering::Relaxed, further);
    }

    /// Passes a barrier on this CPU, has each of the others interrupted, and waits for its answer, until that comes or this CPU
    /// `gives_up`. A CPU that has not answered by then is `missed`.
    ///
    /// The others are all that run. One that begins to is among them before it passes a barrier, and then allocates or frees.
    ///
    /// # Panics
    /// If there is no such number.
    pub fn ask<C: Hooks>(
        &self,
        others: impl Iterator<Item = usize>,
        interrupt: impl Fn(usize),
        mut gives_up: impl FnMut() -> bool,
        missed: &mut dyn FnMut(usize),
    ) {
        fence(Ordering::SeqCst);
        let mut tickets = [None; CPUS];
        for cpu in others {
            tickets[cpu] = Some(self.asked[cpu].fetch_add(1, Ordering::SeqCst).wrapping_add(1));
            interrupt(cpu);
        }
        let asked = tickets.iter().enumerate().filter_map(|(cpu, ticket)| Some((cpu, (*ticket)?)));
        for (cpu, ticket) in asked {
            while is_behind(self.passed[cpu].load(Ordering::Acquire), ticket) {
                if gives_up() {
                    missed(cpu);
                    break;
                }
                C::relax();
            }
        }
        fence(Ordering::SeqCst);
    }
}

/// Whether so many come before so many others, of which there are not half as many as there are numbers.
fn is_behind(count: usize, other: usize) -> bool {
    other.wrapping_sub(count) as isize > 0
}

impl<const CPUS: usize> Default for Barriers<CPUS> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const CPUS: usize> fmt::Debug for Barriers<CPUS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Barriers").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Cpu;
    impl Hooks for Cpu {}

    #[test]
    fn who_does_not_answer_is_named_also_where_numbers_wrap() {
        let barriers = Barriers::<3>::new();
        for counts in [&barriers.asked, &barriers.passed] {
            counts.iter().for_each(|count| count.store(usize::MAX, Ordering::Relaxed));
        }
        for _ in 0..3 {
            let mut missed = Vec::new();
            let interrupt = |cpu| {
                if cpu == 1 {
                    barriers.answer(1)
                }
            };
            barriers.ask::<Cpu>([1, 2].into_iter(), interrupt, || true, &mut |cpu| missed.push(cpu));
            assert_eq!(missed, [2]);
        }
        barriers.answer(2);
        let mut missed = Vec::new();
        barriers.ask::<Cpu>([2].into_iter(), |_| barriers.answer(2), || true, &mut |cpu| missed.push(cpu));
        assert_eq!(missed, []);
        assert_eq!(barriers.passed[0].load(Ordering::Relaxed), usize::MAX, "nobody has asked for it");
    }
}
