//! Looks at a machine: how far it is, and, where its clock stands still, what its CPUs wait for.
//!
//! That all CPUs wait for an interrupt is no sign by itself. A timer may be about to send one; or there is work to do, and
//! this host, busy with other things, has no time for it. Neither can be told from how long it takes, so each is asked for.

use crate::patience::{LOOK, Look, Patience, Sleep, Stuck};
use crate::qemu::Qemu;
use crate::qmp::{self, Answer};
use std::time::{Duration, Instant};

/// What looks at one machine.
pub struct Observer {
    /// The machine's time is that of its clock, which instructions drive; otherwise, what it has computed.
    is_counted: bool,
    /// None with a machine that may take for ever.
    patience: Option<Patience>,
    /// The machine's time when it was last asked for.
    clock: Duration,
    next: Instant,
    /// How many CPUs have not yet told whether their timers run, and whether one does.
    timers: (usize, bool),
}

impl Observer {
    /// Looks at a machine from now on that may take so long until its first report.
    #[must_use]
    pub fn new(is_counted: bool, limit: Option<Duration>) -> Observer {
        let next = Instant::now() + LOOK;
        Observer { is_counted, patience: limit.map(Patience::new), clock: Duration::ZERO, next, timers: (0, false) }
    }

    /// The machine has reported something, and may take so long until it does so again.
    pub fn report(&mut self, limit: Option<Duration>) {
        match (&mut self.patience, limit) {
            (Some(patience), Some(limit)) => patience.report(limit),
            (patience, limit) => *patience = limit.map(Patience::new),
        }
    }

    /// When the next look is due.
    #[must_use]
    pub fn next(&self) -> Option<Instant> {
        self.patience.is_some().then_some(self.next)
    }

    /// Looks at the machine, as far as that is possible without waiting.
    ///
    /// # Errors
    /// It is stuck.
    pub fn look(&mut self, qemu: &mut Qemu) -> Result<(), Stuck> {
        let mut sleep = None;
        while let Some(answer) = qemu.qmp.answer() {
            sleep = self.learn(&answer, qemu);
        }
        let (now, clock) = (Instant::now(), self.clock);
        let Some(patience) = &mut self.patience else { return Ok(()) };
        let result = match sleep {
            Some(sleep) => patience.answer(Look { clock, sleep }, now),
            None => patience.wait(now),
        };
        if now >= self.next {
            self.next = now + LOOK;
            if !patience.is_asking() && qemu.qmp.ask_clock().is_ok() {
                patience.ask(now);
            }
        }
        result
    }

    /// What an answer shows, or `None` if the next question is asked. A QEMU that takes no more is at its end, which is
    /// seen elsewhere.
    fn learn(&mut self, answer: &Answer, qemu: &mut Qemu) -> Option<Sleep> {
        match answer {
            Answer::Clock(clock) => {
                self.clock = if self.is_counted { *clock } else { qemu.threads.cpu_time().unwrap_or(*clock) };
                // With instructions as its clock, a machine whose CPUs sleep is soon out of time, since that goes on with
                // the 8254. Its seconds are too coarse to tell one that sleeps from one that has no time to work.
                if self.is_counted || !self.patience.as_ref()?.stands_still(self.clock) {
                    return Some(Sleep::Awake);
                }
                qemu.qmp.ask_registers().ok()?;
                None
            }
            Answer::Registers(registers) => {
                let cpus = qmp::cpus(registers);
                if cpus.is_empty() || !cpus.iter().all(|cpu| cpu.halted) {
                    return Some(Sleep::Awake);
                }
                // The others hear no timer.
                let numbers: Vec<_> = cpus.iter().filter(|cpu| cpu.interruptible).map(|cpu| cpu.number).collect();
                self.timers = (numbers.len(), false);
                numbers.into_iter().try_for_each(|number| qemu.qmp.ask_timer(number)).ok()?;
                self.conclude(qemu)
            }
            Answer::Timer { runs } => {
                self.timers = (self.timers.0 - 1, self.timers.1 || *runs);
                self.conclude(qemu)
            }
        }
    }

    /// What it means that all CPUs wait for an interrupt, once their timers are known.
    fn conclude(&self, qemu: &mut Qemu) -> Option<Sleep> {
        (self.timers.0 == 0).then(|| match (qemu.threads.have_had_turns(), self.timers.1) {
            (false, _) => Sleep::Starved,
            (true, true) => Sleep::Timed,
            (true, false) => Sleep::Deep,
        })
    }
}
