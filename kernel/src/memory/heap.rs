//! The heap: `Box`, `Vec` and the rest, on slabs out of page frames.
//!
//! It has no size: it takes frames as it needs them and gives them back. Nothing sets it up, since it takes nothing
//! before the first allocation. Where memory runs out, `try_reserve` and its like return an error; what cannot return
//! one panics with the size that was asked for.
//!
//! In an interrupt handler, and wherever else nothing may wait, it takes what there is, up to the reserves, and maps nothing.
//!
//! Slabs and objects of up to 4 MiB lie in the window onto physical memory. Larger ones, and those for which no frames in a
//! row are found, are [mapped](super::vmalloc) (Linux: `kvmalloc`).

use super::frames::{MEMORY, Processor, gfp};
use super::kfence::{self, Kfence};
use super::{paging, vmalloc};
use crate::sync;
use bifolio::error::FreeError;
use bifolio::frame::{FRAME_SIZE, Gfp};
use bifolio::heap::{Heap, HeapError, Sampler};
use bifolio::kernel::{Mappings, Window};
use core::alloc::Layout;
use core::ptr::NonNull;
use x86_64::VirtAddr;

/// The kernel's heap.
pub static HEAP: &Heap<Window<Processor>, Processor> = MEMORY.heap();

/// What the heap has mapped: what is too large for frames in a row, or finds none.
pub(super) struct Mapped;

/// So many bytes in pages.
fn pages(bytes: usize) -> u64 {
    (bytes as u64).div_ceil(FRAME_SIZE)
}

// SAFETY: a mapping has frames and addresses of its own, in the upper half and not in the window, is aligned as it was asked for, and
// readable and writable until it is given back.
unsafe impl Mappings for Mapped {
    fn gfp(&self) -> Gfp {
        if HEAP.may_wait_recorded() { Gfp::KERNEL } else { gfp() }
    }

    fn map(&self, run: Layout) -> Option<NonNull<u8>> {
        // A mapping takes page tables, and address space.
        if sync::may_sleep() { vmalloc::allocate(pages(run.size()), pages(run.align())) } else { None }
    }

    fn is_mapped(&self, start: NonNull<u8>) -> bool {
        vmalloc::contains(VirtAddr::from_ptr(start.as_ptr()))
    }

    unsafe fn unmap(&self, start: NonNull<u8>, run: Layout) -> Result<(), FreeError> {
        // SAFETY: by this function's contract it was mapped with so many pages, and nobody uses it.
        unsafe { vmalloc::free(start, pages(run.size())) }
    }

    unsafe fn resize(&self, start: NonNull<u8>, run: Layout, bytes: usize) -> bool {
        // SAFETY: by this function's contract it was mapped with so many pages, and nobody uses those behind its new end.
        unsafe { vmalloc::resize(start, pages(run.size()), pages(bytes)) }
    }

    fn sampler(&self) -> Option<&'static dyn Sampler> {
        Some(&Kfence)
    }

    /// Behind physical addresses, those of mappings; behind those, whatever else somebody wants to free.
    fn number_of(&self, address: usize) -> Option<u64> {
        const MAPPED: u64 = 1 << 60;
        const ELSEWHERE: u64 = 1 << 61;
        let mapped = VirtAddr::try_new(address as u64).ok().and_then(vmalloc::offset).map(|offset| MAPPED + offset);
        let is_in_window = paging::physical_in_window(address).is_some();
        mapped.or((!is_in_window).then_some(ELSEWHERE | address as u64))
    }
}

/// What becomes of a bad free that its caller is not told of: a report with all that is known of the object, and the end.
pub(super) fn report(error: &HeapError) {
    panic!("{}", HEAP.report(error));
}

/// Has KFENCE serve one of `interval` requests that find nothing in hand, from now on; 0 for none. False, and nothing has changed, if
/// there is no memory for it.
pub fn sample(interval: u16) -> bool {
    let is_ready = interval == 0 || kfence::prepare();
    if is_ready {
        HEAP.sample(interval);
    }
    is_ready
}
