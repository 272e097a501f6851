//! What the validator has to say, kept until somebody reads it.
//!
//! It often has to be said where printing would be the next deadlock: in the middle of the console, or under a lock that a
//! line which is being formatted elsewhere waits for. So a report is first written down, and printed at once only if the
//! console is free, and else when the CPU holds no lock any more.

use super::classes::{Class, ENABLED, IN_INTERRUPT};
use super::trace::{self, DEPTH};
use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use log::{Level, error};
use protocol::backtrace::Line;
use spin::Once;

/// Reports that there is room for. More are counted, but lost.
const CAPACITY: usize = 32;
/// Places that are known not to be reported again.
const PLACES: usize = 64;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The second is taken while the first is held, and elsewhere, perhaps through others, the first while the second is.
    Inversion(Class, Class),
    /// Two locks of one class are held at once, with no defined order.
    Nesting(Class),
    /// Taken in interrupt handlers, and elsewhere held with interrupts enabled: a handler may wait for what it interrupted.
    Mixed(Class),
    /// The first is taken in interrupt handlers, and the second held with interrupts enabled and taken with the first held: a
    /// handler may wait for the first, whose holder waits for the second, which is held by what the handler interrupted.
    Hazard(Class, Class),
    /// A CPU waits for a lock that it holds.
    SelfDeadlock(Class),
    /// Something that may wait is done where that is forbidden.
    Sleep {
        /// What is done.
        what: &'static str,
        /// Why it is forbidden.
        context: Context,
    },
}

/// Where nothing may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Context {
    /// In an interrupt handler.
    Interrupt,
    /// While a lock is held.
    Holding(Class),
    /// While interrupts are masked.
    Masked,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inversion(held, taken) => write!(
                f,
                "lock order inversion: \"{}\" is taken with \"{}\" held, and elsewhere the other way round",
                taken.name(),
                held.name()
            ),
            Self::Nesting(class) => {
                write!(f, "two locks of class \"{}\" are held at once, with no defined order", class.name())
            }
            Self::Mixed(class) => write!(
                f,
                "\"{}\" is taken in interrupt handlers, and elsewhere held with interrupts enabled",
                class.name()
            ),
            Self::Hazard(first, second) => write!(
                f,
                "\"{}\" is held with interrupts enabled, and elsewhere taken with \"{}\" held, which handlers take",
                second.name(),
                first.name()
            ),
            Self::SelfDeadlock(class) => write!(f, "a CPU waits for \"{}\", which it holds itself", class.name()),
            Self::Sleep { what, context: Context::Interrupt } => write!(f, "{what} in an interrupt handler"),
            Self::Sleep { what, context: Context::Holding(class) } => {
                write!(f, "{what} with \"{}\" held", class.name())
            }
            Self::Sleep { what, context: Context::Masked } => write!(f, "{what} with interrupts masked"),
        }
    }
}

/// A report: what is wrong, and the calls that led there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// What is wrong.
    pub kind: Kind,
    /// The CPU that it was noticed on.
    pub cpu: usize,
    calls: [u64; DEPTH],
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lockdep: {}, on CPU {}", self.kind, self.cpu)?;
        write_calls(f, self.calls)?;
        match self.kind {
            Kind::Inversion(held, taken) => write_way(f, taken, held),
            Kind::Mixed(class) => write_usage(f, class, IN_INTERRUPT).and_then(|()| write_usage(f, class, ENABLED)),
            Kind::Hazard(first, second) => {
                write_usage(f, first, IN_INTERRUPT)?;
                write_way(f, first, second)?;
                write_usage(f, second, ENABLED)
            }
            _ => Ok(()),
        }
    }
}

/// Writes by which classes, each taken while the one before was held, one leads to another, and where each was seen.
fn write_way(f: &mut fmt::Formatter<'_>, from: Class, to: Class) -> fmt::Result {
    let mut class = from;
    while let Some(next) = class.next_towards(to) {
        write!(f, "\n\"{}\" was taken with \"{}\" held:", next.name(), class.name())?;
        write_calls(f, class.trace_of_order(next).map_or([0; DEPTH], trace::Trace::get))?;
        if next == to {
            break;
        }
        class = next;
    }
    Ok(())
}

