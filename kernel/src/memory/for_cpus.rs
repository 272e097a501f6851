//! Memory as CPUs are given it.

use super::heap::HEAP;
use super::{kfence, paging, reclaim, vmalloc};
use crate::cpu::given::Memory;
use core::fmt;
use core::ptr::NonNull;
use x86_64::{PhysAddr, VirtAddr};

/// Page tables for devices, mappings for stacks, arenas of the heap.
pub(super) struct ForCpus;

impl Memory for ForCpus {
    fn map_device(&self, registers: PhysAddr) -> Option<VirtAddr> {
        paging::map_device(registers)
    }

    fn show(&self, start: PhysAddr, bytes: u64) -> Option<VirtAddr> {
        paging::show(start, bytes)
    }

    fn stack(&self, pages: u64) -> Option<NonNull<u8>> {
        vmalloc::allocate(pages, 1)
    }

    unsafe fn free_stack(&self, start: NonNull<u8>, pages: u64) {
        // SAFETY: by this function's contract the mapping has so many pages, which nobody uses.
        unsafe { vmalloc::free(start, pages) }.expect("a stack is a mapping");
    }

    fn prepare_cpu(&self) {
        HEAP.prepare_cpu();
        // If it then has nothing to do, its pages are not to keep what was fetched for that.
        reclaim::postpone_decay();
    }

    fn name_of(&self, address: u64) -> Option<&'static str> {
        kfence::place_of(address).or_else(|| vmalloc::place_of(address))
    }

    fn explain(&self, address: u64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        kfence::explain(address, f)
    }
}
