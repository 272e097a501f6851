//! The lock validator (Linux: lockdep): what may one day be a deadlock is reported the first time that it could have been
//! one, and not on the day.
//!
//! Every lock of the kernel and of the allocator says here when it is about to be taken and when it has been let go. Out of
//! that the validator learns which classes of locks are taken while which are held, and how, and reports what cannot be
//! right together:
//!
//! - two classes that are taken in both orders, perhaps by way of others ([`Kind::Inversion`]);
//! - a class that interrupt handlers take, and that elsewhere is held with interrupts enabled ([`Kind::Mixed`]);
//! - the same by way of others: a handler takes one class, and another, which is taken behind it, is held with interrupts
//!   enabled ([`Kind::Hazard`]);
//! - two locks of one class at once, with no defined order between them ([`Kind::Nesting`]);
//! - a lock that the CPU holds already ([`Kind::SelfDeadlock`], whereupon it panics);
//! - what [may wait](might_sleep) in a handler, with a lock held or with interrupts masked ([`Kind::Sleep`]).
//!
//! A lock that is only tried can be waited for by nobody, so it comes after none and is not held against a handler.
//!
//! All of that is there in builds with debug assertions alone; without them nothing is left of it.

mod classes;
mod report;
mod trace;

pub use classes::Class;
pub(crate) use report::print_with;
pub use report::{Context, Kind, Report, all, count, take, unread};

use crate::arch::local::{self, MAX_CPUS};
use bifolio::sync::Acquire;
use classes::{ENABLED, IN_INTERRUPT};
use core::fmt::{self, Write};
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use x86_64::instructions::interrupts;

/// Locks that a CPU can hold at once and have watched.
const DEPTH: usize = 16;

/// Nothing is watched any more: the kernel is about to end, and may break locks to say why.
static OFF: AtomicBool = AtomicBool::new(false);

static CPUS: [Watch; MAX_CPUS] = [const { Watch::new() }; MAX_CPUS];

/// What one CPU holds. Only that CPU touches it, with interrupts masked.
#[repr(align(128))]
struct Watch {
    depth: AtomicUsize,
    held: [Held; DEPTH],
    /// The validator is at work: what it takes itself, to print, is not watched.
    busy: AtomicBool,
    /// The CPU has been seen with interrupts enabled. Before that it is being brought up, and may wait with them masked.
    ran: AtomicBool,
}

/// A lock that is held.
struct Held {
    address: AtomicUsize,
    /// The class's number; [`NO_CLASS`](Self::NO_CLASS) without one.
    class: AtomicU8,
}

impl Held {
    const NO_CLASS: u8 = u8::MAX;

    const fn nothing() -> Self {
        Self { address: AtomicUsize::new(0), class: AtomicU8::new(Self::NO_CLASS) }
    }

    fn class(&self) -> Option<Class> {
        Class::numbered(self.class.load(Ordering::Relaxed))
    }

    fn set(&self, address: usize, class: u8) {
        self.address.store(address, Ordering::Relaxed);
        self.class.store(class, Ordering::Relaxed);
    }

    fn copy(&self, other: &Self) {
        self.set(other.address.load(Ordering::Relaxed), other.class.load(Ordering::Relaxed));
    }
}

/// A lock is about to be waited for, or has been taken without that.
///
/// # Panics
/// If this CPU holds it.
#[inline]
pub fn acquire(name: &'static str, address: usize, how: Acquire) {
    if cfg!(debug_assertions) {
        watch(|watch, enabled| watch.acquire(name, address, how, enabled));
    }
}

/// A lock has just been let go.
#[inline]
pub fn release(address: usize) {
    if cfg!(debug_assertions) {
        watch(|watch, enabled| watch.release(address, enabled));
    }
}

/// Interrupts are enabled next. What is still held is held so.
#[inline]
pub(super) fn before_unmasking() {
    if cfg!(debug_assertions) {
        watch(|watch, _| {
            watch.ran.store(true, Ordering::Relaxed);
            watch.note_enabled();
        });
    }
}

/// An interrupt handler begins. What the interrupted code holds, it holds with interrupts enabled.
#[inline]
pub(crate) fn enter_interrupt() {
    if cfg!(debug_assertions) {
        watch(|watch, _| watch.note_enabled());
    }
}

/// What is done next may wait for another CPU, for an interrupt or for memory: it must not be in an interrupt handler, nor
/// with interrupts masked, nor while a lock is held. `what` is how a report calls it: "waiting for a key".
#[inline]
pub fn might_sleep(what: &'static str) {
    if cfg!(debug_assertions) {
        watch(|watch, enabled| watch.might_sleep(what, enabled));
    }
}

/// Ends the watch, for a kernel that stops here and must still say why.
pub(crate) fn off() {
    if cfg!(debug_assertions) {
        OFF.store(true, Ordering::Relaxed);
    }
}

