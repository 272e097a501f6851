//! Commands that use much memory at once, and one that repeats others.

use super::blocks::order;
use super::error::Error;
use super::state::Shell;
use crate::arch::clock;
use crate::cpu::{timer, work};
use crate::memory::frames;
use crate::{print, println};
use bifolio::allocator::AllocError;
use bifolio::frame::{Gfp, Mobility, Order, ZoneKind};
use core::hint;
use core::time::Duration;
use line::{WordError, counted, expect, number};
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};

/// After how many operations it is looked whether Ctrl-C was pressed.
const LOOK: u64 = 256;
/// Blocks that churning holds at most.
const CHURNED: usize = 1024;

/// Quietly or not at all, and nothing of what is kept.
const GFP: Gfp = Gfp::MOVABLE.union(Gfp::NOWARN);

/// What can be taken and leaves the kernel enough to go on: every zone twice its high mark.
fn spare() -> u64 {
    let zones = ZoneKind::ALL.map(|kind| frames().zone(kind));
    let free: u64 = zones.iter().map(|zone| zone.free).sum();
    let kept: u64 = zones.iter().map(|zone| 2 * zone.watermarks.high).sum();
    free.saturating_sub(kept)
}

impl Shell {
    /// Takes blocks of an order until so many frames are taken, or there are no more. How many it took.
    fn take_blocks<'a>(&mut self, order: Order, up_to: u64) -> Result<u64, Error<'a>> {
        let count = up_to >> order.get();
        self.blocks.try_reserve(count as usize).map_err(|_| Error::NoRoomToNote)?;
        for nth in 0..count {
            if nth % LOOK == LOOK - 1 {
                self.go_on()?;
            }
            match frames().allocate(order, GFP) {
                Ok(block) => self.blocks.push(block),
                Err(AllocError::OutOfMemory { .. }) => return Ok(nth),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(count)
    }
}

pub(super) fn fill<'a>(shell: &mut Shell, words: &[&'a str]) -> Result<(), Error<'a>> {
    let words = expect(words, &[], 1)?;
    let only = words.first().map(|word| order(word)).transpose()?;
    let orders = Order::all().rev().filter(|order| only.is_none_or(|only| only == *order));
    let (mut left, mut all) = (spare(), 0);
    // Room to note them is taken while no zone is short yet: later it would come out of the lowest.
    let most = only.map_or((left >> Order::MAX.get()) + 2 * Order::COUNT as u64, |order| left >> order.get());
    shell.blocks.try_reserve(most as usize).map_err(|_| Error::NoRoomToNote)?;
    for order in orders {
        let count = shell.take_blocks(order, left)?;
        left = left.saturating_sub(count << order.get()).min(spare());
        all += count << order.get();
        if count > 0 {
            println!("{} of order {order}", counted(count, "blocks"));
        }
    }
    println!("{}, {} kB: 'blocks' lists them, 'free all' gives them back", counted(all, "frames"), all * 4);
    Ok(())
}

pub(super) fn fragment<'a>(shell: &mut Shell, words: &[&'a str]) -> Result<(), Error<'a>> {
    let word = expect(words, &["how many percent are to stay free"], 0)?[0];
    let percent = Some(number(word)?).filter(|percent| *percent <= 100).ok_or(Error::NotAPercentage(word))?;
    let (mut taken, mut freed) = (0, 0);
    shell.blocks.try_reserve(spare() as usize).map_err(|_| Error::NoRoomToNote)?;
    // What the first time has to leave for the kernel to go on is in one piece: there are others then.
    for order in Order::all().rev().chain(Order::all().skip(1).rev()) {
        let first = shell.blocks.len();
        taken += shell.take_blocks(order, spare())? << order.get();
        shell.split_from(first)?;
        freed += shell.free_from(first, percent)?;
    }
    println!("{} single frames stay taken, as far from each other as can be", taken - freed);
    println!("'buddyinfo', 'extfrag' and 'map' show what that means, 'free all' ends it");
    Ok(())
}

impl Shell {
    /// Splits the blocks from the one with this number on into single frames.
    fn split_from<'a>(&mut self, first: usize) -> Result<(), Error<'a>> {
        for nth in (first..self.blocks.len()).rev() {
            if self.blocks[nth].order() > Order::ZERO {
                self.blocks.try_reserve(self.blocks[nth].order().frames() as usize).map_err(|_| Error::NoRoomToNote)?;
                match frames().split(self.blocks.swap_remove(nth), Order::ZERO) {
                    Ok(pieces) => self.blocks.extend(pieces),
                    Err(refused) => return Err(refused.error.into()),
                }
            }
        }
        Ok(())
    }

