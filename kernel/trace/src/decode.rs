//! From bytes to operations. A file may hold anything at all.

use core::error::Error;
use core::fmt;

use bifolio::allocator::{Call, HeapCall};
use bifolio::frame::{Gfp, Order, Pfn, PfnRange, ZoneKind};
use bifolio::memory_map::{Region, RegionKind};

use crate::form::{
    ALLOCATIONS, CLOSED, COMMON, CPU, FAR_CPU, FREE, HASH, LOST, MAGIC, OPENED, Opened, PLACES, REFUSED_FREE, Returns,
    SHRINKER, SITE, SITE_DEPTH, SITE_IS, SITE_NAMED, heap, other, unzigzag,
};

/// What is wrong with a trace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Defect {
    /// It does not begin as a trace does.
    NotATrace,
    /// It is of another version of the format.
    OtherVersion(u8),
    /// It ends in the middle of something.
    Cut,
    /// No record begins with this byte.
    UnknownRecord(u8),
    /// This number cannot be what it stands for.
    OutOfRange(u64),
    /// An operation ends that has not begun, or operations are within operations that cannot be.
    Misplaced,
}

/// A trace that cannot be read, and where.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Broken {
    /// What is wrong.
    pub defect: Defect,
    /// The place of the byte in the file at which it is.
    pub offset: usize,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.defect {
            Defect::NotATrace => f.write_str("this is no trace of Bifolio")?,
            Defect::OtherVersion(version) => {
                write!(f, "a trace of version {version}, and not {}", MAGIC[MAGIC.len() - 1])?;
            }
            Defect::Cut => f.write_str("the trace ends in the middle of a record")?,
            Defect::UnknownRecord(byte) => write!(f, "no record begins with {byte:#04x}")?,
            Defect::OutOfRange(number) => write!(f, "{number:#x} cannot be")?,
            Defect::Misplaced => f.write_str("a record that does not belong here")?,
        }
        write!(f, ", at byte {:#x}", self.offset)
    }
}

impl Error for Broken {}

/// A record of a trace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Record {
    /// An operation, and what it returned; `None` if it was refused.
    Operation {
        /// The CPU that did it.
        cpu: usize,
        /// What it was.
        call: Call,
        /// What it returned.
        returned: Option<u64>,
    },
    /// An operation with others within it: those come next, and then that it is [closed](Self::Closed).
    Opened {
        /// The CPU that did it.
        cpu: usize,
        /// What it was.
        call: Call,
    },
    /// The operation that was opened last, and is not closed, has returned this.
    Closed(Option<u64>),
    /// The hash of the state at this moment.
    Hash(u64),
    /// So many records are missing.
    Lost(u64),
}

/// The place in a trace's bytes.
#[derive(Clone, Copy, Debug)]
struct Cursor<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Cursor<'a> {
    fn broken(&self, defect: Defect) -> Broken {
        Broken { defect, offset: self.offset }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], Broken> {
        let bytes = self.bytes.get(self.offset..).and_then(|rest| rest.first_chunk());
        let bytes = bytes.ok_or(Broken { defect: Defect::Cut, offset: self.bytes.len() })?;
        self.offset += N;
        Ok(*bytes)
    }

    fn byte(&mut self) -> Result<u8, Broken> {
        self.take().map(|[byte]| byte)
    }

    fn number(&mut self) -> Result<u64, Broken> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let at = *self;
            let byte = self.byte()?;
            let part = u64::from(byte & 0x7f);
            if part << shift >> shift != part {
                return Err(at.broken(Defect::OutOfRange(part)));
            }
            number |= part << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(self.broken(Defect::OutOfRange(number)))
    }

    /// Reads something that `make` makes of a number.
    fn of<T>(&mut self, make: impl FnOnce(u64) -> Option<T>) -> Result<T, Broken> {
        let at = *self;
        let number = self.number()?;
        make(number).ok_or(at.broken(Defect::OutOfRange(number)))
    }

    fn order(&mut self) -> Result<Order, Broken> {
        self.of(|order| Order::new(order.try_into().ok()?))
    }

    fn gfp(&mut self) -> Result<Gfp, Broken> {
        self.of(|bits| Some(Gfp::from_bits_retain(bits.try_into().ok()?)))
    }
}

/// What a trace begins with.
#[derive(Clone, Copy, Debug)]
pub struct Header<'a> {
    /// CPUs that have pages of their own.
    pub cpus: usize,
    regions: usize,
    map: Cursor<'a>,
}

