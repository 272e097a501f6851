//! What a flattened device tree says of memory (Devicetree Specification 0.4: chapter 5 is its form, sections 3.4 and 3.5 its meaning).
//!
//! It is read here rather than by a crate for device trees: firmware may have it wrong, and those that there are panic then, or recurse
//! as deep as it says. This one goes through it once, whatever is in it.

use super::Regions;
use crate::error::table::errors;
use crate::memory_map::{Region, RegionKind};

const MAGIC: u32 = 0xd00d_feed;
/// Where a header says how many bytes there are, and where the parts begin.
const TOTAL: usize = 4;
const STRUCTURE: usize = 8;
const STRINGS: usize = 12;
const RESERVATIONS: usize = 16;
/// What a structure consists of.
const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
const PROPERTY: u32 = 3;
const NOTHING: u32 = 4;
const END: u32 = 9;
/// Nodes within one another that say something of memory.
const DEPTH: usize = 3;

errors! {
    /// What is wrong with a device tree.
    pub enum DeviceTreeError {
        /// It does not begin as one.
        NotATree => "this is no device tree",
        /// There is less of it than it says.
        Cut {
            /// How many bytes it says that it has.
            bytes: usize,
            /// How many there are.
            given: usize,
        } => "the device tree has {bytes} bytes, and {given} of them are there",
        /// What is at this byte cannot be there.
        Broken(offset: usize) => ("the device tree is broken at byte {:#x}", offset),
        /// Addresses or sizes in the node with this byte have more than 64 bits.
        TooWide(offset: usize) => ("the device tree has numbers of more than 64 bits at byte {:#x}", offset),
    }
}

/// A flattened device tree in memory.
#[derive(Clone, Copy, Debug)]
pub struct DeviceTree<'a> {
    bytes: &'a [u8],
}

impl<'a> DeviceTree<'a> {
    /// The tree at the beginning of `bytes`.
    ///
    /// # Errors
    /// [`DeviceTreeError`] if there is none, or not all of it.
    pub fn new(bytes: &'a [u8]) -> Result<Self, DeviceTreeError> {
        let header = Self { bytes };
        if header.word(0) != Ok(MAGIC) {
            return Err(DeviceTreeError::NotATree);
        }
        let total = header.word(TOTAL)? as usize;
        let cut = DeviceTreeError::Cut { bytes: total, given: bytes.len() };
        bytes.get(..total).map(|bytes| Self { bytes }).ok_or(cut)
    }

    /// The tree at this address, where firmware says that it is.
    ///
    /// # Errors
    /// [`DeviceTreeError::NotATree`] if it is not there.
    ///
    /// # Safety
    /// Eight bytes at the address can be read, and if a tree begins with them, as many as it says that it has; nobody writes there for as
    /// long as `'a`.
    pub unsafe fn at(address: *const u8) -> Result<Self, DeviceTreeError> {
        // SAFETY: by this function's contract eight bytes can be read there, and nobody writes to them.
        let header = unsafe { core::slice::from_raw_parts(address, TOTAL + 4) };
        match Self::new(header) {
            Ok(tree) => Ok(tree),
            Err(DeviceTreeError::Cut { bytes, .. }) => {
                // SAFETY: a tree begins here, and by this function's contract as many bytes as it says can be read, which nobody
                // changes.
                Self::new(unsafe { core::slice::from_raw_parts(address, bytes) })
            }
            Err(error) => Err(error),
        }
    }

