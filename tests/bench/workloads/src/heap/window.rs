//! Objects of many sizes that live for a while: a window of live ones, of which a random one is replaced each time.

use super::{Objects, sized, touch};
use crate::random::{Random, scale};
use alloc::vec::Vec;
use core::ptr::NonNull;

/// How many sizes a table has; a power of two.
const SIZES: usize = 4096;

/// Which sizes a workload asks for: a table out of which each is as likely as the next, so that choosing costs next to
/// nothing.
#[derive(Clone, Copy, Debug)]
pub enum Sizes {
    /// 16 to 4,096 bytes by a power law: twice the size is half as frequent. So it is in most programs. 90 bytes on average.
    PowerLaw,
    /// 8 to 2,048 bytes, each as frequent as the others.
    Uniform,
}

impl Sizes {
    /// The table.
    pub fn table(self) -> Vec<u16> {
        let size = |nth: usize| match self {
            Self::PowerLaw => SIZES * 16 * 4096 / (SIZES * 16 + nth * (4096 - 16)),
            Self::Uniform => 8 + nth * (2048 - 8) / (SIZES - 1),
        };
        (0..SIZES).map(|nth| size(nth) as u16).collect()
    }
}

#[derive(Clone, Copy)]
struct Held {
    object: Option<NonNull<u8>>,
    size: u32,
}

/// The live objects. Each allocator gets the same sequence of requests.
pub struct Window {
    random: Random,
    sizes: Vec<u16>,
    held: Vec<Held>,
}

impl Window {
    /// Room for so many live objects; none is allocated.
    pub fn new(sequence: u64, sizes: Sizes, live: usize) -> Self {
        let held = alloc::vec![Held { object: None, size: 0 }; live];
        Self { random: Random::new(sequence), sizes: sizes.table(), held }
    }

    /// Allocates all of them; how many were refused.
    #[inline(never)]
    pub fn fill<A: Objects>(&mut self, heap: &A) -> u64 {
        (0..self.held.len()).map(|place| self.replace(heap, place)).sum()
    }

    /// Replaces a random one so many times: a pair each. How many requests were refused.
    #[inline(never)]
    pub fn churn<A: Objects>(&mut self, heap: &A, count: u64) -> u64 {
        let mut refused = 0;
        for _ in 0..count {
            let place = scale(self.random.number(), self.held.len());
            refused += self.replace(heap, place);
        }
        refused
    }

    #[inline]
    fn replace<A: Objects>(&mut self, heap: &A, place: usize) -> u64 {
        let size = self.sizes[self.random.number() as usize % SIZES].into();
        let held = &mut self.held[place];
        if let Some(object) = held.object {
            // SAFETY: it was allocated so below, and is forgotten right away.
            unsafe { heap.free(object, sized(held.size as usize)) };
        }
        let object = heap.allocate(sized(size));
        *held = Held { object, size: size as u32 };
        match object {
            Some(object) => {
                touch(object);
                0
            }
            None => 1,
        }
    }

    /// Writes to every byte of every object, as a program does sooner or later; how many bytes these are.
    pub fn use_all(&mut self) -> u64 {
        let live = self.held.iter().filter_map(|held| Some((held.object?, held.size)));
        // SAFETY: the object is this window's, and has as many bytes.
        live.map(|(object, size)| unsafe {
            object.write_bytes(0x5a, size as usize);
            u64::from(size)
        })
        .sum()
    }

    /// Frees all of them.
    #[inline(never)]
    pub fn clear<A: Objects>(&mut self, heap: &A) {
        for held in &mut self.held {
            if let Some(object) = held.object.take() {
                // SAFETY: it was allocated so, and is forgotten.
                unsafe { heap.free(object, sized(held.size as usize)) };
            }
        }
    }
}

// SAFETY: the objects are memory that any thread may use and free.
unsafe impl Send for Window {}
