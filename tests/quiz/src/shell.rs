//! The commands by which a task is done: the kernel's, as far as tasks need them. Objects have numbers in place of addresses, which
//! differ from machine to machine.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::alloc::Layout;
use core::mem::{self, Discriminant};
use core::ptr::NonNull;

use bifolio::error::FreeError;
use bifolio::frame::{Gfp, Order, Pfn, PfnRange};
use bifolio::heap::{Heap, HeapError};
use bifolio::memory_map::{Region, RegionKind};
use kit::Raw;
use kit::source::SystemPages;
use replay::{Replayed, take_turn_of};

use crate::counted;
use crate::machine::Frames;

/// Somebody at a machine.
pub struct Shell {
    pub frames: Frames,
    /// What is held: blocks, each with its order.
    pub held: Vec<(Pfn, Order)>,
    /// How many commands there were.
    pub commands: u64,
    /// The most that CPUs had at hand behind a command while nothing was held.
    pub stranded: u64,
    /// The most that the heap's slabs took behind a command while [hardly any](FEW) object was live.
    pub stranded_in_slabs: u64,
    /// The most that CPUs had at hand behind a command, whatever was held.
    pub at_hand: u64,
    /// Whether there were other commands than `alloc`, `free` and `cpu`.
    pub has_others: bool,
    /// In how many different ways frees were refused.
    pub refusals: Vec<Discriminant<FreeError>>,
    /// What firmware says of memory.
    pub map: Vec<Region>,
    pub heap: Heap<SystemPages, Replayed, 1>,
    /// All objects so far; those that are live.
    objects: Vec<Option<(NonNull<u8>, Layout)>>,
    cpus: usize,
}

/// So many objects are hardly any.
pub const FEW: usize = 10;
/// More than a task needs, and than a machine should be asked for.
const MOST_OBJECTS: u64 = 100_000;
const LARGEST_OBJECT: u64 = 8192;

impl Shell {
    pub fn new(frames: Frames, cpus: usize) -> Self {
        Self {
            frames,
            held: Vec::new(),
            commands: 0,
            stranded: 0,
            stranded_in_slabs: 0,
            at_hand: 0,
            has_others: false,
            refusals: Vec::new(),
            map: Vec::new(),
            heap: Heap::new(SystemPages::new()),
            objects: Vec::new(),
            cpus,
        }
    }

    /// Frames that are held.
    pub fn held_frames(&self) -> u64 {
        self.held.iter().map(|(_, order)| order.frames()).sum()
    }

    /// Objects that are live.
    pub fn live(&self) -> usize {
        self.objects.iter().flatten().count()
    }

    /// Frames of the heap's slabs.
    pub fn slab_frames(&self) -> u64 {
        self.heap.frames().slabs
    }

    /// Runs a command: what it says, or what is wrong with it.
    pub fn run(&mut self, command: &str) -> Result<String, String> {
        self.commands += 1;
        let words: Vec<&str> = command.split_whitespace().collect();
        self.has_others |= !matches!(words[..], ["alloc" | "free" | "cpu", ..]);
        let said = self.run_one(command, &words)?;
        let at_hand = self.frames.stats().cached;
        self.at_hand = self.at_hand.max(at_hand);
        if self.held.is_empty() {
            self.stranded = self.stranded.max(at_hand);
        }
        if self.live() <= FEW {
            self.stranded_in_slabs = self.stranded_in_slabs.max(self.slab_frames());
        }
        Ok(said)
    }

