//! The memory map against what QEMU was told to build.
#![no_std]
#![no_main]
#![feature(custom_test_frameworks)]
#![test_runner(framework::run)]
#![reexport_test_harness_main = "test_main"]
#![allow(missing_docs, reason = "a test's name says what it tests")]

extern crate alloc;

use alloc::vec::Vec;
use bifolio::frame::{FRAME_SIZE, Gfp, Pfn, PfnRange, Profile, ZoneKind};
use bifolio::memory_map::RegionKind;
use booted::frame_of;
use kernel::host::Input;
use kernel::memory::map::map;
use kernel::memory::{frames, paging};
use x86_64::VirtAddr;
use x86_64::registers::control::Cr3;

framework::entry!(test_main);

/// The machine's RAM as QEMU built it: its own table, which the firmware works from and may get wrong.
fn ram() -> Vec<PfnRange> {
    const ENTRY: usize = 20;
    const RAM: u32 = 1;
    let table = Input::read("etc/e820");
    let table = table.as_bytes().expect("QEMU gives its memory table");
    let word = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap());
    let entries = table.chunks_exact(ENTRY).filter(|entry| entry[16..] == RAM.to_le_bytes());
    entries
        .map(|entry| (word(&entry[..8]), word(&entry[8..16])))
        .map(|(start, length)| PfnRange::new(Pfn::containing(start), Pfn::containing(start + length)))
        .collect()
}

fn frames_in(ranges: impl IntoIterator<Item = PfnRange>) -> u64 {
    ranges.into_iter().map(PfnRange::frames).sum()
}

fn usable() -> impl Iterator<Item = PfnRange> {
    map().ranges(RegionKind::Usable)
}

#[track_caller]
fn assert_not_usable(address: u64, what: &str) {
    let pfn = frame_of(VirtAddr::new(address));
    assert!(!usable().any(|range| range.contains(pfn)), "{what} lies in usable frame {pfn}");
}

#[test_case]
fn qemu_was_told_of_ram() {
    assert!(frames_in(ram()) * FRAME_SIZE >= 24 << 20, "{:?}", ram());
}

#[test_case]
fn what_is_called_usable_is_ram() {
    let ram = ram();
    for range in usable().chain(map().ranges(RegionKind::AcpiReclaimable)) {
        let holds = |ram: &&PfnRange| ram.intersection(range) == range;
        assert!(ram.iter().any(|ram| holds(&ram)), "{range} is not in {ram:?}");
    }
}

#[test_case]
fn every_frame_of_ram_has_a_kind() {
    for ram in ram() {
        let of_kind = |kind| frames_in(map().ranges(kind).map(|range| range.intersection(ram)));
        assert_eq!(RegionKind::ALL.map(of_kind).iter().sum::<u64>(), ram.frames(), "in {ram}");
    }
}

#[test_case]
fn most_of_the_ram_is_usable() {
    // Firmware, boot loader and kernel take a few MiB each, however much there is.
    let (usable, ram) = (frames_in(usable()), frames_in(ram()));
    assert!(ram - usable < (32 << 20) / FRAME_SIZE, "{usable} of {ram} frames");
}

#[test_case]
fn the_first_mebibyte_is_kept_from_everyone() {
    assert!(usable().all(|range| range.start >= Profile::X86_64.low_memory().end));
    assert!(frames().zone(ZoneKind::Dma).start >= Profile::X86_64.low_memory().end);
}

#[test_case]
fn what_the_kernel_runs_on_is_not_usable() {
    static DATA: u64 = 1;
    let stack = 1_u64;
    assert_not_usable(ram as fn() -> _ as usize as u64, "code");
    assert_not_usable(&raw const DATA as u64, "data");
    assert_not_usable(&raw const stack as u64, "the stack");
    // Page tables are the allocator's own frames: usable, and given out.
    let mut table = Cr3::read().0.start_address();
    for index in [511, 510] {
        let pfn = Pfn::containing(table.as_u64());
        let taken = frames().allocate_range(PfnRange::new(pfn, pfn.offset(1)), Gfp::KERNEL);
        assert!(taken.is_err(), "the page table in frame {pfn} can be given out");
        let entries: *const u64 = paging::to_virtual(table).as_ptr();
        // SAFETY: the window shows the active page tables, which have 512 entries.
        let entry = unsafe { entries.add(index).read_volatile() };
        assert_eq!(entry & 1, 1, "the kernel's image is in the last two GiB");
        table = x86_64::PhysAddr::new(entry & 0x000f_ffff_ffff_f000);
    }
}

#[test_case]
fn zones_manage_what_is_usable_and_the_metadata_is_part_of_it() {
    let metadata = frames().metadata();
    assert!(usable().any(|range| range.intersection(metadata) == metadata), "{metadata}");
    for kind in ZoneKind::ALL {
        let zone = frames().zone(kind);
        let usable = frames_in(usable().map(|range| range.intersection(Profile::X86_64.range(kind))));
        assert_eq!(zone.managed + metadata.intersection(Profile::X86_64.range(kind)).frames(), usable, "{kind}");
        assert!(zone.spanned >= zone.present && zone.present >= zone.managed, "{kind}");
    }
}

#[test_case]
fn a_zone_has_memory_if_the_machine_has_some_there() {
    for kind in ZoneKind::ALL {
        let usable = frames_in(usable().map(|range| range.intersection(Profile::X86_64.range(kind))));
        assert_eq!(frames().zone(kind).managed > 0, usable > 0, "{kind}");
    }
    // Firmware lives below 4 GiB: whatever RAM lies above is all there.
    let above = frames_in(ram().iter().map(|ram| ram.intersection(Profile::X86_64.range(ZoneKind::Normal))));
    assert_eq!(frames().zone(ZoneKind::Normal).present, above);
}

#[test_case]
fn metadata_costs_at_most_a_byte_a_frame() {
    let bytes = frames().metadata().frames() * FRAME_SIZE;
    // Zones begin and end inside pageblocks, and metadata is whole frames.
    assert!(bytes <= frames_in(ram()) + 2 * FRAME_SIZE, "{bytes} bytes");
}