    /// All of its bytes.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Shows what it says of memory: what it reserves, and all its nodes of RAM, in no order. A node whose `status` says that it is
    /// not to be used says nothing, as in Linux (`of_fdt_device_is_available`).
    ///
    /// # Errors
    /// [`DeviceTreeError`] if it cannot be read to its end. What comes before was shown then.
    pub fn for_each(&self, mut visit: impl FnMut(Region)) -> Result<(), DeviceTreeError> {
        let mut region = |start: u64, size: u64, kind| {
            if size > 0 {
                visit(Region { start, end: start.saturating_add(size), kind });
            }
        };
        let mut reserved = self.part(RESERVATIONS)?;
        loop {
            match (reserved.number(2)?, reserved.number(2)?) {
                (0, 0) => break,
                (start, size) => region(start, size, RegionKind::Reserved),
            }
        }
        let mut structure = self.part(STRUCTURE)?;
        let mut nodes = Nodes::default();
        loop {
            let here = structure.offset;
            match structure.word()? {
                BEGIN_NODE => nodes.begin(structure.name()?),
                END_NODE if nodes.depth > 0 => nodes.end(&mut region)?,
                PROPERTY if nodes.depth > 0 => {
                    let (size, name) = (structure.word()? as usize, structure.word()? as usize);
                    let value = Value { place: here, bytes: structure.padded(size)? };
                    nodes.property(self.string(name), value)?;
                }
                NOTHING => {}
                END if nodes.depth == 0 => return Ok(()),
                _ => return Err(DeviceTreeError::Broken(here)),
            }
        }
    }

    /// The part of which the header says where it begins.
    fn part(&self, field: usize) -> Result<Cursor<'a>, DeviceTreeError> {
        Ok(Cursor { tree: *self, offset: self.word(field)? as usize })
    }

    /// The names of properties from this one on.
    fn string(&self, offset: usize) -> &'a [u8] {
        let strings = self.word(STRINGS).map_or(usize::MAX, |strings| strings as usize);
        self.bytes.get(strings.saturating_add(offset)..).unwrap_or_default()
    }

    fn word(&self, offset: usize) -> Result<u32, DeviceTreeError> {
        Cursor { tree: *self, offset }.word()
    }
}

/// A place in a tree, or in a property.
struct Cursor<'a> {
    tree: DeviceTree<'a>,
    offset: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, bytes: usize) -> Result<&'a [u8], DeviceTreeError> {
        let end = self.offset.checked_add(bytes);
        let taken = end.and_then(|end| self.tree.bytes.get(self.offset..end));
        let taken = taken.ok_or(DeviceTreeError::Broken(self.offset))?;
        self.offset += bytes;
        Ok(taken)
    }

    /// So many bytes, and what there is to the next word.
    fn padded(&mut self, bytes: usize) -> Result<&'a [u8], DeviceTreeError> {
        let taken = self.take(bytes)?;
        self.take(bytes.wrapping_neg() % size_of::<u32>())?;
        Ok(taken)
    }

    fn word(&mut self) -> Result<u32, DeviceTreeError> {
        Ok(self.take(size_of::<u32>())?.iter().fold(0, |word, byte| word << 8 | u32::from(*byte)))
    }

    /// A number of so many words, of which the lowest two count.
    fn number(&mut self, words: u32) -> Result<u64, DeviceTreeError> {
        (0..words).try_fold(0, |number, _| Ok(number << 32 | u64::from(self.word()?)))
    }

    /// Text up to its zero, and what there is to the next word.
    fn name(&mut self) -> Result<&'a [u8], DeviceTreeError> {
        let rest = self.tree.bytes.get(self.offset..).unwrap_or_default();
        let end = rest.iter().position(|byte| *byte == 0).ok_or(DeviceTreeError::Broken(self.offset))?;
        self.padded(end + 1).map(|name| &name[..end])
    }
}

/// What a property says.
#[derive(Clone, Copy)]
struct Value<'a> {
    /// Where the property is in the tree.
    place: usize,
    bytes: &'a [u8],
}

impl<'a> Value<'a> {
    const NOTHING: Self = Self { place: 0, bytes: &[] };

    fn cursor(&self) -> Cursor<'a> {
        Cursor { tree: DeviceTree { bytes: self.bytes }, offset: 0 }
    }

    /// A number of one word.
    fn word(&self) -> Result<u32, DeviceTreeError> {
        self.cursor().word().map_err(|_| DeviceTreeError::Broken(self.place))
    }
}

