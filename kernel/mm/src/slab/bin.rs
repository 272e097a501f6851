//! The slabs of one cache in one arena.
//!
//! Allocation takes slots from one slab at a time, the current one, word by word: each in turn is the [`Stock`]. When nothing is free in it, the fullest
//! of the others follows: so those that are emptier get the time to empty, and their frames go back. For that they are
//! kept on lists by the third of their slots that is free. A slab moves from list to list as slots are freed, and knows
//! after how many frees that will next be so; no other free has to think of it.
//!
//! A slab that is empty is kept, so that a program that allocates and frees around the edge of a slab does not fetch and
//! return frames by turns; one for each bin, and what is above that goes back.

use core::cell::Cell;
use core::ptr::NonNull;

use super::descriptor::Slab;
use super::list::{Linked, List, Meta};
use super::stock::Stock;

/// Parts that the fill of a slab is told apart by.
const PARTS: usize = 3;
/// The list of slabs without a free slot.
const FULL: usize = PARTS;
/// The list of slabs without a live object.
const EMPTY: usize = PARTS + 1;
const LISTS: usize = PARTS + 2;

/// One cache's slabs in one arena. Only who has the arena to itself touches it.
pub(crate) struct Bin {
    /// The slots that are handed out next: a word of the current slab.
    pub(crate) stock: Stock,
    current: Cell<Option<Meta<Slab>>>,
    /// Of the slabs that are not current: by the third of the slots that is free, then the full ones, then the empty ones.
    lists: [List<Slab>; LISTS],
}

impl Bin {
    /// How many empty slabs a bin keeps.
    const KEPT: usize = 1;

    /// A bin without a slab.
    pub(crate) const fn new() -> Self {
        Self { stock: Stock::new(), current: Cell::new(None), lists: [const { List::new() }; LISTS] }
    }

    /// Takes a slot of the current slab, or else of the fullest of the others. `None` if no slab of the bin has any.
    pub(crate) fn take_any(&self) -> Option<NonNull<u8>> {
        self.stock.take().or_else(|| {
            if !self.stock.turn() && !self.next_word() {
                // Not `take`: a bin that all CPUs have behind closed doors must not even be written to.
                if let Some(full) = self.current.get() {
                    self.current.set(None);
                    self.stock.close();
                    self.file(full, 0);
                }
                self.make_current(self.pop()?);
            }
            self.stock.take()
        })
    }

    /// Lets the stock be the lowest word of the current slab that has a free slot. `false` if none has.
    fn next_word(&self) -> bool {
        let word = self.current.get().and_then(|slab| Some((slab, slab.lowest_word()?)));
        if let Some((slab, word)) = word {
            self.close_stock(slab);
            // In this order: who looks for a slot in both finds it.
            self.stock.open(slab.word(word));
            slab.take_word(word);
        }
        word.is_some()
    }

    fn close_stock(&self, slab: Meta<Slab>) {
        slab.put_word(self.stock.number(), self.stock.slots());
        self.stock.close();
    }

    /// Makes a slab that is on no list the current one, in place of none.
    fn make_current(&self, slab: Meta<Slab>) {
        debug_assert!(self.current.get().is_none());
        self.current.set(Some(slab));
        // The current slab stays where it is whatever is freed in it.
        slab.never_look();
        self.next_word();
    }

    /// Has no current slab any more: what was current goes to the list that it belongs on.
    pub(crate) fn set_aside(&self) {
        if let Some(slab) = self.current.take() {
            self.close_stock(slab);
            self.file(slab, slab.free());
        }
    }

    /// Takes the fullest slab with a free slot off its list.
    pub(crate) fn pop(&self) -> Option<Meta<Slab>> {
        let slab = [0, 1, 2, EMPTY].iter().find_map(|&list| self.lists[list].front())?;
        self.lists[slab.list()].remove(slab);
        Some(slab)
    }

