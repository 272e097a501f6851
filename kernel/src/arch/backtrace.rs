//! Backtraces by frame pointers: who called whom, from any point, without tables and without memory.
//!
//! Each function starts by pushing its caller's frame pointer, right below the return address, so the frames are a
//! list. A backtrace is wanted when something is broken, so the list is taken for hostile: each link must lie in mapped
//! memory, aligned, and further up the stack than the one before. The host program adds function, file and line.

use super::trap::Trap;
use super::window::is_mapped;
use core::arch::asm;
use core::fmt;
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

/// The return addresses of the calls that led here, innermost first, into `addresses`, and how many there are. Quickly, for a kernel in
/// which nothing is broken: memory is looked up once for each page of the stack.
#[inline(always)]
pub fn callers(addresses: &mut [u64]) -> usize {
    const PAGE: u64 = 4096;
    let mut frame_pointer: u64;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, rbp", out(reg) frame_pointer, options(nomem, nostack, preserves_flags)) };
    let (mut page, mut count) = (0, 0);
    for address in addresses {
        let last = frame_pointer.wrapping_add(8);
        if !frame_pointer.is_multiple_of(8) || frame_pointer / PAGE != page || last / PAGE != page {
            if !frame_pointer.is_multiple_of(8) || !is_mapped(frame_pointer) || !is_mapped(last) {
                break;
            }
            page = last / PAGE;
        }
        // SAFETY: both words are aligned, and in a page that is mapped, as was just looked up; any bits are a valid `u64`.
        let (caller, returns_to) = unsafe {
            let frame = frame_pointer as *const u64;
            (frame.read_volatile(), frame.add(1).read_volatile())
        };
        if returns_to == 0 {
            break;
        }
        *address = returns_to;
        count += 1;
        if caller <= frame_pointer {
            break;
        }
        frame_pointer = caller;
    }
    count
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
