//! When a machine has hung: judged by its own time, never by the host's.
//!
//! A host that is busy runs a machine as slowly as it likes; whether a test is stuck must not depend on that. So the machine
//! is asked, about once a second, how far its own clock has come, and what its CPUs do if that stands still. There are three
//! ways to be stuck: to compute for longer than anything takes, to wait for an interrupt that does not come, and not
//! to answer at all. Only the last is measured on the host's clock, with a limit that grows with the answers' delays.

use std::time::{Duration, Instant};

/// How often the machine is looked at.
pub const LOOK: Duration = Duration::from_secs(1);
/// Looks that must find all CPUs asleep, and the clock where it was, before nothing is expected of them any more. Between
/// them there may be some that show nothing, but none that shows something else.
const ASLEEP: u32 = 10;
/// The same where a timer wakes one of them again and again.
const TIMED: u32 = 600;
/// A clock that has come less far since the last look stands still: answering takes a QEMU some time too.
const STILL: Duration = Duration::from_millis(50);
/// The least time for an answer, on the host's clock.
const SILENCE: Duration = Duration::from_secs(600);
/// How much slower than the slowest answer yet one may be.
const SLOWER: u32 = 100;

/// What a look at a machine has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// Its own time.
    pub clock: Duration,
    /// What its CPUs do. Asked for only where the clock stands still.
    pub sleep: Sleep,
}

/// What the CPUs of a machine do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sleep {
    /// At least one works, or was not asked.
    Awake,
    /// All wait for an interrupt, but this host owes them a processor or a disk: that shows nothing.
    Starved,
    /// All wait for an interrupt, and a timer will send one.
    Timed,
    /// All wait for an interrupt, and no timer runs that could send one.
    Deep,
}

/// Why nothing is expected of a machine any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stuck {
    /// It has computed for so long, by its own clock, and reported nothing.
    Busy(Duration),
    /// All CPUs wait for an interrupt, and none comes that they wait for.
    Asleep,
    /// QEMU has not answered for so long.
    Silent(Duration),
}

/// How long a machine has gone without a report.
#[derive(Debug)]
pub struct Patience {
    limit: Duration,
    /// The machine's clock at the first look since the last report.
    since: Option<Duration>,
    /// The machine's clock at the last look.
    last: Option<Duration>,
    /// For how much of [`TIMED`] looks have found everything asleep.
    asleep: u32,
    asked: Option<Instant>,
    slowest: Duration,
}

impl Patience {
    /// Patience with a machine that may take so long, by its own clock, from one report to the next.
    #[must_use]
    pub fn new(limit: Duration) -> Patience {
        Patience { limit, since: None, last: None, asleep: 0, asked: None, slowest: Duration::ZERO }
    }

    /// The machine has reported something: all of `limit` is there again.
    pub fn report(&mut self, limit: Duration) {
        (self.limit, self.since, self.asleep) = (limit, None, 0);
    }

    /// The machine is asked how far it is.
    pub fn ask(&mut self, now: Instant) {
        self.asked = Some(now);
    }

    /// Whether an answer is still to come.
    #[must_use]
    pub fn is_asking(&self) -> bool {
        self.asked.is_some()
    }

    /// Whether the clock stands where it stood at the last look: then it matters what the CPUs do.
    #[must_use]
    pub fn stands_still(&self, clock: Duration) -> bool {
        self.last.is_some_and(|last| clock.saturating_sub(last) < STILL)
    }

    /// The machine has answered.
    ///
    /// # Errors
    /// It is stuck.
    pub fn answer(&mut self, look: Look, now: Instant) -> Result<(), Stuck> {
        if let Some(asked) = self.asked.take() {
            self.slowest = self.slowest.max(now - asked);
        }
        let still = self.stands_still(look.clock);
        self.last = Some(look.clock);
        self.asleep = match look.sleep {
            Sleep::Starved if still => self.asleep,
            Sleep::Timed if still => self.asleep + 1,
            Sleep::Deep if still => self.asleep + TIMED / ASLEEP,
            _ => 0,
        };
        let since = *self.since.get_or_insert(look.clock);
        if self.asleep >= TIMED {
            return Err(Stuck::Asleep);
        }
        if look.clock.saturating_sub(since) >= self.limit {
            return Err(Stuck::Busy(self.limit));
        }
        Ok(())
    }