/// Runs `look` on what this CPU holds, and tells it whether interrupts are enabled.
#[inline(never)]
fn watch(look: impl FnOnce(&Watch, bool)) {
    if OFF.load(Ordering::Relaxed) {
        return;
    }
    let enabled = interrupts::are_enabled();
    interrupts::without_interrupts(|| {
        let watch = &CPUS[local::current()];
        if watch.busy.load(Ordering::Relaxed) {
            return;
        }
        watch.busy.store(true, Ordering::Relaxed);
        if enabled {
            watch.ran.store(true, Ordering::Relaxed);
        }
        look(watch, enabled);
        while let Some((first, second)) = classes::new_hazard() {
            watch.report(Kind::Hazard(first, second));
        }
        if report::is_pending() {
            report::print(watch.depth.load(Ordering::Relaxed) == 0);
        }
        watch.busy.store(false, Ordering::Relaxed);
    });
}

impl Watch {
    const fn new() -> Self {
        Self {
            depth: AtomicUsize::new(0),
            held: [const { Held::nothing() }; DEPTH],
            busy: AtomicBool::new(false),
            ran: AtomicBool::new(false),
        }
    }

    fn held(&self) -> &[Held] {
        &self.held[..self.depth.load(Ordering::Relaxed).min(DEPTH)]
    }

    fn report(&self, kind: Kind) {
        report::make(kind, local::current());
    }

    fn acquire(&self, name: &'static str, address: usize, how: Acquire, enabled: bool) {
        let in_interrupt = local::in_interrupt();
        let class = Class::of(name);
        if how == Acquire::Wait && self.held().iter().any(|held| held.address.load(Ordering::Relaxed) == address) {
            class.into_iter().for_each(|class| self.report(Kind::SelfDeadlock(class)));
            panic!("a CPU waits for the lock \"{name}\", which it holds itself");
        }
        if let Some(class) = class {
            if enabled && class.note_usage(ENABLED)
                || in_interrupt && how == Acquire::Wait && class.note_usage(IN_INTERRUPT)
            {
                self.report(Kind::Mixed(class));
            }
            if how == Acquire::Wait {
                self.held().iter().filter_map(Held::class).for_each(|held| self.order(held, class));
            }
        }
        let depth = self.depth.load(Ordering::Relaxed);
        if let Some(held) = self.held.get(depth) {
            held.set(address, class.map_or(Held::NO_CLASS, Class::number));
            self.depth.store(depth + 1, Ordering::Relaxed);
        }
    }

    /// Learns that a lock of class `taken` is taken while one of class `held` is held.
    fn order(&self, held: Class, taken: Class) {
        if held == taken {
            if taken.note_nesting() {
                self.report(Kind::Nesting(taken));
            }
        } else if held.note_order(taken) && taken.next_towards(held).is_some() {
            self.report(Kind::Inversion(held, taken));
        }
    }

    fn release(&self, address: usize, enabled: bool) {
        let held = self.held();
        // What was taken before the watch began, or where there was no room to note it, is not among them.
        let Some(place) = held.iter().rposition(|held| held.address.load(Ordering::Relaxed) == address) else { return };
        held.windows(2).skip(place).for_each(|pair| pair[0].copy(&pair[1]));
        self.depth.store(held.len() - 1, Ordering::Relaxed);
        if enabled {
            self.note_enabled();
        }
    }

    /// Takes note that the locks that are held are held with interrupts enabled.
    fn note_enabled(&self) {
        for class in self.held().iter().filter_map(Held::class) {
            if class.note_usage(ENABLED) {
                self.report(Kind::Mixed(class));
            }
        }
    }

    fn might_sleep(&self, what: &'static str, enabled: bool) {
        let context = if local::in_interrupt() {
            Context::Interrupt
        } else if let Some(class) = self.held().iter().rev().find_map(Held::class) {
            Context::Holding(class)
        } else if !enabled && self.ran.load(Ordering::Relaxed) {
            Context::Masked
        } else {
            return;
        };
        self.report(Kind::Sleep { what, context });
    }
}

/// Writes what is known: the classes with what was taken while each was held, and the reports.
///
/// # Errors
/// Those of the writer.
pub fn write(out: &mut impl Write) -> fmt::Result {
    if !cfg!(debug_assertions) {
        return writeln!(out, "locks are not watched: this kernel was built without debug assertions");
    }
    writeln!(
        out,
        "class (i: taken in interrupt handlers, e: held with interrupts enabled), and what was taken with it held"
    )?;
    for class in Class::all() {
        let flag = |is, letter| if is { letter } else { '.' };
        let in_interrupts = flag(class.is_taken_in_interrupts(), 'i');
        let enabled = flag(class.is_held_with_interrupts(), 'e');
        write!(out, "  {in_interrupts}{enabled} {:<20}", class.name())?;
        let mut separator = "-> ";
        for next in class.successors() {
            write!(out, " {separator}\"{}\"", next.name())?;
            separator = "";
        }
        writeln!(out)?;
    }
    writeln!(out, "{} reports", count())?;
    all().try_for_each(|report| writeln!(out, "{report}"))
}
