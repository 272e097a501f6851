//! Events on their way to the recorder.

use core::cell::Cell;
use core::fmt;

use super::{Call, Recording};
use crate::cpu::{CALLERS, Hooks};
use crate::sync::atomic::Ordering::Relaxed;

/// An operation begins, or ends, or both with nothing between.
pub struct Event {
    cpu: Cell<usize>,
    call: Cell<Option<Call>>,
    ended: Cell<Option<Option<u64>>>,
    callers: [Cell<u64>; CALLERS],
}

impl Event {
    /// What begins, and the CPU that does it: if an operation has begun and not ended, it is within that, and maybe of another CPU, which
    /// that one's asking a shrinker has let go on. `None` if this is the end of what has begun before.
    pub fn begun(&self) -> Option<(usize, Call)> {
        self.call.get().map(|call| (self.cpu.get(), call))
    }

    /// What the operation has returned that began last, and had not ended: a number, `Some(None)` if it was refused. `None` if none has
    /// ended.
    pub fn ended(&self) -> Option<Option<u64>> {
        self.ended.get()
    }

    /// The return addresses of the calls that led to what begins, innermost first, as far as [somebody
    /// knows](crate::cpu::Hooks::callers).
    pub fn callers(&self) -> impl Iterator<Item = u64> {
        self.callers.iter().map(Cell::get).take_while(|&address| address != 0)
    }

    #[inline(always)]
    fn write<C: Hooks>(&self, cpu: usize, call: Call) {
        self.cpu.set(cpu);
        self.call.set(Some(call));
        C::callers(&self.callers);
    }

    pub(super) const fn none() -> Self {
        let callers = [const { Cell::new(0) }; CALLERS];
        Self { cpu: Cell::new(0), call: Cell::new(None), ended: Cell::new(None), callers }
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event").field("begun", &self.begun()).field("ended", &self.ended()).finish_non_exhaustive()
    }
}

/// How many events there is room for: so few that little is lost where a machine ends without a word.
pub(super) const CAPACITY: usize = 128;
/// Operations within operations, at most so deep as is remembered of those that have begun.
const NESTED: usize = 8;

