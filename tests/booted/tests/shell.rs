//! The shell: what a command does to the machine, and what a wrong one does not.
#![no_std]
#![no_main]
#![feature(custom_test_frameworks)]
#![test_runner(framework::run)]
#![reexport_test_harness_main = "test_main"]
#![allow(missing_docs, reason = "a test's name says what it tests")]

extern crate alloc;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use bifolio::frame::{Gfp, Order, Pfn, ZoneKind};
use bifolio::heap::SizeClass;
use booted::{first_word, frames_free};
use core::alloc::Layout;
use core::fmt::Write;
use framework::Snapshot;
use kernel::memory::frames;
use kernel::memory::heap::HEAP;
use kernel::memory::paging::to_physical;
use kernel::shell::{Shell, commands};
use kit::Raw;
use protocol::ExitCode;
use x86_64::VirtAddr;

framework::entry!(test_main);

#[track_caller]
fn succeeds(commands: &str) {
    assert_eq!(Shell::default().run_all(commands), ExitCode::Success, "{commands}");
}

/// Asserts that the shell refuses a command, and is none the worse for it.
#[track_caller]
fn is_refused(command: &str) {
    let mut shell = Shell::default();
    let before = Snapshot::take();
    assert_eq!(shell.run_all(command), ExitCode::Failure, "{command}");
    assert_eq!(Snapshot::take(), before, "{command}");
    assert_eq!(shell.run_all("help"), ExitCode::Success);
}

#[test_case]
fn the_commands_that_show_something_all_do() {
    succeeds("help; meminfo; buddyinfo; pagetypeinfo; zoneinfo; extfrag; unusable; vmstat; memmap; lockdep; validate");
    succeeds("slabinfo; slabtop; heap; vmallocinfo; shrink; drain");
    succeeds("");
    succeeds(" ; ;; meminfo ;");
}

#[test_case]
fn no_command_hides_another() {
    for (index, command) in commands().enumerate() {
        assert!(commands().take(index).all(|other| other.name() != command.name()), "{}", command.name());
        // A line of `help` fits into 80 characters.
        assert!(command.name().len() <= 13 && command.help.len() <= 64, "{}: {}", command.name(), command.help);
    }
}

#[test_case]
fn every_command_can_be_tried_as_its_help_says() {
    for command in commands() {
        succeeds(&format!("help {}; ? {}", command.name(), command.name()));
        let ends_the_machine = |line: &str| line.contains("exit") || line.contains("poweroff");
        if !ends_the_machine(command.example) {
            assert!(command.example.contains(command.name()), "{}", command.example);
            // What it took is given back, for the next.
            succeeds(&format!("{}\nfree all; kfree all", command.example));
        }
    }
}

#[test_case]
fn comments_are_no_commands_and_a_sign_inside_of_a_word_is_none() {
    succeeds("# nonsense; nonsense\n  # more\nmeminfo # ; nonsense\nmeminfo;# nonsense");
    is_refused("meminfo#");
    is_refused("# fine\nnonsense");
}

#[test_case]
fn alloc_takes_frames_from_the_zone_that_is_asked_for() {
    let mut shell = Shell::default();
    for kind in [ZoneKind::Dma, ZoneKind::Dma32] {
        let before = frames().zone(kind).free;
        let command = if kind == ZoneKind::Dma { "alloc 3 DMA" } else { "alloc 3 gfp_dma32|movable" };
        assert_eq!(shell.run_all(command), ExitCode::Success);
        assert_eq!(before - frames().zone(kind).free, 8, "{command}");
    }
}

#[test_case]
fn free_takes_what_alloc_gave_with_and_without_the_order() {
    let mut shell = Shell::default();
    for with_order in [true, false] {
        let mut free = command_to_come();
        let before = Snapshot::take();
        assert_eq!(shell.run_all("alloc 9"), ExitCode::Success);
        let pfn = first_block(&shell);
        assert_eq!(frames().order_of(pfn), Ok(Order::PAGEBLOCK));
        if with_order { write!(free, "free {pfn} 9") } else { write!(free, "free {}", pfn.number()) }.unwrap();
        assert_eq!(shell.run_all(&free), ExitCode::Success, "{free}");
        assert_eq!(shell.run_all(&free), ExitCode::Failure, "{free}, a second time");
        assert_eq!(Snapshot::take(), before);
    }
}

