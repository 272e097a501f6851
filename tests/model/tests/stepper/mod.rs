//! Lets a piece of work go on one instruction of the processor at a time, and shows each to whoever counts.
//!
//! A forked child does the work, and its parent lets it go on step by step (`ptrace`). Exact, and the same in every run.

use std::io::Error;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering::Relaxed, compiler_fence};

/// How many operations there can be in one run.
pub const OPERATIONS: usize = 1024;

/// What parent and child share.
pub struct Shared {
    /// The number of the operation that is being done, plus one; 0 between operations.
    current: AtomicU32,
    /// What the child has to say of each operation.
    notes: [AtomicU8; OPERATIONS],
}

impl Shared {
    /// Does an operation whose steps are shown under this number, below [`OPERATIONS`].
    pub fn operation<R>(&self, number: usize, operation: impl FnOnce() -> R) -> R {
        // One thread reads what one other has written, while that one stands still: nothing but the compiler could put it
        // off, and an exchange would be one of the operation's own instructions.
        self.current.store(number as u32 + 1, Relaxed);
        compiler_fence(std::sync::atomic::Ordering::SeqCst);
        let result = operation();
        compiler_fence(std::sync::atomic::Ordering::SeqCst);
        self.current.store(0, Relaxed);
        result
    }

    /// Leaves a note on an operation.
    #[allow(dead_code, reason = "not all who count have anything to say")]
    pub fn note(&self, number: usize, note: u8) {
        self.notes[number].store(note, Relaxed);
    }
}

/// A child that stands still.
pub struct Child(libc::pid_t);

impl Child {
    /// Where the next instruction is. The child is a copy of this process: it is at the same place here.
    #[allow(dead_code, reason = "not all who count look at instructions")]
    pub fn instruction(&self) -> *const u8 {
        let mut registers = MaybeUninit::<libc::user_regs_struct>::uninit();
        // SAFETY: the child is stopped, and traced by this thread; there is room for its registers.
        let registers = unsafe {
            let result = libc::ptrace(libc::PTRACE_GETREGS, self.0, 0, registers.as_mut_ptr());
            assert_ne!(result, -1, "{}", Error::last_os_error());
            registers.assume_init()
        };
        ptr::with_exposed_provenance(registers.rip as usize)
    }

    fn wait(&self) -> libc::c_int {
        let mut status = 0;
        // SAFETY: it is a child of this process, and `status` is written while it is borrowed here.
        let waited = unsafe { libc::waitpid(self.0, &raw mut status, 0) };
        assert_eq!(waited, self.0, "{}", Error::last_os_error());
        status
    }

    /// Does one instruction. `false` if it was the last.
    fn step(&self) -> bool {
        // SAFETY: the child is stopped, and traced by this thread.
        let result = unsafe { libc::ptrace(libc::PTRACE_SINGLESTEP, self.0, 0, 0) };
        assert_ne!(result, -1, "{}", Error::last_os_error());
        let status = self.wait();
        if libc::WIFEXITED(status) {
            assert_eq!(libc::WEXITSTATUS(status), 0);
            return false;
        }
        assert!(libc::WIFSTOPPED(status) && libc::WSTOPSIG(status) == libc::SIGTRAP, "the child failed: {status:#x}");
        true
    }
}

/// Lets a child do `prepare` at full speed and then `body` step by step: before each step of an operation, `each` gets the
/// operation's number. Returns the notes on the operations.
///
/// The child must not allocate memory of the process, nor panic: it has been forked off one thread of several.
pub fn trace(prepare: impl FnOnce(), body: impl FnOnce(&Shared), mut each: impl FnMut(usize, &Child)) -> Vec<u8> {
    let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
    // SAFETY: a new mapping harms nobody.
    let memory = unsafe { libc::mmap(ptr::null_mut(), size_of::<Shared>(), protection, flags, -1, 0) };
    assert_ne!(memory, libc::MAP_FAILED, "{}", Error::last_os_error());
    // SAFETY: the mapping is large enough, page-aligned and lives on; zeros are valid atomics.
    let shared = unsafe { &*memory.cast::<Shared>() };
    // SAFETY: the child only runs `prepare` and `body`, which allocate no memory, and system calls.
    let child = unsafe { libc::fork() };
    assert_ne!(child, -1, "{}", Error::last_os_error());
    if child == 0 {
        prepare();
        // SAFETY: these concern nothing but this process, which ends here.
        unsafe {
            libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0);
            libc::raise(libc::SIGSTOP);
            body(shared);
            libc::_exit(0);
        }
    }
    let child = Child(child);
    assert!(libc::WIFSTOPPED(child.wait()), "the child cannot be traced");
    loop {
        if let Some(operation) = shared.current.load(Relaxed).checked_sub(1) {
            each(operation as usize, &child);
        }
        if !child.step() {
            break;
        }
    }
    let notes = shared.notes.iter().map(|note| note.load(Relaxed)).collect();
    // SAFETY: the child has ended, and `shared` is not used any more.
    unsafe { libc::munmap(memory, size_of::<Shared>()) };
    notes
}
