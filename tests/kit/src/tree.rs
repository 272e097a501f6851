//! Device trees, written as the specification has them.

use alloc::vec::Vec;

/// A flattened device tree that is being written.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    reserved: Vec<u8>,
    structure: Vec<u8>,
    strings: Vec<u8>,
}

impl Tree {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// An entry of the reservation block.
    pub fn reserve(&mut self, start: u64, size: u64) -> &mut Self {
        self.reserved.extend(start.to_be_bytes());
        self.reserved.extend(size.to_be_bytes());
        self
    }

    fn word(&mut self, word: u32) -> &mut Self {
        self.structure.extend(word.to_be_bytes());
        self
    }

    fn padded(&mut self, bytes: &[u8]) -> &mut Self {
        self.structure.extend(bytes);
        while !self.structure.len().is_multiple_of(4) {
            self.structure.push(0);
        }
        self
    }

    /// A node begins, within those that have begun.
    pub fn begin(&mut self, name: &str) -> &mut Self {
        self.word(1);
        self.structure.extend(name.bytes());
        self.padded(&[0])
    }

    /// The innermost node ends.
    pub fn end(&mut self) -> &mut Self {
        self.word(2)
    }

    /// Something that means nothing.
    pub fn nothing(&mut self) -> &mut Self {
        self.word(4)
    }

    /// A property of the innermost node.
    pub fn property(&mut self, name: &str, value: &[u8]) -> &mut Self {
        let offset = self.strings.len() as u32;
        self.strings.extend(name.bytes().chain([0]));
        self.word(3).word(value.len() as u32).word(offset).padded(value)
    }

    /// How many words there are in addresses and sizes within the innermost node.
    pub fn cells(&mut self, address: u32, size: u32) -> &mut Self {
        self.property("#address-cells", &address.to_be_bytes()).property("#size-cells", &size.to_be_bytes())
    }

    /// Where the innermost node is: addresses and sizes, each of so many words, one or two.
    pub fn reg(&mut self, ranges: &[(u64, u64)], cells: (u32, u32)) -> &mut Self {
        let words = |number: u64, words: u32| number.to_be_bytes()[8 - 4 * words as usize..].to_vec();
        let value = ranges.iter().flat_map(|(start, size)| [words(*start, cells.0), words(*size, cells.1)].concat());
        let value: Vec<u8> = value.collect();
        self.property("reg", &value)
    }

    /// All of it, as firmware leaves it in memory.
    pub fn finish(&self) -> Vec<u8> {
        const HEADER: usize = 40;
        let reserved = HEADER;
        let structure = reserved + self.reserved.len() + 16;
        let strings = structure + self.structure.len() + 4;
        let total = strings + self.strings.len();
        let [structures, names] = [self.structure.len() + 4, self.strings.len()];
        let header = [0xd00d_feed, total, structure, strings, reserved, 17, 16, 0, names, structures];
        let mut bytes: Vec<u8> = header.into_iter().flat_map(|word| (word as u32).to_be_bytes()).collect();
        bytes.extend(&self.reserved);
        bytes.extend([0; 16]);
        bytes.extend(&self.structure);
        bytes.extend(9_u32.to_be_bytes());
        bytes.extend(&self.strings);
        bytes
    }
}