/// Room for a command that names what is not known yet: there before anything is counted, since it takes memory too.
fn command_to_come() -> String {
    String::with_capacity(64)
}

/// Where the lowest of the shell's blocks is.
#[track_caller]
fn first_block(shell: &Shell) -> Pfn {
    shell.blocks().map(|block| block.start).min().expect("the shell holds a block")
}

/// Asserts that a command takes so many frames, and that they are given back as a range, once. Returns where they were.
#[track_caller]
fn takes(command: &str, frames: u64) -> Pfn {
    let (mut shell, mut free) = (Shell::default(), command_to_come());
    let before = Snapshot::take();
    assert_eq!(shell.run_all(command), ExitCode::Success, "{command}");
    assert_eq!(before.free() - Snapshot::take().free(), frames, "{command}");
    let start = first_block(&shell);
    write!(free, "free_range {start} {frames}").unwrap();
    assert_eq!(shell.run_all(&free), ExitCode::Success, "{free}");
    assert_eq!(Snapshot::take(), before, "{command}; {free}");
    assert_eq!(shell.run_all(&free), ExitCode::Failure, "{free}, a second time");
    start
}

#[test_case]
fn exact_counts_runs_and_ranges_are_taken_and_given_back() {
    takes("alloc_exact 21 DMA", 21);
    let start = takes("alloc_contig 1100", 1100);
    assert_eq!(takes(&format!("alloc_range {start} 700 KERNEL"), 700), start);
}

#[test_case]
fn a_block_is_split_and_its_pieces_are_freed_one_by_one() {
    let (mut shell, mut command) = (Shell::default(), command_to_come());
    let before = Snapshot::take();
    assert_eq!(shell.run_all("alloc 9"), ExitCode::Success);
    let pfn = first_block(&shell);
    write!(command, "split {pfn} 7").unwrap();
    assert_eq!(shell.run_all(&command), ExitCode::Success);
    command.clear();
    write!(command, "free {pfn} 9").unwrap();
    assert_eq!(shell.run_all(&command), ExitCode::Failure);
    for piece in 0..4 {
        command.clear();
        write!(command, "free {} 7", pfn.offset(128 * piece)).unwrap();
        assert_eq!(shell.run_all(&command), ExitCode::Success);
    }
    assert_eq!(Snapshot::take(), before);
}

#[test_case]
fn errors_say_what_is_wrong() {
    let free = frames().take(Order::MAX, Gfp::KERNEL).unwrap();
    frames().give(free, Order::MAX).unwrap();
    for (command, words) in [
        ("kmalloc 0xffffffffffffffff", "'0xffffffffffffffff' is too large"),
        ("alloc_range 1 0xffffffffffffffff", "'0xffffffffffffffff' is too large"),
        ("alloc 0x10000000000000000", "'0x10000000000000000' is too large"),
        ("alloc x", "'x' is not a number (decimal, or hexadecimal with 0x in front)"),
        (&format!("split {free} 3"), &format!("frame {free} is free: only an allocated block can be split")),
        ("unisolate 0 0x1001", "frames 0x0..0x1001 are in more than one zone"),
        ("kmalloc 8 x; nonsense", "unknown command 'nonsense'; 'help' lists the commands"),
    ] {
        let mut shell = Shell::default();
        assert_eq!(shell.run_all(command), ExitCode::Failure, "{command}");
        assert_eq!(shell.complaint(), words, "{command}");
    }
    succeeds("kmalloc 100 0");
}

#[test_case]
fn what_the_shell_holds_is_freed_at_once() {
    let mut shell = Shell::default();
    let before = Snapshot::take();
    assert_eq!(shell.run_all("alloc 9; alloc 10 MOVABLE; alloc_contig 600; free all"), ExitCode::Success);
    assert_eq!(Snapshot::take(), before);
    assert_eq!(shell.run_all("free all"), ExitCode::Success, "nothing is left to free, and that is no mistake");
}

