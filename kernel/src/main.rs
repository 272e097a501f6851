//! The whole boot: from the boot loader's jump to the shell's prompt.
//!
//! The boot loader has switched to long mode, mapped the kernel, its stack and all physical memory, and hands over what
//! the firmware told it. Each step below may use those above it, and nothing below it.
//!
//! The kernel's layers are not these steps, but in much the same order: [`kernel`] lists them, and what a lower one is handed
//! by a higher one while it boots.
#![no_std]
#![no_main]

use bootloader_api::{BootInfo, entry_point};
use kernel::host::{self, Stopwatch};
use kernel::{console, cpu, memory, screen, shell};
use protocol::Event;

entry_point!(main, config = &kernel::BOOTLOADER_CONFIG);

fn main(boot_info: &'static mut BootInfo) -> ! {
    let boot = Stopwatch::start();

    // Exceptions: from here on a mistake is a report and not a reset.
    cpu::init();

    // A voice: text to people on COM1 and perhaps a display, events to the host program on COM2.
    console::init();
    host::init();
    screen::init(boot_info.framebuffer.take().filter(|_| host::wants_screen()));
    log::info!("bifolio {}", env!("CARGO_PKG_VERSION"));

    // Memory: the firmware's map, sanitised; zones of page frames over it; the heap on top of those.
    memory::init(boot_info);

    // Interrupts, and the other CPUs: one that has nothing to do sleeps.
    cpu::start_all();

    log::info!("ready after {}", boot.elapsed());
    host::send(&Event::Ready);
    shell::run()
}
