//! How much metadata a memory map needs, and where in the map it goes.

use core::sync::atomic::AtomicUsize;

use crate::error::SetupError;
use crate::frame::{FRAME_SIZE, Order, PAGEBLOCK_FRAMES, PHYSICAL_LIMIT, Pfn, PfnRange, Profile, ZoneKind};
use crate::memory_map::{MemoryMap, RegionKind};
use crate::per_cpu::PerCpuPages;
use crate::sync::atomic::AtomicU64;
use crate::zone::{Pageblock, Span, Zone, spans};

/// Ranges in ascending order, none of which touches another: each as the numbers of its first frame and of the one behind its last.
pub(super) type Later<'m> = &'m [[u64; 2]];

/// The kernel's own words for the frames of each zone.
pub(super) type OwnWords<'m> = [&'m [AtomicUsize]; ZoneKind::COUNT];

/// The layout of an allocator for one memory map: made before there is any memory to make it in.
#[derive(Clone, Copy, Debug)]
pub struct Plan<'a> {
    map: MemoryMap<'a>,
    /// How many spans each zone has, and how many pageblocks.
    sizes: [(usize, usize); ZoneKind::COUNT],
    /// How many ranges may be added later.
    later: usize,
    /// Whether each frame has a word of the kernel's own.
    has_words: bool,
    metadata: PfnRange,
    words: usize,
}

impl<'a> Plan<'a> {
    /// Plans an allocator for the map's RAM: what is usable, and what will be once the ACPI tables were read.
    ///
    /// The metadata goes to the end of the highest usable range that has room for it: memory that every device can
    /// reach is the scarce one.
    ///
    /// # Errors
    /// [`SetupError`] if there is no such range.
    pub fn new(map: MemoryMap<'a>) -> Result<Self, SetupError> {
        Self::apart(map).placed()
    }

    /// The same, with a place for the metadata in the map.
    fn placed(self) -> Result<Self, SetupError> {
        let needed = (self.words as u64 * size_of::<u64>() as u64).div_ceil(FRAME_SIZE);
        let usable = || self.map.ranges(RegionKind::Usable);
        let room = usable().filter(|range| range.frames() >= needed).last();
        let metadata = room.map(|range| PfnRange::new(Pfn::new(range.end.number() - needed), range.end)).ok_or(
            SetupError::NoRoomForMetadata { needed, largest: usable().map(PfnRange::frames).max().unwrap_or(0) },
        )?;
        Ok(Self { metadata, words: (needed * FRAME_SIZE) as usize / size_of::<u64>(), ..self })
    }

    /// Plans an allocator whose metadata lies apart from the map's RAM: in a static, or beside what it manages. All that
    /// is usable can be given out then, and [`metadata`](Self::metadata) is an empty range.
    pub fn apart(map: MemoryMap<'a>) -> Self {
        let later = map.ranges(RegionKind::AcpiReclaimable).count();
        let sizes = ZoneKind::ALL.map(|kind| {
            let add = |(spans, pageblocks), span: Span| (spans + 1, pageblocks + span.pageblocks);
            spans(map.profile().range(kind), map.ram()).fold((0, 0), add)
        });
        let of_zone = |(spans, pageblocks)| Pageblock::SIZE * pageblocks + 1 + Zone::private_words(spans, pageblocks);
        let words = later * 2 + sizes.map(of_zone).iter().sum::<usize>();
        Self { map, sizes, later, has_words: false, metadata: PfnRange::default(), words }
    }

    /// The same, and a word of the kernel's own for each frame, such as for a count of references or an owner: `size_of::<usize>()`
    /// bytes a frame more. [`View::word`](super::View::word) has them.
    ///
    /// # Errors
    /// [`SetupError`] if no usable range has room for so much metadata.
    pub fn with_words(self) -> Result<Self, SetupError> {
        if self.has_words {
            return Ok(self);
        }
        let is_apart = self.metadata.is_empty();
        let own: usize = self.sizes.iter().map(|(_, pageblocks)| own_words_for(*pageblocks)).sum();
        let all = Self { has_words: true, words: own + Self::apart(self.map).words, ..self };
        if is_apart { Ok(all) } else { all.placed() }
    }

    /// The frames that hold the allocator's metadata. They stay reserved.
    pub fn metadata(&self) -> PfnRange {
        self.metadata
    }

    /// The metadata's size, in words of 64 bits.
    pub fn metadata_words(&self) -> usize {
        self.words
    }

    /// The kind of machine that the map is of: where zones end.
    pub(super) fn profile(&self) -> Profile {
        self.map.profile()
    }