impl<'a> Header<'a> {
    /// CPUs that a trace may have.
    const MAX_CPUS: u64 = 4096;

    /// Reads the beginning of a trace; with it comes the place of the first record.
    ///
    /// # Errors
    /// [`Broken`], if this is no trace, or one of another version, or it is cut.
    pub fn read(bytes: &'a [u8]) -> Result<(Self, Place), Broken> {
        let mut cursor = Cursor { bytes, offset: 0 };
        let magic: [u8; MAGIC.len()] = cursor.take().map_err(|_| Broken { defect: Defect::NotATrace, offset: 0 })?;
        let ([magic @ .., version], [expected @ .., own]) = (magic, MAGIC);
        if magic != expected {
            return Err(Broken { defect: Defect::NotATrace, offset: 0 });
        }
        if version != own {
            return Err(Broken { defect: Defect::OtherVersion(version), offset: MAGIC.len() - 1 });
        }
        let cpus = cursor.of(|cpus| usize::try_from(cpus).ok().filter(|_| cpus <= Self::MAX_CPUS))?;
        // A region takes three bytes at least.
        let regions = usize::try_from(cursor.number()?).ok().filter(|&regions| regions <= bytes.len() / 3);
        let regions = regions.ok_or(Broken { defect: Defect::Cut, offset: bytes.len() })?;
        let header = Self { cpus, regions, map: cursor };
        for _ in 0..regions {
            region(&mut cursor)?;
        }
        Ok((header, Place { offset: cursor.offset, cpu: 0, site: 0, frame: 0, address: 0, opened: Opened::none() }))
    }

    /// The entries of the memory map, as firmware gave them or in another order.
    pub fn map(&self) -> impl ExactSizeIterator<Item = Region> + use<'a> {
        let mut cursor = self.map;
        (0..self.regions).map(move |_| region(&mut cursor).expect("they were read once"))
    }
}

fn region(cursor: &mut Cursor<'_>) -> Result<Region, Broken> {
    let kind = cursor.of(|kind| RegionKind::ALL.get(usize::try_from(kind).ok()?).copied())?;
    Ok(Region { start: cursor.number()?, end: cursor.number()?, kind })
}

/// A place between two records of a trace, and what has to be known of those before it to read on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    pub(crate) offset: usize,
    pub(crate) cpu: usize,
    /// The number of the site that was spoken of last.
    pub(crate) site: u32,
    /// The number of the frame that was spoken of last.
    pub(crate) frame: u64,
    /// The address that was spoken of last.
    pub(crate) address: u64,
    /// The operations that were opened and not closed.
    pub(crate) opened: Opened,
}

impl Place {
    /// The place of the next record in the file.
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// The CPU that did what was read last.
    pub fn cpu(&self) -> usize {
        self.cpu
    }

    /// The number of the site that asked for what was read last, unless that is part of another operation; 0 if it is not known.
    pub fn site(&self) -> u32 {
        self.site
    }

    /// Reads the next record of the trace, which this is a place of; `None` at its end.
    ///
    /// # Errors
    /// [`Broken`], naming the byte. The place stays where it was.
    pub fn next(&mut self, trace: &[u8]) -> Result<Option<Record>, Broken> {
        self.next_with(trace, &mut |_, _| ())
    }

