//! The words of the command line: the kernel's own, as far as they are about page frames, and some to make a machine look used.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use bifolio::allocator::{BlockState, Call, HeapCall};
use bifolio::frame::{Gfp, Order, Pfn, PfnRange};
use bifolio::report;
use quiz::counted;

use crate::app::App;
use crate::describe;
use crate::palette::meaning;

/// Every command, with what it does.
pub const COMMANDS: &[(&str, &str)] = &[
    ("alloc <order> [flags]", "allocate a block of 2^order frames; flags such as MOVABLE, RECLAIMABLE|DMA32, ATOMIC"),
    ("alloc_exact <frames> [flags]", "allocate so many frames in a row, up to 1024"),
    ("alloc_contig <frames> [flags]", "allocate any number of frames in a row"),
    ("alloc_range <pfn> <frames> [flags]", "allocate just these frames"),
    ("free <pfn> [order]", "free the block that starts at this frame; 'free all' frees every one"),
    ("split <pfn> <order>", "make an allocated block several of that order"),
    ("kmalloc <bytes> [count]", "allocate objects on the heap"),
    ("kfree <address>", "free the object that starts there; 'kfree all' frees every one that was allocated here"),
    ("shrink", "have the heap give back what it does not use"),
    ("explain alloc <order> [flags]", "what that would do, step by step, and why; nothing is done"),
    ("explain free <pfn>", "likewise"),
    ("explain kmalloc <bytes>", "likewise, to the slab, its word and the slot"),
    ("drain", "give what the CPUs' pages hold back to the zones"),
    ("cpu <number>", "what follows is done by that CPU"),
    ("fill [order] [flags]", "allocate until a request is refused"),
    ("fragment <percent>", "allocate all single frames, and free so many of a hundred of them, in a pattern"),
    ("churn <operations> [seed]", "allocate and free blocks of all kinds at random"),
    ("page <pfn>", "what a frame is, and what happened to it"),
    ("buddyinfo", "free blocks of order 0, 1, ... 10 in each zone"),
    ("zoneinfo", "pages, watermarks and reserves of each zone"),
    ("pagetypeinfo", "free blocks by mobility and order"),
    ("slabinfo", "the heap's caches that have slabs"),
    ("validate", "check every invariant"),
    ("quiz <lesson> [seed]", "a question to a lesson, other ones with other seeds"),
    ("answer <lesson> [seed]", "the same with its answer, and how that comes about"),
    ("undo", "go back to before the last command"),
    ("redo", "do again what was undone"),
    ("help", "this list"),
];

pub(crate) type Said = Result<String, String>;

impl App {
    /// Runs commands separated by `;`: what they say, or what was wrong with the first that was.
    ///
    /// # Errors
    /// What was wrong.
    pub fn run(&mut self, line: &str) -> Said {
        let mut said = String::new();
        for command in line.split(';').map(str::trim).filter(|command| !command.is_empty()) {
            let words: Vec<&str> = command.split_whitespace().collect();
            let before = self.world.operation();
            let result = self.run_one(&words);
            if !matches!(words[0], "undo" | "redo") {
                self.conclude(before);
            }
            let text = result?;
            if !said.is_empty() {
                said.push('\n');
            }
            said.push_str(if text.is_empty() { &self.told } else { &text });
        }
        Ok(said)
    }

    fn run_one(&mut self, words: &[&str]) -> Said {
        match words {
            ["alloc", order, flags @ ..] => {
                let call = Call::Allocate { order: order_of(order)?, gfp: gfp(flags)? };
                self.request(call)
            }
            ["alloc_exact", frames, flags @ ..] => {
                self.request(Call::AllocateExact { frames: number(frames)?, align: Order::ZERO, gfp: gfp(flags)? })
            }
            ["alloc_contig", frames, flags @ ..] => {
                self.request(Call::AllocateContiguous { frames: number(frames)?, align: 1, gfp: gfp(flags)? })
            }
            ["alloc_range", pfn, frames, flags @ ..] => {
                let start = Pfn::new(number(pfn)?);
                let end =
                    start.number().checked_add(number(frames)?).map(Pfn::new).ok_or("there are no such frames")?;
                let call = Call::AllocateRange { range: PfnRange::new(start, end), gfp: gfp(flags)? };
                self.perform(call)
                    .map(|_| String::new())
                    .ok_or_else(|| describe::taken(self, start.number(), end.number()))
            }
            ["free", "all"] => Ok(self.free_all()),
            ["free", pfn] => {
                let pfn = Pfn::new(number(pfn)?);
                let order = self.world.frames().order_of(pfn).map_err(|error| error.to_string())?;
                self.change(Call::Free { pfn, order })
            }
            ["free", pfn, order] => self.free(Pfn::new(number(pfn)?), order_of(order)?),
            ["split", pfn, order] => {
                let pfn = Pfn::new(number(pfn)?);
                let into = order_of(order)?;
                let order = self.world.frames().order_of(pfn).map_err(|error| error.to_string())?;
                self.change(Call::Split { pfn, order, into })
            }
            ["kmalloc", bytes, count @ ..] => {
                let count = count.first().map_or(Ok(1), |count| number(count))?;
                self.kmalloc(number(bytes)?, count.min(100_000))
            }
            ["kfree", "all"] => Ok(self.kfree_all()),
            ["kfree", address] => self.kfree(number(address)?),
            ["shrink"] => self.change(Call::Heap(HeapCall::Shrink)),
            ["explain", words @ ..] => self.explain(words),
            ["drain"] => self.change(Call::Drain),
            ["cpu", cpu] => self.choose(number(cpu)?),
            ["fill", order @ ..] => self.fill(order),
            ["fragment", percent] => self.fragment(number(percent)?),
            ["churn", operations, seed @ ..] => {
                let seed = seed.first().map_or(Ok(1), |seed| number(seed))?;
                Ok(self.churn(number(operations)?.min(1_000_000), seed))
            }
            _ => self.look(words),
        }
    }

