//! Memory that really exists, for peers that write into it.

use bifolio::frame::FRAME_SIZE;
use std::io;
use std::ptr::{self, NonNull};
use workloads::FRAMES;
use workloads::heap::Backing;

/// 1 GiB of memory, aligned to its size, with room for metadata right below. Unmapped when this is dropped.
#[derive(Debug)]
pub struct Memory {
    mapping: *mut libc::c_void,
    length: usize,
    base: usize,
}

// SAFETY: the mapping belongs to this value alone, and is only a range of addresses to it.
unsafe impl Send for Memory {}
// SAFETY: as for `Send`; nothing here changes after construction.
unsafe impl Sync for Memory {}

impl Memory {
    /// How many bytes there are from `base` on.
    pub const SIZE: usize = FRAMES * FRAME_SIZE as usize;

    /// Maps the memory, with at least `head` bytes below its base.
    pub fn new(head: usize) -> Self {
        let length = 2 * Self::SIZE + head;
        let (protection, flags) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE);
        // SAFETY: a new anonymous mapping, wherever there is room, takes nothing away from anybody.
        let mapping = unsafe { libc::mmap(ptr::null_mut(), length, protection, flags, -1, 0) };
        assert!(mapping != libc::MAP_FAILED, "cannot map {length} bytes: {}", io::Error::last_os_error());
        Self { mapping, length, base: (mapping as usize + head).next_multiple_of(Self::SIZE) }
    }

    /// The address of the first frame.
    pub fn base(&self) -> usize {
        self.base
    }
}

impl Backing for Memory {
    const SIZE: usize = Self::SIZE;

    fn new() -> Self {
        Self::new(0)
    }

    fn base(&self) -> NonNull<u8> {
        NonNull::new(self.base as *mut u8).expect("memory is not at 0")
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own, and whoever used it is gone with it.
        let result = unsafe { libc::munmap(self.mapping, self.length) };
        debug_assert_eq!(result, 0);
    }
}
