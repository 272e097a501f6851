//! A sequence of operations, done by a heap of small objects, with an oracle beside it.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use core::alloc::Layout;
use core::ops::Range;

use super::sequence::layout;
use super::{Address, CLASSES, Frames, Objects, SLAB, class_of};
use crate::judge::{Event, Failure, Kind, Step, Tally, check_refused, drive, not_taken_back, said};
use crate::operation::{Operation, Wrong};
use crate::source::Source;
use crate::{BadFree, Frame, Refused};

/// Bytes of a cell of the picture: the smallest slot.
pub(crate) const CELL: u64 = CLASSES[0] as u64;

/// A slab, as it should be.
#[derive(Clone, Debug)]
struct Slab {
    class: usize,
    /// Where in it the live objects begin, and what each was asked for as.
    live: BTreeMap<u64, Layout>,
}

/// What knows which objects there are.
#[derive(Debug)]
pub struct Slabs {
    source: &'static Source,
    slabs: BTreeMap<Frame, Slab>,
}

impl Slabs {
    /// Without an object, over what has the frames.
    pub fn new(source: &'static Source) -> Self {
        Self { source, slabs: BTreeMap::new() }
    }

    /// Whether a slab of this class has a free slot.
    fn has_room(&self, class: usize) -> Option<Frame> {
        let has_room = |slab: &Slab| slab.class == class && slab.live.len() < SLAB / CLASSES[class];
        self.slabs.iter().find(|(_, slab)| has_room(slab)).map(|(frame, _)| *frame)
    }

    /// Takes note of an object, if it may lie there.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn take(&mut self, address: Address, layout: Layout) -> Result<(), (Kind, String)> {
        let Some(class) = class_of(layout) else {
            let text = format!("{} bytes were served, at {address:#x}: no slot is as large", layout.size());
            return Err((Kind::TooLarge, text));
        };
        self.check_place(address, layout).map_err(|text| (Kind::Served, text))?;
        let (frame, offset) = split(address);
        let slab = self.slabs.entry(frame).or_insert_with(|| Slab { class, live: BTreeMap::new() });
        if slab.class != class || !offset.is_multiple_of(CLASSES[class] as u64) {
            let (of, other) = (CLASSES[class], CLASSES[slab.class]);
            let text = format!("{address:#x} is handed out as one of {of} bytes: the slab there has slots of {other}");
            let text = if slab.class == class { format!("no slot of {of} bytes begins at {address:#x}") } else { text };
            return Err((Kind::Class, text));
        }
        slab.live.insert(offset, layout);
        Ok(())
    }

    fn check_place(&self, address: Address, layout: Layout) -> Result<(), String> {
        let (frame, offset) = split(address);
        if !address.is_multiple_of(layout.align() as u64) {
            return Err(format!("{address:#x} was handed out, and is no multiple of {}", layout.align()));
        }
        if self.source.run_of(frame).and_then(|run| self.source.holder(run)).is_none() {
            return Err(format!("{address:#x} was handed out, and lies in no frame that the heap has taken"));
        }
        let end = offset + layout.size() as u64;
        if end > SLAB as u64 {
            return Err(format!("the object at {address:#x} goes on behind the end of its frame"));
        }
        let live = self.slabs.get(&frame).into_iter().flat_map(|slab| &slab.live);
        let overlaps = |(start, other): (&u64, &Layout)| *start < end && offset < start + other.size() as u64;
        match live.filter(|entry| overlaps(*entry)).map(|(start, _)| *start).next() {
            None => Ok(()),
            Some(start) if start == offset => Err(format!("{address:#x} was handed out, and somebody has it already")),
            Some(start) => {
                let start = frame * SLAB as u64 + start;
                Err(format!("{address:#x} was handed out, and somebody has what begins at {start:#x}"))
            }
        }
    }

    /// What a free must say.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn verdict(&self, address: Address, layout: Layout) -> Result<(), BadFree> {
        let (frame, offset) = split(address);
        let slab = self.slabs.get(&frame).ok_or(BadFree::NotMemory)?;
        let slot = CLASSES[slab.class] as u64;
        if offset / slot >= SLAB as u64 / slot {
            return Err(BadFree::NotMemory);
        }
        if !slab.live.contains_key(&(offset / slot * slot)) {
            return Err(BadFree::AlreadyFree);
        }
        match class_of(layout) {
            _ if !offset.is_multiple_of(slot) => Err(BadFree::Inside),
            Some(class) if class == slab.class => Ok(()),
            _ => Err(BadFree::WrongSize),
        }
    }

    /// Takes note that an object is gone.
    pub fn remove(&mut self, address: Address) {
        let (frame, offset) = split(address);
        if let Some(slab) = self.slabs.get_mut(&frame) {
            slab.live.remove(&offset);
            if slab.live.is_empty() {
                self.slabs.remove(&frame);
            }
        }
    }

    /// Whether frames are held as they must be: those with an object, and no others.
    ///
    /// # Errors
    /// What is held and must not be, or is not.
    pub fn check_frames(&self) -> Result<(), (Kind, String)> {
        if let Some((frame, slab)) = self.slabs.iter().find(|(frame, _)| self.holder(**frame).is_none()) {
            let address = frame * SLAB as u64 + slab.live.keys().next().copied().unwrap_or(0);
            let text = format!("frame {frame:#x} was given back, and what begins at {address:#x} there is live");
            return Err((Kind::GaveAway, text));
        }
        let kept = self.source.held().map(|run| self.source.start(run)).find(|frame| !self.slabs.contains_key(frame));
        kept.map_or(Ok(()), |frame| {
            Err((Kind::Kept, format!("frame {frame:#x} has no live object any more, and was not given back")))
        })
    }

    fn holder(&self, frame: Frame) -> Option<usize> {
        self.source.holder(self.source.run_of(frame)?)
    }

    /// All objects, with what they were asked for as.
    pub fn live(&self) -> impl Iterator<Item = (Address, Layout)> {
        let of = |(frame, slab): (&Frame, &Slab)| {
            let start = *frame * SLAB as u64;
            slab.live.iter().map(move |(offset, layout)| (start + offset, *layout)).collect::<alloc::vec::Vec<_>>()
        };
        self.slabs.iter().flat_map(of)
    }
}