/// What a node is, as far as memory goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Root,
    /// RAM.
    Memory,
    /// What is within it is reserved.
    Reservations,
    Reserved,
    Other,
}

/// A node.
#[derive(Clone, Copy)]
struct Node<'a> {
    kind: Kind,
    /// Of so many words is an address in the nodes within it.
    address: u32,
    /// The same of a size.
    size: u32,
    /// Its addresses and sizes.
    reg: Value<'a>,
    is_available: bool,
}

impl Node<'_> {
    const fn new(kind: Kind) -> Self {
        Self { kind, address: 2, size: 1, reg: Value::NOTHING, is_available: true }
    }
}

/// The nodes that have begun and not ended.
struct Nodes<'a> {
    outermost: [Node<'a>; DEPTH],
    depth: usize,
}

impl Default for Nodes<'_> {
    fn default() -> Self {
        Self { outermost: [const { Node::new(Kind::Other) }; DEPTH], depth: 0 }
    }
}

impl<'a> Nodes<'a> {
    fn begin(&mut self, name: &[u8]) {
        let around = self.depth.checked_sub(1).and_then(|around| self.outermost.get(around));
        let kind = match around.map(|node| node.kind) {
            None if self.depth == 0 => Kind::Root,
            Some(Kind::Root) if name == b"memory" || name.starts_with(b"memory@") => Kind::Memory,
            Some(Kind::Root) if name == b"reserved-memory" => Kind::Reservations,
            Some(Kind::Reservations) => Kind::Reserved,
            _ => Kind::Other,
        };
        if let Some(node) = self.outermost.get_mut(self.depth) {
            *node = Node::new(kind);
        }
        self.depth += 1;
    }

    /// A property of the innermost node, of which there is one: `names` begins with its name.
    fn property(&mut self, names: &[u8], value: Value<'a>) -> Result<(), DeviceTreeError> {
        let Some(node) = self.outermost.get_mut(self.depth - 1) else { return Ok(()) };
        match names {
            names if names.starts_with(b"#address-cells\0") => node.address = value.word()?,
            names if names.starts_with(b"#size-cells\0") => node.size = value.word()?,
            names if names.starts_with(b"reg\0") => node.reg = value,
            names if names.starts_with(b"status\0") => node.is_available = matches!(value.bytes, b"okay\0" | b"ok\0"),
            _ => {}
        }
        Ok(())
    }

    /// The innermost node ends, of which there is one: what it says of memory is known, in whatever order its properties are.
    fn end(&mut self, region: &mut impl FnMut(u64, u64, RegionKind)) -> Result<(), DeviceTreeError> {
        let nodes = self.outermost.get(..self.depth);
        self.depth -= 1;
        let Some([.., around, node]) = nodes else { return Ok(()) };
        let kind = match node.kind {
            Kind::Memory => RegionKind::Usable,
            Kind::Reserved => RegionKind::Reserved,
            _ => return Ok(()),
        };
        let place = node.reg.place;
        if node.reg.bytes.is_empty() || !node.is_available {
            return Ok(());
        }
        if around.address > 2 || around.size > 2 {
            return Err(DeviceTreeError::TooWide(place));
        }
        let mut numbers = node.reg.cursor();
        while numbers.offset < node.reg.bytes.len() && around.address + around.size > 0 {
            let mut number = |words| numbers.number(words).map_err(|_| DeviceTreeError::Broken(place));
            region(number(around.address)?, number(around.size)?, kind);
        }
        Ok(())
    }
}

impl<const N: usize> Regions<N> {
    /// Adds what a device tree says of memory: all its nodes of RAM, and what it reserves of that. Where the tree itself lies, and
    /// the kernel, it does not know.
    ///
    /// # Errors
    /// [`DeviceTreeError`] if it cannot be read to its end. Nothing is added then.
    pub fn extend_fdt(&mut self, tree: &DeviceTree<'_>) -> Result<(), DeviceTreeError> {
        tree.for_each(|_| ())?;
        tree.for_each(|region| self.push(region))
    }
}
