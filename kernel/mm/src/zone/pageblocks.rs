//! A zone's pageblocks, as CPUs use them without the zone's lock: where they are, and how frames become free.
//!
//! Freeing sets bits, under the pageblock's lock and no other. What the zone knows of the pageblock lags behind: the first free
//! since the zone looked puts the pageblock on the list of those that are dirty, and a search looks at a few of them.

use crate::sync::atomic::{AtomicU64, Ordering::AcqRel, Ordering::Relaxed};

use super::blocks::Snapshot;
use super::header::Header;
use super::pageblock::{Locked, Pageblock, place};
use super::span::{Span, Stored};
use super::word::Word;
use crate::buddy::{self, WORD_FRAMES};
use crate::error::FreeError;
use crate::frame::{Block, Mobility, Order, PAGEBLOCK_FRAMES, Pfn, PfnRange};
use crate::per_cpu::{BATCHED, Batch, PerCpuPages};

/// The end of the list of dirty pageblocks.
const END: u64 = u64::MAX;

/// The pageblocks of a zone.
#[derive(Clone, Copy)]
pub(crate) struct Pageblocks<'m> {
    /// The start of the first of the spans, which mostly is the only one or by far the largest, and its pageblocks.
    first: Pfn,
    first_blocks: &'m [Pageblock],
    spans: &'m [Stored],
    pub(super) all: &'m [Pageblock],
    /// The pageblock that became dirty last.
    dirty: &'m AtomicU64,
    per_cpu: &'m [PerCpuPages],
}

/// Where in its pageblock a frame is.
#[inline(always)]
fn offset_of(pfn: Pfn) -> u32 {
    (pfn.number() % PAGEBLOCK_FRAMES) as u32
}

impl<'m> Pageblocks<'m> {
    /// The pageblocks in `spans`, none of them split.
    pub(crate) fn new(
        spans: &'m [Stored],
        blocks: &'m [Pageblock],
        dirty: &'m AtomicU64,
        per_cpu: &'m [PerCpuPages],
        header: Header,
    ) -> Self {
        blocks.iter().for_each(|block| block.reset(header));
        dirty.store(END, Relaxed);
        let first = spans.first().copied().map(Span::load).unwrap_or_default().start;
        let mut all = Self { first, first_blocks: &[], spans, all: blocks, dirty, per_cpu };
        all.withhold_first(false);
        all
    }

    /// Has the pageblocks of the first span be found as those of all others are, or again more quickly.
    pub(super) fn withhold_first(&mut self, withheld: bool) {
        let first = self.spans.first().copied().map(Span::load).unwrap_or_default();
        self.first_blocks = if withheld { &[] } else { &self.all[..first.pageblocks] };
    }

