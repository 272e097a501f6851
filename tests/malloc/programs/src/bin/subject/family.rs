//! Each function of the family, in every corner.

use std::ffi::{CStr, c_int, c_void};
use std::hint;
use std::io;
use std::mem;
use std::ptr;

unsafe extern "C" {
    fn reallocarray(object: *mut c_void, count: usize, size: usize) -> *mut c_void;
    fn malloc_usable_size(object: *mut c_void) -> usize;
    fn memalign(align: usize, size: usize) -> *mut c_void;
    fn valloc(size: usize) -> *mut c_void;
    fn pvalloc(size: usize) -> *mut c_void;
}

const PAGE: usize = 4096;

/// The functions that the compiler knows too well: where nobody looks at an object, it leaves out that one is allocated, and
/// says that it was.
macro_rules! not_left_out {
    ($($name:ident($($argument:ident: $type:ty),*);)*) => {
        $(unsafe fn $name($($argument: $type),*) -> *mut c_void {
            // SAFETY: the call is the very one that this stands for, under the same conditions.
            hint::black_box(unsafe { libc::$name($(hint::black_box($argument)),*) })
        })*
    };
}
not_left_out! {
    malloc(size: usize);
    calloc(count: usize, size: usize);
    realloc(object: *mut c_void, size: usize);
    aligned_alloc(align: usize, size: usize);
}

/// Sizes around everything that makes a difference: classes, pages, blocks, mappings.
fn sizes() -> impl Iterator<Item = usize> {
    let powers = (0..=24).map(|shift| 1usize << shift);
    powers.flat_map(|power| [power - 1, power, power + 1, power + power / 4 + 3])
}

pub fn run() {
    objects_are_aligned_and_apart();
    nothing_is_something();
    zeroed_memory_is_zero();
    contents_survive_resizing();
    alignments_are_kept();
    impossible_requests_are_refused();
    freeing_leaves_errno_alone();
    sized_frees_take_what_was_allocated();
    println!("the family does what it should");
}

/// Clears `errno`, calls, and returns both.
fn with_errno<R>(call: impl FnOnce() -> R) -> (R, Option<c_int>) {
    // SAFETY: the C library's variable of this thread.
    unsafe { *libc::__errno_location() = 0 };
    let result = call();
    let error = io::Error::last_os_error().raw_os_error();
    (result, error.filter(|&error| error != 0))
}

fn objects_are_aligned_and_apart() {
    let mut objects: Vec<(usize, usize, *mut c_void)> = Vec::new();
    for size in sizes().chain(sizes()) {
        // SAFETY: any size may be asked for, and `usable` bytes may be written.
        unsafe {
            let object = malloc(size);
            assert!(!object.is_null(), "{size} bytes");
            let usable = malloc_usable_size(object);
            assert!(usable >= size, "{usable} of {size} bytes can be used");
            let align = if size >= 16 { 16 } else { 8 };
            assert!(object.addr().is_multiple_of(align), "{size} bytes at {object:p}");
            object.cast::<u8>().write_bytes(0x5a, usable.min(1 << 20));
            objects.push((object.addr(), usable, object));
        }
    }
    objects.sort_unstable();
    assert!(objects.windows(2).all(|pair| pair[0].0 + pair[0].1 <= pair[1].0), "objects overlap");
    // SAFETY: they are ours, and used no more.
    objects.iter().for_each(|&(_, _, object)| unsafe { libc::free(object) });
}

fn nothing_is_something() {
    // SAFETY: the objects are ours and each freed once; a null pointer may be freed and asked about.
    unsafe {
        let (one, other) = (malloc(0), malloc(0));
        assert!(!one.is_null() && !other.is_null() && one != other, "malloc(0)");
        libc::free(one);
        libc::free(other);
        for (count, size) in [(0, 8), (8, 0), (0, 0)] {
            let object = calloc(count, size);
            assert!(!object.is_null(), "calloc({count}, {size})");
            libc::free(object);
        }
        libc::free(ptr::null_mut());
        assert_eq!(malloc_usable_size(ptr::null_mut()), 0);
        let object = realloc(ptr::null_mut(), 100);
        assert!(!object.is_null(), "realloc(NULL, 100)");
        assert!(realloc(object, 0).is_null(), "realloc(p, 0)");
        let object = realloc(ptr::null_mut(), 0);
        assert!(!object.is_null(), "realloc(NULL, 0)");
        libc::free(object);
    }
}

fn zeroed_memory_is_zero() {
    for size in sizes() {
        // SAFETY: each object is ours, has `size` bytes, and is freed once.
        unsafe {
            // What is freed dirty comes back clean.
            let dirty = malloc(size).cast::<u8>();
            dirty.write_bytes(0xff, size);
            libc::free(dirty.cast());
            let clean = calloc(size.div_ceil(3), 3).cast::<u8>();
            assert!((0..size).all(|place| clean.add(place).read() == 0), "calloc of {size} bytes");
            libc::free(clean.cast());
        }
    }
}