/// A frame, and how far behind its start.
fn split(address: Address) -> (Frame, u64) {
    (address / SLAB as u64, address % SLAB as u64)
}

/// The cells of a slot or an object.
fn cells(address: Address, bytes: u64) -> Range<u64> {
    address / CELL..(address.saturating_add(bytes)).div_ceil(CELL)
}

/// What each cell of some frames is, a byte each: the first of an object has the number of its class, the rest of it `#`; free slots
/// are dots, of which the first of a larger one is `|`; what is in no slab is a space.
pub fn states(slabs: &Slabs, frames: Range<Frame>) -> String {
    let per_frame = SLAB as u64 / CELL;
    let mut states = alloc::vec![b' '; ((frames.end - frames.start) * per_frame) as usize];
    for (frame, slab) in &slabs.slabs {
        let slot = CLASSES[slab.class];
        let start = ((frame - frames.start) * per_frame) as usize;
        for (number, cells) in (0..SLAB / slot).zip(states[start..].chunks_exact_mut(slot / CELL as usize)) {
            let is_live = slab.live.contains_key(&((number * slot) as u64));
            let digit = char::from_digit(slab.class as u32, 16).map_or(b'?', |digit| digit.to_ascii_uppercase() as u8);
            cells.fill(if is_live { b'#' } else { b'.' });
            cells[0] = match is_live {
                true => digit,
                false if cells.len() > 1 => b'|',
                false => b'.',
            };
        }
    }
    String::from_utf8(states).unwrap_or_default()
}

/// What is known of an owner.
#[derive(Clone, Copy)]
struct Owned {
    address: Address,
    layout: Layout,
    is_live: bool,
}

/// A piece at work.
struct Work<'a> {
    piece: Box<dyn Objects>,
    oracle: Slabs,
    frames: Range<Frame>,
    owners: BTreeMap<usize, Owned>,
    right: Tally,
    see: Option<&'a mut dyn FnMut(Event)>,
}

/// Has a piece do a sequence in some memory, up to its first mistake; what went right, and the mistake. What happens is shown to
/// `see`.
pub(crate) fn perform<'a>(
    new: fn(Frames) -> Box<dyn Objects>,
    memory: &'a crate::layout::Layout,
    operations: &[Operation<Layout>],
    see: Option<&'a mut dyn FnMut(Event)>,
) -> (Tally, Option<Failure>) {
    let source = memory.source(1);
    let (piece, oracle) = (new(Frames::new(source)), Slabs::new(source));
    let frames = memory.first()..memory.end();
    let mut work = Work { piece, oracle, frames, owners: BTreeMap::new(), right: Tally::default(), see };
    let failure = drive(operations, |operation| work.step(operation));
    (work.right, failure)
}

