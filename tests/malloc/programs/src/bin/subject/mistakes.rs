//! What no program should do: each ends it with a line that says what was wrong.

use std::ffi::c_void;
use std::hint;
use std::process::ExitCode;
use std::ptr;
use std::thread;

/// An address that can be sent to a thread.
struct Address(*mut c_void);
// SAFETY: the pointer is to memory of no particular thread.
unsafe impl Send for Address {}

static STATIC: [u64; 16] = [1; 16];

unsafe extern "C" {
    fn malloc_usable_size(object: *mut c_void) -> usize;
}

/// Makes the mistake. Whoever comes back from that was not noticed.
pub fn run(mistake: &str) -> ExitCode {
    let free = |object: *mut c_void| {
        // SAFETY: it is not, and that is what is tried. The allocator says so before anything happens.
        unsafe { libc::free(hint::black_box(object)) }
    };
    // SAFETY: the sizes are fine; what is done with the objects is not, and is to be noticed.
    let object = |size| hint::black_box(unsafe { libc::malloc(size) });
    match mistake {
        "twice" => {
            let object = object(96);
            free(object);
            free(object);
        }
        "twice-large" => {
            let object = object(100_000);
            free(object);
            free(object);
        }
        "twice-mapped" => {
            let object = object(20 << 20);
            free(object);
            free(object);
        }
        "twice-elsewhere" => {
            let object = object(96);
            let also = Address(object);
            thread::spawn(move || free({ also }.0)).join().expect("the first free is fine");
            free(object);
        }
        "inside" => free(object(200).wrapping_byte_add(16)),
        "inside-large" => free(object(100_000).wrapping_byte_add(4096)),
        "inside-mapped" => free(object(20 << 20).wrapping_byte_add(8192)),
        "static" => free((&raw const STATIC).cast_mut().cast()),
        "stack" => free((&raw mut *hint::black_box(&mut [0u64; 4])).cast()),
        "nowhere" => free(ptr::without_provenance_mut(0x1000)),
        "kernel" => free(ptr::without_provenance_mut(0xffff_8000_0000_0000)),
        "mapping" => {
            // SAFETY: a new mapping, which changes none that is there.
            free(unsafe { libc::mmap(ptr::null_mut(), 1 << 16, 3, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0) });
        }
        "realloc-freed" => {
            let object = object(500);
            free(object);
            // SAFETY: as with `free`.
            hint::black_box(unsafe { libc::realloc(object, 5000) });
        }
        "usable-freed" => {
            let object = object(500);
            free(object);
            // SAFETY: as with `free`.
            hint::black_box(unsafe { malloc_usable_size(object) });
        }
        "too-much-sized" => {
            // SAFETY: the name is one; C23 gives the function this type.
            unsafe {
                let function = libc::dlsym(libc::RTLD_DEFAULT, c"free_sized".as_ptr());
                assert!(!function.is_null(), "there is no free_sized");
                let free_sized: unsafe extern "C" fn(*mut c_void, usize) = std::mem::transmute(function);
                free_sized(object(100), 1000);
            }
        }
        _ => eprintln!("there is no mistake of the name {mistake}"),
    }
    eprintln!("nobody noticed");
    ExitCode::SUCCESS
}
