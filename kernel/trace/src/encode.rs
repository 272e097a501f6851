//! From operations to bytes, as they happen.

use alloc::vec::Vec;
use bifolio::allocator::{Call, Event, HeapCall};
use bifolio::frame::{Gfp, Order, Pfn, PfnRange};
use bifolio::memory_map::{Region, RegionKind};

use crate::decode::Place;
use crate::form::{
    CLOSED, COMMON, CPU, FAR_CPU, FREE, HASH, LOST, MAGIC, OPENED, OTHER, Opened, PLACES, REFUSED_FREE, Returns,
    SHRINKER, SITE, SITE_DEPTH, SITE_IS, SITE_NAMED, heap, other, zigzag,
};

/// Where the bytes of a trace go.
pub trait Sink {
    /// Takes more of them.
    fn put(&mut self, bytes: &[u8]);
}

impl Sink for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// Writes what a trace begins with.
pub fn write_header(sink: &mut impl Sink, cpus: usize, map: impl Iterator<Item = Region> + Clone) {
    sink.put(&MAGIC);
    number(sink, cpus as u64);
    number(sink, map.clone().count() as u64);
    for region in map {
        sink.put(&[match region.kind {
            RegionKind::Usable => 0,
            RegionKind::AcpiReclaimable => 1,
            RegionKind::Reserved => 2,
        }]);
        number(sink, region.start);
        number(sink, region.end);
    }
}

/// Writes what a site is called.
pub fn write_site_name(sink: &mut impl Sink, site: u32, name: &str) {
    with_number(sink, SITE_NAMED, site.into());
    number(sink, name.len() as u64);
    sink.put(name.as_bytes());
}

/// What has to be known of the records before to write the next.
///
/// An operation is written when it has ended; if one begins within it before, it is opened then.
#[derive(Debug)]
pub struct Encoder {
    cpu: usize,
    /// The number of the site that was spoken of last.
    site: u32,
    /// The frame that was spoken of last.
    frame: Pfn,
    /// The address that was spoken of last.
    address: u64,
    /// The operation that has begun and is not written.
    begun: Option<Call>,
    /// Those that it is within.
    opened: Opened,
    operations: u64,
}

impl Default for Encoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Encoder {
    /// Operations from one hash to the next.
    pub const INTERVAL: u64 = 4096;

    /// The encoder of a trace that has no records yet.
    pub const fn new() -> Self {
        Self { cpu: 0, site: 0, frame: Pfn::new(0), address: 0, begun: None, opened: Opened::none(), operations: 0 }
    }

    /// The encoder of what comes behind the records up to `place`, which follow so many operations.
    pub fn resume(place: &Place, operations: u64) -> Self {
        let Place { cpu, site, frame, address, opened, .. } = *place;
        Self { cpu, site, frame: Pfn::new(frame), address, opened, operations, ..Self::new() }
    }

    /// How many operations there were.
    pub fn operations(&self) -> u64 {
        self.operations
    }

    /// Whether an operation has begun and not ended.
    pub fn is_open(&self) -> bool {
        self.begun.is_some() || !self.opened.is_none()
    }

    /// Whether an operation that begins now is part of one that has begun, instead of what others do while that asks a shrinker.
    pub fn is_within(&self) -> bool {
        self.begun
            .map_or(!self.opened.is_none() && !self.opened.is_shrinker(), |begun| !matches!(begun, Call::Shrink { .. }))
    }

    /// Writes what has happened. `site_of` has the number of the site with these return addresses, innermost first, or 0, and whether it is
    /// spoken of for the first time.
    pub fn event(&mut self, sink: &mut impl Sink, event: &Event, site_of: impl FnOnce(&[u64]) -> (u32, bool)) {
        match event.begun() {
            Some((cpu, call)) if self.is_within() => self.begin(sink, cpu, call),
            Some((cpu, call)) => {
                let (mut addresses, mut count) = ([0; SITE_DEPTH], 0);
                for (place, address) in addresses.iter_mut().zip(event.callers()) {
                    *place = address;
                    count += 1;
                }
                let (site, is_new) = site_of(&addresses[..count]);
                self.begin_at(sink, cpu, call, site, if is_new { &addresses[..count] } else { &[] });
            }
            None => {}
        }
        if let Some(returned) = event.ended() {
            self.end(sink, returned);
        }
    }

