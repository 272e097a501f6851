//! The kernel.
#![no_std]
#![no_main]
use bootloader_api::{BootInfo, entry_point};
entry_point!(main);
fn main(_: &'static mut BootInfo) -> ! {
    loop {}
}
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}