    /// What the plan is for, over this memory: zones, every frame of them reserved; the ranges that may be added to them; and the
    /// kernel's own words, one for each frame of each zone, if they were planned.
    pub(super) fn lay_out<'m>(
        &self,
        metadata: &'m mut [u64],
        per_cpu: &'m [PerCpuPages],
    ) -> Result<([Zone<'m>; ZoneKind::COUNT], Later<'m>, OwnWords<'m>), SetupError> {
        let (planned, given) = (self.metadata_words(), metadata.len());
        if planned != given {
            return Err(SetupError::WrongMetadataSize { planned, given });
        }
        if !metadata.as_ptr().cast::<AtomicU64>().is_aligned() {
            return Err(SetupError::MisalignedMetadata);
        }
        let mut rest = metadata;
        let mut take = |words: usize| {
            let (taken, remaining) = core::mem::take(&mut rest).split_at_mut(words);
            rest = remaining;
            taken
        };
        let later: &mut [[u64; 2]] = bytemuck::cast_slice_mut(take(self.later * 2));
        for (slot, range) in later.iter_mut().zip(self.map.ranges(RegionKind::AcpiReclaimable)) {
            *slot = [range.start.number(), range.end.number()];
        }
        let zones = ZoneKind::ALL.map(|kind| {
            let (spans, pageblocks) = self.sizes[kind.index()];
            let blocks = bytemuck::cast_slice_mut(take(Pageblock::SIZE * pageblocks));
            let blocks = as_atomic::<[u64; Pageblock::SIZE]>(blocks);
            let dirty = &as_atomic(take(1))[0];
            let private = take(Zone::private_words(spans, pageblocks));
            Zone::new(kind, self.profile().range(kind), self.map.ram(), blocks, dirty, private, per_cpu)
        });
        let words = self.sizes.map(|(_, pageblocks)| {
            let words = take(if self.has_words { own_words_for(pageblocks) } else { 0 });
            words.fill(0);
            as_atomic(bytemuck::cast_slice_mut::<u64, usize>(words))
        });
        Ok((zones, later, words))
    }

    /// The frames of a zone that can be given out from the start.
    pub(super) fn usable(&self, kind: ZoneKind) -> impl Iterator<Item = PfnRange> {
        let (metadata, zone) = (self.metadata, self.profile().range(kind));
        self.map
            .ranges(RegionKind::Usable)
            .flat_map(move |range| {
                [
                    PfnRange::new(range.start, range.end.min(metadata.start)),
                    PfnRange::new(range.start.max(metadata.end), range.end),
                ]
            })
            .map(move |range| range.intersection(zone))
            .filter(|range| !range.is_empty())
    }
}

const _: () = assert!(Order::MAX.get() == Order::PAGEBLOCK.get() + 1, "a block of order 10 is two pageblocks");
const _: () = assert!(PHYSICAL_LIMIT / Order::PAGEBLOCK.bytes() <= u32::MAX as u64, "a pageblock's number has 32 bits");

/// Words of metadata for the kernel's own words of a zone's frames.
fn own_words_for(pageblocks: usize) -> usize {
    pageblocks * PAGEBLOCK_FRAMES as usize * size_of::<usize>() / size_of::<u64>()
}

/// Words of memory, and what they are when several CPUs may use them.
///
/// # Safety
/// `Shared` has the layout of `Self`, but may be aligned to 8 bytes where that is not, and any bits are one.
unsafe trait Words {
    type Shared;
}

// SAFETY: `AtomicU64` has the layout of `u64` by its documentation, but is aligned to its size: the assertion checks that.
unsafe impl Words for u64 {
    type Shared = AtomicU64;
}
#[cfg(not(bifolio_loom))]
const _: () = assert!(size_of::<AtomicU64>() == 8 && align_of::<AtomicU64>() == 8);

// SAFETY: `AtomicUsize` has the size, the bits and the alignment of `usize` by its documentation.
unsafe impl Words for usize {
    type Shared = AtomicUsize;
}

// SAFETY: a pageblock is atomics of 64 bits and nothing else, in the order in which they are declared; the assertion checks
// their number.
unsafe impl Words for [u64; Pageblock::SIZE] {
    type Shared = Pageblock;
}
#[cfg(not(bifolio_loom))]
const _: () = assert!(size_of::<Pageblock>() == size_of::<[u64; Pageblock::SIZE]>());

/// The words as what several CPUs use.
#[cfg(not(bifolio_loom))]
fn as_atomic<T: Words>(words: &mut [T]) -> &[T::Shared] {
    assert!(words.as_ptr().cast::<T::Shared>().is_aligned(), "whole words behind a place that was looked at");
    // SAFETY: the layouts are the same, and any bits are valid, by what `Words` promises, and the words were found to be aligned as
    // what they become is. They are borrowed mutably for as
    // long as what they are now lives, so that they are accessed in no other way.
    unsafe { core::slice::from_raw_parts(words.as_mut_ptr().cast(), words.len()) }
}

/// loom's atomics are larger than words: they lie elsewhere, for good.
#[cfg(bifolio_loom)]
fn as_atomic<T: Words<Shared: Default>>(words: &mut [T]) -> &'static [T::Shared] {
    extern crate std;
    std::vec::Vec::leak(words.iter().map(|_| T::Shared::default()).collect())
}
