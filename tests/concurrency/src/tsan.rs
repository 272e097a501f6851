//! Names that LLVM calls and that GCC's ThreadSanitizer, which serves where Rust's own is not installed, knows by others.

core::arch::global_asm!(
    ".globl __tsan_memcpy, __tsan_memmove, __tsan_memset",
    "__tsan_memcpy: jmp memcpy@PLT",
    "__tsan_memmove: jmp memmove@PLT",
    "__tsan_memset: jmp memset@PLT",
);
