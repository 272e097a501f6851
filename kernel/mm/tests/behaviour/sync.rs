//! Locks and gates that a kernel may use too.

use bifolio::cpu::{Cpu, Hooks};
use bifolio::sync::{Barriers, Gate, Mutex};
use kit::Turns;

use super::machine::{Machine, take_calls};

#[test]
fn a_lock_shows_its_value_unless_it_is_held() {
    let mut lock = Mutex::<_, Machine>::new("number", 7);
    *lock.get_mut() += 1;
    let free = format!("{lock:?}");
    assert!(free.contains('8'), "{free}");
    let guard = lock.lock();
    assert_eq!(format!("{guard:?}"), "8");
    let held = format!("{lock:?}");
    assert!(!held.contains('8') && held.contains("locked"), "{held}");
    drop(guard);
    assert_eq!(lock.into_inner(), 8);
}

#[test]
fn gates_are_closed_together_with_one_barrier() {
    let gates = [Gate::new(), Gate::default(), Gate::closed()];
    assert_eq!(gates.each_ref().map(Gate::is_closed), [false, false, true]);
    take_calls();
    Gate::close_all::<Machine>(&gates[..0]);
    assert_eq!(take_calls().synchronize, 0, "there is nothing to close");
    let inside = gates[0].enter().unwrap();
    assert_eq!(format!("{inside:?} {:?}", gates[0]), "Inside Gate { is_closed: false, is_busy: true }");
    Gate::close_all::<Machine>(&gates);
    assert_eq!(take_calls().synchronize, 1);
    assert!(gates.iter().all(Gate::is_closed) && gates[0].is_busy());
    drop(inside);
    for gate in &gates {
        gate.await_owner::<Machine>();
        assert!(gate.enter().is_none());
        assert_eq!(format!("{gate:?}"), "Gate { is_closed: true, is_busy: false }");
        gate.open();
        assert!(gate.enter().is_some());
    }
}

/// A CPU of which others are missed, so often.
struct Deaf;

thread_local! {
    static LEFT: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
    static WAITS: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
}

// SAFETY: it is used by one thread at a time, without memory that others see.
unsafe impl Cpu for Deaf {
    fn current() -> usize {
        0
    }

    fn synchronize() {
        Self::synchronize_by_trying();
    }

    fn try_synchronize(missed: &mut dyn FnMut(usize)) {
        if let Some(left) = LEFT.get().checked_sub(1) {
            LEFT.set(left);
            missed(1);
        }
    }

    fn mask_interrupts() -> bool {
        false
    }

    fn restore_interrupts(_: bool) {}
}

impl Hooks for Deaf {
    fn relax() {
        WAITS.set(WAITS.get() + 1);
    }
}

#[test]
fn a_cpu_that_can_only_try_tries_until_none_is_missed() {
    for missed in [0, 1, 3] {
        LEFT.set(missed);
        WAITS.set(0);
        Deaf::synchronize();
        assert_eq!((LEFT.get(), WAITS.get()), (0, missed));
    }
    let gates = [Gate::new(), Gate::new()];
    LEFT.set(1);
    assert!(!Gate::try_close_all::<Deaf>(gates.iter().enumerate()));
    assert_eq!(gates.each_ref().map(Gate::is_closed), [true, false], "whose owner was missed is open again");
}

#[test]
fn barriers_are_made_by_default_too() {
    let barriers = Barriers::<2>::default();
    assert_eq!(format!("{barriers:?}"), "Barriers { .. }");
    let mut missed = Vec::new();
    barriers.ask::<Turns>(std::iter::once(1), |cpu| barriers.answer(cpu), || true, &mut |cpu| missed.push(cpu));
    barriers.ask::<Turns>(std::iter::once(1), |_| (), || true, &mut |cpu| missed.push(cpu));
    assert_eq!(missed, [1], "the one that did not answer");
}
