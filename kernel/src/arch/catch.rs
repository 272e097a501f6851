//! Running code that is expected to raise an exception, and going on behind it.
//!
//! The kernel's tests must see a page fault or a stack overflow happen and live to judge the report. It is the way of
//! C's `setjmp` and `longjmp`: where to go on is noted before, and the exception returns there instead of to the code
//! that raised it.

use super::local::{MAX_CPUS, current, local};
use super::trap::Trap;
use core::arch::naked_asm;
use core::mem::MaybeUninit;
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};
use x86_64::registers::rflags::RFlags;

/// Where to go on after an exception. [`enter`] writes the first two fields at these offsets.
#[derive(Debug)]
#[repr(C)]
struct Recovery {
    rsp: u64,
    rip: u64,
    caught: MaybeUninit<Trap>,
}

/// The innermost [`catch`] that is running on each CPU, or null.
static CATCHING: [AtomicPtr<Recovery>; MAX_CPUS] = [const { AtomicPtr::new(ptr::null_mut()) }; MAX_CPUS];

/// Runs `f`, and returns the exception that ended it, if one did.
///
/// # Safety
/// An exception abandons `f` where it stands: nothing that lives in it is dropped. `f` must own nothing that has to be
/// given back, and hold no lock that anyone else wants. No handler of an interrupt may raise one meanwhile: it would be
/// abandoned with `f`, and the interrupt never acknowledged.
pub unsafe fn catch<F: FnOnce()>(f: F) -> Option<Trap> {
    extern "C" fn call<F: FnOnce()>(f: *mut Option<F>) {
        // SAFETY: `catch` passes a pointer to its own variable, which outlives the call.
        if let Some(f) = unsafe { (*f).take() } {
            f();
        }
    }
    let mut f = Some(f);
    let mut recovery = Recovery { rsp: 0, rip: 0, caught: MaybeUninit::uninit() };
    let target = &raw mut recovery;
    let catching = &CATCHING[current()];
    let outer = catching.swap(target, Ordering::Relaxed);
    // SAFETY: `call::<F>` takes the pointer that goes with it, and `target` is valid for writes. The assembly keeps the
    // registers that a function must keep, so that returning a second time finds this frame as it was.
    let raised = unsafe { enter(call::<F> as *const (), (&raw mut f).cast(), target) };
    catching.store(outer, Ordering::Relaxed);
    // SAFETY: `redirect`, and it alone, makes `enter` return true, after it has written the trap.
    raised.then(|| unsafe { recovery.caught.assume_init_read() })
}

/// Makes the exception return to the innermost [`catch`]; false if there is none.
pub(crate) fn redirect(trap: &mut Trap) -> bool {
    let recovery = CATCHING[current()].swap(ptr::null_mut(), Ordering::Relaxed);
    if recovery.is_null() {
        return false;
    }
    local().caught_at.store(ptr::from_ref(trap).addr() as u64, Ordering::Relaxed);
    // SAFETY: `catch` takes the pointer back before its frame goes, so the target is alive, and what it noted there is
    // the state of a call of `enter` that has not returned.
    unsafe {
        (*recovery).caught.write(*trap);
        trap.rsp = (*recovery).rsp;
        trap.rip = (*recovery).rip;
    }
    // Rust code expects it clear, but a copy that goes backward has it set.
    trap.rflags &= !RFlags::DIRECTION_FLAG.bits();
    true
}

/// Notes stack and address in `recovery`, then calls `function(argument)`. Returns false if that call returned, true
/// if an exception came instead.
#[unsafe(naked)]
unsafe extern "C" fn enter(function: *const (), argument: *mut (), recovery: *mut Recovery) -> bool {
    naked_asm!(
        "push rbp",
        "mov rbp, rsp",
        "push rbx",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        // The call wants the stack aligned to 16 bytes.
        "sub rsp, 8",
        "mov [rdx], rsp",
        "lea rax, [rip + 2f]",
        "mov [rdx + 8], rax",
        "mov rax, rdi",
        "mov rdi, rsi",
        "call rax",
        "xor eax, eax",
        "jmp 3f",
        // An exception returns here, on the stack as noted.
        "2:",
        "mov eax, 1",
        "3:",
        "add rsp, 8",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbx",
        "pop rbp",
        "ret",
    )
}
