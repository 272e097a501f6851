//! A world: a machine's page frames at one moment of a trace.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::alloc::Layout;
use core::error::Error;
use core::fmt;

use bifolio::allocator::{Call, Plan, SetupError, View, ZoneStats};
use bifolio::frame::ZoneKind;
use bifolio::heap::{Heap, NextSlot, PageSource, SlabWords};
use bifolio::memory_map::{MemoryMap, Region};
use trace::{Broken, Header, Place, Record};

use crate::checkpoints::Checkpoints;
use crate::cpu::{self, Replayed};
use crate::memory::{Frames, Memory};
use crate::read::{Counted, count};
use crate::script::{Difference, Found, Script};
use crate::source::Source;

/// Why there is no world for a trace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OpenError {
    /// The trace cannot be read.
    Broken(Broken),
    /// There is no allocator for its memory map.
    Setup(SetupError),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broken(error) => error.fmt(f),
            Self::Setup(error) => error.fmt(f),
        }
    }
}

impl Error for OpenError {}

/// Why a world goes no further.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stop {
    /// The trace is at its end.
    End,
    /// So many records are missing.
    Lost(u64),
    /// What is read next is no record.
    Broken(Broken),
    /// Something is not as the trace says.
    Differs(Difference),
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::End => f.write_str("the end of the trace"),
            Self::Lost(records) => write!(f, "{records} records were lost"),
            Self::Broken(error) => error.fmt(f),
            Self::Differs(difference) => difference.fmt(f),
        }
    }
}

/// The operation that was done last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Last {
    /// The CPU that did it.
    pub cpu: usize,
    /// The operation.
    pub call: Call,
    /// What it returned, as a number; `None` if it was refused.
    pub returned: Option<u64>,
    /// The number of the [site](World::site_name) that asked for it, or for what it is part of; 0 if that is not known.
    pub site: u32,
}

/// A machine's page frames at one moment of a trace.
#[derive(Debug)]
pub struct World {
    memory: Memory,
    /// The allocator and the heap in `memory` refer to it: it does not move.
    script: Box<Script>,
    map: Vec<Region>,
    cpus: usize,
    first: Place,
    operation: u64,
    /// How many were done in all, those again that were done before.
    done: u64,
    /// How many operations the trace has.
    total: u64,
    /// The place behind what was counted of it: an operation that is there as a whole, or a hash.
    counted: Place,
    last: Option<Last>,
    checkpoints: Checkpoints,
    /// What sites are called.
    names: BTreeMap<u32, String>,
}

impl World {
    /// A world at the beginning of a trace, all of which is read once. Its checkpoints may take so many bytes, or a few more.
    ///
    /// # Errors
    /// [`OpenError`] if it is no trace or a broken one, or its machine cannot be.
    pub fn open(trace: Vec<u8>, budget: usize) -> Result<Self, OpenError> {
        let world = Self::attach(trace, budget)?;
        world.script.check_whole().map_err(OpenError::Broken)?;
        Ok(world)
    }

    /// A world at the beginning of a trace that is still being written: what has come of it may end in the middle of an operation, but
    /// not of the header. What comes next is for [`extend`](Self::extend).
    ///
    /// # Errors
    /// Those of [`open`](Self::open); a header that has not come as a whole is [cut](trace::Defect::Cut).
    pub fn attach(trace: Vec<u8>, budget: usize) -> Result<Self, OpenError> {
        let (header, first) = Header::read(&trace).map_err(OpenError::Broken)?;
        let mut regions: Vec<Region> = header.map().collect();
        let cpus = header.cpus;
        let map = MemoryMap::sanitise(&mut regions).map_err(OpenError::Setup)?;
        let plan = Plan::new(map).map_err(OpenError::Setup)?;
        let script = Box::new(Script::new(trace, first));
        let memory = Memory::new(&plan, cpus, &script).map_err(OpenError::Setup)?;
        script.set_world(memory.frames(), memory.heap());
        let checkpoints = Checkpoints::new(budget);
        let (operation, total, last, map) = (0, 0, None, regions);
        let mut world = Self {
            memory,
            script,
            map,
            cpus,
            first,
            operation,
            done: 0,
            total,
            counted: first,
            last,
            checkpoints,
            names: BTreeMap::new(),
        };
        world.keep();
        world.count_on().map_err(OpenError::Broken)?;
        Ok(world)
    }