/// How many free blocks the whole machine has: single frames, and larger ones.
fn free_blocks() -> (u64, u64) {
    let zones = ZoneKind::ALL.map(|kind| frames().free_blocks(kind));
    let of = |order| zones.iter().map(|blocks| blocks.of(order)).sum::<u64>();
    (of(Order::ZERO), Order::all().skip(1).map(of).sum())
}

#[test_case]
fn memory_that_is_fragmented_has_no_block_of_two_frames() {
    let mut shell = Shell::default();
    let before = Snapshot::take();
    assert_eq!(shell.run_all("fragment 50"), ExitCode::Success);
    let (single, larger) = free_blocks();
    assert!(single > before.free() * 2 / 5, "{single} of {}", before.free());
    // But for a few that the shell's own notes have moved.
    assert!(larger < 20, "{larger}");
    // Each frame is taken and freed by itself, which takes long on a large machine: all is looked at that there is to see of it.
    assert_eq!(shell.run_all("extfrag; unusable; map"), ExitCode::Success);
    assert_eq!(shell.run_all("alloc 5; free all"), ExitCode::Failure, "nothing larger is left");
    HEAP.shrink();
    frames().validate().unwrap();
    is_refused("fragment 101");
    is_refused("fragment all");
}

#[test_case]
fn memory_is_filled_and_churned_and_comes_back() {
    for command in ["fill", "fill 3", "churn", "churn 2000 7"] {
        HEAP.shrink();
        let before = frames_free();
        let mut shell = Shell::default();
        assert_eq!(shell.run_all(command), ExitCode::Success);
        let taken = before - frames_free();
        if command == "fill" {
            assert!(taken > before * 9 / 10, "{taken} of {before}");
        }
        assert!(taken > 0, "{command}");
        assert_eq!(shell.run_all("blocks; pagetypeinfo; map; free all; blocks; validate"), ExitCode::Success);
        drop(shell);
        HEAP.shrink();
        assert_eq!(frames_free(), before, "{command}");
    }
}

#[test_case]
fn a_frame_is_looked_at_and_every_pageblock_can_be_drawn() {
    let mut shell = Shell::default();
    assert_eq!(shell.run_all("alloc 5; alloc 0; kmalloc 100; kmalloc 20000"), ExitCode::Success);
    for kind in ZoneKind::ALL {
        let zone = frames().zone(kind);
        for pageblock in (0..zone.spanned / 512).step_by(37) {
            let pfn = zone.start.offset(pageblock * 512 + 77);
            if frames().look_at(pfn).is_some() {
                assert_eq!(shell.run_all(&format!("page {pfn}; map {pfn}")), ExitCode::Success);
            }
        }
    }
    let objects: Vec<_> = shell.objects().map(|object| to_physical(VirtAddr::from_ptr(object.as_ptr()))).collect();
    for object in objects {
        assert_eq!(shell.run_all(&format!("page {:#x}", object.as_u64() >> 12)), ExitCode::Success);
    }
    is_refused("page 0xffffffffff");
    is_refused("map 0xffffffffff");
    is_refused("map nowhere");
}

#[test_case]
fn explaining_changes_nothing_and_says_what_is_wrong_with_what_cannot_be() {
    let mut shell = Shell::default();
    assert_eq!(shell.run_all("alloc 3; alloc 0 MOVABLE; alloc 9"), ExitCode::Success);
    let before = Snapshot::take();
    for command in
        ["alloc 0", "alloc 3 RECLAIMABLE", "alloc 7 DMA", "alloc 10 ATOMIC|NOFRAGMENT", "kmalloc 100", "kmalloc 9000"]
    {
        assert_eq!(shell.run_all(&format!("explain {command}")), ExitCode::Success, "{command}");
    }
    for block in ["0", "0xfffffff"] {
        is_refused(&format!("explain free {block}"));
    }
    assert_eq!(Snapshot::take(), before);
    for command in
        ["explain", "explain 5", "explain alloc", "explain alloc 11", "explain free", "narrate", "narrate maybe"]
    {
        is_refused(command);
    }
    assert_eq!(shell.run_all("narrate on; kmalloc 128; alloc 4; free all; narrate off"), ExitCode::Success);
}

