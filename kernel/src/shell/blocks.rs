//! The commands that allocate and free. What they allocated is noted, so that the shell frees nothing else.

use super::error::Error;
use super::state::Shell;
use super::words::{expect, number};
use crate::memory::frames;
use crate::println;
use bifolio::frame::{Gfp, Order, Pfn, PfnRange, ZoneKind};

pub(super) fn alloc<'a>(shell: &mut Shell, words: &[&'a str]) -> Result<(), Error<'a>> {
    let words = expect(words, &["the order"], 1)?;
    let order = order(words[0])?;
    let pfn = frames().allocate(order, flags(words.get(1))?)?;
    shell.note(PfnRange::new(pfn, pfn.offset(order.frames())))?;
    println!("order {order}, {} kB in zone {}: free {pfn} {order}", order.bytes() / 1024, ZoneKind::of(pfn));
    Ok(())
}

pub(super) fn alloc_exact<'a>(shell: &mut Shell, words: &[&'a str]) -> Result<(), Error<'a>> {
    let words = expect(words, &["the number of frames"], 1)?;
    let range = frames().allocate_exact(number(words[0])?, flags(words.get(1))?)?;
    shell.take(range)
}

pub(super) fn alloc_contig<'a>(shell: &mut Shell, words: &[&'a str]) -> Result<(), Error<'a>> {
    let words = expect(words, &["the number of frames"], 1)?;
    let range = frames().allocate_contiguous(number(words[0])?, flags(words.get(1))?)?;
    shell.take(range)
}

pub(super) fn alloc_range<'a>(shell: &mut Shell, words: &[&'a str]) -> Result<(), Error<'a>> {
    let words = expect(words, &["the pfn", "the number of frames"], 1)?;
    let range = range(words)?;
    frames().allocate_range(range, flags(words.get(2))?)?;
    shell.take(range)
}

pub(super) fn split<'a>(shell: &mut Shell, words: &[&'a str]) -> Result<(), Error<'a>> {
    let words = expect(words, &["the pfn", "the order"], 0)?;
    let (pfn, into) = (Pfn::new(number(words[0])?), order(words[1])?);
    let order = frames().order_of(pfn)?;
    let note = shell.note_of(pfn, order)?;
    let pieces = PfnRange::new(pfn, pfn.offset(order.frames()));
    let count = order.frames() >> into.get();
    shell.blocks.try_reserve(count as usize).map_err(|_| Error::NoRoomToNote)?;
    frames().split(pfn, order, into)?;
    shell.blocks.swap_remove(note);
    shell.blocks.extend((0..count).map(|nth| (pfn.offset(nth * into.frames()), into)));
    println!("{count} blocks of order {into} at {pieces}");
    Ok(())
}

pub(super) fn free<'a>(shell: &mut Shell, words: &[&'a str]) -> Result<(), Error<'a>> {
    let words = expect(words, &["the pfn"], 1)?;
    let pfn = Pfn::new(number(words[0])?);
    let given = words.get(1).map(|word| order(word)).transpose()?;
    let note = shell.blocks.iter().position(|&(block, _)| block == pfn);
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
    frames().free(pfn, order)?;
    note.map(|note| shell.blocks.swap_remove(note));
    println!("freed order {order} at {pfn}");
    Ok(())
}

pub(super) fn free_range<'a>(shell: &mut Shell, words: &[&'a str]) -> Result<(), Error<'a>> {
    let range = range(expect(words, &["the pfn", "the number of frames"], 0)?)?;
    for (pfn, _) in range.blocks() {
        let order = frames().order_of(pfn)?;
        shell.note_of(pfn, order)?;
    }
    frames().free_range(range)?;
    shell.blocks.retain(|(pfn, _)| !range.contains(*pfn));
    println!("freed {} frames at {range}", range.frames());
    Ok(())
}

pub(super) fn isolate<'a>(_: &mut Shell, words: &[&'a str]) -> Result<(), Error<'a>> {
    let range = range(expect(words, &["the pfn", "the number of frames"], 0)?)?;
    frames().isolate(range)?;
    let zone = frames().zone(ZoneKind::of(range.start));
    println!("zone {} has {} isolated frames", zone.kind, zone.isolated);
    Ok(())
}

pub(super) fn unisolate<'a>(_: &mut Shell, words: &[&'a str]) -> Result<(), Error<'a>> {
    let range = range(expect(words, &["the pfn", "the number of frames"], 0)?)?;
    frames().unisolate(range);
    let zone = frames().zone(ZoneKind::of(range.start));
    println!("zone {} has {} isolated frames", zone.kind, zone.isolated);
    Ok(())
}

impl Shell {
    /// Takes note of a range that was allocated, and says how to free it.
    fn take<'a>(&mut self, range: PfnRange) -> Result<(), Error<'a>> {
        self.note(range)?;
        let (count, kind) = (range.frames(), ZoneKind::of(range.start));
        println!("{count} frames, {} kB in zone {kind}: free_range {} {count}", count * 4, range.start);
        Ok(())
    }

    /// Takes note of the blocks of a range; frees them if there is no room for that.
    fn note<'a>(&mut self, range: PfnRange) -> Result<(), Error<'a>> {
        if self.blocks.try_reserve(range.blocks().count()).is_err() {
            frames().free_range(range)?;
            return Err(Error::NoRoomToNote);
        }
        self.blocks.extend(range.blocks());
        Ok(())
    }

    /// Where the shell has noted an allocated block.
    fn note_of<'a>(&self, pfn: Pfn, order: Order) -> Result<usize, Error<'a>> {
        self.blocks.iter().position(|&(block, _)| block == pfn).ok_or(Error::NotTheShells(pfn, order))
    }
}

/// The range that begins at the first word, with as many frames as the second says.
fn range<'a>(words: &[&'a str]) -> Result<PfnRange, Error<'a>> {
    let (start, frames) = (number(words[0])?, number(words[1])?);
    let end = start.checked_add(frames).ok_or(Error::NotANumber(words[1]))?;
    Ok(PfnRange::new(Pfn::new(start), Pfn::new(end)))
}

fn order(word: &str) -> Result<Order, Error<'_>> {
    u8::try_from(number(word)?).ok().and_then(Order::new).ok_or(Error::NotAnOrder(word))
}

/// Flags by their names, joined by `|` or `,`, in any case, with or without `GFP_` in front. Without a word, those of the
/// kernel's own data.
fn flags<'a>(word: Option<&&'a str>) -> Result<Gfp, Error<'a>> {
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