    /// [`next`](Self::next), and to `on_site` what the trace says of sites before it.
    ///
    /// # Errors
    /// As there.
    pub fn next_with(
        &mut self,
        trace: &[u8],
        on_site: &mut dyn FnMut(u32, Site<'_>),
    ) -> Result<Option<Record>, Broken> {
        let cursor = Cursor { bytes: trace, offset: self.offset };
        let mut reader = Reader { cursor, place: *self, on_site };
        if self.offset == trace.len() {
            return if self.opened.is_none() { Ok(None) } else { Err(reader.cursor.broken(Defect::Cut)) };
        }
        let record = reader.record()?;
        *self = Self { offset: reader.cursor.offset, ..reader.place };
        Ok(Some(record))
    }
}

/// What a trace says of a site in the program that it was made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Site<'a> {
    /// Its return addresses, innermost first.
    At(&'a [u64]),
    /// In words.
    Named(&'a str),
}

/// Reads a record.
struct Reader<'a, 'v> {
    cursor: Cursor<'a>,
    /// What is known of the records before.
    place: Place,
    on_site: &'v mut dyn FnMut(u32, Site<'_>),
}

impl Reader<'_, '_> {
    fn record(&mut self) -> Result<Record, Broken> {
        loop {
            let at = self.cursor;
            let byte = self.cursor.byte()?;
            let record = match byte {
                FAR_CPU => {
                    self.place.cpu = self.cursor.of(|cpu| cpu.try_into().ok())?;
                    continue;
                }
                CPU.. => {
                    self.place.cpu = (byte - CPU).into();
                    continue;
                }
                SITE => {
                    self.place.site = self.cursor.of(|site| site.try_into().ok())?;
                    continue;
                }
                SITE_IS => {
                    self.site_is()?;
                    continue;
                }
                SITE_NAMED => {
                    self.site_named()?;
                    continue;
                }
                OPENED => {
                    let byte = self.cursor.byte()?;
                    let call = self.call(byte, at)?;
                    if !self.place.opened.push(Returns::of(&call)) {
                        return Err(at.broken(Defect::Misplaced));
                    }
                    Record::Opened { cpu: self.place.cpu, call }
                }
                CLOSED => {
                    let returns = self.place.opened.pop().ok_or(at.broken(Defect::Misplaced))?;
                    Record::Closed(self.result(returns)?)
                }
                HASH => Record::Hash(u64::from_le_bytes(self.cursor.take()?)),
                LOST => Record::Lost(self.cursor.number()?),
                REFUSED_FREE => {
                    let order = self.cursor.order()?;
                    Record::Operation {
                        call: Call::Free { pfn: self.pfn()?, order },
                        cpu: self.place.cpu,
                        returned: None,
                    }
                }
                _ => {
                    let call = self.call(byte, at)?;
                    let is_free = matches!(call, Call::Free { .. });
                    let returned = if is_free { Some(0) } else { self.result(Returns::of(&call))? };
                    Record::Operation { cpu: self.place.cpu, call, returned }
                }
            };
            return Ok(record);
        }
    }

    /// Reads what the number of a site stands for.
    fn site_is(&mut self) -> Result<(), Broken> {
        let site = self.cursor.of(|site| site.try_into().ok())?;
        let count = self.cursor.of(|count| usize::try_from(count).ok().filter(|&count| count <= SITE_DEPTH))?;
        let (mut addresses, mut before) = ([0_u64; SITE_DEPTH], 0_u64);
        for address in &mut addresses[..count] {
            before = before.wrapping_add_signed(unzigzag(self.cursor.number()?));
            *address = before;
        }
        (self.on_site)(site, Site::At(&addresses[..count]));
        Ok(())
    }

    /// Reads what a site is called.
    fn site_named(&mut self) -> Result<(), Broken> {
        let site = self.cursor.of(|site| site.try_into().ok())?;
        let (length, at) = (self.cursor.number()?, self.cursor);
        let rest = at.bytes.get(at.offset..).unwrap_or_default();
        let cut = Broken { defect: Defect::Cut, offset: at.bytes.len() };
        let name = usize::try_from(length).ok().and_then(|length| rest.get(..length)).ok_or(cut)?;
        let text = core::str::from_utf8(name).map_err(|_| at.broken(Defect::OutOfRange(length)))?;
        self.cursor.offset += name.len();
        (self.on_site)(site, Site::Named(text));
        Ok(())
    }