    /// Frees so much of the single frames from the one with this number on. How many those were.
    fn free_from<'a>(&mut self, first: usize, percent: u64) -> Result<u64, Error<'a>> {
        let (mut freed, mut nth) = (0, first);
        while nth < self.blocks.len() {
            let pfn = self.blocks[nth].pfn().number();
            // Of a hundred in a row so many, as far from each other as can be.
            if pfn * percent % 100 + percent < 100 {
                nth += 1;
                continue;
            }
            frames().free(self.blocks.swap_remove(nth))?;
            freed += 1;
            if freed % LOOK == 0 {
                self.go_on()?;
            }
        }
        Ok(freed)
    }
}

pub(super) fn churn<'a>(shell: &mut Shell, words: &[&'a str]) -> Result<(), Error<'a>> {
    let words = expect(words, &[], 2)?;
    let operations = words.first().map_or(Ok(10_000), |word| number(word))?;
    let seed = words.get(1).map_or(Ok(1), |word| number(word))?;
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    let before = shell.blocks.len();
    shell.blocks.try_reserve(CHURNED).map_err(|_| Error::NoRoomToNote)?;
    let (mut allocated, mut refused) = (0_u64, 0_u64);
    for nth in 0..operations {
        if nth % LOOK == LOOK - 1 {
            shell.go_on()?;
        }
        let held = shell.blocks.len() - before;
        if random.random_range(0..CHURNED) < held {
            let block = shell.blocks.swap_remove(before + random.random_range(0..held));
            frames().free(block)?;
            continue;
        }
        // Small ones are asked for most.
        let order = Order::new(random.random_range(0..=12_u8).saturating_sub(6)).unwrap_or(Order::ZERO);
        let kind = [Gfp::empty(), Gfp::MOVABLE, Gfp::RECLAIMABLE][random.random_range(0..Mobility::REQUESTED.len())];
        match frames().allocate(order, Gfp::KERNEL | Gfp::NOWARN | kind) {
            Ok(block) => {
                shell.blocks.push(block);
                allocated += 1;
            }
            Err(_) => refused += 1,
        }
    }
    let (operations, allocated) = (counted(operations, "operations"), counted(allocated, "allocations"));
    let held = counted((shell.blocks.len() - before) as u64, "blocks");
    println!("{operations}: {allocated}, {refused} refused, {held} held: 'blocks', 'free all'");
    Ok(())
}

pub(super) fn watch<'a>(shell: &mut Shell, words: &[&'a str]) -> Result<(), Error<'a>> {
    let times = words.first().filter(|word| word.starts_with(|first: char| first.is_ascii_digit()));
    let command = &words[usize::from(times.is_some()).min(words.len())..];
    let (Some(name), given) = (command.first(), times.map(|word| number(word)).transpose()?) else {
        return Err(WordError::Missing("the command").into());
    };
    let known = Shell::command(name).ok_or(Error::UnknownCommand(name))?;
    for nth in 0..given.unwrap_or(u64::MAX) {
        if nth > 0 {
            pause(shell, Duration::from_secs(1))?;
        }
        if shell.terminal.is_some() {
            print!("\x1b[H\x1b[2J");
        }
        command.iter().for_each(|word| print!("{word} "));
        match given {
            Some(times) => println!("({} of {times})", nth + 1),
            None => println!("({}, until Ctrl-C)", nth + 1),
        }
        (known.run)(shell, &command[1..])?;
    }
    Ok(())
}

/// Waits, unless Ctrl-C is pressed. What else is typed waits for the prompt.
fn pause<'a>(shell: &mut Shell, time: Duration) -> Result<(), Error<'a>> {
    let end = clock::uptime() + time;
    loop {
        shell.go_on()?;
        let left = end.saturating_sub(clock::uptime());
        if left.is_zero() {
            return Ok(());
        }
        if timer::rate() > 0 {
            timer::set_alarm(left.min(Duration::from_millis(100)));
            work::wait();
        } else {
            hint::spin_loop();
        }
    }
}
