//! A sequence of operations, done by an allocator of frames, with an oracle beside it that knows what that must say.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use core::ops::Range;

use bifolio::allocator::BlockState;
use bifolio::error::FreeError;
use bifolio::frame::{Order, Pfn, ZoneKind};
use kit::oracle::Oracle;

use crate::judge::{Event, Failure, Kind, Rules, Step, Tally, check_refused, drive, not_taken_back, said};
use crate::layout::Layout;
use crate::operation::{Operation, Wrong};
use crate::piece::zone_of;
use crate::zones;
use crate::{BadFree, Frame, Frames, MAX_ORDER, Memory, Refused, Request, draw};

/// What is known of an owner.
#[derive(Clone, Copy)]
struct Owned {
    frame: Frame,
    order: u8,
    is_live: bool,
}

/// A piece at work.
struct Work<'a> {
    piece: Box<dyn Frames>,
    oracle: Oracle,
    layout: &'a Layout,
    rules: Rules,
    owners: BTreeMap<usize, Owned>,
    /// How often it could have made a mistake of each kind, and did not.
    right: Tally,
    see: Option<&'a mut dyn FnMut(Event)>,
}

/// Has a piece do a sequence in some memory, up to its first mistake; what went right, and the mistake. What happens is shown to
/// `see`.
pub(crate) fn perform<'a>(
    new: fn(Memory) -> Box<dyn Frames>,
    layout: &'a Layout,
    operations: &[Operation],
    rules: Rules,
    see: Option<&'a mut dyn FnMut(Event)>,
) -> (Tally, Option<Failure>) {
    let (piece, owners) = (new(layout.memory()), BTreeMap::new());
    let mut work = Work { piece, oracle: layout.oracle(), layout, rules, owners, right: Tally::default(), see };
    let failure = drive(operations, |operation| work.step(operation));
    (work.right, failure)
}