    /// Reads the operation that begins with `byte`; `at` is where.
    fn call(&mut self, byte: u8, at: Cursor<'_>) -> Result<Call, Broken> {
        let cursor = &mut self.cursor;
        Ok(match byte {
            0..ALLOCATIONS => {
                let order = Order::new(byte / PLACES).ok_or(at.broken(Defect::UnknownRecord(byte)))?;
                let gfp = match COMMON.get(usize::from(byte % PLACES)) {
                    Some(common) => *common,
                    None => cursor.gfp()?,
                };
                Call::Allocate { order, gfp }
            }
            FREE..REFUSED_FREE => {
                let order = Order::new(byte - FREE).ok_or(at.broken(Defect::UnknownRecord(byte)))?;
                Call::Free { pfn: self.pfn()?, order }
            }
            other::SPLIT => {
                let (order, into) = (cursor.order()?, cursor.order()?);
                Call::Split { pfn: self.pfn()?, order, into }
            }
            other::EXACT => {
                Call::AllocateExact { align: cursor.order()?, frames: cursor.number()?, gfp: cursor.gfp()? }
            }
            other::CONTIGUOUS => {
                let align = cursor.of(|align| align.is_power_of_two().then_some(align))?;
                Call::AllocateContiguous { align, frames: cursor.number()?, gfp: cursor.gfp()? }
            }
            other::RUN => {
                let align = cursor.of(|align| align.is_power_of_two().then_some(align))?;
                Call::AllocateRun { align, frames: cursor.number()?, gfp: cursor.gfp()? }
            }
            other::RANGE => Call::AllocateRange { range: self.range()?, gfp: self.cursor.gfp()? },
            other::RESIZE => {
                Call::Resize { range: self.range()?, frames: self.cursor.number()?, gfp: self.cursor.gfp()? }
            }
            other::ISOLATE => Call::Isolate(self.range()?),
            other::UNISOLATE => Call::Unisolate(self.range()?),
            other::ADD => Call::Add(self.range()?),
            other::DRAIN => Call::Drain,
            other::DECAY => Call::Decay,
            other::BALANCE => Call::Balance,
            other::UNRESERVE => Call::UnreserveHighAtomic,
            other::SETTLE => Call::Settle(cursor.of(|zone| ZoneKind::ALL.get(usize::try_from(zone).ok()?).copied())?),
            other::ADD_SHRINKER => Call::AddShrinker,
            other::REMOVE_SHRINKER => Call::RemoveShrinker,
            SHRINKER => Call::Shrink { frames: cursor.number()? },
            heap::ALLOCATE..=heap::OTHER => Call::Heap(self.heap_call(byte)?),
            _ => return Err(at.broken(Defect::UnknownRecord(byte))),
        })
    }

    /// Reads the operation on the heap that begins with `byte`.
    fn heap_call(&mut self, byte: u8) -> Result<HeapCall, Broken> {
        let cache = |cache: u64| u16::try_from(cache).ok();
        Ok(match byte {
            heap::ALLOCATE => HeapCall::Allocate { cache: self.cursor.of(cache)?, size: self.cursor.number()? },
            heap::FREE => {
                let address = self.address()?;
                let of = |number: u64| number.checked_sub(1).map_or(Some(None), |number| cache(number).map(Some));
                HeapCall::Free { address, cache: self.cursor.of(of)? }
            }
            heap::OPEN_RUN => {
                let (address, bytes) = (self.address()?, self.cursor.number()?);
                let align = self.cursor.of(|align| align.is_power_of_two().then_some(align))?;
                HeapCall::OpenRun { address, bytes, align }
            }
            heap::CLOSE_RUN => HeapCall::CloseRun { address: self.address()?, bytes: self.cursor.number()? },
            heap::TAKE_RUN => HeapCall::TakeRun { address: self.address()? },
            heap::PUT_RUN => HeapCall::PutRun { address: self.address()?, bytes: self.cursor.number()?.checked_sub(1) },
            heap::NEW_CACHE => HeapCall::NewCache { size: self.cursor.number()? },
            heap::END_CACHE => HeapCall::EndCache { cache: self.cursor.of(cache)? },
            heap::SET_ASIDE => HeapCall::SetAside { cache: self.cursor.of(cache)? },
            heap::SLAB => HeapCall::Slab { order: self.cursor.order()? },
            _ => self.cursor.of(|place| heap::PLAIN.get(usize::try_from(place).ok()?).copied())?,
        })
    }

    fn result(&mut self, returns: Returns) -> Result<Option<u64>, Broken> {
        let Some(value) = self.cursor.number()?.checked_sub(1) else { return Ok(None) };
        Ok(Some(match returns {
            Returns::Number | Returns::Given => value,
            Returns::Frame => self.frame_at(value),
            Returns::Address => self.address_at(value),
        }))
    }

    /// The frame at a distance from the last.
    fn frame_at(&mut self, distance: u64) -> u64 {
        self.place.frame = self.place.frame.wrapping_add_signed(unzigzag(distance));
        self.place.frame
    }

    /// The address at a distance from the last.
    fn address_at(&mut self, distance: u64) -> u64 {
        self.place.address = self.place.address.wrapping_add_signed(unzigzag(distance));
        self.place.address
    }

    fn address(&mut self) -> Result<u64, Broken> {
        let distance = self.cursor.number()?;
        Ok(self.address_at(distance))
    }

    fn pfn(&mut self) -> Result<Pfn, Broken> {
        let distance = self.cursor.number()?;
        Ok(Pfn::new(self.frame_at(distance)))
    }

    fn range(&mut self) -> Result<PfnRange, Broken> {
        let start = self.pfn()?;
        let end = self.cursor.of(|frames| start.number().checked_add(frames))?;
        Ok(PfnRange::new(start, Pfn::new(end)))
    }
}
