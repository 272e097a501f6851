//! The commands that allocate and free. What they allocated is noted, so that the shell frees nothing else.

use super::error::Error;
use super::state::Shell;
use crate::memory::frames;
use crate::println;
use bifolio::error::{FreeError, Refused};
use bifolio::frame::{Blocks, Gfp, Order, Pfn, PfnRange};
use line::{WordError, counted, expect, number};

/// After how many blocks it is looked whether Ctrl-C was pressed.
const LOOK: u64 = 256;

pub(super) fn alloc<'a>(shell: &mut Shell, words: &[&'a str]) -> Result<(), Error<'a>> {
    let words = expect(words, &["the order"], 1)?;
    let (order, gfp) = (order(words[0])?, flags(words.get(1))?);
    shell.narrate_alloc(order, gfp)?;
    let block = frames().allocate(order, gfp)?;
    let (pfn, zone) = (block.pfn(), frames().zone_of(block.pfn()));
    shell.note(block.into())?;
    println!("order {order}, {} kB in zone {zone}: free {pfn} {order}", order.bytes() / 1024);
    Ok(())
}

pub(super) fn alloc_exact<'a>(shell: &mut Shell, words: &[&'a str]) -> Result<(), Error<'a>> {
    let words = expect(words, &["the number of frames"], 1)?;
    let exact = frames().allocate_exact(number(words[0])?, flags(words.get(1))?)?;
    shell.take(exact)
}

pub(super) fn alloc_contig<'a>(shell: &mut Shell, words: &[&'a str]) -> Result<(), Error<'a>> {
    let words = expect(words, &["the number of frames"], 1)?;
    let run = frames().allocate_contiguous(number(words[0])?, flags(words.get(1))?)?;
    shell.take(run)
}

pub(super) fn alloc_range<'a>(shell: &mut Shell, words: &[&'a str]) -> Result<(), Error<'a>> {
    let words = expect(words, &["the pfn", "the number of frames"], 1)?;
    let range = frames().allocate_range(range(words)?, flags(words.get(2))?)?;
    shell.take(range)
}

pub(super) fn split<'a>(shell: &mut Shell, words: &[&'a str]) -> Result<(), Error<'a>> {
    let words = expect(words, &["the pfn", "the order"], 0)?;
    let (pfn, into) = (Pfn::new(number(words[0])?), order(words[1])?);
    let order = frames().order_of(pfn).map_err(|error| match error {
        FreeError::AlreadyFree(pfn) => Error::SplitOfFree(pfn),
        error => error.into(),
    })?;
    let note = shell.note_of(pfn, order)?;
    let pieces = PfnRange::of(pfn, order);
    let count = order.frames() >> into.get();
    shell.blocks.try_reserve(count as usize).map_err(|_| Error::NoRoomToNote)?;
    match frames().split(shell.blocks.swap_remove(note), into) {
        Ok(blocks) => shell.blocks.extend(blocks),
        Err(Refused { given, error }) => {
            shell.blocks.push(given);
            return Err(error.into());
        }
    }
    println!("{} of order {into} at {pieces}", counted(count, "blocks"));
    Ok(())
}

pub(super) fn free<'a>(shell: &mut Shell, words: &[&'a str]) -> Result<(), Error<'a>> {
    let words = expect(words, &["the pfn"], 1)?;
    if words == ["all"] {
        return free_all(shell);
    }
    let pfn = Pfn::new(number(words[0])?);
    let given = words.get(1).map(|word| order(word)).transpose()?;
    let note = shell.blocks.iter().position(|block| block.pfn() == pfn);
    // What was never allocated is for the allocator to name; what was, but not here, is in use.
    if note.is_none()
        && let Ok(order) = frames().order_of(pfn)
    {
        return Err(Error::NotTheShells(pfn, order));
    }
    let order = match given {
        Some(order) => order,
        None => frames().order_of(pfn)?,
    };
    if note.is_some() {
        shell.narrate_free(pfn)?;
    }
    // SAFETY: the block is the shell's, which forgets it then, or there is none.
    unsafe { frames().free_raw(pfn, order) }?;
    let _ = note.map(|note| shell.blocks.swap_remove(note).into_raw());
    println!("freed order {order} at {pfn}");
    Ok(())
}

