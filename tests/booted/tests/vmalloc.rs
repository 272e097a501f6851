//! Mappings: memory in a row out of frames that lie anywhere, guard pages around it, and every frame and table given back.
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
use bifolio::error::FreeError;
use bifolio::frame::{FRAME_SIZE, Gfp};
use booted::{Hoard, Pieces, fault_at, frame_of, frames_free, random};
use core::fmt::{self, Write};
use core::ptr::NonNull;
use framework::Snapshot;
use kernel::memory::heap::HEAP;
use kernel::memory::{paging, vmalloc};
use kernel::sync;
use rand::RngExt;
use x86_64::VirtAddr;
use x86_64::structures::paging::Translate;
use x86_64::structures::paging::mapper::{MappedFrame, TranslateResult};

framework::entry!(test_main);

const PAGE: usize = FRAME_SIZE as usize;

/// A mapping that is filled with its own numbers.
struct Mapping {
    start: NonNull<u8>,
    pages: u64,
}

impl Mapping {
    fn try_new(pages: u64, align: u64) -> Option<Self> {
        let start = vmalloc::allocate(pages, align)?;
        assert_eq!(start.as_ptr().addr() as u64 % (align * FRAME_SIZE), 0);
        let mapping = Self { start, pages };
        mapping.fill(0);
        Some(mapping)
    }

    fn new(pages: u64) -> Self {
        Self::try_new(pages, 1).expect("there is memory for the mapping")
    }

    fn address(&self, page: u64) -> VirtAddr {
        VirtAddr::from_ptr(self.start.as_ptr()) + page * FRAME_SIZE
    }

    /// The first and the last word of a page.
    fn words(&self, page: u64) -> [*mut u64; 2] {
        let first: *mut u64 = self.address(page).as_mut_ptr();
        [first, first.wrapping_add(PAGE / 8 - 1)]
    }

    fn fill(&self, from: u64) {
        for page in from..self.pages {
            // SAFETY: the page is mapped, and this mapping's.
            self.words(page).into_iter().for_each(|word| unsafe { word.write(word.addr() as u64) });
        }
    }

    fn check(&self, pages: u64) {
        for page in 0..pages {
            for word in self.words(page) {
                // SAFETY: the page is mapped, and this mapping's.
                assert_eq!(unsafe { word.read() }, word.addr() as u64, "page {page} of {}", self.pages);
            }
        }
    }

    fn resize(&mut self, pages: u64) -> bool {
        // SAFETY: the mapping is ours; nobody uses what is cut off.
        let resized = unsafe { vmalloc::resize(self.start, self.pages, pages) };
        if resized {
            let kept = pages.min(self.pages);
            self.pages = pages;
            self.check(kept);
            self.fill(kept);
        }
        resized
    }

    fn free(self) {
        self.check(self.pages);
        // SAFETY: the mapping is ours, and nobody uses it afterwards.
        unsafe { vmalloc::free(self.start, self.pages) }.unwrap();
    }

    /// How many of its pages are part of large ones.
    fn large_pages(&self) -> usize {
        let table = paging::table();
        let is_large = |page: &u64| {
            matches!(
                table.translate(self.address(*page)),
                TranslateResult::Mapped { frame: MappedFrame::Size2MiB(_), .. }
            )
        };
        (0..self.pages).filter(is_large).count()
    }
}

/// The state of all frames, the heap's unused ones given back.
fn snapshot() -> Snapshot {
    HEAP.shrink();
    Snapshot::take()
}

#[test_case]
fn pages_are_mapped_in_a_row_and_given_back_to_the_bit() {
    let before = snapshot();
    let (_, used) = vmalloc::totals();
    let mapped = vmalloc::pages();
    for pages in [1, 2, 511, 512, 513, 1023, 1024, 1025, 3000] {
        let mapping = Mapping::new(pages);
        assert_eq!(vmalloc::pages() - mapped, pages, "neither a guard nor a table is counted");
        mapping.free();
        assert_eq!(snapshot(), before, "{pages} pages");
    }
    assert_eq!((vmalloc::totals().1, vmalloc::pages()), (used, mapped));
}

