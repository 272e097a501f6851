//! Free frames in a row, whatever blocks they are of: across the borders of blocks and of pageblocks, from any frame on.
//!
//! A request gets the shortest run that holds it, so that long ones stay long; a run can begin and end in pageblocks that are
//! in use. The search looks at a few pageblocks, those first whose largest free block is the smallest that a run of this
//! length must have in it.

use super::Zone;
use super::pageblock::WORDS;
use crate::buddy::{self, WORD_FRAMES};
use crate::frame::{Mobility, Order, PAGEBLOCK_FRAMES, Pfn, PfnRange};

/// Pageblocks that a search looks at, besides those that a run goes on in.
const LOOKS: usize = 16;
/// Of those that are wholly free: what begins or ends in one is long, and others are hardly shorter.
const LOOKS_AT_WHOLES: usize = 4;

/// What is looked for: so many frames, aligned to so many, and the shortest run that was found to hold them.
struct Search {
    frames: u64,
    align: u64,
    /// Whose frames are taken: those of a pageblock of any kind that requests have, if none is named.
    mobility: Option<Mobility>,
    best: Option<(u64, Pfn)>,
    /// How many more pageblocks are looked at.
    looks: usize,
}

impl Search {
    /// Takes note of a run of free frames.
    fn consider(&mut self, run: PfnRange) {
        let start = Pfn::new(run.start.number().next_multiple_of(self.align));
        if PfnRange::new(start, run.end).frames() >= self.frames {
            // A run that was not followed to its ends is longer than this.
            let found = (run.frames().min(self.frames + self.align + PAGEBLOCK_FRAMES), start);
            self.best = Some(self.best.map_or(found, |best| best.min(found)));
        }
    }

    /// Whether a run was found that the request fills.
    fn is_over(&self) -> bool {
        self.best.is_some_and(|(frames, _)| frames == self.frames)
    }

    /// Whether to look once more: there may be a better run, and there are looks left.
    fn goes_on(&mut self) -> bool {
        let goes_on = self.looks > 0 && !self.is_over();
        self.looks = self.looks.saturating_sub(1);
        goes_on
    }

    /// The order of a block that every run which will do has in it, aligned as blocks are.
    fn order_inside(&self) -> u32 {
        let anywhere = (self.frames + 1).ilog2() - 1;
        anywhere.max(self.frames.ilog2().min(self.align.ilog2()))
    }

    /// Pageblocks that a run is followed through in each direction, at most.
    fn reach(&self) -> usize {
        ((self.frames + self.align) / PAGEBLOCK_FRAMES + 2) as usize
    }
}

/// The first place from `from` on, up to 512, where a bit of `words` is `set`.
fn next(words: &[u64; WORDS], set: bool, from: u32) -> u32 {
    let mut word = (from / WORD_FRAMES) as usize;
    let mut mask = u64::MAX << (from % WORD_FRAMES);
    while word < WORDS {
        let bits = (if set { words[word] } else { !words[word] }) & mask;
        if bits != 0 {
            return word as u32 * WORD_FRAMES + bits.trailing_zeros();
        }
        (word, mask) = (word + 1, u64::MAX);
    }
    PAGEBLOCK_FRAMES as u32
}

