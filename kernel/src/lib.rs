//! The kernel: hardware, statics and the glue around the allocator crate `bifolio`, as thin as it can be.
//!
//! As a library, so that booted tests are kernels of their own made of the same parts. `main.rs` shows in which order a
//! boot goes through them:
//!
//! | module | gives |
//! |---|---|
//! | [`console`] | COM1: printing, the log, reading a byte |
//! | [`screen`] | the console on the machine's display, if somebody watches it |
//! | [`host`] | the host program: inputs, events, the end of the machine |
//! | [`cpu`] | every CPU: segments, exceptions, interrupts, work |
//! | [`memory`] | the memory map, page frames, paging, the heap |
//! | [`sync`] | locks that interrupt handlers can take, and their validator |
//! | [`shell`] | commands for a person or for `CMD=` |
//! | [`machine`] | all of it, as the crate [`stress`] works it |
//! | [`mod@panic`], [`backtrace`] | the end, explained |
#![no_std]

extern crate alloc;

pub mod backtrace;
pub mod console;
pub mod cpu;
pub mod host;
pub mod machine;
pub mod memory;
pub mod panic;
pub mod screen;
pub mod shell;
pub mod sync;

use bootloader_api::BootloaderConfig;
use bootloader_api::config::Mapping;

/// What the kernel asks of the boot loader.
pub static BOOTLOADER_CONFIG: BootloaderConfig = {
    let mut config = BootloaderConfig::new_default();
    config.kernel_stack_size = 256 * 1024;
    // All physical memory, so that page tables and metadata can be reached before anything can be mapped.
    config.mappings.physical_memory = Some(Mapping::Dynamic);
    // The lower half stays empty: a null pointer, whatever its offset, must not find memory.
    config.mappings.dynamic_range_start = Some(0xffff_8000_0000_0000);
    config
};