/// Writes where a class was used like this.
fn write_usage(f: &mut fmt::Formatter<'_>, class: Class, usage: u32) -> fmt::Result {
    let how = if usage == ENABLED { "held with interrupts enabled" } else { "taken in a handler" };
    write!(f, "\n\"{}\" was {how}:", class.name())?;
    write_calls(f, class.trace_of(usage).get())
}

fn write_calls(f: &mut fmt::Formatter<'_>, calls: [u64; DEPTH]) -> fmt::Result {
    let calls = calls.into_iter().take_while(|&address| address != 0).enumerate();
    calls.into_iter().try_for_each(|(number, address)| write!(f, "\n{}", Line { number, address }))
}

struct Slot {
    report: Once<Report>,
    printed: AtomicBool,
}

static SLOTS: [Slot; CAPACITY] = [const { Slot { report: Once::new(), printed: AtomicBool::new(false) } }; CAPACITY];
/// Reports ever made.
static MADE: AtomicUsize = AtomicUsize::new(0);
/// Those of them that somebody has [taken](take).
static TAKEN: AtomicUsize = AtomicUsize::new(0);
/// Those that are to be printed.
static UNPRINTED: AtomicUsize = AtomicUsize::new(0);

/// The calls from which something was done that may wait, where it must not.
static SEEN: [AtomicU64; PLACES] = [const { AtomicU64::new(0) }; PLACES];

/// Writes a report down.
#[inline(never)]
pub(super) fn make(kind: Kind, cpu: usize) {
    let calls = trace::here();
    if matches!(kind, Kind::Sleep { .. }) && !is_new(&calls) {
        return;
    }
    let number = MADE.fetch_add(1, Ordering::Relaxed);
    if let Some(slot) = SLOTS.get(number) {
        slot.report.call_once(|| Report { kind, cpu, calls });
        UNPRINTED.fetch_add(1, Ordering::Release);
    }
}

/// Whether these calls have led to no report yet: what may wait is reported once for each place.
fn is_new(calls: &[u64; DEPTH]) -> bool {
    // FNV-1a, over what is there of the calls.
    let hash =
        calls.iter().fold(0xcbf2_9ce4_8422_2325, |hash, call| (hash ^ call).wrapping_mul(0x100_0000_01b3)).max(1);
    for place in &SEEN {
        match place.compare_exchange(0, hash, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => return true,
            Err(seen) if seen == hash => return false,
            Err(_) => {}
        }
    }
    false
}

/// Prints unless the console is in use just now: whether it has.
type TryPrint = fn(fmt::Arguments<'_>) -> bool;

/// How to print where nothing may wait.
static PRINTER: Once<TryPrint> = Once::new();

/// Tells how to print where nothing may wait. Only the first time counts.
pub(crate) fn print_with(printer: TryPrint) {
    PRINTER.call_once(|| printer);
}

fn try_print(text: fmt::Arguments<'_>) -> bool {
    PRINTER.get().is_some_and(|print| print(text))
}

/// Whether there are reports to be printed.
#[inline]
pub(super) fn is_pending() -> bool {
    UNPRINTED.load(Ordering::Acquire) != 0
}

/// Prints what is to be printed; what the console has no time for now, unless the caller can `wait`, stays.
pub(super) fn print(wait: bool) {
    for slot in &SLOTS {
        let Some(report) = slot.report.get() else { continue };
        if slot.printed.swap(true, Ordering::Relaxed) {
            continue;
        }
        if wait {
            error!("{report}");
        } else if !try_print(format_args!("{:<5} {report}\n", Level::Error)) {
            slot.printed.store(false, Ordering::Relaxed);
            return;
        }
        UNPRINTED.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How many reports there have been since boot.
pub fn count() -> usize {
    MADE.load(Ordering::Relaxed)
}

/// All reports since boot that there was room for.
pub fn all() -> impl Iterator<Item = Report> {
    SLOTS.iter().filter_map(|slot| slot.report.get().copied())
}

/// The reports that nobody has taken yet. From now on they are taken.
pub fn take() -> impl Iterator<Item = Report> {
    let made = count();
    let taken = TAKEN.swap(made, Ordering::Relaxed);
    SLOTS[taken.min(CAPACITY)..made.min(CAPACITY)].iter().filter_map(|slot| slot.report.get().copied())
}

/// How many reports nobody has taken yet.
pub fn unread() -> usize {
    count() - TAKEN.load(Ordering::Relaxed)
}
