//! Page tables out of our frames: mapping, reaching, unmapping, and every table given back.
#![no_std]
#![no_main]
#![feature(custom_test_frameworks)]
#![test_runner(framework::run)]
#![reexport_test_harness_main = "test_main"]
#![allow(missing_docs, reason = "a test's name says what it tests")]

extern crate alloc;

use alloc::vec::Vec;
use bifolio::frame::Gfp;
use booted::pages::{EMPTY, free_empty_tables, map, unmap};
use booted::{Hoard, random};
use core::fmt::Debug;
use core::hint::black_box;
use framework::Snapshot;
use kernel::cpu::catch;
use kernel::cpu::exceptions::PAGE_FAULT;
use kernel::memory::{MEMORY, paging};
use rand::RngExt;
use rand::seq::SliceRandom;
use x86_64::VirtAddr;
use x86_64::registers::control::Cr2;
use x86_64::structures::paging::mapper::{MapToError, TranslateResult};
use x86_64::structures::paging::{
    FrameAllocator, FrameDeallocator, Mapper, OffsetPageTable, Page, PageSize, Size4KiB, Translate,
};

framework::entry!(test_main);

fn is_empty() -> bool {
    let table = paging::table();
    matches!(table.translate(EMPTY), TranslateResult::NotMapped) && table.level_4_table()[EMPTY.p4_index()].is_unused()
}

fn write(address: VirtAddr, value: u64) {
    // SAFETY: the tests write to pages that they have mapped.
    unsafe { address.as_mut_ptr::<u64>().write_volatile(value) };
}

fn read(address: VirtAddr) -> u64 {
    // SAFETY: the tests read from what is mapped, or under `catch`.
    unsafe { black_box(address).as_ptr::<u64>().read_volatile() }
}

#[track_caller]
fn assert_unreachable(address: VirtAddr) {
    // SAFETY: the closure owns nothing.
    let trap = unsafe { catch(|| _ = read(address)) }.expect("the page is still reachable");
    assert_eq!((trap.vector, Cr2::read_raw()), (PAGE_FAULT, address.as_u64()));
}

/// Maps, writes through the page, reads through the window and back, unmaps.
fn round_trip<S: PageSize + Debug, F: FrameAllocator<S> + FrameDeallocator<S>>(frames: fn() -> F)
where
    for<'a> OffsetPageTable<'a>: Mapper<S>,
{
    assert!(is_empty());
    let before = Snapshot::take();
    assert_unreachable(EMPTY);
    let frame = map(Page::<S>::containing_address(EMPTY), frames()).unwrap();
    for offset in [0, 8, S::SIZE / 2, S::SIZE - 8] {
        write(EMPTY + offset, !offset);
        assert_eq!(read(paging::to_virtual(frame.start_address() + offset)), !offset);
    }
    assert_unreachable(EMPTY + S::SIZE);
    assert_eq!(paging::table().translate_addr(EMPTY + 16_u64), Some(frame.start_address() + 16_u64));
    unmap(Page::<S>::containing_address(EMPTY), frames());
    assert_unreachable(EMPTY);
    free_empty_tables();
    assert!(is_empty());
    assert_eq!(Snapshot::take(), before);
}

#[test_case]
fn a_small_page_is_mapped_and_unmapped() {
    round_trip(|| MEMORY.frames());
}

#[test_case]
fn a_large_page_is_mapped_and_unmapped() {
    round_trip(|| MEMORY.frames().large());
}

#[test_case]
fn many_scattered_pages_hold_what_is_theirs() {
    let mut random = random();
    let mut pages: Vec<Page> = Vec::with_capacity(1000);
    let before = Snapshot::take();
    while pages.len() < pages.capacity() {
        let page = Page::containing_address(EMPTY + random.random_range(0..1_u64 << 39));
        match map(page, MEMORY.frames()) {
            Ok(_) => pages.push(page),
            Err(MapToError::PageAlreadyMapped(_)) => {}
            // On a machine with little memory, 1000 pages and their tables may be too many.
            Err(MapToError::FrameAllocationFailed) => break,
            Err(error) => panic!("{error:?}"),
        }
    }
    assert!(pages.len() > 100, "{} pages", pages.len());
    for page in &pages {
        write(page.start_address(), page.start_address().as_u64());
    }
    pages.shuffle(&mut random);
    for page in &pages {
        assert_eq!(read(page.start_address()), page.start_address().as_u64());
    }
    pages.drain(..).for_each(|page| unmap(page, MEMORY.frames()));
    free_empty_tables();
    assert!(is_empty());
    assert_eq!(Snapshot::take(), before);
}

#[test_case]
fn without_frames_mapping_is_an_error() {
    let mut hoard = Hoard::new();
    let before = Snapshot::take();
    hoard.take(Gfp::MEMALLOC);
    let refused = map(Page::<Size4KiB>::containing_address(EMPTY), MEMORY.frames());
    assert!(matches!(refused, Err(MapToError::FrameAllocationFailed)), "{refused:?}");
    hoard.give_back();
    free_empty_tables();
    assert!(is_empty());
    assert_eq!(Snapshot::take(), before);
}

#[test_case]
fn is_mapped_agrees_with_the_page_tables() {
    let here = 0_u8;
    for address in [&raw const here as u64, free_empty_tables as fn() as usize as u64] {
        assert!(paging::is_mapped(address), "{address:#x}");
    }
    for address in [0, 0xfff, EMPTY.as_u64(), 0x8000_0000_0000_0000, !0] {
        assert!(!paging::is_mapped(address), "{address:#x}");
    }
}