#[test_case]
fn mappings_do_not_meet() {
    let before = snapshot();
    let mut random = random();
    let mut mappings: Vec<Mapping> = Vec::with_capacity(16);
    for _ in 0..100 {
        if mappings.len() == mappings.capacity() || random.random_bool(0.3) && !mappings.is_empty() {
            mappings.swap_remove(random.random_range(0..mappings.len())).free();
        } else if let Some(mapping) = Mapping::try_new(random.random_range(1..1200), 1) {
            mappings.push(mapping);
        }
    }
    mappings.into_iter().for_each(Mapping::free);
    assert_eq!(snapshot(), before);
}

#[test_case]
fn mappings_are_aligned_as_is_asked() {
    let before = snapshot();
    let odd = Mapping::new(1);
    for align in (0..=20).map(|order| 1 << order) {
        Mapping::try_new(5, align).unwrap().free();
        let large = Mapping::try_new(700, align).unwrap();
        Mapping::try_new(5, align).unwrap().free();
        large.free();
    }
    odd.free();
    assert_eq!(snapshot(), before);
}

#[test_case]
fn a_fault_on_either_side_is_reported_as_a_guard_page() {
    let mut mapping = Mapping::new(600);
    let neighbour = Mapping::new(100);
    for mapping in [&mapping, &neighbour] {
        let report = fault_at(mapping.address(0) - 1);
        assert!(report.contains("reading from a guard page, be"), "{report}");
        let report = fault_at(mapping.address(mapping.pages));
        assert!(report.contains("reading from a guard page, behind the end of what the heap has mapped"), "{report}");
    }
    // The guard moves with the end.
    let end = mapping.address(600);
    assert!(mapping.resize(601) && paging::is_mapped(end.as_u64()));
    fault_at(mapping.address(601));
    assert!(mapping.resize(500) && !paging::is_mapped(end.as_u64()));
    fault_at(mapping.address(500));
    let start = mapping.address(0);
    mapping.free();
    neighbour.free();
    let report = fault_at(start);
    assert!(report.contains("address space for mappings, where there is none now"), "{report}");
}

#[test_case]
fn a_mapping_grows_and_shrinks_where_it_is() {
    let before = snapshot();
    let mut mapping = Mapping::new(10);
    for pages in [11, 511, 512, 513, 1500, 1024, 1023, 700, 512, 511, 3, 2000, 1] {
        let free = snapshot().free();
        let old = mapping.pages;
        assert!(mapping.resize(pages), "{old} to {pages}");
        if pages < old {
            assert!(snapshot().free() >= free + (old - pages) - 1, "but for the table of a large page in parts");
        }
    }
    mapping.free();
    assert_eq!(snapshot(), before);
}

#[test_case]
fn a_large_page_is_cut_wherever_the_end_falls() {
    let before = snapshot();
    for kept in [1, 2, 255, 510, 511] {
        let mut mapping = Mapping::new(1024);
        let large = mapping.large_pages();
        assert_eq!(large, 1024, "there are whole pageblocks");
        assert!(mapping.resize(512 + kept));
        assert_eq!(mapping.large_pages(), 512);
        assert!(mapping.resize(1000));
        mapping.free();
        assert_eq!(snapshot(), before);
    }
}

#[test_case]
fn growing_into_another_mapping_is_refused() {
    let before = snapshot();
    let mut first = Mapping::new(100);
    let second = Mapping::new(100);
    let (mut lower, upper) = if first.start < second.start { (first, second) } else { (second, first) };
    let room = (upper.address(0) - lower.address(0)) / FRAME_SIZE;
    let held = snapshot();
    assert!(!lower.resize(room) && !lower.resize(room + 1000), "the guard page between them stays");
    assert_eq!(snapshot(), held);
    assert!(lower.resize(room - 1));
    fault_at(lower.address(room - 1));
    first = lower;
    first.free();
    upper.free();
    assert_eq!(snapshot(), before);
}