/// Frees every block that the shell holds.
fn free_all<'a>(shell: &mut Shell) -> Result<(), Error<'a>> {
    let (mut blocks, mut count) = (0_u64, 0);
    while let Some(block) = shell.blocks.pop() {
        (blocks, count) = (blocks + 1, count + block.order().frames());
        frames().free(block)?;
        if blocks % LOOK == 0 {
            shell.go_on()?;
        }
    }
    println!("freed {}, {}", counted(blocks, "blocks"), counted(count, "frames"));
    Ok(())
}

pub(super) fn free_range<'a>(shell: &mut Shell, words: &[&'a str]) -> Result<(), Error<'a>> {
    let range = range(expect(words, &["the pfn", "the number of frames"], 0)?)?;
    for (pfn, _) in range.blocks() {
        let order = frames().order_of(pfn)?;
        shell.note_of(pfn, order)?;
    }
    // SAFETY: the blocks are the shell's, which forgets them then.
    unsafe { frames().free_range_raw(range) }?;
    shell.blocks.retain(|block| !range.contains(block.pfn()));
    println!("freed {} at {range}", counted(range.frames(), "frames"));
    Ok(())
}

pub(super) fn isolate<'a>(_: &mut Shell, words: &[&'a str]) -> Result<(), Error<'a>> {
    let range = range(expect(words, &["the pfn", "the number of frames"], 0)?)?;
    frames().isolate(range)?;
    let zone = frames().zone(frames().zone_of(range.start));
    println!("zone {} has {}", zone.kind, counted(zone.isolated, "isolated frames"));
    Ok(())
}

pub(super) fn unisolate<'a>(_: &mut Shell, words: &[&'a str]) -> Result<(), Error<'a>> {
    let range = range(expect(words, &["the pfn", "the number of frames"], 0)?)?;
    frames().unisolate(range)?;
    let zone = frames().zone(frames().zone_of(range.start));
    println!("zone {} has {}", zone.kind, counted(zone.isolated, "isolated frames"));
    Ok(())
}

impl Shell {
    /// Takes note of a range that was allocated, and says how to free it.
    fn take<'a>(&mut self, blocks: Blocks) -> Result<(), Error<'a>> {
        let range = blocks.range();
        self.note(blocks)?;
        let (count, kind) = (range.frames(), frames().zone_of(range.start));
        let frames = counted(count, "frames");
        println!("{frames}, {} kB in zone {kind}: free_range {} {count}", count * 4, range.start);
        Ok(())
    }

    /// Takes note of the blocks of a range; frees them if there is no room for that.
    fn note<'a>(&mut self, blocks: Blocks) -> Result<(), Error<'a>> {
        if self.blocks.try_reserve(blocks.range().blocks().count()).is_err() {
            frames().free_range(blocks)?;
            return Err(Error::NoRoomToNote);
        }
        self.blocks.extend(blocks.into_blocks());
        Ok(())
    }

    /// Where the shell has noted an allocated block.
    fn note_of<'a>(&self, pfn: Pfn, order: Order) -> Result<usize, Error<'a>> {
        self.blocks.iter().position(|block| block.pfn() == pfn).ok_or(Error::NotTheShells(pfn, order))
    }
}

/// The range that begins at the first word, with as many frames as the second says.
fn range<'a>(words: &[&'a str]) -> Result<PfnRange, Error<'a>> {
    let (start, frames) = (number(words[0])?, number(words[1])?);
    let end = start.checked_add(frames).ok_or(WordError::TooLarge(words[1]))?;
    Ok(PfnRange::new(Pfn::new(start), Pfn::new(end)))
}

/// An order.
pub(super) fn order(word: &str) -> Result<Order, Error<'_>> {
    u8::try_from(number(word)?).ok().and_then(Order::new).ok_or(Error::NotAnOrder(word))
}

/// Flags by their names, joined by `|` or `,`, in any case, with or without `GFP_` in front. Without a word, those of the
/// kernel's own data.
pub(super) fn flags<'a>(word: Option<&&'a str>) -> Result<Gfp, Error<'a>> {
    let Some(word) = word else {
        return Ok(Gfp::KERNEL);
    };
    word.split(['|', ',']).try_fold(Gfp::empty(), |flags, word| {
        let known = <Gfp as bitflags::Flags>::FLAGS;
        let name = word.trim_start_matches('_');
        let name = name
            .split_at_checked(4)
            .filter(|(start, _)| start.eq_ignore_ascii_case("GFP_"))
            .map_or(name, |(_, name)| name);
        let flag = known.iter().find(|flag| flag.name().eq_ignore_ascii_case(name)).ok_or(Error::UnknownFlag(word))?;
        Ok(flags | *flag.value())
    })
}