impl Zone<'_> {
    /// Allocates so many frames in a row, aligned to `align` of them, a power of two, for contents of this mobility. `None` if a
    /// look at some pageblocks finds none.
    pub(crate) fn allocate_run(&mut self, frames: u64, align: u64, mobility: Mobility) -> Option<PfnRange> {
        _ = (0..LOOKS).all(|_| self.settle_next());
        let mut search = Search { frames, align, mobility: Some(mobility), best: None, looks: LOOKS };
        self.search(&mut search, mobility);
        self.take_best(&search)
    }

    /// Allocates so many frames in a row out of the first pageblocks where that can be done, for whatever contents. This walks over
    /// all pageblocks of the zone, if it must.
    pub(crate) fn allocate_first_run(&mut self, frames: u64, align: u64) -> Option<PfnRange> {
        let mut search = Search { frames, align, mobility: None, best: None, looks: 0 };
        let mut number = 0;
        while number < self.blocks.count() && search.best.is_none() {
            number = self.look_around(&mut search, number);
        }
        self.take_best(&search)
    }

    fn take_best(&mut self, search: &Search) -> Option<PfnRange> {
        let (_, start) = search.best?;
        let run = PfnRange::new(start, start.offset(search.frames));
        self.take_free(run, search.mobility).ok().map(|()| run)
    }

    /// Looks where the shortest run of pageblocks of this mobility may be, and then at free ones of others.
    fn search(&self, search: &mut Search, mobility: Mobility) {
        let least = search.order_inside().min(Order::PAGEBLOCK.get().into());
        for level in buddy::bits(u64::from(self.index.filled(mobility)) >> least << least) {
            let mut from = 0;
            while let Some(number) = self.index.next(mobility, level, from).filter(|_| search.goes_on()) {
                self.look_around(search, number);
                from = number + 1;
            }
        }
        // A free pageblock of another mobility becomes one of the request's, as for a block.
        for kind in core::iter::once(&mobility).chain(mobility.fallbacks()) {
            if search.best.is_none() {
                search.looks = LOOKS_AT_WHOLES;
                self.look_at_wholes(search, *kind);
            }
        }
    }

    /// Looks at free pageblocks of this mobility.
    fn look_at_wholes(&self, search: &mut Search, kind: Mobility) {
        let mut from = 0;
        while let Some(number) = self.wholes.next_free(kind, from).filter(|_| search.goes_on()) {
            // What it is part of is known then, as far as that matters.
            from = self.look_around(search, number);
        }
        if search.best.is_none() {
            // The first ones may all stand alone. A block that is as large and as aligned will do wherever it is.
            let order = Order::covering(search.frames.max(search.align));
            let block = order.and_then(|order| self.wholes.find(order.max(Order::PAGEBLOCK), kind));
            block.into_iter().for_each(|number| _ = self.look_around(search, number));
        }
    }

    /// Looks at all runs that have frames of a pageblock; the first pageblock that the last of them does not reach.
    fn look_around(&self, search: &mut Search, number: usize) -> usize {
        let words = self.free_words(number, search.mobility);
        let start = self.blocks.start_of(number);
        let (mut begin, mut last) = (next(&words, true, 0), number + 1);
        while u64::from(begin) < PAGEBLOCK_FRAMES && !search.is_over() {
            let end = next(&words, false, begin);
            let mut run = PfnRange::new(start.offset(begin.into()), start.offset(end.into()));
            if begin == 0 {
                run.start = self.follow_down(search, number);
            }
            if u64::from(end) == PAGEBLOCK_FRAMES {
                (run.end, last) = self.follow_up(search, number);
            }
            search.consider(run);
            begin = next(&words, true, end);
        }
        last
    }

    /// The first frame of the run that a pageblock begins with frames of.
    fn follow_down(&self, search: &Search, number: usize) -> Pfn {
        let mut start = self.blocks.start_of(number);
        for before in (number.saturating_sub(search.reach())..number).rev() {
            let from = self.blocks.start_of(before);
            if from.offset(PAGEBLOCK_FRAMES) != start {
                break;
            }
            let words = self.free_words(before, search.mobility);
            let free = words.iter().rev().take_while(|word| **word == u64::MAX).count();
            let part = words.iter().rev().nth(free).map_or(0, |word| word.leading_ones());
            let frames = free as u64 * u64::from(WORD_FRAMES) + u64::from(part);
            start = Pfn::new(start.number() - frames);
            if frames < PAGEBLOCK_FRAMES {
                break;
            }
        }
        start
    }

    /// The end of the run that a pageblock ends with frames of, and the pageblock behind those that it takes wholly.
    fn follow_up(&self, search: &Search, number: usize) -> (Pfn, usize) {
        let mut end = self.blocks.start_of(number).offset(PAGEBLOCK_FRAMES);
        for behind in number + 1..self.blocks.count().min(number + 1 + search.reach()) {
            if self.blocks.start_of(behind) != end {
                return (end, behind);
            }
            let frames = next(&self.free_words(behind, search.mobility), false, 0);
            end = end.offset(frames.into());
            if u64::from(frames) < PAGEBLOCK_FRAMES {
                return (end, behind);
            }
        }
        (end, number + 1 + search.reach())
    }

    /// The free frames of a pageblock that contents of this mobility may have.
    fn free_words(&self, number: usize, mobility: Option<Mobility>) -> [u64; WORDS] {
        let block = self.blocks.lock(number);
        let own = block.header.mobility();
        let suits = mobility.map_or(own.is_mergeable(), |mobility| own == mobility);
        if block.header.is_split() {
            return if suits { core::array::from_fn(|word| block.word(word).free()) } else { [0; WORDS] };
        }
        let is_free = self.wholes.is_free(number, own);
        [if is_free && (suits || own.is_mergeable()) { u64::MAX } else { 0 }; WORDS]
    }
}
