//! Small objects.

use alloc::format;
use alloc::string::String;
use core::alloc::Layout as Size;

use kernel::sync::Mutex;
use kit::Random;
use labs::lab::Lab;
use labs::objects::{Frames, Objects};
use labs::{BadFree, Refused};

use super::{Store, on_all_cpus};
use crate::memory;

/// The largest that is asked for, in bytes.
const LARGEST: u64 = 2048;

/// A size of whole words, mostly a small one.
pub fn size(random: &mut Random) -> Size {
    let most = LARGEST >> random.below(8);
    let size = random.between(2, most / 8 + 1) as usize * 8;
    Size::from_size_align(size, 8 << random.below(3)).unwrap_or(Size::new::<u64>())
}

/// A piece that one CPU at a time asks.
struct Locked<P>(Mutex<P>);

impl<P: Objects + Send> Store for Locked<P> {
    type Request = Size;

    fn request(&self, random: &mut Random) -> Size {
        size(random)
    }

    fn allocate(&self, _: usize, size: Size) -> Result<u64, Refused> {
        self.0.lock().allocate(size)
    }

    fn free(&self, _: usize, address: u64, size: Size) -> Result<(), BadFree> {
        self.0.lock().free(address, size)
    }

    fn bytes(size: Size) -> u64 {
        size.size() as u64
    }

    fn name(address: u64, size: Size) -> String {
        format!("the object of {} bytes at {address:#x}", size.size())
    }
}

/// Has all CPUs of the machine work with a piece.
///
/// # Errors
/// What the piece did wrong.
pub fn stress<P: Objects + Send>(lab: &Lab) -> Result<(), String> {
    let layout = &memory::layout(lab);
    let source = layout.source(1);
    on_all_cpus(&Locked(Mutex::new("piece", P::new(Frames::new(source)))), layout)?;
    match source.held().count() {
        0 => Ok(()),
        count => Err(format!("all is free again, and {count} frames were not given back")),
    }
}