    /// An operation begins that is asked for from the site of this number, 0 if that is not known: if one has begun and not ended, one
    /// within that. A site that is spoken of for the first time comes with its return addresses, innermost first.
    pub fn begin_at(&mut self, sink: &mut impl Sink, cpu: usize, call: Call, site: u32, addresses: &[u64]) {
        self.begin(sink, cpu, call);
        if !addresses.is_empty() {
            with_number(sink, SITE_IS, site.into());
            number(sink, addresses.len() as u64);
            let mut before = 0;
            for &address in addresses {
                let from = core::mem::replace(&mut before, address);
                number(sink, zigzag(address.wrapping_sub(from).cast_signed()));
            }
        }
        if self.site != site {
            self.site = site;
            with_number(sink, SITE, site.into());
        }
    }

    /// An operation begins: if one has begun and not ended, one within that.
    pub fn begin(&mut self, sink: &mut impl Sink, cpu: usize, call: Call) {
        self.open(sink);
        if self.cpu != cpu {
            self.cpu = cpu;
            match u8::try_from(cpu).ok().filter(|&cpu| cpu < FAR_CPU - CPU) {
                Some(near) => sink.put(&[CPU + near]),
                None => {
                    sink.put(&[FAR_CPU]);
                    number(sink, cpu as u64);
                }
            }
        }
        self.begun = Some(call);
    }

    /// Writes what has begun and is not written yet, if there is such an operation: the trace goes on within it, or ends in its middle.
    pub fn open(&mut self, sink: &mut impl Sink) {
        if let Some(outer) = self.begun.take() {
            sink.put(&[OPENED]);
            self.call(sink, &outer);
            let has_room = self.opened.push(Returns::of(&outer));
            debug_assert!(has_room, "operations within operations have an end");
        }
    }

    /// The operation that began last and has not ended, ends. True if a [hash](Self::hash) is due.
    pub fn end(&mut self, sink: &mut impl Sink, returned: Option<u64>) -> bool {
        match self.begun.take() {
            Some(call) => {
                if let (Call::Free { pfn, order }, None) = (call, returned) {
                    sink.put(&[REFUSED_FREE, order.get()]);
                    self.distance(sink, pfn);
                } else {
                    self.call(sink, &call);
                    if !matches!(call, Call::Free { .. }) {
                        self.result(sink, Returns::of(&call), returned);
                    }
                }
            }
            None => {
                let Some(returns) = self.opened.pop() else { return false };
                sink.put(&[CLOSED]);
                self.result(sink, returns, returned);
            }
        }
        // What is within an operation is part of it.
        let is_whole = self.opened.is_none();
        self.operations += u64::from(is_whole);
        is_whole && self.operations.is_multiple_of(Self::INTERVAL)
    }

    /// Writes the hash of the state that the operations so far have led to.
    pub fn hash(&mut self, sink: &mut impl Sink, hash: u64) {
        sink.put(&[HASH]);
        sink.put(&hash.to_le_bytes());
    }

    /// Writes that records are missing from here on.
    pub fn lost(&mut self, sink: &mut impl Sink, records: u64) {
        sink.put(&[LOST]);
        number(sink, records);
    }

    fn call(&mut self, sink: &mut impl Sink, call: &Call) {
        match *call {
            Call::Allocate { order, gfp } => {
                let place = COMMON.iter().position(|common| *common == gfp).map_or(OTHER, |place| place as u8);
                sink.put(&[order.get() * PLACES + place]);
                if place == OTHER {
                    number(sink, gfp.bits().into());
                }
            }
            Call::Free { pfn, order } => {
                sink.put(&[FREE + order.get()]);
                self.distance(sink, pfn);
            }
            Call::Split { pfn, order, into } => {
                sink.put(&[other::SPLIT, order.get(), into.get()]);
                self.distance(sink, pfn);
            }
            Call::AllocateExact { frames, align, gfp } => {
                sink.put(&[other::EXACT, align.get()]);
                sized(sink, frames, gfp);
            }
            Call::AllocateContiguous { frames, align, gfp } | Call::AllocateRun { frames, align, gfp } => {
                let is_run = matches!(call, Call::AllocateRun { .. });
                sink.put(&[if is_run { other::RUN } else { other::CONTIGUOUS }]);
                number(sink, align);
                sized(sink, frames, gfp);
            }
            Call::AllocateRange { range, gfp } => {
                self.range(sink, other::RANGE, range);
                number(sink, gfp.bits().into());
            }
            Call::Resize { range, frames, gfp } => {
                self.range(sink, other::RESIZE, range);
                sized(sink, frames, gfp);
            }
            Call::Isolate(range) => self.range(sink, other::ISOLATE, range),
            Call::Unisolate(range) => self.range(sink, other::UNISOLATE, range),
            Call::Add(range) => self.range(sink, other::ADD, range),
            Call::Drain => sink.put(&[other::DRAIN]),
            Call::Decay => sink.put(&[other::DECAY]),
            Call::Balance => sink.put(&[other::BALANCE]),
            Call::UnreserveHighAtomic => sink.put(&[other::UNRESERVE]),
            Call::Settle(kind) => sink.put(&[other::SETTLE, kind.index() as u8]),
            Call::AddShrinker => sink.put(&[other::ADD_SHRINKER]),
            Call::RemoveShrinker => sink.put(&[other::REMOVE_SHRINKER]),
            Call::Shrink { frames } => {
                sink.put(&[SHRINKER]);
                number(sink, frames);
            }
            Call::Heap(call) => self.heap_call(sink, call),
        }
    }

