//! The kernel: hardware, statics and the glue around the allocator crate `bifolio`, as thin as it can be.
//!
//! As a library, so that booted tests are kernels of their own made of the same parts. `main.rs` shows in which order a
//! boot goes through them. They are layers: what a file uses is in its own layer or below, and never uses it in turn
//! (`cargo test -p boot --test layers` looks).
//!
//! | layer | gives |
//! |---|---|
//! | [`shell`] | commands for a person or for `CMD=` |
//! | [`machine`] | all of it, as the crate [`stress`] works it |
//! | [`memory`] | the memory map, page frames, paging, the heap |
//! | [`cpu`] | every CPU: segments, exceptions, device interrupts, work |
//! | [`mod@panic`] | the end, explained |
//! | [`host`] | the host program: inputs, events, the end of the machine |
//! | [`console`] | COM1: printing, the log, what was typed |
//! | [`screen`] | the console on the machine's display, if somebody watches it |
//! | [`sync`] | the processor to the allocator; locks that interrupt handlers can take, and their validator |
//! | [`arch`] | what takes no lock: each CPU's own data, its interrupts, time, barriers, what is mapped |
//!
//! What a layer needs of a higher one is handed in while the kernel boots: the console gives the validator of locks a way to
//! print; memory gives CPUs [stacks, devices' registers and what to do when idle](cpu::given), and the
//! [processor](sync::Processor) what to do when memory is low.
#![no_std]

extern crate alloc;

pub mod arch;
pub mod console;
pub mod cpu;
pub mod host;
pub mod machine;
pub mod memory;
pub mod panic;
pub mod screen;
pub mod shell;
pub mod sync;

pub use arch::backtrace;

use bootloader_api::BootloaderConfig;
use bootloader_api::config::Mapping;

/// What the kernel asks of the boot loader.
pub static BOOTLOADER_CONFIG: BootloaderConfig = {
    let mut config = BootloaderConfig::new_default();
    config.kernel_stack_size = 256 * 1024;
    // Its page tables, so that others can be made: those show what is RAM, where the boot loader would map every address up to
    // the last that firmware speaks of, and take MiB of tables for that.
    config.mappings.page_table_recursive = Some(Mapping::Dynamic);
    // What it maps lies below all that the kernel maps: see `memory::space`.
    config.mappings.dynamic_range_start = Some(0xffff_8000_0000_0000);
    config.mappings.dynamic_range_end = Some(arch::window::START.as_u64() - 1);
    config
};