    /// The commands that change nothing.
    fn look(&mut self, words: &[&str]) -> Said {
        let mut text = String::new();
        match words {
            ["page", pfn] => return Ok(describe::page(self, number(pfn)?)),
            ["buddyinfo"] => self.world.look(|frames| report::buddyinfo(frames, &mut text)).unwrap_or_default(),
            ["zoneinfo"] => self.world.look(|frames| report::zoneinfo(frames, &mut text)).unwrap_or_default(),
            ["slabinfo"] => {
                self.world.look_at_heap(|heap| heap.write_slabinfo(&mut text)).unwrap_or_default();
                text = used_caches(&text);
            }
            ["pagetypeinfo"] => self.world.look(|frames| report::pagetypeinfo(frames, &mut text)).unwrap_or_default(),
            ["validate"] => {
                self.world.look(|frames| frames.validate()).map_err(|violation| violation.to_string())?;
                self.world.look_at_heap(|heap| heap.validate()).map_err(|violation| violation.to_string())?;
                text.push_str("page frames and heap: every invariant holds");
            }
            ["quiz", lesson, seed @ ..] => return question(lesson, seed, false),
            ["answer", lesson, seed @ ..] => return question(lesson, seed, true),
            ["undo"] => self.undo(),
            ["redo"] => self.redo(),
            ["help"] => {
                for (usage, what) in COMMANDS {
                    text += &format!("  {usage:<34} {what}\n");
                }
            }
            [name, ..] => {
                let known = COMMANDS.iter().find(|(usage, _)| usage.split(' ').next() == Some(name));
                return Err(match known {
                    Some((usage, _)) => format!("usage: {usage}"),
                    None => format!("there is no command '{name}'; 'help' lists them"),
                });
            }
            [] => {}
        }
        Ok(text.trim_end().to_string())
    }

    fn request(&mut self, call: Call) -> Said {
        match self.perform(call) {
            Some(_) => Ok(String::new()),
            None => Err(describe::refusal(self, call)),
        }
    }

    fn change(&mut self, call: Call) -> Said {
        self.perform(call).map(|_| String::new()).ok_or_else(|| "refused; nothing has changed".to_string())
    }

    /// Frees a block, or says what is there instead.
    fn free(&mut self, pfn: Pfn, order: Order) -> Said {
        match self.world.frames().order_of(pfn) {
            Ok(actual) if actual == order => self.change(Call::Free { pfn, order }),
            Ok(actual) => Err(format!("the block at frame {pfn} has order {actual}, not {order}")),
            Err(error) => Err(error.to_string()),
        }
    }

    fn choose(&mut self, cpu: u64) -> Said {
        let cpus = self.world.cpus();
        match usize::try_from(cpu).ok().filter(|cpu| *cpu < cpus) {
            Some(cpu) => {
                self.cpu = cpu;
                Ok(format!("CPU {cpu} does what follows"))
            }
            None => Err(format!("this machine has CPUs 0 to {}", cpus - 1)),
        }
    }

    /// All allocated blocks, each with its order.
    fn blocks(&self) -> Vec<(Pfn, Order)> {
        let mut blocks = Vec::new();
        for zone in bifolio::frame::ZoneKind::ALL {
            self.world.frames().for_each_block(zone, |block| {
                if block.state == BlockState::Allocated {
                    blocks.push((block.pfn, block.order));
                }
            });
        }
        blocks
    }

    fn free_all(&mut self) -> String {
        let blocks = self.blocks();
        for (pfn, order) in &blocks {
            self.perform(Call::Free { pfn: *pfn, order: *order });
        }
        self.perform(Call::Drain);
        format!("{} freed, and what the CPUs held given back", counted(blocks.len() as u64, "blocks"))
    }

    fn fill(&mut self, words: &[&str]) -> Said {
        let order = words.first().map_or(Ok(Order::ZERO), |order| order_of(order))?;
        let gfp = gfp(words.get(1..).unwrap_or_default())? | Gfp::NOWARN;
        let mut count = 0;
        while self.perform(Call::Allocate { order, gfp }).is_some() {
            count += 1;
        }
        Ok(format!("{}; the next request was refused", counted(count, &format!("blocks of order {order}"))))
    }