impl Work<'_> {
    fn step(&mut self, operation: Operation<Layout>) -> Step {
        let (owner, wrong) = match operation {
            Operation::Allocate { owner, request } => return self.allocate(owner, request),
            Operation::FreeOther { place, order } => return self.free_badly(place, of_class(order)),
            Operation::Free { owner, wrong } => (owner, wrong),
        };
        let Some(owned) = self.owners.get(&owner).copied() else { return Ok(()) };
        let Owned { address, layout, is_live } = owned;
        match wrong {
            Wrong::Nothing if is_live => {
                self.owners.insert(owner, Owned { is_live: false, ..owned });
                self.free(address, layout)
            }
            Wrong::Again if !is_live => self.free_badly(address, layout),
            Wrong::Behind(bytes) if is_live => self.free_badly(address + bytes, layout),
            Wrong::Order(class) if is_live => self.free_badly(address, of_class(class)),
            // What it is about is not there in this sequence.
            _ => Ok(()),
        }
    }

    fn allocate(&mut self, owner: usize, layout: Layout) -> Step {
        self.ask(|| format!("allocate {}", bytes(layout)));
        let class = class_of(layout);
        let room = class.and_then(|class| self.oracle.has_room(class));
        let (held, left) = (self.oracle.source.held().count(), self.oracle.source.count());
        let answer = self.piece.allocate(layout);
        let checked = match answer {
            Ok(address) => self.oracle.take(address, layout).and_then(|()| {
                self.owners.insert(owner, Owned { address, layout, is_live: true });
                self.has_taken(room, held, layout)
            }),
            Err(refused) => self.is_refusal_right(layout, refused, room, left > held),
        };
        let touched = answer.map_or(0..0, |address| cells(address, layout.size() as u64));
        self.answer(touched, || match answer {
            Ok(address) => format!("{address:#x}"),
            Err(refused) => format!("{refused:?}"),
        });
        checked?;
        self.oracle.check_frames()
    }

    /// Whether a frame was taken only if no slab had room.
    fn has_taken(&mut self, room: Option<Frame>, held: usize, layout: Layout) -> Step {
        self.right.count(Kind::Served);
        self.right.count(Kind::Class);
        match room {
            Some(frame) if self.oracle.source.held().count() > held => {
                let text = format!("a frame was taken for {}: the slab {frame:#x} has a free slot", bytes(layout));
                Err((Kind::Took, text))
            }
            _ => {
                self.right.count(Kind::Took);
                Ok(())
            }
        }
    }

    fn is_refusal_right(&mut self, layout: Layout, refused: Refused, room: Option<Frame>, is_left: bool) -> Step {
        let said = format!("{} were refused as {refused:?}", bytes(layout));
        let (must, kind) = match class_of(layout) {
            Some(_) => (Refused::OutOfMemory, Kind::Refused),
            None => (Refused::TooLarge, Kind::TooLarge),
        };
        match room {
            Some(frame) => return Err((Kind::Refused, format!("{said}: the slab {frame:#x} has a free slot"))),
            None if is_left && kind == Kind::Refused => {
                return Err((Kind::Refused, format!("{said}: there is a frame to make a slab of")));
            }
            None if refused != must => return Err((Kind::TooLarge, format!("{said}: it is {must:?}"))),
            None => {}
        }
        self.right.count(kind);
        Ok(())
    }

    fn free(&mut self, address: Address, layout: Layout) -> Step {
        self.ask(|| format!("free {address:#x}, {}", bytes(layout)));
        let answer = self.piece.free(address, layout);
        if answer.is_ok() {
            self.oracle.remove(address);
        }
        self.answer(cells(address, layout.size() as u64), || said(answer));
        answer.map_err(|reason| not_taken_back(&format!("the object at {address:#x}"), reason))?;
        self.right.count(Kind::NotTakenBack);
        self.oracle.check_frames()?;
        self.right.count(Kind::Kept);
        Ok(())
    }

    /// Frees what must not be freed.
    fn free_badly(&mut self, address: Address, layout: Layout) -> Step {
        let Err(reason) = self.oracle.verdict(address, layout) else { return Ok(()) };
        let what = format!("{address:#x}, {}", bytes(layout));
        self.ask(|| format!("free {what}"));
        let answer = self.piece.free(address, layout);
        self.answer(cells(address, 1), || said(answer));
        check_refused(&what, answer, reason)?;
        self.right.count(Kind::Accepted);
        Ok(())
    }

    fn ask(&mut self, what: impl FnOnce() -> String) {
        if let Some(see) = &mut self.see {
            see(Event::Asked(what()));
        }
    }

    fn answer(&mut self, touched: Range<u64>, what: impl FnOnce() -> String) {
        if let Some(see) = &mut self.see {
            let states = states(&self.oracle, self.frames.clone());
            see(Event::Answered { answer: what(), states, touched });
        }
    }
}

/// A layout that is served from the class with this number.
fn of_class(class: u8) -> Layout {
    layout(CLASSES[usize::from(class) % CLASSES.len()], 1)
}

/// A layout, as it stands in a picture.
fn bytes(layout: Layout) -> String {
    match layout.align() {
        ..=8 => format!("{} bytes", layout.size()),
        align => format!("{} bytes at a multiple of {align}", layout.size()),
    }
}