    /// All CPUs' pages, which blocks may be lent to.
    pub(super) fn per_cpu(&self) -> &'m [PerCpuPages] {
        self.per_cpu
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.all.len()
    }

    /// Shows every word of them, for a hash.
    pub(super) fn for_each_word(&self, visit: &mut impl FnMut(u64)) {
        self.all.iter().for_each(|block| block.for_each_word(visit));
        visit(self.dirty.load(Relaxed));
    }

    /// Whether a frame is in the first of the spans.
    #[inline(always)]
    pub(crate) fn is_first_of(&self, pfn: Pfn) -> bool {
        self.first_at(pfn).is_some()
    }

    /// Of the first of the spans: the pageblock that a frame is in, its number, and the frame's offset there.
    #[inline(always)]
    fn first_at(&self, pfn: Pfn) -> Option<(&'m Pageblock, usize, u32)> {
        let distance = pfn.number().wrapping_sub(self.first.number());
        let number = (distance / PAGEBLOCK_FRAMES) as usize;
        Some((self.first_blocks.get(number)?, number, (distance % PAGEBLOCK_FRAMES) as u32))
    }

    /// The pageblock that a frame is in, and the frame's offset there; `None` where there is no RAM.
    #[inline(always)]
    pub(crate) fn locate(&self, pfn: Pfn) -> Option<(usize, u32)> {
        if let Some((_, number, offset)) = self.first_at(pfn) {
            return Some((number, offset));
        }
        self.locate_behind(pfn)
    }

    /// [`Pageblocks::locate`] behind the first span.
    #[cold]
    fn locate_behind(&self, pfn: Pfn) -> Option<(usize, u32)> {
        let behind = self.spans.partition_point(|span| Span::load(*span).start <= pfn);
        Span::load(self.spans[behind.checked_sub(1)?]).locate(pfn)
    }

    /// The pageblocks that a range lies in, each with the offsets there of the range's first frame and of the one behind its last;
    /// up to the first frame where there is no RAM, which is an error.
    pub(super) fn parts_of(self, range: PfnRange) -> impl Iterator<Item = Result<(usize, u32, u32), Pfn>> + use<'m> {
        let mut rest = range;
        core::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let Some((number, from)) = self.locate(rest.start) else {
                return Some(Err(core::mem::take(&mut rest).start));
            };
            let to = (u64::from(from) + rest.frames()).min(PAGEBLOCK_FRAMES) as u32;
            rest.start = rest.start.offset((to - from).into());
            Some(Ok((number, from, to)))
        })
    }

    /// The first frame of a pageblock.
    #[inline(always)]
    pub(crate) fn start_of(&self, number: usize) -> Pfn {
        if number < self.first_blocks.len() {
            return self.first.offset(number as u64 * PAGEBLOCK_FRAMES);
        }
        self.start_behind(number)
    }

    /// [`Pageblocks::start_of`] behind the first span.
    #[cold]
    fn start_behind(&self, number: usize) -> Pfn {
        let span = Span::load(self.spans[self.spans.partition_point(|span| Span::load(*span).first <= number) - 1]);
        span.start.offset((number - span.first) as u64 * PAGEBLOCK_FRAMES)
    }

    /// Locks a pageblock.
    #[inline(always)]
    pub(crate) fn lock(&self, number: usize) -> Locked<'m> {
        self.all[number].lock(number)
    }

    /// The pageblock of the first span that begins at a frame, and its mobility, to a CPU that has the zone's lock; `None` for all
    /// others, and if it is locked, or of a mobility that requests do not have.
    #[inline(always)]
    pub(crate) fn requested_at(&self, pfn: Pfn) -> Option<(usize, Mobility)> {
        // Where no pageblock begins, the offset makes it a number that none has.
        let distance = pfn.number().wrapping_sub(self.first.number());
        let number = usize::try_from(distance.rotate_right(PAGEBLOCK_FRAMES.trailing_zeros())).ok()?;
        Some((number, self.first_blocks.get(number)?.glimpse().requested()?))
    }

    /// The pageblocks of the first span, and where it starts.
    #[inline(always)]
    pub(crate) fn first_span(&self) -> (&'m [Pageblock], Pfn) {
        (self.first_blocks, self.first)
    }

    /// The header of a pageblock, to a CPU that has the zone's lock: see [`Pageblock::peek`].
    #[inline(always)]
    pub(crate) fn peek(&self, number: usize) -> Header {
        self.all[number].peek()
    }

    /// Changes the mobility of a pageblock that is free as a whole.
    #[cold]
    pub(crate) fn set_mobility(&self, number: usize, mobility: Mobility) {
        self.lock(number).header.set_mobility(mobility);
    }

    /// Frees the allocated frame at `pfn`, if that takes no more than to set bits; `None` if the frame is not in the first span.
    ///
    /// # Errors
    /// What [`keep_found`](Self::keep_found) and [`found_at`](Self::found_at) have to be told then: the pageblock stays locked.
    #[inline(always)]
    pub(crate) fn free_quickly(&self, pfn: Pfn, least: u64) -> Option<Result<(), Header>> {
        let (block, _, offset) = self.first_at(pfn)?;
        Some(block.free_quickly(offset, least))
    }

    /// Frees single frames of one pageblock that stand together in the slots, and empties those, as far as they are allocated and
    /// not on loan. How many they were, and whether all of the pageblock is free now.
    pub(crate) fn free_together(&self, slots: &mut [Option<Block>]) -> (usize, bool) {
        let single = |slot: &Option<Block>| {
            let block = slot.as_ref().filter(|block| block.order() == Order::ZERO)?;
            self.locate(block.pfn())
        };
        let Some((number, _)) = slots.first().and_then(single) else { return (0, false) };
        let mut block = self.lock(number);
        if !block.header.is_split() {
            return (0, false);
        }
        self.note_dirty(&mut block);
        let mut count = 0;
        for slot in slots {
            let Some((_, offset)) = single(slot).filter(|(of, _)| *of == number) else { break };
            let (word, bit) = place(offset);
            if !block.word(word).release_frame(bit) {
                break;
            }
            block.header = block.header.with_one_more();
            block.header.set_stale(word);
            *slot = None;
            count += 1;
        }
        (count, block.header.is_free())
    }

    /// Locks the pageblock that a frame is in, and says where there the frame is; `None` where there is no RAM.
    #[inline(always)]
    pub(crate) fn lock_at(&self, pfn: Pfn) -> Option<(Locked<'m>, u32)> {
        if let Some((block, number, offset)) = self.first_at(pfn) {
            return Some((block.lock(number), offset));
        }
        let (number, offset) = self.locate_behind(pfn)?;
        Some((self.lock(number), offset))
    }

    /// The pageblock of the first span that a frame is in, which a swap has locked and found so.
    #[inline(always)]
    pub(crate) fn found_at(&self, pfn: Pfn, found: Header) -> Option<Locked<'m>> {
        let (block, number, _) = self.first_at(pfn)?;
        Some(block.found(number, found))
    }

    /// Locks the pageblock of the first span that a frame is in by a swap, and says what that has found; `None` if it is in no such.
    #[inline(always)]
    pub(crate) fn swap_at(&self, pfn: Pfn) -> Option<Header> {
        Some(self.first_at(pfn)?.0.swap())
    }

    /// Has a CPU's pages keep the allocated block of `order` that starts at `pfn`, of whose pageblock a swap has found this: if that is
    /// nearly full, they have room, and no other CPU had locked it.
    ///
    /// # Errors
    /// As for [`free_quickly`](Self::free_quickly).
    #[inline(always)]
    pub(crate) fn keep_found(&self, pfn: Pfn, order: Order, found: Header, pages: &PerCpuPages) -> Result<(), Header> {
        let (block, number, _) = self.first_at(pfn).ok_or(found)?;
        if order.index() >= BATCHED {
            return Err(found);
        }
        let Some(mobility) = found.nearly_full() else { return Err(found) };
        let block = block.found(number, found);
        let (word, bit) = place(offset_of(pfn));
        let word = block.word(word);
        if !word.has_block(bit, order.get().into()) || !Self::keep(word, bit, pfn, order, mobility, pages) {
            core::mem::forget(block);
            return Err(found);
        }
        Ok(())
    }

    /// Has a CPU's pages keep an allocated block of a locked pageblock that is nearly full and of this mobility; false if there is no room.
    #[inline(always)]
    fn keep(word: Word<'_>, bit: u32, pfn: Pfn, order: Order, mobility: usize, pages: &PerCpuPages) -> bool {
        let Some((stack, room)) = pages.room_for(order, mobility) else { return false };
        word.lend(1 << bit, true);
        pages.push(stack, room, pfn);
        pages.note_use();
        true
    }

    /// Locks the pageblock of the first span that a frame is in, if no other CPU has, and says where there the frame is.
    #[inline(always)]
    pub(crate) fn try_lock_at(&self, pfn: Pfn) -> Option<(Locked<'m>, u32)> {
        let (block, number, offset) = self.first_at(pfn)?;
        Some((block.try_lock(number)?, offset))
    }

    /// Frees the block of `order`, below that of a pageblock, that starts at `pfn` in a pageblock that is locked, and says whether all
    /// of that is free now, which its zone has to be told; `None` if there is no such block. In a pageblock that is nearly full it
    /// goes to the pages of the CPU that frees it, if it may use them now.
    #[inline(always)]
    pub(crate) fn free(
        &self,
        mut block: Locked<'_>,
        pfn: Pfn,
        order: Order,
        pages: Option<&PerCpuPages>,
    ) -> Option<bool> {
        if !block.header.is_split() {
            return None;
        }
        let offset = offset_of(pfn);
        if !block.is_allocated(offset, order.get().into()) {
            self.take_off_loan(&block, offset, order)?;
        } else if let (Some(pages), Some(mobility)) = (pages, block.header.nearly_full()) {
            let (word, bit) = place(offset);
            if Self::keep(block.word(word), bit, pfn, order, mobility, pages) {
                return Some(false);
            }
        }
        Some(self.release(&mut block, offset, order))
    }

    /// The frame at an offset of a pageblock.
    #[inline]
    fn pfn_at(&self, block: &Locked<'_>, offset: u32) -> Pfn {
        self.start_of(block.number).offset(offset.into())
    }

    /// Makes a block free that was allocated or lent, and says whether all of the pageblock is free now.
    #[inline(always)]
    fn release(&self, block: &mut Locked<'_>, offset: u32, order: Order) -> bool {
        self.note_dirty(block);
        block.release(offset, order.get().into());
        block.header.is_free()
    }

    /// Takes the block of `order` that starts at `offset` off the loan of the CPU that handed it out: it is an allocated block like
    /// any other then, but for its bits. `None` if nobody has handed it out.
    #[inline(never)]
    fn take_off_loan(&self, block: &Locked<'_>, offset: u32, order: Order) -> Option<()> {
        let (word, bit) = place(offset);
        let base = self.pfn_at(block, offset - bit);
        if block.word(word).lent() >> bit & 1 == 0 {
            return None;
        }
        let is_out = |batch: &Batch| {
            let loan = batch.loan().filter(|(word, ..)| *word == base);
            loan.is_some_and(|(_, lent, held)| (lent & !held) >> bit & 1 == 1)
        };
        let mut batches = self.per_cpu.iter().flat_map(PerCpuPages::batches);
        let (_, batch) = batches.find(|(lent, batch)| *lent == order && is_out(batch))?;
        batch.forget(bit);
        Some(())
    }

    /// The order of the allocated block that begins at an offset of a split pageblock.
    ///
    /// # Errors
    /// [`FreeError`], saying what is there instead.
    pub(crate) fn order_at(&self, block: &Locked<'_>, offset: u32) -> Result<Order, FreeError> {
        let start = self.start_of(block.number);
        let pfn = start.offset(offset.into());
        let (word, bit) = place(offset);
        let order = |offset| Order::new(block.order_at(offset) as u8).unwrap_or(Order::PAGEBLOCK);
        let states = block.word(word);
        let has = |bits: u64| bits >> bit & 1 == 1;
        if has(states.allocated()) {
            return Ok(order(offset));
        }
        if has(states.free()) {
            return Err(FreeError::AlreadyFree(pfn));
        }
        if has(states.lent()) {
            return match self.lent_at(block, offset) {
                (true, true) => Err(FreeError::AlreadyFree(pfn)),
                (true, false) => Ok(order(offset)),
                (false, _) => Err(FreeError::Reserved(pfn)),
            };
        }
        let Some(head) = block.head_before(offset) else { return Err(FreeError::AlreadyFree(pfn)) };
        if self.lent_at(block, head) == (true, true) {
            return Err(FreeError::AlreadyFree(pfn));
        }
        Err(FreeError::Interior { pfn, head: start.offset(head.into()), order: order(head) })
    }

    /// Whether the block at `offset` is on loan, and whether a CPU's pages hold it.
    fn lent_at(&self, block: &Locked<'_>, offset: u32) -> (bool, bool) {
        let (word, bit) = place(offset);
        let base = self.pfn_at(block, offset - bit);
        let (lent, held) = self.lent_in(block.word(word).lent() & 1 << bit, base);
        (lent >> bit & 1 == 1, held >> bit & 1 == 1)
    }

    /// Makes the block at `offset` an allocated one like any other, if it was handed out of a loan.
    pub(crate) fn own(&self, block: &Locked<'_>, offset: u32, order: Order) {
        if self.take_off_loan(block, offset, order).is_some() {
            block.take_back(offset);
        }
    }

    /// Has a search look at the pageblock, in its turn.
    #[inline]
    pub(crate) fn note_dirty(&self, block: &mut Locked<'_>) {
        if !block.header.is_dirty() {
            // The link is written under the pageblock's lock, which a search that follows it takes first.
            block.set_next(self.dirty.swap(block.number as u64, AcqRel));
            block.header.set_dirty(true);
        }
    }

    /// The first of the pageblocks that became dirty since this was asked last; each leads to the next.
    pub(crate) fn take_dirty(&self) -> Option<u32> {
        // There is none as a rule, and then nothing has to be locked.
        if self.dirty.load(Relaxed) == END {
            return None;
        }
        u32::try_from(self.dirty.swap(END, AcqRel)).ok()
    }

    /// The pageblock behind this one among the dirty ones. It is not dirty any more then.
    pub(crate) fn pass_dirty(block: &mut Locked<'_>) -> Option<u32> {
        block.header.set_dirty(false);
        Self::behind(block)
    }

    /// The pageblock behind this one among the dirty ones.
    pub(crate) fn behind(block: &Locked<'_>) -> Option<u32> {
        u32::try_from(block.next()).ok()
    }

    /// The pageblock that became dirty last, if the zone has not asked since.
    pub(crate) fn last_dirty(&self) -> Option<u32> {
        u32::try_from(self.dirty.load(Relaxed)).ok()
    }

    /// Ends the loan of the word at `base`, which is that of a CPU that is here, or kept out: what was not handed out is free.
    /// Whether all of the pageblock is free now, and the blocks that were freed twice, a bit for each; `None` if there is no such word.
    #[inline(always)]
    pub(crate) fn end_loan(&self, order: Order, batch: &Batch, base: Pfn) -> Option<(bool, u64)> {
        let (mut block, offset) = self.lock_at(base)?;
        let (free, lent) = batch.end();
        let word = place(offset).0;
        block.word(word).lend(lent & !free, false);
        if free & lent != 0 {
            self.note_dirty(&mut block);
            let frames = buddy::spread(free & lent, order.get().into());
            block.release_in_word(word, frames, frames.count_ones());
        }
        Some((block.header.is_free(), free & !lent))
    }

    /// Frees a block of `order` that a CPU's pages held last, and that it takes out with `pop` under the lock. Whether all of the
    /// pageblock is free now.
    pub(crate) fn give_back(&self, pfn: Pfn, order: Order, pop: impl FnOnce()) -> Option<bool> {
        let (mut block, offset) = self.lock_at(pfn)?;
        pop();
        Some(self.release(&mut block, offset, order))
    }

    /// What the words of a locked pageblock say.
    pub(super) fn snapshot_of(&self, block: &Locked<'_>) -> Snapshot {
        core::array::from_fn(|word| {
            let states = block.word(word);
            let (lent, cached) = self.lent_in(states.lent(), self.pfn_at(block, word as u32 * WORD_FRAMES));
            // Those handed out of a loan are allocated.
            [states.free(), states.allocated() | lent & !cached, cached, states.lent() & !lent]
        })
    }

    /// Of the frames of a word that are lent or reserved: those that are lent, and those that CPUs hold.
    pub(crate) fn lent_in(&self, lent: u64, base: Pfn) -> (u64, u64) {
        if lent == 0 {
            return (0, 0);
        }
        let all = self.per_cpu.iter().map(|pages| pages.of_word(base));
        all.fold((0, 0), |(lent, held), (more, also)| (lent | more, held | also))
    }

    #[cfg(bifolio_loom)]
    pub fn prime(&self) {
        self.all.iter().for_each(Pageblock::prime);
        crate::sync::atomic::prime!(self.dirty);
    }
}

#[cfg(test)]
mod tests;
