//! Commands that tell what would happen, and why; and that have the others tell it before they do it.

use super::blocks::flags;
use super::error::Error;
use super::objects::layout;
use super::state::Shell;
use super::words::{expect, number, order};
use crate::memory::frames;
use crate::memory::heap::HEAP;
use crate::println;
use bifolio::allocator::{Allocation, Freeing, Step};
use bifolio::frame::{Gfp, Order, Pfn};
use bifolio::heap::{NextSlot, SizeClass, SlabWord, SlabWords, SlotSource};
use core::alloc::Layout;

/// What can be explained.
pub(super) const SUBJECTS: &[&str] = &["alloc", "free", "kmalloc"];

pub(super) fn explain<'a>(_: &mut Shell, words: &[&'a str]) -> Result<(), Error<'a>> {
    match words.split_first() {
        None => Err(Error::Missing("what is to be explained (alloc, free or kmalloc)")),
        Some((&"alloc", words)) => {
            let words = expect(words, &["the order"], 1)?;
            explain_alloc(order(words[0])?, flags(words.get(1))?)
        }
        Some((&"free", words)) => explain_free(Pfn::new(number(expect(words, &["the pfn"], 0)?[0])?)),
        Some((&"kmalloc", words)) => explain_kmalloc(layout(expect(words, &["the number of bytes"], 0)?[0])?),
        Some((word, _)) => Err(Error::Unexpected(word)),
    }
}

pub(super) fn narrate<'a>(shell: &mut Shell, words: &[&'a str]) -> Result<(), Error<'a>> {
    match expect(words, &["'on' or 'off'"], 0)?[0] {
        "on" => shell.narrates = true,
        "off" => shell.narrates = false,
        word => return Err(Error::Unexpected(word)),
    }
    println!(
        "{}",
        if shell.narrates { "alloc, free and kmalloc tell what they do" } else { "commands say no more than they did" }
    );
    Ok(())
}

impl Shell {
    /// Tells what a request comes to that is made next, if that is wanted.
    pub(super) fn narrate_alloc<'a>(&self, order: Order, gfp: Gfp) -> Result<(), Error<'a>> {
        if self.narrates { explain_alloc(order, gfp) } else { Ok(()) }
    }

    /// Tells what becomes of a block that is freed next, if that is wanted.
    pub(super) fn narrate_free<'a>(&self, pfn: Pfn) -> Result<(), Error<'a>> {
        if self.narrates { explain_free(pfn) } else { Ok(()) }
    }

    /// Tells where an object comes from that is allocated next, if that is wanted.
    pub(super) fn narrate_kmalloc<'a>(&self, layout: Layout) -> Result<(), Error<'a>> {
        if self.narrates { explain_kmalloc(layout) } else { Ok(()) }
    }
}

fn tell(step: Step) {
    println!("  {step}");
}

fn explain_alloc<'a>(order: Order, gfp: Gfp) -> Result<(), Error<'a>> {
    match frames().explain_allocate(order, gfp, &mut tell)? {
        Allocation::Served(pfn) => println!("  so order {order} is served: {pfn}"),
        Allocation::Short { cached, may_reclaim } => {
            if cached > 0 {
                println!("  the CPUs' pages hold {cached} frames: they are emptied, and the zones asked again");
            }
            if may_reclaim {
                println!("  shrinkers are asked for memory, and what is kept for pressing requests is given up");
            }
            println!(
                "  so order {order} is refused{}",
                if cached > 0 || may_reclaim { ", unless that helps" } else { "" }
            );
        }
    }
    Ok(())
}

fn explain_free<'a>(pfn: Pfn) -> Result<(), Error<'a>> {
    match frames().explain_free(pfn, &mut tell)? {
        Freeing::Free(first, order) => println!("  so {pfn} becomes free, in the block {first}+{order}"),
        Freeing::Held(cpu) => println!("  so CPU {cpu} has {pfn} at hand, and the zone does not count it as free"),
    }
    Ok(())
}

fn explain_kmalloc<'a>(layout: Layout) -> Result<(), Error<'a>> {
    let Some(class) = SizeClass::of(layout) else {
        return explain_large(layout);
    };
    println!("  {} bytes are of the class {}, with slots of {} bytes", layout.size(), class.name(), class.size());
    let Some(next) = HEAP.next_slot(layout) else {
        let stats = HEAP.cache_stats(class);
        println!("  none of this CPU's slabs is known to have a free slot; all CPUs have {}", stats.slabs);
        println!("  it takes over what others have freed in its own, or takes one that nobody uses any more");
        let order = Order::covering(stats.frames_per_slab).unwrap_or_default();
        println!(
            "  if that gives none, it asks for a slab of {} of them, a block of order {order}:",
            stats.objects_per_slab
        );
        return explain_alloc(order, Gfp::KERNEL);
    };
    tell_slot(&next);
    Ok(())
}

fn tell_slot(next: &NextSlot) {
    let NextSlot { source, slab, slot, address, .. } = *next;
    let (word, bit) = (slot / 64, slot % 64);
    println!(
        "  {}",
        match source {
            SlotSource::InHand => "this CPU has slots of one word of a slab in hand",
            SlotSource::NextWord => "nothing is in hand; the next word of the current slab with free slots is taken up",
            SlotSource::Partial => "the current slab is full; the fullest of those with free slots follows",
            SlotSource::Empty =>
                "the current slab is full, and no other has both objects and free slots; an empty one follows",
            SlotSource::Freed => "all slabs are full as far as is known; in one that was, slots have been freed",
        }
    );
    if let Some(SlabWords { info, words, .. }) = HEAP.slab_words(slab) {
        let SlabWord { free, remote, .. } = words[word];
        println!("  word {word} of the slab at {slab:#x}: free {free:#018x}, freed by other CPUs {remote:#018x}");
        println!("  so slot {slot} of {} is served, bit {bit}, the lowest: {address:#x}", info.slots);
    }
}

fn explain_large<'a>(layout: Layout) -> Result<(), Error<'a>> {
    let frames = (layout.size() as u64).div_ceil(bifolio::frame::FRAME_SIZE);
    match Order::covering(frames) {
        Some(order) => {
            println!(
                "  {} bytes are more than any slot: they take {frames} frames, of a block of order {order}:",
                layout.size()
            );
            explain_alloc(order, Gfp::KERNEL)
        }
        None => {
            println!("  {} bytes are more than any block: {frames} frames are mapped in a row", layout.size());
            Ok(())
        }
    }
}
