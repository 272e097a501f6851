//! What the shell has.

use crate::host;
use crate::memory::record;
use alloc::vec::Vec;
use bifolio::frame::{Block, PfnRange};
use core::alloc::Layout;
use core::ptr::NonNull;
use heapless::String;
use protocol::{ExitCode, Terminal};

/// The shell's state: the blocks and objects it holds, so that it frees nothing that the kernel uses.
#[derive(Debug)]
pub struct Shell {
    pub(super) blocks: Vec<Block>,
    pub(super) objects: Vec<Object>,
    /// Where the console is seen, if that is known.
    pub(super) terminal: Option<Terminal>,
    /// Ctrl-C has ended a command of this line.
    pub(super) is_cancelled: bool,
    /// What commands do is told before they do it.
    pub(super) narrates: bool,
    /// What was wrong with the last command that failed, as far as it fits.
    pub(super) complaint: String<COMPLAINT>,
}

/// Bytes that are kept of a complaint.
const COMPLAINT: usize = 128;

/// An object of the shell's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Object {
    pub(super) address: NonNull<u8>,
    pub(super) layout: Layout,
}

impl Default for Shell {
    /// A shell that holds nothing, with room to note a few blocks and objects: so the first `alloc` moves nothing but the
    /// block that was asked for. Without memory for that room there still is a shell.
    fn default() -> Self {
        let mut shell = Self {
            blocks: Vec::new(),
            objects: Vec::new(),
            terminal: None,
            is_cancelled: false,
            narrates: false,
            complaint: String::new(),
        };
        let _ = shell.blocks.try_reserve(64).and(shell.objects.try_reserve(64));
        shell
    }
}

impl Shell {
    /// What was wrong with the last command that failed; its beginning, if that is long.
    pub fn complaint(&self) -> &str {
        &self.complaint
    }

    /// The blocks that it holds, in no particular order.
    pub fn blocks(&self) -> impl Iterator<Item = PfnRange> {
        self.blocks.iter().map(|block| PfnRange::of(block.pfn(), block.order()))
    }
}

/// Ends the machine, and the trace of it.
pub(super) fn leave(code: ExitCode) -> ! {
    record::finish();
    host::exit(code)
}