    fn run_one(&mut self, command: &str, words: &[&str]) -> Result<String, String> {
        match *words {
            ["alloc", order, ref flags @ ..] => self.alloc(order_of(order)?, gfp(flags)?),
            ["alloc_exact", frames, ref flags @ ..] => {
                let range = self.frames.take_exact(number(frames)?, gfp(flags)?).map_err(|error| error.to_string())?;
                self.hold(range)
            }
            ["alloc_range", pfn, frames, ref flags @ ..] => {
                let pfn = Pfn::new(number(pfn)?);
                let range = PfnRange::new(pfn, Pfn::new(pfn.number().saturating_add(number(frames)?)));
                self.frames.take_range(range, gfp(flags)?).map_err(|error| error.to_string())?;
                self.hold(range)
            }
            ["split", pfn, order] => self.split(Pfn::new(number(pfn)?), order_of(order)?),
            ["free", "all"] => {
                let held = mem::take(&mut self.held);
                held.iter()
                    .try_for_each(|(pfn, order)| self.frames.give(*pfn, *order))
                    .map_err(|error| error.to_string())?;
                Ok(format!("freed {}", counted(held.len() as u64, "blocks")))
            }
            ["free", pfn] => {
                let pfn = Pfn::new(number(pfn)?);
                let order = self.frames.order_of(pfn).map_err(|error| self.refused(error))?;
                self.free(pfn, order)
            }
            ["free", pfn, order] => self.free(Pfn::new(number(pfn)?), order_of(order)?),
            ["free_range", pfn, frames] => self.free_range(Pfn::new(number(pfn)?), number(frames)?),
            ["usable", from, up_to] => self.entry(number(from)?, number(up_to)?, RegionKind::Usable),
            ["reserved", from, up_to] => self.entry(number(from)?, number(up_to)?, RegionKind::Reserved),
            ["drain"] => {
                self.frames.drain();
                Ok("the CPUs have nothing at hand".into())
            }
            ["kmalloc", bytes] => self.kmalloc(number(bytes)?, 1),
            ["kmalloc", bytes, count] => self.kmalloc(number(bytes)?, number(count)?),
            ["kfree", "all"] => self.kfree(0, u64::MAX),
            ["kfree", first] => self.kfree(number(first)?, number(first)?),
            ["kfree", first, last] => self.kfree(number(first)?, number(last)?),
            ["shrink"] => Ok(format!("{} went back", counted(self.heap.shrink(), "frames"))),
            ["cpu", cpu] => self.switch_to(number(cpu)?),
            _ => Err(format!("there is no command '{command}' here: {COMMANDS}")),
        }
    }

    fn kmalloc(&mut self, bytes: u64, count: u64) -> Result<String, String> {
        let first = self.objects.len() as u64;
        if !(1..=LARGEST_OBJECT).contains(&bytes) || first.saturating_add(count) > MOST_OBJECTS {
            return Err(format!("objects here have 1 to {LARGEST_OBJECT} bytes, and there are at most {MOST_OBJECTS}"));
        }
        let layout = Layout::from_size_align(bytes as usize, 8).expect("the size is small");
        for _ in 0..count {
            let object = self.heap.allocate(layout).ok_or("the system has no memory left")?;
            self.objects.push(Some((object, layout)));
        }
        Ok(format!("objects {first} to {}", (first + count).saturating_sub(1)))
    }

    /// Frees the live ones of some objects.
    fn kfree(&mut self, first: u64, last: u64) -> Result<String, String> {
        let wanted = first as usize..(last as usize).saturating_add(1).min(self.objects.len());
        let objects = self.objects.get_mut(wanted).into_iter().flatten().filter_map(Option::take);
        let mut count = 0;
        for (object, layout) in objects {
            // SAFETY: the object is the shell's, of this layout, and was live until now; nobody uses it.
            unsafe { self.heap.free(object, layout) }.map_err(|error: HeapError| error.to_string())?;
            count += 1;
        }
        Ok(format!(
            "freed {}; live are {}, and slabs take {}",
            counted(count as u64, "objects"),
            self.live(),
            counted(self.slab_frames(), "frames")
        ))
    }

    fn alloc(&mut self, order: Order, gfp: Gfp) -> Result<String, String> {
        let pfn = self.frames.take(order, gfp).map_err(|error| error.to_string())?;
        self.held.push((pfn, order));
        Ok(format!("order {order} at {pfn}"))
    }