#[test_case]
fn a_command_is_watched_as_often_as_is_said() {
    let before = kernel::arch::clock::uptime();
    succeeds("watch 3 buddyinfo");
    assert!(kernel::arch::clock::uptime() - before >= core::time::Duration::from_secs(2), "a second between two");
    for command in ["watch", "watch 3", "watch nonsense", "watch 2 alloc x", "watch 2 watch"] {
        is_refused(command);
    }
}

#[test_case]
fn isolated_frames_are_not_given_and_come_back() {
    let mut shell = Shell::default();
    let pfn = frames().take(Order::MAX, Gfp::KERNEL).unwrap();
    frames().give(pfn, Order::MAX).unwrap();
    let (isolate, again, unisolate) =
        (format!("isolate {pfn} 1024"), format!("isolate {pfn} 1"), format!("unisolate {pfn} 1024"));
    let before = Snapshot::take();
    assert_eq!(shell.run_all(&isolate), ExitCode::Success);
    assert_eq!(before.free() - Snapshot::take().free(), 1024);
    assert_eq!(shell.run_all(&again), ExitCode::Failure);
    assert_eq!(shell.run_all(&unisolate), ExitCode::Success);
    assert_eq!(Snapshot::take(), before);
}

#[test_case]
fn zeroed_frames_hold_zeros() {
    let order = Order::PAGEBLOCK;
    let pfn = frames().take(order, Gfp::KERNEL).unwrap();
    let bytes = |pfn: Pfn| {
        // SAFETY: the window shows the block, which is this test's, for as long as it is.
        unsafe { core::slice::from_raw_parts_mut(first_word(pfn).cast::<u8>(), order.bytes() as usize) }
    };
    bytes(pfn).fill(0xa5);
    frames().give(pfn, order).unwrap();
    let again = frames().take(order, Gfp::KERNEL | Gfp::ZERO).unwrap();
    assert_eq!(again, pfn);
    assert!(bytes(again).iter().all(|byte| *byte == 0));
    frames().give(again, order).unwrap();
    succeeds("alloc 3 KERNEL|ZERO");
}

#[test_case]
fn a_wrong_order_frees_nothing() {
    let mut shell = Shell::default();
    let pfn = frames().take(Order::PAGEBLOCK, Gfp::KERNEL).unwrap();
    frames().give(pfn, Order::PAGEBLOCK).unwrap();
    assert_eq!(shell.run_all("alloc 9"), ExitCode::Success);
    assert_eq!(shell.run_all(&format!("free {pfn} 3")), ExitCode::Failure);
    assert_eq!(frames().order_of(pfn), Ok(Order::PAGEBLOCK));
    assert_eq!(shell.run_all(&format!("free {pfn}")), ExitCode::Success);
}

#[test_case]
fn wrong_commands_are_refused_one_by_one() {
    for command in [
        "nonsense",
        "HELP",
        "help me",
        "? nonsense",
        "help help help",
        "alloc",
        "alloc x",
        "alloc -1",
        "alloc 11",
        "alloc 0x",
        "alloc 99999999999999999999",
        "alloc 0 FAST",
        "alloc 0 DMA|",
        "alloc 0 DMA|DMA32",
        "alloc 0 DMA 1",
        "free",
        "free x",
        "free 0x+1",
        "free 0",
        "free 0xffffffffffffffff",
        "free 0x200 11",
        "alloc_exact 0",
        "alloc_exact 1025",
        "alloc_contig",
        "alloc_contig 0",
        "alloc_contig 99999999999",
        "alloc_range 0x1000",
        "alloc_range 0x1000 0",
        "alloc_range 0 1",
        "alloc_range 0xffffffffffffffff 2",
        "alloc_range 0xfffffffffffff 1",
        "split 0 0",
        "split 0x1000",
        "free_range 0 1",
        "free_range 0x1000 0",
        "isolate 0 0",
        "isolate 0xfffffffffffff 1",
        "unisolate",
        "unisolate 0 0",
        "unisolate 0 0x1fff",
        "unisolate 0xfffffffffffff 1",
        "exit now",
        "validate all",
        "meminfo 1",
        "kmalloc",
        "kmalloc x",
        "kmalloc 0xffffffffffffffff",
        "kmalloc 100000000000000",
        "kmalloc 8 -1",
        "kfree",
        "kfree 0",
        "kfree 0x1000",
        "kfree 0xffffd00000000000",
        "kfree each",
        "krealloc 0x1000",
        "krealloc 0 8",
        "shrink all",
        "slabtop 1",
    ] {
        is_refused(command);
    }
}

