//! Sequences of operations: what a piece is asked to do.

use alloc::vec::Vec;

use kit::Random;

use crate::{Frame, MAX_ORDER, Request, Urgency};

/// Something that a piece is asked. What is freed is spoken of by the request that it came from, since a sequence with parts
/// left out gives out other frames than before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operation<R = Request> {
    /// A block or an object, for the owner with this number.
    Allocate {
        /// Whose it is.
        owner: usize,
        /// What is asked for.
        request: R,
    },
    /// What the owner has, as it should be freed or as it should not.
    Free {
        /// Whose it was.
        owner: usize,
        /// What is wrong with it.
        wrong: Wrong,
    },
    /// A frame or an address of which no request is known.
    FreeOther {
        /// Which one.
        place: u64,
        /// As a block of this order, or an object of the class with this number.
        order: u8,
    },
}

/// What is wrong with a free.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wrong {
    /// Nothing.
    Nothing,
    /// The owner has freed it before.
    Again,
    /// So many frames behind the block's start, or bytes behind the object's.
    Behind(u64),
    /// Another order than the block's, or another class than the object's.
    Order(u8),
}

/// How often each kind of operation comes, in parts of a thousand; what is left are allocations and frees as they should be.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mix {
    /// Requests for more than is ever served.
    pub too_large: u64,
    /// Frees of what was freed.
    pub again: u64,
    /// Frees of what lies inside a block or an object.
    pub inside: u64,
    /// Frees as another order, or as another size.
    pub wrong_order: u64,
    /// Frees of what is not memory.
    pub foreign: u64,
    /// Nothing is freed as it should be.
    pub keeps_all: bool,
    /// All requests are emergencies.
    pub emergency: bool,
    /// Operations that come in the middle of another one, of an interrupt on the same CPU.
    pub interrupts: u64,
    /// The same of another CPU.
    pub meetings: u64,
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

impl Mix {
    /// Nothing that is wrong, and nothing special.
    pub const GOOD: Self = Self {
        too_large: 0,
        again: 0,
        inside: 0,
        wrong_order: 0,
        foreign: 0,
        keeps_all: false,
        emergency: false,
        interrupts: 0,
        meetings: 0,
    };
}

/// What pieces of one kind are asked for.
pub(crate) trait Asks {
    /// A request.
    type Request: Copy;

    /// One that can be served, if there is memory.
    fn good(&mut self, random: &mut Random, wanted: Wanted<'_>) -> Self::Request;

    /// One that can never be served; `None` if there is none.
    fn too_large(&mut self, random: &mut Random, wanted: Wanted<'_>) -> Option<Self::Request>;

    /// How many frames or bytes what is requested has.
    fn length(request: Self::Request) -> u64;

    /// An order or a class, that of the request among them.
    fn order(random: &mut Random, request: Self::Request) -> u8;

    /// The bounds of something that is memory: what lies around it is mostly none.
    fn bounds(range: &core::ops::Range<Frame>) -> core::ops::Range<u64>;
}

/// A sequence: the same for the same seed.
pub(crate) fn sequence<A: Asks>(seed: u64, wanted: Wanted<'_>, asks: &mut A) -> Vec<Operation<A::Request>> {
    let mut random = Random::new(seed);
    let (mut all, mut live, mut freed) = (Vec::new(), Vec::new(), Vec::new());
    // Phases of mostly allocating and mostly freeing take memory from empty to full and back.
    let mut bias = 700;
    for number in 0..wanted.length {
        if random.per_mille(30) {
            bias = if bias > 500 { 350 } else { 750 };
        }
        if let Some(operation) = wrong(&mut random, wanted, number, &live, &freed, asks) {
            all.push(operation);
        } else if live.is_empty() || wanted.mix.keeps_all || random.per_mille(bias) {
            let request = asks.good(&mut random, wanted);
            all.push(Operation::Allocate { owner: number, request });
            live.push((number, request));
        } else {
            let (owner, request) = live.swap_remove(random.index(live.len()));
            all.push(Operation::Free { owner, wrong: Wrong::Nothing });
            freed.push((owner, request));
        }
    }
    if !wanted.mix.keeps_all {
        all.extend(live.iter().map(|(owner, _)| Operation::Free { owner: *owner, wrong: Wrong::Nothing }));
    }
    all
}

/// Blocks of frames, in zones.
pub(crate) struct Blocks;

impl Asks for Blocks {
    type Request = Request;

    fn good(&mut self, random: &mut Random, wanted: Wanted<'_>) -> Request {
        // Small orders are as common as all larger ones together, and so on.
        let order = (random.bits().trailing_zeros().min(255) as u8).min(random.below(12) as u8);
        // Where zones differ in what they have, large ones are as common: what a zone has not, the next one may have.
        let is_any = order > wanted.largest || wanted.zones > 1 && random.per_mille(200);
        let order = if is_any { random.below(u64::from(wanted.largest) + 1) as u8 } else { order };
        request(random, wanted, order)
    }

    fn too_large(&mut self, random: &mut Random, wanted: Wanted<'_>) -> Option<Request> {
        let order = random.one_of(&[wanted.largest + 1, wanted.largest + 2, MAX_ORDER + 1, 63, 64, 255]);
        Some(request(random, wanted, order))
    }

    fn length(request: Request) -> u64 {
        1 << request.order
    }

    fn order(random: &mut Random, Request { order, .. }: Request) -> u8 {
        random.one_of(&[0, 1, 2, order + 1, order.saturating_sub(1), MAX_ORDER, MAX_ORDER + 1, 64, 255])
    }

    fn bounds(range: &core::ops::Range<Frame>) -> core::ops::Range<u64> {
        range.clone()
    }
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
fn wrong<A: Asks>(
    random: &mut Random,
    wanted: Wanted<'_>,
    number: usize,
    live: &[(usize, A::Request)],
    freed: &[(usize, A::Request)],
    asks: &mut A,
) -> Option<Operation<A::Request>> {
    let mix = wanted.mix;
    let mut roll = random.below(1000);
    let mut is = |share: u64| {
        let hit = roll < share;
        roll = if hit { u64::MAX } else { roll - share };
        hit
    };
    if is(mix.too_large) {
        return Some(Operation::Allocate { owner: number, request: asks.too_large(random, wanted)? });
    }
    if is(mix.again) {
        let (owner, _) = freed.get(freed.len().saturating_sub(1 + random.index(4)))?;
        return Some(Operation::Free { owner: *owner, wrong: Wrong::Again });
    }
    if is(mix.inside) {
        let large: Vec<_> = live.iter().filter(|(_, request)| A::length(*request) > 1).collect();
        let (owner, request) = large.get(random.index(large.len().max(1)))?;
        return Some(Operation::Free { owner: *owner, wrong: Wrong::Behind(random.between(1, A::length(*request))) });
    }
    if is(mix.wrong_order) {
        let (owner, request) = live.get(random.index(live.len().max(1)))?;
        return Some(Operation::Free { owner: *owner, wrong: Wrong::Order(A::order(random, *request)) });
    }
    is(mix.foreign).then(|| {
        let range = A::bounds(&wanted.frames[random.index(wanted.frames.len())]);
        let place = random.one_of(&[range.start.wrapping_sub(1), range.end, range.end + 1, 0, 1 << 40, u64::MAX]);
        Operation::FreeOther { place, order: 0 }
    })
}
