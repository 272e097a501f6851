//! Backtraces by frame pointers: who called whom, from any point, without tables and without memory.
//!
//! Each function starts by pushing its caller's frame pointer, right below the return address, so the frames are a
//! list. A backtrace is wanted when something is broken, so the list is taken for hostile: each link must lie in mapped
//! memory, aligned, and further up the stack than the one before. The host program adds function, file and line.

use super::local;
use super::trap::Trap;
use super::window::is_mapped;
use core::arch::asm;
use core::cell::Cell;
use core::fmt;
use core::sync::atomic::Ordering;
use protocol::backtrace::Line;

/// Frames that are shown at most: a deep recursion repeats itself anyway.
const DEPTH: usize = 48;

/// The calls that led to a point in the code. Printed, it is one line a frame, as `protocol` defines them.
#[derive(Clone, Copy, Debug)]
pub struct Backtrace {
    /// The instruction that the trace begins with.
    instruction: u64,
    frame_pointer: u64,
}

impl Backtrace {
    /// The calls that led here.
    #[inline(always)]
    pub fn here() -> Self {
        let (instruction, frame_pointer);
        // SAFETY: reads two registers.
        unsafe {
            asm!(
                "lea {}, [rip]",
                "mov {}, rbp",
                out(reg) instruction,
                out(reg) frame_pointer,
                options(nomem, nostack, preserves_flags),
            );
        }
        Self { instruction, frame_pointer }
    }

    /// The calls that led to an exception.
    pub fn of(trap: &Trap) -> Self {
        Self { instruction: trap.rip, frame_pointer: trap.rbp }
    }

    /// The addresses, innermost first.
    pub fn addresses(self) -> impl Iterator<Item = u64> {
        let mut frame_pointer = self.frame_pointer;
        let callers = core::iter::from_fn(move || {
            let (caller, return_address) = read_frame(frame_pointer)?;
            // A frame pointer that leads down or in a circle ends the walk after this frame.
            frame_pointer = if caller > frame_pointer { caller } else { 0 };
            Some(return_address)
        });
        core::iter::once(self.instruction).chain(callers.take_while(|&address| address != 0)).take(DEPTH)
    }
}

/// Writes the return addresses of the calls that led here, innermost first, into `addresses`, and 0 behind the last. Quickly, for a kernel
/// in which nothing is broken: of each page of a stack it is looked up once whether it is mapped.
#[inline(always)]
pub fn callers(addresses: &[Cell<u64>]) {
    let mut frame_pointer: u64;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, rbp", out(reg) frame_pointer, options(nomem, nostack, preserves_flags)) };
    let mut stack = Known::load();
    let mut addresses = addresses.iter();
    for address in addresses.by_ref() {
        if !stack.has(frame_pointer) {
            match stack.and(frame_pointer) {
                Some(more) => stack = more,
                None => return address.set(0),
            }
        }
        // SAFETY: both words are in pages that are mapped, as was looked up, and stay so as long as the CPU has them on its stack; any bits
        // are a valid `u64`.
        let (caller, returns_to) = unsafe {
            let frame = frame_pointer as *const u64;
            (frame.read_unaligned(), frame.add(1).read_unaligned())
        };
        address.set(returns_to);
        if caller <= frame_pointer {
            break;
        }
        frame_pointer = caller;
    }
    addresses.next().into_iter().for_each(|end| end.set(0));
}

/// Pages in a row of a CPU's stack that are known to be mapped: the address of the first, and how many there are.
#[derive(Clone, Copy)]
struct Known(u64);

impl Known {
    const PAGE: u64 = 4096;
    const COUNT: u64 = Self::PAGE - 1;
    /// Bytes of a frame.
    const FRAME: u64 = 16;

    #[inline(always)]
    fn load() -> Self {
        Self(local::local().stack.load(Ordering::Relaxed))
    }

    fn start(self) -> u64 {
        self.0 & !Self::COUNT
    }

    fn bytes(self) -> u64 {
        (self.0 & Self::COUNT) * Self::PAGE
    }

    /// Whether all of the frame at `frame_pointer` is there.
    #[inline(always)]
    fn has(self, frame_pointer: u64) -> bool {
        frame_pointer.wrapping_sub(self.start()) < self.bytes().saturating_sub(Self::FRAME - 1)
    }

    /// The pages of that frame too, or alone, if they are mapped; known to this CPU from now on.
    #[cold]
    fn and(self, frame_pointer: u64) -> Option<Self> {
        let last = frame_pointer.checked_add(Self::FRAME - 1)?;
        let (start, end) = (frame_pointer & !Self::COUNT, last | Self::COUNT);
        if !is_mapped(frame_pointer) || !is_mapped(last) {
            return None;
        }
        let (own_start, own_end) = (self.start(), self.start() + self.bytes());
        let is_next = start <= own_end && own_start <= end.saturating_add(1);
        let (start, end) =
            if is_next { (start.min(own_start), end.max(own_end.saturating_sub(1))) } else { (start, end) };
        let all = Self(start | ((end - start) / Self::PAGE + 1).min(Self::COUNT));
        local::local().stack.store(all.0, Ordering::Relaxed);
        Some(all)
    }
}

/// The caller's frame pointer and the return address of the frame at `frame_pointer`, if there can be one.
fn read_frame(frame_pointer: u64) -> Option<(u64, u64)> {
    let return_address = frame_pointer.checked_add(8)?;
    if !frame_pointer.is_multiple_of(8) || !is_mapped(frame_pointer) || !is_mapped(return_address) {
        return None;
    }
    let frame = frame_pointer as *const u64;
    // SAFETY: both words are aligned and mapped, as was just looked up, and any bits are a valid `u64`. That a frame
    // really lies there does not matter to memory safety.
    Some(unsafe { (frame.read_volatile(), frame.add(1).read_volatile()) })
}

impl fmt::Display for Backtrace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, address) in self.addresses().enumerate() {
            writeln!(f, "{}", Line { number, address })?;
        }
        Ok(())
    }
}