fn contents_survive_resizing() {
    let mut object = crate::contents::Filled::new(1, 1);
    for size in sizes() {
        object.resize(size.max(1));
    }
    for size in sizes().collect::<Vec<_>>().into_iter().rev() {
        object.resize(size.max(1));
    }
    // SAFETY: the objects are ours; a refused one is as it was.
    unsafe {
        let object = malloc(1000).cast::<u8>();
        object.write_bytes(7, 1000);
        let (refused, error) = with_errno(|| realloc(object.cast(), usize::MAX - 100));
        assert!(refused.is_null() && error == Some(libc::ENOMEM));
        let (refused, error) = with_errno(|| reallocarray(object.cast(), usize::MAX / 2, 3));
        assert!(refused.is_null() && error == Some(libc::ENOMEM));
        assert!((0..1000).all(|place| object.add(place).read() == 7), "a refused object changed");
        let object = reallocarray(object.cast(), 100, 20).cast::<u8>();
        assert!((0..1000).all(|place| object.add(place).read() == 7));
        libc::free(object.cast());
    }
}

fn alignments_are_kept() {
    for shift in 3..=22 {
        let align = 1usize << shift;
        for size in [1, 24, align - 1, align, align + 1, 3 * align + 5] {
            let mut object = ptr::null_mut();
            // SAFETY: the pointer is to be written; the objects are ours and freed once.
            unsafe {
                assert_eq!(libc::posix_memalign(&raw mut object, align, size), 0, "{size} bytes aligned to {align}");
                let others = [aligned_alloc(align, size), memalign(align, size)];
                for object in others.into_iter().chain([object]) {
                    assert!(!object.is_null() && object.addr().is_multiple_of(align), "{size} at {align}: {object:p}");
                    let usable = malloc_usable_size(object);
                    assert!(usable >= size);
                    object.cast::<u8>().write_bytes(0xa5, usable.min(1 << 16));
                    let object = realloc(object, size + 1000);
                    assert!((0..size.min(1 << 16)).all(|place| object.cast::<u8>().add(place).read() == 0xa5));
                    libc::free(object);
                }
            }
        }
    }
    // SAFETY: the objects are ours and freed once.
    unsafe {
        let (one, other) = (valloc(100), pvalloc(100));
        assert!(one.addr().is_multiple_of(PAGE) && other.addr().is_multiple_of(PAGE));
        assert!(malloc_usable_size(other) >= PAGE);
        libc::free(one);
        libc::free(other);
    }
}

fn impossible_requests_are_refused() {
    let too_much = isize::MAX as usize;
    // SAFETY: nothing is allocated by any of these.
    unsafe {
        for size in [too_much, too_much + 1, usize::MAX, usize::MAX - PAGE, 1 << 60] {
            for (name, (object, error)) in [
                ("malloc", with_errno(|| malloc(size))),
                ("calloc", with_errno(|| calloc(1, size))),
                ("aligned_alloc", with_errno(|| aligned_alloc(64, size))),
                ("memalign", with_errno(|| memalign(1 << 20, size))),
                ("valloc", with_errno(|| valloc(size))),
                ("pvalloc", with_errno(|| pvalloc(size))),
                ("realloc", with_errno(|| realloc(ptr::null_mut(), size))),
            ] {
                assert!(
                    object.is_null() && error == Some(libc::ENOMEM),
                    "{name} of {size} bytes: {object:p}, {error:?}"
                );
            }
        }
        for (count, size) in [(usize::MAX, 2), (1 << 32, 1 << 32), ((usize::MAX >> 1) + 2, 2)] {
            let (object, error) = with_errno(|| calloc(count, size));
            assert!(object.is_null() && error == Some(libc::ENOMEM), "calloc({count}, {size})");
        }
        let mark = ptr::without_provenance_mut::<c_void>(0x1234);
        for align in [0, 1, 2, 4, 7, 24, 100, usize::MAX] {
            let mut object = mark;
            let (result, error) = with_errno(|| libc::posix_memalign(&raw mut object, align, 100));
            assert!(result == libc::EINVAL && error.is_none() && object == mark, "posix_memalign to {align}: {result}");
        }
        let mut object = mark;
        let (result, error) = with_errno(|| libc::posix_memalign(&raw mut object, 64, too_much));
        assert!(result == libc::ENOMEM && object == mark, "posix_memalign of too much: {result}");
        // The GNU C library sets it all the same, which POSIX leaves open.
        assert!(error.is_none() || error == Some(libc::ENOMEM));
    }
}

fn freeing_leaves_errno_alone() {
    for size in sizes() {
        // SAFETY: the object is ours, and used no more; the variable is this thread's.
        unsafe {
            let object = malloc(size);
            *libc::__errno_location() = 1234;
            libc::free(object);
            assert_eq!(*libc::__errno_location(), 1234, "after the free of {size} bytes");
        }
    }
}

/// A function that the C library may not have.
fn function(name: &CStr) -> Option<*mut c_void> {
    // SAFETY: the name is one.
    let function = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    (!function.is_null()).then_some(function)
}

fn sized_frees_take_what_was_allocated() {
    let (Some(sized), Some(aligned)) = (function(c"free_sized"), function(c"free_aligned_sized")) else {
        println!("skipped: free_sized and free_aligned_sized, which this C library does not have");
        return;
    };
    // SAFETY: these are the types that C23 gives the functions; the objects are ours and freed once.
    unsafe {
        let sized: unsafe extern "C" fn(*mut c_void, usize) = mem::transmute(sized);
        let aligned: unsafe extern "C" fn(*mut c_void, usize, usize) = mem::transmute(aligned);
        sized(ptr::null_mut(), 10);
        aligned(ptr::null_mut(), 16, 10);
        for size in sizes() {
            sized(malloc(size), size);
            sized(calloc(1, size), size);
            sized(realloc(malloc(2 * size + 1), size.max(1)), size.max(1));
            aligned(aligned_alloc(256, size), 256, size);
        }
    }
}
