//! Two blog posts about writing an allocator, as tests: what they explain step by step is done step by step.
//!
//! - `monkeys_with_typewriters`: "Allocators are Monkeys With Typewriters, or How easy it is to implement an allocator",
//!   2025, by the author of imalloc: a buddy allocator for a preallocated region.
//! - `tinymalloc`: "tinymalloc.c, my memory allocator", sibellavia, 2024: bitmaps, arenas, three ranges of sizes.

mod monkeys_with_typewriters;
mod tinymalloc;
