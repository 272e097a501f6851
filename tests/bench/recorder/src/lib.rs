//! Writes down what a program asks its C library's heap for.
//!
//! Preloaded into a program it stands in front of glibc's `malloc` and the rest of that family: it passes every call on,
//! and writes an [`Event`] to the file `<pid>` in the folder that the variable [`FOLDER`] names. It allocates nothing itself.
//! `bench record` starts programs so and makes a trace of what they leave.

use libc::{c_int, c_void, size_t};
use std::mem::MaybeUninit;
use std::ptr;
use std::slice;

/// The environment variable with the folder for the files.
const FOLDER: &std::ffi::CStr = c"BIFOLIO_TRACE";
/// Events that are written at a time.
const ROOM: usize = 4096;

/// What happened, in the order in which it did: four words of the machine's byte order.
#[derive(Clone, Copy)]
#[repr(C)]
struct Event {
    kind: Kind,
    /// What was returned, or for [`Kind::Free`] what was freed.
    address: u64,
    /// For [`Kind::Reallocate`] what it was before, otherwise the alignment, or 0 if none was asked for.
    other: u64,
    size: u64,
}

#[derive(Clone, Copy)]
#[repr(u64)]
enum Kind {
    Allocate = 0,
    AllocateZeroed = 1,
    Reallocate = 2,
    Free = 3,
}

struct Recorder {
    /// The process that writes, or 0 as long as nobody does.
    process: libc::pid_t,
    file: c_int,
    length: usize,
    events: [MaybeUninit<Event>; ROOM],
}

/// The lock is held while glibc does its part, so that events stand in the order in which they took effect.
static RECORDER: spin::Mutex<Recorder> =
    spin::Mutex::new(Recorder { process: 0, file: -1, length: 0, events: [MaybeUninit::uninit(); ROOM] });

unsafe extern "C" {
    fn __libc_malloc(size: size_t) -> *mut c_void;
    fn __libc_calloc(count: size_t, size: size_t) -> *mut c_void;
    fn __libc_realloc(old: *mut c_void, size: size_t) -> *mut c_void;
    fn __libc_memalign(align: size_t, size: size_t) -> *mut c_void;
    fn __libc_free(address: *mut c_void);
}

impl Recorder {
    fn push(&mut self, kind: Kind, address: *mut c_void, other: u64, size: usize) {
        if address.is_null() {
            return;
        }
        // SAFETY: the call takes nothing.
        let process = unsafe { libc::getpid() };
        if process != self.process {
            // A new process, or one that was forked and has its parent's events.
            self.process = process;
            self.length = 0;
            self.file = open(process);
        }
        self.events[self.length].write(Event { kind, address: address as u64, other, size: size as u64 });
        self.length += 1;
        if self.length == ROOM {
            self.flush();
        }
    }

    fn flush(&mut self) {
        let bytes = self.length * size_of::<Event>();
        let mut written = 0;
        while self.file >= 0 && written < bytes {
            // SAFETY: so many events have been written to, and an event has no padding.
            let rest =
                unsafe { slice::from_raw_parts(self.events.as_ptr().cast::<u8>().add(written), bytes - written) };
            // SAFETY: pointer and length are the slice's.
            match unsafe { libc::write(self.file, rest.as_ptr().cast(), rest.len()) } {
                ..=0 => break,
                count => written += count as usize,
            }
        }
        self.length = 0;
    }
}

/// Opens the process's file; -1 if there is no folder for it.
fn open(process: libc::pid_t) -> c_int {
    let mut path = [0u8; 512];
    // SAFETY: the name is a C string, the path has room for as many bytes as are said, and what `snprintf` writes ends in 0.
    unsafe {
        let folder = libc::getenv(FOLDER.as_ptr());
        if folder.is_null() {
            return -1;
        }
        libc::snprintf(path.as_mut_ptr().cast(), path.len(), c"%s/%d".as_ptr(), folder, process);
        let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC | libc::O_CLOEXEC;
        libc::open(path.as_ptr().cast(), flags, 0o644 as libc::c_uint)
    }
}

/// What is left when the program ends.
extern "C" fn finish() {
    let mut recorder = RECORDER.lock();
    // SAFETY: the call takes nothing.
    if recorder.process == unsafe { libc::getpid() } {
        recorder.flush();
    }
}

#[used]
#[unsafe(link_section = ".fini_array")]
static FINISH: extern "C" fn() = finish;

/// # Safety
/// C's `malloc`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn malloc(size: size_t) -> *mut c_void {
    let mut recorder = RECORDER.lock();
    // SAFETY: the caller keeps the same contract.
    let address = unsafe { __libc_malloc(size) };
    recorder.push(Kind::Allocate, address, 0, size);
    address
}

/// # Safety
/// C's `calloc`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn calloc(count: size_t, size: size_t) -> *mut c_void {
    let mut recorder = RECORDER.lock();
    // SAFETY: the caller keeps the same contract.
    let address = unsafe { __libc_calloc(count, size) };
    // It was granted, so the product is one.
    recorder.push(Kind::AllocateZeroed, address, 0, count.wrapping_mul(size));
    address
}

/// # Safety
/// C's `realloc`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realloc(old: *mut c_void, size: size_t) -> *mut c_void {
    let mut recorder = RECORDER.lock();
    // SAFETY: the caller keeps the same contract.
    let address = unsafe { __libc_realloc(old, size) };
    if address.is_null() && size == 0 {
        // glibc frees.
        recorder.push(Kind::Free, old, 0, 0);
    } else {
        recorder.push(Kind::Reallocate, address, old as u64, size);
    }
    address
}

/// # Safety
/// C's `reallocarray`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn reallocarray(old: *mut c_void, count: size_t, size: size_t) -> *mut c_void {
    match count.checked_mul(size) {
        // SAFETY: the caller keeps the same contract.
        Some(size) => unsafe { realloc(old, size) },
        None => {
            // SAFETY: the call takes nothing and returns this thread's own number.
            unsafe { *libc::__errno_location() = libc::ENOMEM };
            ptr::null_mut()
        }
    }
}

/// # Safety
/// C's `free`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn free(address: *mut c_void) {
    let mut recorder = RECORDER.lock();
    recorder.push(Kind::Free, address, 0, 0);
    // SAFETY: the caller keeps the same contract.
    unsafe { __libc_free(address) };
}

/// # Safety
/// glibc's `memalign`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memalign(align: size_t, size: size_t) -> *mut c_void {
    let mut recorder = RECORDER.lock();
    // SAFETY: the caller keeps the same contract.
    let address = unsafe { __libc_memalign(align, size) };
    recorder.push(Kind::Allocate, address, align as u64, size);
    address
}

/// # Safety
/// C's `aligned_alloc`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aligned_alloc(align: size_t, size: size_t) -> *mut c_void {
    // SAFETY: the caller keeps the same contract.
    unsafe { memalign(align, size) }
}

/// # Safety
/// POSIX's `posix_memalign`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn posix_memalign(result: *mut *mut c_void, align: size_t, size: size_t) -> c_int {
    if !align.is_power_of_two() || !align.is_multiple_of(size_of::<*mut c_void>()) {
        return libc::EINVAL;
    }
    // SAFETY: the alignment is a power of two.
    let address = unsafe { memalign(align, size) };
    if address.is_null() {
        return libc::ENOMEM;
    }
    // SAFETY: the caller's pointer leads to a pointer.
    unsafe { *result = address };
    0
}
