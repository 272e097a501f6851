//! Sequences of operations: what a piece is asked to do.

use alloc::vec::Vec;

use kit::Random;

use crate::{Frame, MAX_ORDER, Request, Urgency};

/// Something that a piece is asked. What is freed is spoken of by the request that it came from, since a sequence with parts
/// left out gives out other frames than before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operation {
    /// A block, for the owner with this number.
    Allocate {
        /// Whose it is.
        owner: usize,
        /// What is asked for.
        request: Request,
    },
    /// The owner's block, as it should be freed or as it should not.
    Free {
        /// Whose it was.
        owner: usize,
        /// What is wrong with it.
        wrong: Wrong,
    },
    /// A frame of which no request is known.
    FreeFrame {
        /// Which one.
        frame: Frame,
        /// As a block of this order.
        order: u8,
    },
}

/// What is wrong with a free.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wrong {
    /// Nothing.
    Nothing,
    /// The owner has freed the block before.
    Again,
    /// So many frames behind the block's start.
    Behind(u64),
    /// Another order than the block's.
    Order(u8),
}

/// How often each kind of operation comes, in parts of a thousand; what is left are allocations and frees as they should be.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mix {
    /// Requests of an order that is never served.
    pub too_large: u64,
    /// Frees of what was freed.
    pub again: u64,
    /// Frees of a frame inside a block.
    pub inside: u64,
    /// Frees as another order.
    pub wrong_order: u64,
    /// Frees of what is not memory.
    pub foreign: u64,
    /// Nothing is freed as it should be.
    pub keeps_all: bool,
    /// All requests are emergencies.
    pub emergency: bool,
}

/// What a sequence is made for.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// What comes how often.
    pub mix: Mix,
    /// The largest order that is served.
    pub largest: u8,
    /// How many zones there are.
    pub zones: usize,
    /// Operations.
    pub length: usize,
    /// Frames in the memory, and some around it.
    pub frames: &'a [core::ops::Range<Frame>],
}

/// A sequence: the same for the same seed.
pub fn sequence(seed: u64, wanted: Wanted<'_>) -> Vec<Operation> {
    let mut random = Random::new(seed);
    let (mut all, mut live, mut freed) = (Vec::new(), Vec::new(), Vec::new());
    // Phases of mostly allocating and mostly freeing take memory from empty to full and back.
    let mut bias = 700;
    for number in 0..wanted.length {
        if random.per_mille(30) {
            bias = if bias > 500 { 350 } else { 750 };
        }
        if let Some(operation) = wrong(&mut random, wanted, number, &live, &freed) {
            all.push(operation);
        } else if live.is_empty() || wanted.mix.keeps_all || random.per_mille(bias) {
            // Small orders are as common as all larger ones together, and so on.
            let order = (random.bits().trailing_zeros().min(255) as u8).min(random.below(12) as u8);
            // Where zones differ in what they have, large ones are as common: what a zone has not, the next one may have.
            let is_any = order > wanted.largest || wanted.zones > 1 && random.per_mille(200);
            let order = if is_any { random.below(u64::from(wanted.largest) + 1) as u8 } else { order };
            all.push(Operation::Allocate { owner: number, request: request(&mut random, wanted, order) });
            live.push((number, order));
        } else {
            let (owner, order) = live.swap_remove(random.index(live.len()));
            all.push(Operation::Free { owner, wrong: Wrong::Nothing });
            freed.push((owner, order));
        }
    }
    if !wanted.mix.keeps_all {
        all.extend(live.iter().map(|(owner, _)| Operation::Free { owner: *owner, wrong: Wrong::Nothing }));
    }
    all
}

/// A request of this order. Where there is one zone, there is nothing to choose.
fn request(random: &mut Random, wanted: Wanted<'_>, order: u8) -> Request {
    if wanted.zones == 1 {
        return Request::of(order);
    }
    let urgency = match random.below(10) {
        _ if wanted.mix.emergency => Urgency::Emergency,
        0 => Urgency::Emergency,
        1..4 => Urgency::High,
        _ => Urgency::Normal,
    };
    Request::of(order).up_to(random.index(wanted.zones), urgency)
}

/// One that must be refused, if it is the turn of one.
fn wrong(
    random: &mut Random,
    wanted: Wanted<'_>,
    number: usize,
    live: &[(usize, u8)],
    freed: &[(usize, u8)],
) -> Option<Operation> {
    let mix = wanted.mix;
    let mut roll = random.below(1000);
    let mut is = |share: u64| {
        let hit = roll < share;
        roll = if hit { u64::MAX } else { roll - share };
        hit
    };
    if is(mix.too_large) {
        let order = random.one_of(&[wanted.largest + 1, wanted.largest + 2, MAX_ORDER + 1, 63, 64, 255]);
        return Some(Operation::Allocate { owner: number, request: request(random, wanted, order) });
    }
    if is(mix.again) {
        let (owner, _) = freed.get(freed.len().saturating_sub(1 + random.index(4)))?;
        return Some(Operation::Free { owner: *owner, wrong: Wrong::Again });
    }
    if is(mix.inside) {
        let large: Vec<_> = live.iter().filter(|(_, order)| *order > 0).collect();
        let (owner, order) = large.get(random.index(large.len().max(1)))?;
        return Some(Operation::Free { owner: *owner, wrong: Wrong::Behind(random.between(1, 1 << order)) });
    }
    if is(mix.wrong_order) {
        let (owner, order) = live.get(random.index(live.len().max(1)))?;
        let other = random.one_of(&[0, 1, 2, order + 1, order.saturating_sub(1), MAX_ORDER, MAX_ORDER + 1, 64, 255]);
        return Some(Operation::Free { owner: *owner, wrong: Wrong::Order(other) });
    }
    is(mix.foreign).then(|| {
        let range = &wanted.frames[random.index(wanted.frames.len())];
        let frame = random.one_of(&[range.start.wrapping_sub(1), range.end, range.end + 1, 0, 1 << 40, u64::MAX]);
        Operation::FreeFrame { frame, order: 0 }
    })
}
