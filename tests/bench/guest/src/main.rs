//! The kernel's part of `make bench`: a kernel that measures and switches off.
//!
//! Instructions are the machine's clock, so each figure is exact and the same in every boot. What differs from the host:
//! interrupts are masked and restored around whatever an interrupt handler must not meet, by all allocators alike.
//!
//! On a machine with several CPUs it measures what they cost each other, and nothing else.
#![no_std]
#![no_main]

extern crate alloc;

mod heap;
mod meter;
mod operations;
mod region;
mod scaling;
mod setup;
mod worst;

use bootloader_api::{BootInfo, entry_point};
use kernel::host::{self, Input};
use kernel::memory::frames::Processor;
use kernel::{console, cpu, memory};
use log::LevelFilter;
use meter::Meter;
use protocol::{Event, ExitCode, Selection, input};
use region::ForObjects;
use workloads::heap::{Backing, BifolioHeap, DefaultTalc, InRegion, LinkedList};
use workloads::{Bifolio, Bitmap, BuddySystem};

entry_point!(main, config = &kernel::BOOTLOADER_CONFIG);

fn main(boot_info: &'static mut BootInfo) -> ! {
    cpu::init();
    console::init();
    log::set_max_level(LevelFilter::Warn);
    host::init();
    let [metadata, objects] =
        [setup::METADATA, ForObjects::SIZE as u64].map(|bytes| (region::reserve(boot_info, bytes), bytes));
    memory::init(boot_info);
    // SAFETY: both were reserved, and nothing uses them yet.
    let [metadata, objects] = [metadata, objects].map(|(start, bytes)| unsafe { region::map(start, bytes) });
    ForObjects::set(objects);
    cpu::start_all();
    host::send(&Event::Ready);

    let selection = Input::read(input::SELECTION);
    let mut meter = Meter::new(Selection::parse(selection.as_str().unwrap_or_default()));
    if cpu::count() > 1 {
        scaling::run(&meter);
        host::exit(ExitCode::Success)
    }
    operations::run::<Bifolio<Processor>>(&meter);
    operations::run::<BuddySystem<Processor>>(&meter);
    operations::run::<Bitmap<Processor>>(&meter);
    worst::run::<Bifolio<Processor>>(&mut meter, 1_000_000);
    worst::run::<BuddySystem<Processor>>(&mut meter, 100_000);
    // A search takes it so long that more would take minutes.
    worst::run::<Bitmap<Processor>>(&mut meter, 10_000);
    setup::run(&meter, metadata);
    heap::run::<BifolioHeap<ForObjects, Processor>>(&meter);
    heap::run::<InRegion<DefaultTalc, ForObjects, Processor>>(&meter);
    heap::run::<InRegion<LinkedList, ForObjects, Processor>>(&meter);
    heap::worst::<BifolioHeap<ForObjects, Processor>>(&meter, 1_000_000);
    heap::worst::<InRegion<DefaultTalc, ForObjects, Processor>>(&meter, 1_000_000);
    // As with bitmap-allocator.
    heap::worst::<InRegion<LinkedList, ForObjects, Processor>>(&meter, 50_000);
    host::exit(ExitCode::Success)
}