impl Work<'_> {
    fn step(&mut self, operation: Operation) -> Step {
        let (owner, wrong) = match operation {
            Operation::Allocate { owner, request } => return self.allocate(owner, request),
            Operation::FreeOther { place, order } => return self.free_badly(place, order, BadFree::NotMemory),
            Operation::Free { owner, wrong } => (owner, wrong),
        };
        let Some(owned) = self.owners.get(&owner).copied() else { return Ok(()) };
        let Owned { frame, order, is_live } = owned;
        match wrong {
            Wrong::Nothing if is_live => {
                self.owners.insert(owner, Owned { is_live: false, ..owned });
                self.free(frame, order)
            }
            Wrong::Again if !is_live => self.free_badly(frame, order, BadFree::AlreadyFree),
            Wrong::Behind(frames) if is_live => self.free_badly(frame + frames, 0, BadFree::Inside),
            Wrong::Order(other) if is_live => self.free_badly(frame, other, BadFree::WrongOrder),
            // What it is about is not there in this sequence.
            _ => Ok(()),
        }
    }

    fn allocate(&mut self, owner: usize, request: Request) -> Step {
        self.ask(|layout| asked(layout, request));
        let answer = self.piece.allocate(request);
        let order = request.order;
        let suitable = if answer.is_err() { self.that_serves(request).map(|(_, block)| block) } else { None };
        let checked = match answer {
            Ok(frame) => self.take(owner, frame, request),
            Err(refused) => self.is_refusal_right(order, refused, suitable.clone()),
        };
        let given = answer.ok().map(|frame| frame..frame.saturating_add(1 << order.min(MAX_ORDER)));
        let touched = given.or(suitable).unwrap_or(0..0);
        self.answer(touched, || match answer {
            Ok(frame) => format!("{frame:#x}"),
            Err(refused) => format!("{refused:?}"),
        });
        checked?;
        self.count()
    }

    /// The zone that has to serve a request, and a block there.
    fn that_serves(&self, request: Request) -> Option<(usize, Range<Frame>)> {
        let is_served = request.order <= self.rules.largest;
        let (zone, block) = is_served.then(|| zones::that_serves(&self.oracle, self.layout, request))??;
        let end = block.end.min(block.start + (1 << self.rules.largest));
        Some((zone, block.start..end))
    }

    /// Takes note of a block that was handed out, if that is right.
    fn take(&mut self, owner: usize, frame: Frame, request: Request) -> Step {
        let order = request.order;
        let kind = if order > self.rules.largest { Kind::TooLarge } else { Kind::Served };
        check_served(&self.oracle, frame, order, self.rules.largest).map_err(|text| (kind, text))?;
        if self.layout.zones.len() > 1 {
            self.is_zone_right(frame, request)?;
        }
        self.oracle
            .allocate(Pfn::new(frame), order_of(order), ZoneKind::Normal)
            .map_err(|text| (Kind::Served, text))?;
        self.owners.insert(owner, Owned { frame, order, is_live: true });
        self.right.count(Kind::Served);
        Ok(())
    }

    /// Whether a block was taken from the zone that has to give it.
    fn is_zone_right(&mut self, frame: Frame, request: Request) -> Step {
        let (zone, right) = (zone_of(self.layout.zones, frame), self.that_serves(request));
        let Request { order, highest, urgency } = request;
        if zone > highest {
            return Err((
                Kind::Zone,
                format!("it was served from zone {zone}, and zone {highest} is the highest that will do"),
            ));
        }
        let free = zones::state(&self.oracle, self.layout, zone, order).free;
        if !zones::may_give(self.layout, zone, free, request) {
            let (kept, frames) = (zones::kept(self.layout, zone, request), 1_u64 << order);
            let who = format!("{urgency:?} requests up to zone {highest}");
            let text = format!("zone {zone} has {free} free frames, must keep {kept} from {who}, and gave {frames}");
            return Err((Kind::Mark, text));
        }
        match right {
            Some((right, block)) if right != zone => {
                let text =
                    format!("zone {zone} gave the block, and zone {right} may: {:#x} is free there", block.start);
                Err((Kind::Zone, text))
            }
            _ => {
                self.right.count(Kind::Zone);
                self.right.count(Kind::Mark);
                Ok(())
            }
        }
    }

    fn is_refusal_right(&mut self, order: u8, refused: Refused, suitable: Option<Range<Frame>>) -> Step {
        let (must, kind) = match order > self.rules.largest {
            true => (Refused::TooLarge, Kind::TooLarge),
            false => (Refused::OutOfMemory, Kind::Refused),
        };
        if let Some(Range { start, end }) = suitable {
            let (block, whose) = match end - start {
                1 => (format!("frame {start:#x} is free"), "its"),
                _ => (format!("the frames {start:#x}..{end:#x} are a free block"), "their"),
            };
            let mut text = format!("order {order} was refused as {refused:?}: {block}");
            if self.layout.zones.len() > 1 {
                text += &format!(", and {whose} zone may give it");
            }
            return Err((Kind::Refused, text));
        }
        if refused != must {
            return Err((Kind::TooLarge, format!("order {order} was refused as {refused:?}: it is {must:?}")));
        }
        self.right.count(kind);
        Ok(())
    }

    fn free(&mut self, frame: Frame, order: u8) -> Step {
        self.ask(|_| format!("free {frame:#x}, order {order}"));
        let answer = self.piece.free(frame, order);
        if answer.is_ok() {
            self.oracle.free(Pfn::new(frame), order_of(order));
        }
        self.answer(frame..frame + (1 << order), || said(answer));
        match answer {
            Ok(()) => {
                self.right.count(Kind::NotTakenBack);
                self.count()
            }
            Err(reason) => Err(not_taken_back(&format!("the block of order {order} at {frame:#x}"), reason)),
        }
    }

    /// Frees what must not be freed, if it is wrong for this reason and no other.
    fn free_badly(&mut self, frame: Frame, order: u8, reason: BadFree) -> Step {
        if verdict(&self.oracle, frame, order) != Err(reason) {
            return Ok(());
        }
        self.ask(|_| format!("free {frame:#x}, order {order}"));
        let answer = self.piece.free(frame, order);
        self.answer(frame..frame.saturating_add(1), || said(answer));
        check_refused(&format!("order {order} at {frame:#x}"), answer, reason)?;
        self.right.count(Kind::Accepted);
        self.count()
    }

    /// Whether the piece counts as many free blocks of each order as there are.
    fn count(&mut self) -> Step {
        if !self.rules.counts {
            return Ok(());
        }
        for (order, right) in (0..).zip(free_blocks(&self.oracle, self.rules.largest)) {
            let counted = self.piece.free_blocks(order);
            if counted != right {
                return Err((Kind::Counts, format!("free_blocks({order}) says {counted}, and there are {right}")));
            }
        }
        self.right.count(Kind::Counts);
        Ok(())
    }

    fn ask(&mut self, what: impl FnOnce(&Layout) -> String) {
        if let Some(see) = &mut self.see {
            see(Event::Asked(what(self.layout)));
        }
    }

    fn answer(&mut self, touched: Range<Frame>, what: impl FnOnce() -> String) {
        if let Some(see) = &mut self.see {
            let states = draw::states(&self.oracle, self.layout, self.rules.largest);
            see(Event::Answered { answer: what(), states, touched });
        }
    }
}