#[test_case]
fn the_kernels_own_frames_are_not_the_shells_to_free() {
    let pfn = frames().take(bifolio::frame::Order::ZERO, bifolio::frame::Gfp::KERNEL).unwrap();
    is_refused(&alloc::format!("free {pfn}"));
    frames().give(pfn, bifolio::frame::Order::ZERO).unwrap();
}

#[test_case]
fn one_failure_is_enough_and_stops_nothing() {
    let mut shell = Shell::default();
    let before = frames_free();
    assert_eq!(shell.run_all("nonsense; alloc 4"), ExitCode::Failure);
    assert_eq!(before - frames_free(), 16);
}

#[test_case]
fn alloc_until_memory_is_out_is_an_error_each_time() {
    let mut shell = Shell::default();
    // 16 MiB of DMA memory at most: few enough blocks on every machine.
    let allocate = |shell: &mut Shell| shell.run_all("alloc 10 DMA") == ExitCode::Success;
    while allocate(&mut shell) {}
    assert!(!allocate(&mut shell));
    assert_eq!(shell.run_all("validate; buddyinfo; free all"), ExitCode::Success);
}

#[test_case]
fn objects_are_allocated_resized_and_freed() {
    let mut shell = Shell::default();
    for bytes in [100, 20_000, 5 << 20] {
        assert_eq!(shell.run_all(&format!("kmalloc {bytes}")), ExitCode::Success);
        let object = shell.objects().next().unwrap();
        let (address, live) = (object.as_ptr().addr(), || HEAP.object_size(object).is_ok());
        assert!(live());
        // To the end of its slot or its last frame: it stays.
        let more = HEAP.object_size(object).unwrap();
        assert_eq!(shell.run_all(&format!("krealloc {address:#x} {more}")), ExitCode::Success);
        assert!(shell.objects().eq([object]));
        assert_eq!(shell.run_all(&format!("kfree {}", address + 8)), ExitCode::Failure, "an interior pointer");
        assert!(live());
        assert_eq!(shell.run_all(&format!("kfree {address}")), ExitCode::Success);
        assert!(!live());
        assert_eq!(shell.run_all(&format!("kfree {address}")), ExitCode::Failure, "a second time");
        assert_eq!(shell.run_all(&format!("krealloc {address} 8")), ExitCode::Failure);
    }
    let before = HEAP.cache_stats(SizeClass::of(Layout::new::<[u64; 250]>()).unwrap()).active_objects;
    let active = || HEAP.cache_stats(SizeClass::of(Layout::new::<[u64; 250]>()).unwrap()).active_objects;
    assert_eq!(shell.run_all("kmalloc 2000 50; slabtop; heap"), ExitCode::Success);
    assert!(active() >= before + 50);
    assert_eq!(shell.run_all("kfree all; shrink; validate"), ExitCode::Success);
    assert_eq!(active(), before);
}

#[test_case]
fn the_kernels_own_objects_are_not_the_shells_to_free() {
    let object = alloc::boxed::Box::new([7_u64; 10]);
    let address = object.as_ptr().addr();
    is_refused(&format!("kfree {address:#x}"));
    is_refused(&format!("krealloc {address:#x} 200"));
    assert_eq!(*object, [7; 10]);
}