/// The events that the recorder was not told of, and those before them. For the CPU whose turn it is.
impl Recording<'_> {
    /// Whether the recorder was told everything. Any CPU may look.
    pub(super) fn is_all_told(&self) -> bool {
        self.next.load(Relaxed) == self.told.load(Relaxed)
    }

    /// An operation begins, and ends, unless it comes to nothing, or there is no room before the recorder is told: then there is no such
    /// event.
    #[inline(always)]
    pub(super) fn put<C: Hooks>(&self, cpu: usize, call: Call, operation: impl FnOnce() -> Option<u64>) -> Option<u64> {
        let event = self.events.get(self.next.load(Relaxed))?;
        event.write::<C>(cpu, call);
        let returned = operation()?;
        event.ended.set(Some(Some(returned)));
        self.count_one_more();
        Some(returned)
    }

    /// An operation begins.
    #[inline(always)]
    pub(super) fn put_begin<C: Hooks>(&self, cpu: usize, call: Call) {
        let event = self.next_event();
        event.write::<C>(cpu, call);
        event.ended.set(None);
    }

    /// The operation ends that began last, and has not ended.
    #[inline(always)]
    pub(super) fn put_end(&self, returned: Option<u64>) {
        // If it is the last event too, it is still there, since all events go at once.
        let last = self.told_next().last();
        match last.filter(|last| last.ended.get().is_none()) {
            Some(last) => last.ended.set(Some(returned)),
            None => self.put_end_apart(returned),
        }
    }

    #[cold]
    #[inline(never)]
    fn put_end_apart(&self, returned: Option<u64>) {
        let event = self.next_event();
        event.call.set(None);
        event.ended.set(Some(returned));
    }

    /// The next event, which counts.
    #[inline(always)]
    fn next_event(&self) -> &Event {
        let event = self.events.get(self.next.load(Relaxed)).unwrap_or_else(|| {
            self.tell();
            &self.events[self.next.load(Relaxed)]
        });
        self.count_one_more();
        event
    }

    #[inline(always)]
    fn count_one_more(&self) {
        self.next.store(self.next.load(Relaxed) + 1, Relaxed);
    }

    /// What the recorder is told of next.
    #[inline(always)]
    fn told_next(&self) -> &[Event] {
        self.events.get(self.told.load(Relaxed)..self.next.load(Relaxed)).unwrap_or_default()
    }

    /// Tells the recorder of all events.
    #[cold]
    #[inline(never)]
    pub(super) fn tell(&self) {
        self.recorder.take(self.told_next());
        if self.next.load(Relaxed) == CAPACITY {
            self.next.store(self.start, Relaxed);
        }
        self.told.store(self.next.load(Relaxed), Relaxed);
    }

    /// Shows each operation that is still here and has ended, with what it has returned, in the order in which they have ended, whether
    /// or not the recorder was told.
    pub(super) fn for_each_told(&self, mut visit: impl FnMut(&Event, Option<u64>)) {
        let next = self.next.load(Relaxed);
        // The oldest may have been overwritten by one that came to nothing.
        let older = self.events.iter().skip(next + 1);
        let (mut open, mut depth) = ([None; NESTED], 0_usize);
        for event in older.chain(self.events.get(self.start..next).unwrap_or_default()) {
            match (event.call.get(), event.ended.get()) {
                (Some(_), Some(returned)) => visit(event, returned),
                (Some(_), None) => {
                    open.get_mut(depth).into_iter().for_each(|place| *place = Some(event));
                    depth += 1;
                }
                // What began before the oldest is not known any more.
                (None, Some(returned)) if depth > 0 => {
                    depth -= 1;
                    let begun = open.get_mut(depth).and_then(Option::take);
                    begun.into_iter().for_each(|event| visit(event, returned));
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Recorder;
    use super::*;
    use std::sync::Mutex;
    use std::vec::Vec;

    type Told = (Option<(usize, Call)>, Option<Option<u64>>);

    #[derive(Default)]
    struct Listener(Mutex<Vec<Vec<Told>>>);

    impl Recorder for Listener {
        fn take(&self, events: &[Event]) {
            self.0.lock().unwrap().push(events.iter().map(|event| (event.begun(), event.ended())).collect());
        }
    }

    enum Machine {}
    impl Hooks for Machine {}

    #[test]
    fn what_has_ended_before_anything_else_began_is_one_event_and_what_has_not_is_two() {
        for (room, told) in [(1, &[1, 1, 1, 1][..]), (2, &[2, 2]), (3, &[3, 1]), (1000, &[4])] {
            let listener = Listener::default();
            let recording = Recording::with_room_for(room, &listener);
            recording.put_begin::<Machine>(3, Call::Drain);
            recording.put_begin::<Machine>(5, Call::Decay);
            recording.put_end(Some(7));
            recording.put_end(None);
            assert!(!recording.is_all_told());
            recording.put_begin::<Machine>(6, Call::Balance);
            recording.tell();
            assert!(recording.is_all_told());
            let all = listener.0.into_inner().unwrap();
            assert_eq!(all.iter().map(Vec::len).collect::<Vec<_>>(), told);
            let expected = [
                (Some((3, Call::Drain)), None),
                (Some((5, Call::Decay)), Some(Some(7))),
                (None, Some(None)),
                (Some((6, Call::Balance)), None),
            ];
            assert_eq!(all.concat(), expected);
        }
    }

    #[test]
    fn what_was_told_before_it_ended_ends_apart() {
        let listener = Listener::default();
        let recording = Recording::new(&listener);
        recording.put_begin::<Machine>(0, Call::Drain);
        recording.tell();
        recording.put_end(Some(1));
        recording.tell();
        let all = listener.0.into_inner().unwrap();
        assert_eq!(all, [[(Some((0, Call::Drain)), None)], [(None, Some(Some(1)))]]);
    }

    #[test]
    #[cfg_attr(miri, ignore = "walks all events, thousands of times")]
    fn what_was_told_is_still_here_and_what_is_within_others_has_ended_before_them() {
        let listener = Listener::default();
        let recording = Recording::new(&listener);
        let ended = || {
            let mut ended = Vec::new();
            recording.for_each_told(|event, returned| ended.push((event.begun().unwrap().0, returned)));
            ended
        };
        for cpu in 0..1000 {
            recording.put_begin::<Machine>(cpu, Call::Drain);
            recording.put_begin::<Machine>(cpu + 1000, Call::Decay);
            recording.put_end(Some(1));
            assert!(!ended().iter().any(|(other, _)| *other == cpu), "it has not ended");
            recording.put_end(None);
            if cpu % 7 == 0 {
                recording.tell();
            }
            // Nothing comes of it, but it was written where the oldest was.
            assert_eq!(recording.put::<Machine>(5000, Call::Balance, || None), None);
            let ended = ended();
            let all: Vec<_> = (0..=cpu).flat_map(|cpu| [(cpu + 1000, Some(1)), (cpu, None)]).collect();
            // What the oldest was within may have begun before that.
            assert!(all.contains(&ended[0]) && all.ends_with(&ended[1..]), "{ended:?}");
            // Of three events an operation has, one is the other's.
            assert!(ended.len() >= (2 * (cpu + 1)).min(2 * (CAPACITY / 3) - 2), "{cpu}: {}", ended.len());
        }
    }
}