    /// Holds what was allocated as a range, in the blocks that it is made of.
    fn hold(&mut self, range: PfnRange) -> Result<String, String> {
        let blocks = kit::oracle::range_blocks(range);
        self.held.extend(&blocks);
        Ok(format!("{} at {range}", counted(range.frames(), "frames")))
    }

    /// Frees a block, right or wrong. Whatever is allocated is the shell's.
    fn free(&mut self, pfn: Pfn, order: Order) -> Result<String, String> {
        self.frames.give(pfn, order).map_err(|error| self.refused(error))?;
        self.held.retain(|held| *held != (pfn, order));
        Ok(format!("freed order {order} at {pfn}"))
    }

    fn free_range(&mut self, pfn: Pfn, frames: u64) -> Result<String, String> {
        let range = PfnRange::new(pfn, Pfn::new(pfn.number().saturating_add(frames)));
        self.frames.give_range(range).map_err(|error| self.refused(error))?;
        self.held.retain(|(pfn, _)| !range.contains(*pfn));
        Ok(format!("freed {} at {range}", counted(frames, "frames")))
    }

    /// Takes note of why a free was refused.
    fn refused(&mut self, error: FreeError) -> String {
        let how = mem::discriminant(&error);
        if !self.refusals.contains(&how) {
            self.refusals.push(how);
        }
        error.to_string()
    }

    fn entry(&mut self, start: u64, end: u64, kind: RegionKind) -> Result<String, String> {
        self.map.push(Region { start, end, kind });
        Ok(format!("{} entries", self.map.len()))
    }

    fn split(&mut self, pfn: Pfn, into: Order) -> Result<String, String> {
        let order = self.frames.order_of(pfn).map_err(|error| error.to_string())?;
        let place = self.held.iter().position(|held| *held == (pfn, order));
        let place = place.ok_or_else(|| format!("the block at frame {pfn} is not yours"))?;
        self.frames.cut(pfn, order, into).map_err(|error| error.to_string())?;
        let count = order.frames() / into.frames();
        let parts = (0..count).map(|nth| (pfn.offset(nth * into.frames()), into));
        self.held.splice(place..=place, parts);
        Ok(format!("{count} blocks of order {into}"))
    }

    fn switch_to(&mut self, cpu: u64) -> Result<String, String> {
        let cpu = usize::try_from(cpu).ok().filter(|cpu| *cpu < self.cpus);
        let cpu = cpu.ok_or_else(|| format!("this machine has {} CPUs, from 0 on", self.cpus))?;
        take_turn_of(cpu);
        Ok(format!("CPU {cpu} does what follows"))
    }
}

/// The commands that there are.
pub const COMMANDS: &str = "alloc ORDER [FLAGS], alloc_exact FRAMES [FLAGS], alloc_range PFN FRAMES [FLAGS], free PFN [ORDER], free all, \
                        free_range PFN FRAMES, split PFN ORDER, drain, cpu NUMBER, kmalloc BYTES [COUNT], kfree FIRST [LAST], kfree all, \
                        shrink, usable FROM UP-TO, reserved FROM UP-TO";

fn number(word: &str) -> Result<u64, String> {
    let parsed = match word.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => word.parse(),
    };
    parsed.map_err(|_| format!("'{word}' is no number"))
}

fn order_of(word: &str) -> Result<Order, String> {
    let order = u8::try_from(number(word)?).ok().and_then(Order::new);
    order.ok_or_else(|| format!("'{word}' is no order: orders are 0 to {}", Order::MAX))
}

/// Flags as the kernel's shell has them; of the kernel's own, if they do not say whether a request may wait.
fn gfp(words: &[&str]) -> Result<Gfp, String> {
    let mut gfp = Gfp::empty();
    for name in words.iter().flat_map(|word| word.split('|')) {
        gfp |= Gfp::from_name(name).ok_or_else(|| format!("there is no flag '{name}'"))?;
    }
    let decides = Gfp::WAIT | Gfp::HIGH | Gfp::NOWARN;
    Ok(if gfp.intersects(decides) { gfp } else { gfp | Gfp::KERNEL })
}
