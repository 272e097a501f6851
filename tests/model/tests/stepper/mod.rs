//! Lets a piece of work go on one instruction of the processor at a time, and counts them.
//!
//! A forked child does the work with the processor's trap flag set: before each instruction a handler of its own is called, which
//! takes half of the time that it takes to have the parent look (`ptrace`). Exact, and the same in every run.

use std::arch::asm;
use std::ffi::{c_int, c_void};
use std::io::Error;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU8, AtomicU32, Ordering::Relaxed, compiler_fence};

/// How many operations there can be in one run.
pub const OPERATIONS: usize = 1024;

/// What was counted of an operation.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct Count {
    /// Its instructions.
    pub steps: u32,
    /// Those of them that were to be told apart.
    pub picked: u32,
    /// What the child has said of it.
    #[allow(dead_code, reason = "not every test has notes")]
    pub note: u8,
}

/// What parent and child share.
pub struct Shared {
    /// The number of the operation that is being done, plus one; 0 between operations.
    current: AtomicU32,
    steps: [AtomicU32; OPERATIONS],
    picked: [AtomicU32; OPERATIONS],
    notes: [AtomicU8; OPERATIONS],
}

impl Shared {
    /// Does an operation whose steps are counted under this number, below [`OPERATIONS`].
    pub fn operation<R>(&self, number: usize, operation: impl FnOnce() -> R) -> R {
        // The handler reads what the code that it interrupts has written: nothing but the compiler could put it off, and an
        // exchange would be one of the operation's own instructions.
        self.current.store(number as u32 + 1, Relaxed);
        compiler_fence(std::sync::atomic::Ordering::SeqCst);
        let result = operation();
        compiler_fence(std::sync::atomic::Ordering::SeqCst);
        self.current.store(0, Relaxed);
        result
    }

    /// Leaves a note on an operation.
    #[allow(dead_code, reason = "not every test has notes")]
    pub fn note(&self, number: usize, note: u8) {
        self.notes[number].store(note, Relaxed);
    }

    fn count(&self, number: usize) -> Count {
        let [steps, picked] = [&self.steps, &self.picked].map(|counts| counts[number].load(Relaxed));
        Count { steps, picked, note: self.notes[number].load(Relaxed) }
    }
}

/// What the handler of a child needs.
struct Counter<'a> {
    shared: &'a Shared,
    picks: &'a dyn Fn(*const u8) -> bool,
}

/// The [`Counter`] of a child, which has one thread.
static COUNTER: AtomicPtr<Counter<'static>> = AtomicPtr::new(ptr::null_mut());

/// Counts the instruction that is next, if it is one of an operation.
extern "C" fn step(_: c_int, _: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: `go` has set it before the first step, to what lives until the child ends.
    let counter = unsafe { &*COUNTER.load(Relaxed) };
    let Some(number) = counter.shared.current.load(Relaxed).checked_sub(1) else { return };
    // SAFETY: a handler with `SA_SIGINFO` is given the context of what it interrupts.
    let next = unsafe { (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs[libc::REG_RIP as usize] };
    let is_picked = (counter.picks)(ptr::with_exposed_provenance(next as usize));
    for (counts, more) in [(&counter.shared.steps, 1), (&counter.shared.picked, is_picked.into())] {
        let count = &counts[number as usize];
        count.store(count.load(Relaxed) + more, Relaxed);
    }
}

/// Lets a child do `prepare` at full speed and then `body` step by step: what was counted of each operation. `picks` is asked of
/// each instruction of one, by where it is, before it is executed.
///
/// The child must not allocate memory of the process, nor panic: it has been forked off one thread of several.
pub fn trace(
    prepare: impl FnOnce(),
    body: impl FnOnce(&Shared),
    picks: impl Fn(*const u8) -> bool,
) -> [Count; OPERATIONS] {
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
        go(&mut Counter { shared, picks: &picks }, body);
    }
    let mut status = 0;
    // SAFETY: it is a child of this process, and `status` is written while it is borrowed here.
    let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!(waited, child, "{}", Error::last_os_error());
    assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0, "the child failed: {status:#x}");
    let counts = std::array::from_fn(|number| shared.count(number));
    // SAFETY: the child has ended, and `shared` is not used any more.
    unsafe { libc::munmap(memory, size_of::<Shared>()) };
    counts
}

/// Does `body` step by step, and ends this process.
fn go(counter: &mut Counter<'_>, body: impl FnOnce(&Shared)) -> ! {
    let shared = counter.shared;
    COUNTER.store(ptr::from_mut(counter).cast(), Relaxed);
    // SAFETY: zeros are an action without flags that masks nothing. The handler touches nothing but the counter and what it names,
    // which live until the process ends. Setting the trap flag has no other effect than that the handler is called.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = step as extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) as libc::sighandler_t;
        action.sa_flags = libc::SA_SIGINFO;
        if libc::sigaction(libc::SIGTRAP, &raw const action, ptr::null_mut()) != 0 {
            libc::_exit(1);
        }
        asm!("pushfq", "or qword ptr [rsp], 0x100", "popfq");
        body(shared);
        libc::_exit(0);
    }
}
