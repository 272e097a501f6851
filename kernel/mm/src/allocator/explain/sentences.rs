//! What each step says of itself.

use core::fmt;

use crate::frame::{Mobility, Order, Pfn, PfnRange, ZoneKind};
use crate::zone::{Fallback, Step};

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::AtHand { cpu, pfn, is_recent: true } => {
                write!(f, "CPU {cpu}'s pages kept {pfn}, which it freed last")
            }
            Self::AtHand { cpu, pfn, is_recent: false } => {
                write!(f, "CPU {cpu}'s pages have a loan of that kind: {pfn} is its lowest free block")
            }
            Self::Empty { cpu, has_batch } => {
                let next =
                    if has_batch { ": they ask for the blocks of a word of 64 frames" } else { " of that order" };
                write!(f, "CPU {cpu}'s pages have none{next}")
            }
            Self::PastPages => f.write_str("the CPU's own pages do not serve that: the zones are asked"),
            Self::Test { zone, mark, free, frames, least, reserve, lacks: 0 } => {
                write!(
                    f,
                    "zone {zone}, mark '{mark}': {free} free - {frames} >= {least} + {reserve} kept for others: may be taken"
                )
            }
            Self::Test { zone, mark, free, frames, least, reserve, lacks } => {
                write!(
                    f,
                    "zone {zone}, mark '{mark}': {free} free - {frames} < {least} + {reserve} kept for others: "
                )?;
                write!(f, "{lacks} more would have to be free")
            }
            Self::NoBlock { zone, order, largest, mixing } => no_block(f, zone, order, largest, mixing),
            Self::Chosen { zone, mobility, pageblock, other, from: (first, order), lent, .. } => {
                write!(f, "zone {zone}: pageblock {pageblock}, ")?;
                served_by(f, mobility.name(), other)?;
                write!(f, "; free block {first}+{order}")?;
                if lent > 1 { write!(f, "; {lent} blocks are lent to the CPU at once") } else { Ok(()) }
            }
            Self::Split { order, kept, free } => split(f, order, kept, free),
            Self::Slowly => {
                f.write_str("no zone serves that above 'low': the slow path goes down to what the flags allow")
            }
            Self::Frees { pfn, order, zone } => {
                write!(f, "an allocated block of order {order}, {}, in zone {zone}", PfnRange::of(pfn, order))
            }
            Self::ToBatch { cpu } => {
                write!(f, "it was handed out of CPU {cpu}'s pages, and goes back there: a bit, and no lock")
            }
            Self::OffLoan { cpu } => write!(f, "it was handed out of CPU {cpu}'s pages: it is taken off that loan"),
            Self::Kept { cpu } => {
                write!(f, "its pageblock is nearly full: CPU {cpu}'s pages keep it for the next request")
            }
            Self::Merge { order, pfn, buddy } => merge(f, order, pfn, buddy),
            Self::NoMerge { order, pfn, buddy } => {
                write!(f, "ends: {pfn} ^ {:#x} = {buddy}, which is not a free block of order {order}", order.frames())
            }
            Self::Emptied { cached } => {
                write!(f, "the CPUs' pages hold {cached} frames: they are emptied, and the zones asked again")
            }
            Self::Reclaims => {
                f.write_str("shrinkers are asked for memory, and what is kept for pressing requests is given up")
            }
            Self::Served { order, pfn } => write!(f, "so order {order} is served: {pfn}"),
            Self::Refused { order, surely } => {
                write!(f, "so order {order} is refused{}", if surely { "" } else { ", unless that helps" })
            }
            Self::Free { pfn, first, order } => write!(f, "so {pfn} becomes free, in the block {first}+{order}"),
            Self::Held { cpu, pfn } => {
                write!(f, "so CPU {cpu} has {pfn} at hand, and the zone does not count it as free")
            }
        }
    }
}

fn no_block(
    f: &mut fmt::Formatter<'_>,
    zone: ZoneKind,
    order: Order,
    largest: Option<Order>,
    mixing: bool,
) -> fmt::Result {
    write!(f, "zone {zone}: no free block of order {order}")?;
    match largest {
        Some(largest) if largest >= order && !mixing => f.write_str(" without mixing mobilities in a pageblock"),
        Some(largest) => write!(
            f,
            ": the largest is of order {largest}, and {} frames would have to be free in one piece",
            order.frames()
        ),
        None => f.write_str(", nor any other"),
    }
}

fn split(f: &mut fmt::Formatter<'_>, order: Order, kept: Pfn, free: Pfn) -> fmt::Result {
    let distance = order.frames();
    write!(
        f,
        "split into {kept}+{order} and {free}+{order} ({kept} ^ {distance:#x} = {free}): {free}+{order} stays free"
    )
}

fn merge(f: &mut fmt::Formatter<'_>, order: Order, pfn: Pfn, buddy: Pfn) -> fmt::Result {
    let (distance, larger, first) = (order.frames(), order.get() + 1, pfn.min(buddy));
    write!(f, "merges: {pfn} ^ {distance:#x} = {buddy}, which is free: order {larger} at {first}")
}

/// Why a pageblock serves a request of its `own` mobility, or of another than the pageblock's.
fn served_by(f: &mut fmt::Formatter<'_>, own: &str, other: Option<(Fallback, Mobility)>) -> fmt::Result {
    let Some((way, kind)) = other else {
        return write!(f, "of the {own} ones with a block that is large enough the one with the smallest");
    };
    write!(f, "no {own} one has room")?;
    match way {
        Fallback::ClaimedWhole => write!(f, ": a free one changes from {kind}"),
        Fallback::ClaimedPageblock => write!(f, ": mostly free, it changes from {kind}"),
        Fallback::Stolen => write!(f, ", and none is worth changing: from a {kind} one"),
    }
}