    /// The machine has not answered yet.
    ///
    /// # Errors
    /// It should have, however slow it is.
    pub fn wait(&self, now: Instant) -> Result<(), Stuck> {
        let longest = SILENCE.max(self.slowest * SLOWER);
        match self.asked {
            Some(asked) if now - asked >= longest => Err(Stuck::Silent(longest)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const LIMIT: Duration = Duration::from_secs(60);

    fn at(clock: u32) -> Look {
        Look { clock: SECOND * clock, sleep: Sleep::Awake }
    }

    #[test]
    fn only_the_machines_own_clock_makes_it_busy_for_too_long() {
        let (mut patience, start) = (Patience::new(LIMIT), Instant::now());
        // An hour on the host's clock, and 59 s on its own.
        for second in 0..60 {
            patience.ask(start + SECOND * 60 * second);
            assert_eq!(patience.answer(at(100 + second), start + SECOND * 60 * second), Ok(()));
        }
        assert_eq!(patience.answer(at(160), start), Err(Stuck::Busy(LIMIT)));
        // A report gives it all of the time again, from the next look on.
        patience.report(LIMIT);
        assert_eq!(patience.answer(at(200), start), Ok(()));
        assert_eq!(patience.answer(at(259), start), Ok(()));
        assert_eq!(patience.answer(at(260), start), Err(Stuck::Busy(LIMIT)));
    }

    #[test]
    fn a_machine_sleeps_for_ever_only_if_its_clock_stands_still_too() {
        let (mut patience, now) = (Patience::new(LIMIT), Instant::now());
        let asleep = Look { sleep: Sleep::Deep, ..at(7) };
        for _ in 0..ASLEEP {
            assert_eq!(patience.answer(asleep, now), Ok(()));
        }
        // A clock that goes on, a CPU that works, a report: each ends it.
        assert_eq!(patience.answer(Look { sleep: Sleep::Deep, ..at(8) }, now), Ok(()));
        assert_eq!(patience.asleep, 0);
        (0..ASLEEP - 1).for_each(|_| assert_eq!(patience.answer(Look { sleep: Sleep::Deep, ..at(8) }, now), Ok(())));
        assert_eq!(patience.answer(at(8), now), Ok(()));
        (0..ASLEEP - 1).for_each(|_| assert_eq!(patience.answer(Look { sleep: Sleep::Deep, ..at(8) }, now), Ok(())));
        patience.report(LIMIT);
        (0..ASLEEP - 1).for_each(|_| assert_eq!(patience.answer(Look { sleep: Sleep::Deep, ..at(8) }, now), Ok(())));
        assert_eq!(patience.answer(Look { sleep: Sleep::Deep, ..at(8) }, now), Err(Stuck::Asleep));
    }

    #[test]
    fn a_look_at_a_starved_machine_shows_nothing_and_a_timer_gives_it_longer() {
        let (mut patience, now) = (Patience::new(LIMIT), Instant::now());
        let mut look = |sleep| patience.answer(Look { clock: SECOND, sleep }, now);
        // Only the second look finds the clock where it was.
        assert_eq!(look(Sleep::Deep), Ok(()));
        for _ in 0..ASLEEP - 1 {
            (0..TIMED).for_each(|_| assert_eq!(look(Sleep::Starved), Ok(())));
            assert_eq!(look(Sleep::Deep), Ok(()));
        }
        assert_eq!(look(Sleep::Awake), Ok(()));
        (0..TIMED - 1).for_each(|_| assert_eq!(look(Sleep::Timed), Ok(())));
        assert_eq!(look(Sleep::Starved), Ok(()));
        assert_eq!(look(Sleep::Timed), Err(Stuck::Asleep));
    }

    #[test]
    fn an_answer_may_be_a_hundred_times_slower_than_any_before() {
        let (mut patience, start) = (Patience::new(LIMIT), Instant::now());
        assert_eq!(patience.wait(start + SILENCE * 2), Ok(()), "nothing was asked");
        patience.ask(start);
        assert_eq!(patience.wait(start + SILENCE - SECOND), Ok(()));
        assert_eq!(patience.wait(start + SILENCE), Err(Stuck::Silent(SILENCE)));
        assert_eq!(patience.answer(at(1), start + SECOND * 60), Ok(()));
        patience.ask(start);
        assert_eq!(patience.wait(start + SECOND * 5999), Ok(()));
        assert_eq!(patience.wait(start + SECOND * 6000), Err(Stuck::Silent(SECOND * 6000)));
    }
}