    /// Half a machine's frames in use, all over it: the frames to be freed are spread evenly.
    fn fragment(&mut self, percent: u64) -> Said {
        if percent > 100 {
            return Err("a percentage is 0 to 100".to_string());
        }
        // To the last frame: what the marks keep would lie there in one piece.
        let gfp = Gfp::KERNEL | Gfp::MOVABLE | Gfp::MEMALLOC | Gfp::NOWARN;
        let mut taken = Vec::new();
        while let Some(pfn) = self.perform(Call::Allocate { order: Order::ZERO, gfp }) {
            taken.push(pfn);
        }
        taken.sort_unstable();
        let mut freed = 0;
        for (n, pfn) in taken.iter().enumerate() {
            let n = n as u64;
            if (n + 1) * percent / 100 > n * percent / 100 {
                self.perform(Call::Free { pfn: Pfn::new(*pfn), order: Order::ZERO });
                freed += 1;
            }
        }
        self.perform(Call::Drain);
        Ok(format!("{} frames allocated, every so many-th freed: {freed}", taken.len()))
    }

    /// A mixture as kernels have it: mostly small and short-lived, of three mobilities, on all CPUs.
    fn churn(&mut self, operations: u64, seed: u64) -> String {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut random = move |below: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 11) % below
        };
        let (own, cpus) = (self.cpu, self.world.cpus() as u64);
        let mut held = self.blocks();
        let room: u64 = self.zones().iter().map(|zone| zone.managed).sum::<u64>() / 2;
        let mut used: u64 = held.iter().map(|(_, order)| order.frames()).sum();
        for _ in 0..operations {
            self.cpu = random(cpus) as usize;
            if !held.is_empty() && (used > room || random(100) < 46) {
                let (pfn, order) = held.swap_remove(random(held.len() as u64) as usize);
                used -= order.frames();
                self.perform(Call::Free { pfn, order });
                continue;
            }
            let order = Order::new(random(1 << 10).leading_zeros().saturating_sub(54) as u8).unwrap_or(Order::ZERO);
            let gfp = match random(10) {
                0..5 => Gfp::KERNEL | Gfp::MOVABLE,
                5..8 => Gfp::KERNEL,
                _ => Gfp::KERNEL | Gfp::RECLAIMABLE,
            };
            if let Some(pfn) = self.perform(Call::Allocate { order, gfp }) {
                held.push((Pfn::new(pfn), order));
                used += order.frames();
            }
        }
        self.cpu = own;
        format!("{operations} operations on {}; blocks in use: {}", counted(cpus, "CPUs"), held.len())
    }

    /// The order of a block that holds a frame, and its first frame, where there is any.
    pub fn block_at(&self, pfn: u64) -> Option<(u64, Order)> {
        let (.., order) = meaning(self.cells.code(pfn))?;
        Some((PfnRange::of(crate::cells::Cells::head(pfn, order), order).start.number(), order))
    }
}

/// A question to a lesson, on a machine of its own.
fn question(lesson: &str, seed: &[&str], is_answered: bool) -> Said {
    let seed = seed.first().map_or(Ok(1), |seed| number(seed))?;
    describe::question(number(lesson)?, seed, is_answered)
        .ok_or_else(|| format!("lessons are 0 to {}", quiz::LESSONS - 1))
}

/// The lines of slabinfo about caches that have slabs, and those above them.
fn used_caches(all: &str) -> String {
    let is_used = |line: &&str| line.split_whitespace().nth(2).is_none_or(|objects| objects != "0");
    all.lines().filter(is_used).collect::<Vec<_>>().join("\n")
}

pub(crate) fn number(text: &str) -> Result<u64, String> {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.map_err(|error| match error.kind() {
        core::num::IntErrorKind::PosOverflow => format!("'{text}' is too large"),
        _ => format!("'{text}' is not a number"),
    })
}

pub(crate) fn order_of(text: &str) -> Result<Order, String> {
    let order = u8::try_from(number(text)?).ok().and_then(Order::new);
    order.ok_or_else(|| format!("'{text}' is no order; orders are 0 to {}", Order::MAX))
}

/// Flags as Linux writes them, without what all begin with; the kernel's own where none say whether they may wait.
pub(crate) fn gfp(words: &[&str]) -> Result<Gfp, String> {
    let mut gfp = Gfp::empty();
    for name in words.iter().flat_map(|word| word.split(['|', ','])).filter(|name| !name.is_empty()) {
        let upper = name.to_uppercase();
        let bare = upper.trim_start_matches("__GFP_").trim_start_matches("GFP_");
        gfp |= Gfp::from_name(bare).ok_or_else(|| format!("there is no flag '{name}'"))?;
    }
    let decides = Gfp::WAIT | Gfp::HIGH | Gfp::NOWARN;
    Ok(if gfp.intersects(decides) { gfp } else { gfp | Gfp::KERNEL })
}