    /// Adds what has come of a trace that is still being written. What is not there as a whole yet is not followed.
    ///
    /// # Errors
    /// [`Broken`] if that is no trace.
    pub fn extend(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        self.script.extend(bytes);
        self.count_on()
    }

    /// Counts the operations that have come since this was last done, as far as they are there as a whole.
    fn count_on(&mut self) -> Result<(), Broken> {
        let Counted { place, operations, has_lost } = {
            let (from, names) = (self.counted, &mut self.names);
            self.script.with_all(|trace| count(trace, from, names))?
        };
        self.counted = place;
        self.total += operations;
        self.script.let_follow(if has_lost { None } else { Some(place.offset()) });
        Ok(())
    }

    /// A world of this machine, with nothing done yet.
    ///
    /// # Errors
    /// [`OpenError`] if there can be no such machine.
    pub fn new(map: &[Region], cpus: usize, budget: usize) -> Result<Self, OpenError> {
        let mut trace = Vec::new();
        trace::write_header(&mut trace, cpus, map.iter().copied());
        Self::open(trace, budget)
    }

    /// The page frames, to be looked at. What is asked of a [zone](View::zone) or of all may change what comes: [`zones`](Self::zones)
    /// says it without.
    pub fn frames(&self) -> &View<'static, Replayed> {
        self.memory.frames()
    }

    /// The heap, to be looked at. Its addresses stand for [numbers](bifolio::heap::PageSource::number_of), and lead nowhere. What is asked
    /// of all of it may change what comes, as of page frames.
    pub fn heap(&self) -> &Heap<Source, Replayed> {
        self.memory.heap()
    }

    /// The slab or large object around an address of the machine: the address that it begins at, and what is known of it.
    pub fn slab_at(&self, address: u64) -> Option<(u64, SlabWords)> {
        let slab = self.heap().slab_words(self.script.with_addresses(|addresses| addresses.find(address))?)?;
        Some((self.heap().source().number_of(slab.info.start), slab))
    }

    /// The slot that a CPU is given next for a layout, and its address on the machine.
    pub fn next_slot(&self, cpu: usize, layout: Layout) -> Option<(u64, NextSlot)> {
        cpu::take_turn_of(cpu);
        let next = self.heap().next_slot(layout)?;
        Some((self.heap().source().number_of(next.address), next))
    }

    /// The hash of the whole state.
    pub fn hash(&self) -> u64 {
        self.frames().hash() ^ self.memory.heap().hash()
    }

    /// How the zones stand.
    pub fn zones(&mut self) -> [ZoneStats; ZoneKind::COUNT] {
        self.look(|frames| ZoneKind::ALL.map(|kind| frames.zone(kind)))
    }

    /// Looks at the page frames in a way that may change what comes, and undoes that change.
    pub fn look<R>(&mut self, look: impl FnOnce(&View<'static, Replayed>) -> R) -> R {
        self.undo_behind(|memory| look(memory.frames()))
    }

    /// [`look`](Self::look) as a CPU.
    pub fn look_as<R>(&mut self, cpu: usize, look: impl FnOnce(&Frames) -> R) -> R {
        cpu::take_turn_of(cpu);
        self.undo_behind(|memory| look(memory.frames()))
    }

    /// [`look`](Self::look) at the heap.
    pub fn look_at_heap<R>(&mut self, look: impl FnOnce(&Heap<Source, Replayed>) -> R) -> R {
        self.undo_behind(|memory| look(memory.heap()))
    }

    fn undo_behind<R>(&mut self, look: impl FnOnce(&Memory) -> R) -> R {
        let before = self.memory.copy();
        let seen = look(&self.memory);
        self.memory.restore(&before);
        seen
    }

    /// The entries of the memory map, sorted.
    pub fn map(&self) -> &[Region] {
        &self.map
    }

    /// How many CPUs have pages of their own.
    pub fn cpus(&self) -> usize {
        self.cpus
    }

    /// How many operations were done.
    pub fn operation(&self) -> u64 {
        self.operation
    }

    /// How many operations were ever done in this world: what a moment costs to go to is how much more there are then.
    pub fn done(&self) -> u64 {
        self.done
    }

    /// Operations between two checkpoints: no moment that was passed before is further from one than that.
    pub fn interval(&self) -> u64 {
        self.checkpoints.interval()
    }

    /// How many operations the trace has, not counting those within others. (A trace that has lost records has no more than those before.)
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The operation that was done last, unless this moment was reached without doing one.
    pub fn last(&self) -> Option<Last> {
        self.last
    }

    /// Bytes of the state and its checkpoints.
    pub fn bytes(&self) -> usize {
        self.memory.bytes() + self.checkpoints.bytes()
    }

    /// The trace, up to its end.
    pub fn with_trace<R>(&self, show: impl FnOnce(&[u8]) -> R) -> R {
        self.script.with_trace(show)
    }

    /// What a site is called, if the trace says so.
    pub fn site_name(&self, site: u32) -> Option<&str> {
        self.names.get(&site).map(String::as_str)
    }

    /// The number of the site that asked for the operation at this byte of the trace, or for the one that it is within.
    pub fn site_at(&self, offset: usize) -> u32 {
        self.script.with_all(|trace| {
            let mut place = self.first;
            while place.offset() <= offset && place.next(trace).is_ok_and(|record| record.is_some()) {}
            place.site()
        })
    }

    /// How the trace ends, if that is in the middle of something: the place behind which nothing is there as a whole, and the operations
    /// that have begun there and not ended, each within the one before, with their CPUs.
    pub fn unfinished(&self) -> Option<(usize, Vec<(usize, Call)>)> {
        self.script.with_all(|trace| {
            let (mut place, mut opened) = (self.counted, Vec::new());
            while let Ok(Some(record)) = place.next(trace) {
                match record {
                    Record::Opened { cpu, call } => opened.push((cpu, call)),
                    Record::Closed(_) => _ = opened.pop(),
                    Record::Lost(_) => return None,
                    _ => {}
                }
            }
            (self.counted.offset() < trace.len()).then(|| (self.counted.offset(), opened))
        })
    }

    /// Shows every operation up to this moment, in the order in which they ended, with the number of the outermost one that it is
    /// within, or is, and those that it is within, outermost first.
    pub fn for_each_operation(&self, visit: impl FnMut(u64, &[Call], Last)) {
        self.for_each_operation_until(self.operation, visit);
    }

    /// [`for_each_operation`](Self::for_each_operation) up to another moment.
    pub fn for_each_operation_until(&self, moment: u64, mut visit: impl FnMut(u64, &[Call], Last)) {
        self.with_trace(|trace| {
            let (mut place, mut number, mut opened, mut owners) = (self.first, 0, Vec::new(), Vec::new());
            while number < moment
                && let Ok(Some(record)) = place.next(trace)
            {
                match record {
                    Record::Operation { cpu, call, returned } => {
                        visit(number, &opened, Last { cpu, call, returned, site: place.site() });
                    }
                    Record::Opened { cpu, call } => {
                        opened.push(call);
                        owners.push((cpu, place.site()));
                    }
                    Record::Closed(returned) => {
                        let (call, (cpu, site)) = opened.pop().zip(owners.pop()).expect("the reader has matched them");
                        visit(number, &opened, Last { cpu, call, returned, site });
                    }
                    _ => continue,
                }
                number += u64::from(opened.is_empty());
            }
        });
    }

    /// Does the next operation of the trace.
    ///
    /// # Errors
    /// [`Stop`] if there is none, or it does not come to what the trace says.
    pub fn step(&mut self) -> Result<(), Stop> {
        loop {
            let offset = self.script.place().offset();
            match self.script.next().map_err(Stop::Broken)? {
                None => return Err(Stop::End),
                Some(Record::Lost(records)) => return Err(Stop::Lost(records)),
                Some(Record::Hash(expected)) => {
                    let actual = self.hash();
                    if actual != expected {
                        return Err(self.differs(offset, Found::State { expected, actual }));
                    }
                }
                Some(Record::Operation { cpu, call, returned }) => {
                    return self.follow(offset, cpu, call, Some(returned));
                }
                Some(Record::Opened { cpu, call }) => return self.follow(offset, cpu, call, None),
                Some(Record::Closed(_)) => unreachable!("the reader has matched it"),
            }
        }
    }

    /// Does an operation; without `returned`, that is read behind it.
    fn follow(&mut self, offset: usize, cpu: usize, call: Call, returned: Option<Option<u64>>) -> Result<(), Stop> {
        let site = self.script.place().site();
        let actual = self.script.repeat(cpu, call, returned.is_none());
        let expected = returned.or_else(|| self.script.follow_to_end());
        if let Some((offset, found)) = self.script.take_met() {
            return Err(self.differs(offset, found));
        }
        let expected = expected.flatten();
        if actual != expected {
            return Err(self.differs(offset, Found::Returned { cpu, call, expected, actual }));
        }
        self.count(cpu, call, actual, site);
        Ok(())
    }

    fn count(&mut self, cpu: usize, call: Call, returned: Option<u64>, site: u32) {
        self.operation += 1;
        self.done += 1;
        self.last = Some(Last { cpu, call, returned, site });
        if self.checkpoints.is_due(self.operation) {
            self.keep();
        }
    }

    fn keep(&mut self) {
        self.checkpoints.add(self.operation, self.script.place(), &self.memory);
    }

    fn differs(&self, offset: usize, found: Found) -> Stop {
        Stop::Differs(Difference { operation: self.operation, offset, found })
    }

    /// Goes to the moment at which so many operations were done, from the checkpoint before it or from here.
    ///
    /// # Errors
    /// [`Stop`] if the trace cannot be followed as far; the world is where it can be followed to.
    pub fn seek(&mut self, operation: u64) -> Result<(), Stop> {
        let nth = self.checkpoints.before(operation).expect("there is one of the beginning");
        let checkpoint = self.checkpoints.at(nth);
        if !(checkpoint.operation..=operation).contains(&self.operation) {
            self.memory.restore(&self.checkpoints.state(nth));
            self.script.go_to(checkpoint.place);
            self.operation = checkpoint.operation;
            self.last = None;
        }
        while self.operation < operation {
            self.step()?;
        }
        Ok(())
    }

    /// Follows the trace to its end, and checks every hash in it.
    ///
    /// # Errors
    /// [`Stop`], which is not the end.
    pub fn run(&mut self) -> Result<(), Stop> {
        loop {
            match self.step() {
                Ok(()) => {}
                Err(Stop::End) => return Ok(()),
                Err(stop) => return Err(stop),
            }
        }
    }

    /// Does something of one's own, and writes it into the trace in place of all that would have come: what it returned, as a
    /// number; `None` if it was refused.
    pub fn perform(&mut self, cpu: usize, call: Call) -> Option<u64> {
        self.checkpoints.forget_behind(self.operation);
        self.script.begin_to_write(self.operation);
        cpu::take_turn_of(cpu);
        self.script.begin(call);
        let returned = self.script.act(cpu, call);
        if self.script.end(returned) {
            self.script.write_hash(self.hash());
        }
        self.script.end_writing();
        self.count(cpu, call, returned, self.script.place().site());
        (self.total, self.counted) = (self.operation, self.script.place());
        returned
    }
}