    /// Puts a slab that is on no list on the one where it belongs. `free` of its slots are.
    pub(crate) fn file(&self, slab: Meta<Slab>, free: u16) {
        let slots = slab.slots();
        let (list, next) = match Self::part(free, slots) {
            _ if free == 0 => (FULL, 1),
            _ if free == slots && !slab.is_announced() => (EMPTY, 0),
            part if part == PARTS - 1 => (part, slots),
            // The least number of free slots that the next list is for.
            part => (part, ((part as u16 + 1) * slots).div_ceil(PARTS as u16)),
        };
        slab.set_list(list);
        if next > free {
            slab.look_after(free, next - free);
        } else {
            slab.never_look();
        }
        // What was touched last is used next.
        self.lists[list].push_front(slab);
    }

    /// The part that so many free slots of a slab make up.
    fn part(free: u16, slots: u16) -> usize {
        let free = free * PARTS as u16;
        usize::from(free >= slots) + usize::from(free >= 2 * slots)
    }

    /// Puts a slab of the bin where it belongs, now that `free` of its slots are; the slots of the stock aside.
    pub(crate) fn refile(&self, slab: Meta<Slab>, free: u16) {
        if self.current.get() == Some(slab) {
            slab.never_look();
            // What others freed in the word that the stock has is the stock's.
            let word = self.stock.number();
            self.stock.put_back(slab.word(word).free);
            slab.take_word(word);
        } else {
            self.lists[slab.list()].remove(slab);
            self.file(slab, free);
        }
    }

    /// Takes in a slab that nobody else has; it becomes the current one if none has a free slot.
    pub(crate) fn adopt(&self, slab: Meta<Slab>) {
        let is_exhausted = self.current.get().is_none_or(|current| current.free() == 0 && self.stock.slots() == 0);
        if is_exhausted {
            self.set_aside();
            self.make_current(slab);
        } else {
            self.file(slab, slab.free());
        }
    }

    /// Whether there are more empty slabs than the bin keeps.
    pub(crate) fn has_surplus(&self) -> bool {
        self.lists[EMPTY].iter().nth(Self::KEPT).is_some()
    }

    /// Takes out an empty slab, of those that are not current.
    pub(crate) fn pop_empty(&self) -> Option<Meta<Slab>> {
        let slab = self.lists[EMPTY].back()?;
        self.lists[EMPTY].remove(slab);
        Some(slab)
    }

    /// Takes out any slab that is not current.
    pub(crate) fn pop_any(&self) -> Option<Meta<Slab>> {
        let slab = self.lists.iter().find_map(List::front)?;
        self.lists[slab.list()].remove(slab);
        Some(slab)
    }

    /// Whether the bin has no slab.
    pub(crate) fn is_vacant(&self) -> bool {
        self.current.get().is_none() && self.lists.iter().all(|list| list.front().is_none())
    }

    /// The slab that slots are taken from.
    pub(crate) fn current(&self) -> Option<Meta<Slab>> {
        self.current.get()
    }

    /// How many slots of a slab of the bin are free.
    pub(crate) fn free(&self, slab: Meta<Slab>) -> u16 {
        let in_stock = if self.current.get() == Some(slab) { self.stock.slots().count_ones() } else { 0 };
        slab.free() + in_stock as u16
    }

    /// All slabs of the bin, each once.
    pub(crate) fn slabs(&self) -> impl Iterator<Item = Meta<Slab>> {
        self.current.get().into_iter().chain(self.lists.iter().flat_map(List::iter))
    }

    /// Whether a slab is where it belongs.
    pub(crate) fn is_in_place(&self, slab: Meta<Slab>) -> bool {
        if self.current.get() == Some(slab) {
            return !slab.links().is_linked();
        }
        let (free, slots) = (slab.free(), slab.slots());
        slab.links().is_linked()
            && match slab.list() {
                FULL => free == 0,
                EMPTY => free == slots,
                part => free > 0 && Self::part(free, slots) == part,
            }
    }
}