    fn heap_call(&mut self, sink: &mut impl Sink, call: HeapCall) {
        match call {
            HeapCall::Allocate { cache, size } => {
                sink.put(&[heap::ALLOCATE]);
                number(sink, cache.into());
                number(sink, size);
            }
            HeapCall::Free { address, cache } => {
                self.address(sink, heap::FREE, address);
                number(sink, cache.map_or(0, |cache| u64::from(cache) + 1));
            }
            HeapCall::OpenRun { address, bytes, align } => {
                self.address(sink, heap::OPEN_RUN, address);
                number(sink, bytes);
                number(sink, align);
            }
            HeapCall::CloseRun { address, bytes } => {
                self.address(sink, heap::CLOSE_RUN, address);
                number(sink, bytes);
            }
            HeapCall::TakeRun { address } => self.address(sink, heap::TAKE_RUN, address),
            HeapCall::PutRun { address, bytes } => {
                self.address(sink, heap::PUT_RUN, address);
                number(sink, bytes.map_or(0, |bytes| bytes + 1));
            }
            HeapCall::NewCache { size } => with_number(sink, heap::NEW_CACHE, size),
            HeapCall::EndCache { cache } => with_number(sink, heap::END_CACHE, cache.into()),
            HeapCall::SetAside { cache } => with_number(sink, heap::SET_ASIDE, cache.into()),
            HeapCall::Slab { order } => sink.put(&[heap::SLAB, order.get()]),
            HeapCall::Shrink | HeapCall::Retire | HeapCall::Prepare | HeapCall::Settle => {
                let place = heap::PLAIN.iter().position(|plain| *plain == call).expect("they are all there");
                sink.put(&[heap::OTHER, place as u8]);
            }
        }
    }

    fn result(&mut self, sink: &mut impl Sink, returns: Returns, returned: Option<u64>) {
        let Some(value) = returned else { return sink.put(&[0]) };
        let value = match returns {
            Returns::Number | Returns::Given => value,
            // The distance of no two frames, or addresses, is the least of all numbers.
            Returns::Frame => self.step(Pfn::new(value)),
            Returns::Address => self.step_to(value),
        };
        number(sink, value.wrapping_add(1));
    }

    fn step_to(&mut self, address: u64) -> u64 {
        let from = core::mem::replace(&mut self.address, address);
        zigzag(address.wrapping_sub(from).cast_signed())
    }

    fn address(&mut self, sink: &mut impl Sink, first: u8, address: u64) {
        sink.put(&[first]);
        let distance = self.step_to(address);
        number(sink, distance);
    }

    fn step(&mut self, pfn: Pfn) -> u64 {
        let from = core::mem::replace(&mut self.frame, pfn);
        zigzag(pfn.number().wrapping_sub(from.number()).cast_signed())
    }

    fn distance(&mut self, sink: &mut impl Sink, pfn: Pfn) {
        let distance = self.step(pfn);
        number(sink, distance);
    }

    fn range(&mut self, sink: &mut impl Sink, first: u8, range: PfnRange) {
        sink.put(&[first]);
        self.distance(sink, range.start);
        // A range that ends before it starts is as empty as any.
        number(sink, range.end.number().saturating_sub(range.start.number()));
    }
}

fn with_number(sink: &mut impl Sink, first: u8, argument: u64) {
    sink.put(&[first]);
    number(sink, argument);
}

fn sized(sink: &mut impl Sink, frames: u64, gfp: Gfp) {
    number(sink, frames);
    number(sink, gfp.bits().into());
}

/// Writes a varint.
fn number(sink: &mut impl Sink, mut number: u64) {
    let mut bytes = [0; 10];
    let mut length = 0;
    loop {
        let low = (number & 0x7f) as u8;
        number >>= 7;
        bytes[length] = if number == 0 { low } else { low | 0x80 };
        length += 1;
        if number == 0 {
            return sink.put(&bytes[..length]);
        }
    }
}

const _: () = assert!(Order::MAX.get() == 10, "eleven orders have their place in the first byte");