/// A request, as it stands in a picture.
fn asked(layout: &Layout, request: Request) -> String {
    let Request { order, highest, urgency } = request;
    match layout.zones.len() {
        1 => format!("allocate order {order}"),
        _ => format!("allocate order {order}, zone <= {highest}, {urgency:?}"),
    }
}

/// Whether a block may be handed out, where there is none above `largest`.
///
/// # Errors
/// What is wrong with it.
pub fn check_served(oracle: &Oracle, frame: Frame, order: u8, largest: u8) -> Result<(), String> {
    if order > largest {
        return Err(format!("order {order} was served, with frame {frame:#x}: there is none here above {largest}"));
    }
    let frames = 1 << order;
    if !frame.is_multiple_of(frames) {
        return Err(format!(
            "a block of order {order} cannot begin at frame {frame:#x}: that is no multiple of {frames}"
        ));
    }
    for part in frame..frame.saturating_add(frames) {
        match oracle.order_of(Pfn::new(part)) {
            Err(FreeError::AlreadyFree(_)) => {}
            Err(FreeError::NotManaged(_) | FreeError::Reserved(_)) => {
                return Err(format!("frame {part:#x} was handed out, and is not memory of this allocator"));
            }
            _ => return Err(format!("frame {part:#x} was handed out, and somebody has it already")),
        }
    }
    Ok(())
}

/// What a free must say.
pub fn verdict(oracle: &Oracle, frame: Frame, order: u8) -> Result<(), BadFree> {
    match oracle.order_of(Pfn::new(frame)) {
        Ok(actual) if actual.get() == order => Ok(()),
        Ok(_) => Err(BadFree::WrongOrder),
        Err(FreeError::AlreadyFree(_)) => Err(BadFree::AlreadyFree),
        Err(FreeError::Interior { .. }) => Err(BadFree::Inside),
        Err(_) => Err(BadFree::NotMemory),
    }
}

/// Free blocks of each order, each as large as it can be, where there are none above `largest`.
pub fn free_blocks(oracle: &Oracle, largest: u8) -> [u64; MAX_ORDER as usize + 1] {
    let mut counts = [0; MAX_ORDER as usize + 1];
    for (_, order, state) in oracle.blocks() {
        if state == BlockState::Free && largest > 0 {
            counts[usize::from(order)] += 1;
        }
    }
    if largest == 0 {
        counts[0] = oracle.all_free();
    }
    counts
}

pub(crate) fn order_of(order: u8) -> Order {
    Order::new(order).expect("larger ones are not served here")
}