#[test_case]
fn memory_in_pieces_makes_one_mapping() {
    let pieces = Pieces::new();
    let before = snapshot();
    // Half of what there is, but no more than can be looked through quickly.
    let pages = (frames_free() / 2).min(64 * 1024);
    let mut mapping = Mapping::new(pages);
    assert_eq!(mapping.large_pages(), 0);
    let distinct = (1..pages).filter(|page| frame_of(mapping.address(*page)) != frame_of(mapping.address(page - 1)));
    assert_eq!(distinct.count() as u64, pages - 1);
    assert!(mapping.resize(pages + pages / 4) && mapping.resize(pages / 3));
    mapping.free();
    assert_eq!(snapshot(), before);
    pieces.give_back();
}

#[test_case]
fn without_frames_a_mapping_is_refused_and_leaves_nothing() {
    let mut mapping = Mapping::new(300);
    let mut hoard = Hoard::new();
    hoard.take(Gfp::KERNEL | Gfp::NOWARN);
    let before = snapshot();
    let (_, used) = vmalloc::totals();
    for pages in [1, 2000, 1 << 20, 1 << 40] {
        assert!(vmalloc::allocate(pages, 1).is_none(), "{pages} pages out of no frames");
        assert!(!mapping.resize(300 + pages));
    }
    assert_eq!((snapshot(), vmalloc::totals().1), (before, used));
    hoard.give_back();
    // Part of the memory, so that it ends on the way.
    let (mut hoard, all) = (Hoard::new(), frames_free());
    let before = snapshot();
    assert!(vmalloc::allocate(all, 1).is_none());
    assert!(!mapping.resize(300 + all));
    assert_eq!((snapshot(), vmalloc::totals().1), (before, used));
    hoard.give_back();
    mapping.free();
}

#[test_case]
fn a_bad_free_is_named_and_changes_nothing() {
    let mapping = Mapping::new(600);
    let before = snapshot();
    let unit = |nth: u64| mapping.start.map_addr(|address| address.checked_add((nth << 21) as usize).unwrap());
    // SAFETY: none of these is a mapping, so nothing is unmapped.
    unsafe {
        let error = vmalloc::free(unit(0), 100).unwrap_err();
        assert!(matches!(error, FreeError::WrongOrder { .. }), "{error}");
        let error = vmalloc::free(unit(1), 100).unwrap_err();
        assert!(matches!(error, FreeError::Interior { .. }), "{error}");
        let error = vmalloc::free(unit(2), 100).unwrap_err();
        assert!(matches!(error, FreeError::AlreadyFree(_)), "{error}");
    }
    mapping.check(600);
    assert_eq!(snapshot(), before);
    mapping.free();
}

/// Takes a report, which must be written with interrupts enabled and no lock held: a console is slow, and a string allocates.
#[derive(Default)]
struct Report(String);

impl Write for Report {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        assert!(sync::may_sleep(), "interrupts are masked");
        self.0.push_str(text);
        Ok(())
    }
}

#[test_case]
fn the_report_has_every_mapping_of_many() {
    let lines = || {
        let mut report = Report::default();
        vmalloc::write(&mut report).unwrap();
        report.0.lines().count()
    };
    let before = lines();
    let mappings: Vec<_> = (0..100).map(|_| Mapping::new(1)).collect();
    assert_eq!(lines(), before + mappings.len());
    mappings.into_iter().for_each(Mapping::free);
    assert_eq!(lines(), before);
}

#[test_case]
fn the_report_has_a_line_for_each_mapping() {
    let [first, second] = [Mapping::new(600), Mapping::new(1)];
    let mut report = Report::default();
    vmalloc::write(&mut report).unwrap();
    for mapping in [&first, &second] {
        let (start, end) = (mapping.address(0), mapping.address(mapping.pages + 1));
        let bytes = end - start;
        let line =
            format!("{:#018x}-{:#018x} {bytes:>12} pages={} vmalloc", start.as_u64(), end.as_u64(), mapping.pages);
        assert!(report.0.lines().any(|other| other == line), "{line}\n{}", report.0);
    }
    first.free();
    second.free();
}
