//! Commands that ask what is where: of one frame, and of what the shell holds.

use super::error::Error;
use super::state::Shell;
use crate::memory::heap::HEAP;
use crate::memory::{frames, paging};
use crate::println;
use bifolio::allocator::{BlockState, FrameInfo, Holding};
use bifolio::frame::{FRAME_SIZE, Order, PAGEBLOCK_FRAMES, Pfn, PfnRange};
use line::{counted, expect, number};
use x86_64::PhysAddr;

/// So many blocks and slots are shown one by one.
const SHOWN: usize = 8;

pub(super) fn page<'a>(shell: &mut Shell, words: &[&'a str]) -> Result<(), Error<'a>> {
    let pfn = Pfn::new(number(expect(words, &["the pfn"], 0)?[0])?);
    let info = frames().look_at(pfn).ok_or(Error::NotRam(pfn))?;
    println!("frame {pfn} at address {:#x}, in zone {}", pfn.address(), frames().zone_of(pfn));
    block(shell, pfn, &info);
    holder(&info);
    if info.mobility != info.own_mobility {
        println!("  isolated: nothing is allocated from its pageblock");
    }
    let (kind, piece) = (info.own_mobility.name(), if info.is_whole { ", in one piece" } else { "" });
    println!("  pageblock {}: {kind}, {} of {PAGEBLOCK_FRAMES} frames free{piece}", info.pageblock, info.free);
    if info.block.state == BlockState::Allocated {
        slab(pfn);
    }
    Ok(())
}

/// Says which block the frame is in, and of what state.
fn block(shell: &Shell, pfn: Pfn, info: &FrameInfo) {
    let block = info.block;
    let state = match block.state {
        BlockState::Free => "free",
        BlockState::Allocated if shell.blocks.iter().any(|own| own.pfn() == block.pfn) => "allocated, by this shell",
        BlockState::Allocated => "allocated",
        BlockState::Cached => "free, and held by a CPU",
        BlockState::Reserved => {
            println!("  reserved: never the allocator's to give out");
            return;
        }
    };
    let nth = pfn.number() - block.pfn.number();
    println!("  {state}: frame {nth} of the order-{} block {}", block.order, PfnRange::of(block.pfn, block.order));
    if block.state != BlockState::Reserved && block.order < Order::MAX {
        let buddy = Pfn::new(block.pfn.number() ^ block.order.frames());
        println!(
            "  its buddy: {} ^ {:#x} = {buddy}, {}",
            block.pfn,
            block.order.frames(),
            what_is_at(buddy, block.order)
        );
    }
}

/// What a buddy is, as far as it decides whether the two can be one block.
fn what_is_at(buddy: Pfn, order: Order) -> &'static str {
    match frames().look_at(buddy).map(|info| info.block) {
        Some(block) if block.state == BlockState::Free && block.pfn == buddy && block.order == order => {
            "free as a whole"
        }
        Some(block) if block.state == BlockState::Reserved => "reserved",
        Some(_) => "in use, all or in part",
        None => "not RAM",
    }
}

fn holder(info: &FrameInfo) {
    let Some((cpu, holding)) = info.holder else { return };
    let order = info.block.order;
    match holding {
        Holding::InBatch(mobility) => {
            println!("  in CPU {cpu}'s pages: on loan, for the next {} request of order {order}", mobility.name());
        }
        Holding::HandedOut(_) => println!("  handed out of CPU {cpu}'s pages, and on loan until it comes back"),
        Holding::Recent(mobility) => {
            println!("  in CPU {cpu}'s pages: freed last, for the next {} request of order {order}", mobility.name());
        }
    }
}

/// Says which slots of the heap lie in the frame.
fn slab(pfn: Pfn) {
    let start = paging::to_virtual(PhysAddr::new(pfn.address())).as_u64() as usize;
    let end = start + FRAME_SIZE as usize;
    let Some(info) = HEAP.slab_at(start, |_, _| {}) else { return };
    let of_frame = |slot: usize| {
        let first = info.start + slot * info.object_size;
        first < end && first + info.object_size > start
    };
    let (mut used, mut first, mut last) = (0, None, 0);
    HEAP.slab_at(start, |slot, is_used| {
        if of_frame(slot) {
            (first, last) = (first.or(Some(slot)), slot);
            used += usize::from(is_used);
        }
    });
    let Some(first) = first else { return };
    match info.order {
        Some(order) => println!(
            "  a slab of {}: order {order} at {:#x}, {} slots of {} bytes; slots {first} to {last} are here, {used} of them in \
             use",
            info.cache, info.start, info.slots, info.object_size
        ),
        None => println!("  {}: {} kB at {:#x}", info.cache, info.bytes / 1024, info.start),
    }
}

pub(super) fn blocks<'a>(shell: &mut Shell, words: &[&'a str]) -> Result<(), Error<'a>> {
    expect(words, &[], 0)?;
    for order in Order::all() {
        let of_order = || shell.blocks.iter().filter(|block| block.order() == order);
        let count = of_order().count();
        if count > 0 {
            crate::print!("order {order:2}: {count:6} of {:4} kB at", order.bytes() / 1024);
            of_order().take(SHOWN).for_each(|block| crate::print!(" {}", block.pfn()));
            println!("{}", if count > SHOWN { " ..." } else { "" });
        }
    }
    let frames: u64 = shell.blocks.iter().map(|block| block.order().frames()).sum();
    let (blocks, objects) =
        (counted(shell.blocks.len() as u64, "blocks"), counted(shell.objects.len() as u64, "objects"));
    println!("{blocks}, {}, {} kB; {objects}", counted(frames, "frames"), frames * 4);
    Ok(())
}
