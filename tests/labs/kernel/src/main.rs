//! A kernel whose shell hands out page frames of a learner's piece: `make lab-shell N=2`.
#![no_std]
#![no_main]

use bootloader_api::{BootInfo, entry_point};
use kernel::{console, cpu, host, memory};
use lab_kernel::shell::Talk;
use lab_piece::LAB;
use labs::lab::Lab;
use log::LevelFilter;
use protocol::Event;

entry_point!(main, config = &kernel::BOOTLOADER_CONFIG);

fn main(boot_info: &'static mut BootInfo) -> ! {
    cpu::init();
    console::init();
    log::set_max_level(LevelFilter::Warn);
    host::init();
    memory::init(boot_info);
    cpu::start_all();
    host::send(&Event::Ready);
    lab_piece::with(Talk(Lab::find(LAB).expect("the lab that the piece was built for")));
    unreachable!("the shell does not come back")
}
