//! Commands that tell what would happen, and why; and that have the others tell it before they do it.

use super::blocks::{flags, order};
use super::error::Error;
use super::objects::layout;
use super::state::Shell;
use crate::memory::frames;
use crate::memory::heap::HEAP;
use crate::println;
use bifolio::allocator::Step;
use bifolio::frame::{Gfp, Order, Pfn};
use bifolio::heap::{NextSlot, SizeClass};
use core::alloc::Layout;
use core::fmt;
use line::{WordError, expect, number};

/// What can be explained.
pub(super) const SUBJECTS: &[&str] = &["alloc", "free", "kmalloc"];

pub(super) fn explain<'a>(_: &mut Shell, words: &[&'a str]) -> Result<(), Error<'a>> {
    match words.split_first() {
        None => Err(WordError::Missing("what is to be explained (alloc, free or kmalloc)").into()),
        Some((&"alloc", words)) => {
            let words = expect(words, &["the order"], 1)?;
            explain_alloc(order(words[0])?, flags(words.get(1))?)
        }
        Some((&"free", words)) => explain_free(Pfn::new(number(expect(words, &["the pfn"], 0)?[0])?)),
        Some((&"kmalloc", words)) => explain_kmalloc(layout(expect(words, &["the number of bytes"], 0)?[0])?),
        Some((word, _)) => Err(WordError::Unexpected(word).into()),
    }
}

pub(super) fn narrate<'a>(shell: &mut Shell, words: &[&'a str]) -> Result<(), Error<'a>> {
    match expect(words, &["'on' or 'off'"], 0)?[0] {
        "on" => shell.narrates = true,
        "off" => shell.narrates = false,
        word => return Err(WordError::Unexpected(word).into()),
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

/// What is no step.
fn tell_words(words: fmt::Arguments<'_>) {
    println!("  {words}");
}

fn explain_alloc<'a>(order: Order, gfp: Gfp) -> Result<(), Error<'a>> {
    frames().explain_allocate(order, gfp, &mut tell)?;
    Ok(())
}

fn explain_free<'a>(pfn: Pfn) -> Result<(), Error<'a>> {
    Ok(frames().explain_free(pfn, &mut tell)?)
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
    println!("  {source}");
    if let Some(words) = HEAP.slab_words(slab) {
        words.tell_slot(slab as u64, slot, address as u64, &mut tell_words);
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
