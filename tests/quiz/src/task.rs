//! Tasks, which the allocator judges.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use bifolio::frame::{Gfp, Order, ZoneKind};
use bifolio::memory_map::{MemoryMap, Region, RegionKind};
use kit::Raw;
use kit::machine::usable;

use crate::counted;
use crate::machine::{CHUNK, Frames, NORMAL, chunk, machine, order};
pub use crate::shell::COMMANDS;
use crate::shell::Shell;

/// A task to a lesson.
#[derive(Debug)]
pub struct Task {
    /// To which lesson.
    pub lesson: u64,
    /// Which of that lesson's.
    pub number: u64,
    /// What is to be done.
    pub text: &'static str,
    /// What is counted.
    pub unit: &'static str,
    /// Whether more of it is better.
    pub more_is_better: bool,
    /// The best score that is known.
    pub best: u64,
    /// Whether commands that are refused belong to it; else the first ends the attempt.
    may_be_refused: bool,
    /// CPUs of the machine that commands can be given to.
    cpus: usize,
    machine: fn() -> Frames,
    judge: fn(&Shell) -> Result<u64, String>,
}

/// What became of an attempt.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Attempt {
    /// What each command said.
    pub said: Vec<String>,
    /// The score; why the task is not done, if it is not.
    pub score: Result<u64, String>,
}

/// All tasks.
pub static TASKS: &[Task] = &[
    Task {
        lesson: 0,
        number: 1,
        text: "Memory is one chunk of 256 KiB, the frames 0x100000..0x100040, and all of it is free. Bring about that at least half of it is \
               free, and no free chunk is larger than 16 KiB.",
        unit: "commands",
        more_is_better: false,
        best: 3,
        may_be_refused: false,
        cpus: 1,
        machine: chunk,
        judge: cut_small,
    },
    Task {
        lesson: 1,
        number: 1,
        text: "Zone DMA has the frames 0x100..0x1000, and all are free. Bring about that exactly one block of order 0 is free there, and \
               none of the orders 1 to 7.",
        unit: "commands",
        more_is_better: false,
        best: 1,
        may_be_refused: false,
        cpus: 1,
        machine: zone_dma,
        judge: one_single_frame,
    },
    Task {
        lesson: 2,
        number: 1,
        text: "You are a firmware. 'usable FROM UP-TO' and 'reserved FROM UP-TO' are entries of your memory map, in bytes. Have an allocator get \
               eight frames or more from it that it would not get, nor any other, if each entry were rounded to whole frames by itself. With \
               as few entries as you can.",
        unit: "entries",
        more_is_better: false,
        best: 9,
        may_be_refused: false,
        cpus: 1,
        machine: chunk,
        judge: whole_only_together,
    },
    Task {
        lesson: 3,
        number: 1,
        text: "A machine with one CPU has 64 MiB in zone Normal, the frames 0x100000..0x104000, and as much in zone DMA32. Have Normal fall \
               back to DMA32: a request of order 10 with the flag MOVABLE is to be served from there. Hold as few frames as you can.",
        unit: "frames held",
        more_is_better: false,
        best: 14,
        may_be_refused: false,
        cpus: 1,
        machine: || machine(&[usable(0x1000, 0x5000), usable(NORMAL, NORMAL + 0x4000)], 1),
        judge: falls_back,
    },
    Task {
        lesson: 4,
        number: 1,
        text: "Zone DMA has the frames 0x100..0x1000, and all are free. Make a request of order 10 with the flag DMA impossible while at \
               least half of the zone is free. Hold as few frames as you can.",
        unit: "frames held",
        more_is_better: false,
        best: 3,
        may_be_refused: false,
        cpus: 1,
        machine: zone_dma,
        judge: is_in_pieces,
    },
    Task {
        lesson: 5,
        number: 1,
        text: "A machine with one CPU has 64 MiB in zone Normal, all free. Strand as many frames as you can: at some moment you hold nothing, \
               and the CPU has them at hand. Then get all of it back, so that at the end all is free. With at most 15 commands.",
        unit: "frames stranded",
        more_is_better: true,
        best: 2272,
        may_be_refused: false,
        cpus: 1,
        machine: || machine(&[usable(NORMAL, NORMAL + 0x4000)], 1),
        judge: stranded_and_got_back,
    },
    Task {
        lesson: 6,
        number: 1,
        text: "A heap is fresh. 'kmalloc BYTES [COUNT]' allocates objects, which are numbered from 0 on, and 'kfree FIRST [LAST]' frees some \
               of them. Strand memory in the arena of the CPU: at some moment at most ten objects are live, and slabs take as many frames as \
               you can. Then get all of it back: at the end no object is live and no slab is left ('shrink'). With at most 15 commands.",
        unit: "frames stranded",
        more_is_better: true,
        best: 384,
        may_be_refused: false,
        cpus: 1,
        machine: zone_dma,
        judge: stranded_in_slabs,
    },
    Task {
        lesson: 7,
        number: 1,
        text: "Zone DMA has the frames 0x100..0x1000, and all are free. Have a request for 1024 frames in a row, with the flag DMA, be refused \
               while at least 3000 are free. Hold as few frames as you can.",
        unit: "frames held",
        more_is_better: false,
        best: 3,
        may_be_refused: false,
        cpus: 1,
        machine: zone_dma,
        judge: no_long_run,
    },
    Task {
        lesson: 8,
        number: 1,
        text: "Zone DMA has the frames 0x100..0x1000, of which the firmware keeps 0x800..0x810. All others are free. Have 'free' and 'free_range' be \
               refused for as many different reasons as you can. With at most 15 commands.",
        unit: "reasons",
        more_is_better: true,
        best: 6,
        may_be_refused: true,
        cpus: 1,
        machine: || machine(&[usable(0x100, 0x1000), kept(0x800, 0x810)], 1),
        judge: refused_in_many_ways,
    },
    Task {
        lesson: 9,
        number: 1,
        text: "A machine with two CPUs has 64 MiB in zone Normal, all free: the frames 0x100000..0x104000. By 'alloc', 'free' and 'cpu' alone, have \
               CPU 0 be lent frames of which it has some at hand, and have the zone get all of them back: at the end nobody holds any, and no CPU \
               has any at hand.",
        unit: "commands",
        more_is_better: false,
        best: 4,
        may_be_refused: false,
        cpus: 2,
        machine: || machine(&[usable(NORMAL, NORMAL + 0x4000)], 2),
        judge: lent_and_taken_off,
    },
];

impl Task {
    /// The task of a lesson with this number.
    pub fn find(lesson: u64, number: u64) -> Option<&'static Self> {
        TASKS.iter().find(|task| (task.lesson, task.number) == (lesson, number))
    }

    /// Has commands run on the task's machine, up to the first that fails if that is no part of it, and judges what they have brought about.
    pub fn attempt(&self, commands: &str) -> Attempt {
        let mut shell = Shell::new((self.machine)(), self.cpus);
        let mut said = Vec::new();
        for command in commands.split(';').map(str::trim).filter(|command| !command.is_empty()) {
            match shell.run(command) {
                Ok(text) => said.push(format!("{command}: {text}")),
                Err(error) if self.may_be_refused => said.push(format!("{command}: {error}")),
                Err(error) => return Attempt { said, score: Err(format!("{command}: {error}")) },
            }
        }
        Attempt { said, score: (self.judge)(&shell) }
    }
}

fn zone_dma() -> Frames {
    machine(&[usable(0x100, 0x1000)], 1)
}

/// What firmware keeps, in frames.
fn kept(start: u64, end: u64) -> Region {
    Region { kind: RegionKind::Reserved, ..usable(start, end) }
}

/// The largest order of which 16 KiB are.
const SMALL: u8 = 2;

fn cut_small(shell: &Shell) -> Result<u64, String> {
    let free = shell.frames.free_blocks(ZoneKind::Normal);
    let frames: u64 = Order::all().map(|order| free.of(order) * order.frames()).sum();
    let largest = Order::all().rfind(|order| free.of(*order) > 0);
    match largest {
        _ if frames * 2 < CHUNK => Err(format!("only {} of 256 KiB are free", frames * 4)),
        Some(order) if order > self::order(SMALL) => Err(format!("a chunk of {} KiB is free", order.bytes() >> 10)),
        _ => Ok(shell.commands),
    }
}

/// Frames that only the whole of a map gives.
const TOGETHER: u64 = 8;

fn whole_only_together(shell: &Shell) -> Result<u64, String> {
    // A map that has none is refused as a whole.
    let usable = |map: &mut [Region]| MemoryMap::sanitise(map).map_or(0, |map| map.frames(RegionKind::Usable));
    let together = usable(&mut shell.map.clone());
    let apart: u64 = shell.map.iter().map(|entry| usable(&mut [*entry])).sum();
    match () {
        () if together < TOGETHER => Err(format!("an allocator gets {together} frames")),
        () if apart > 0 => Err(format!("rounded by themselves, the entries give {apart} frames")),
        () => Ok(shell.map.len() as u64),
    }
}

fn no_long_run(shell: &Shell) -> Result<u64, String> {
    let free = shell.frames.zone(ZoneKind::Dma).free;
    if free < 3000 {
        return Err(format!("only {free} frames are free"));
    }
    match shell.frames.take_contiguous(Order::MAX.frames(), Gfp::KERNEL | Gfp::DMA | Gfp::NOWARN) {
        Ok(range) => Err(format!("the request is served, with the frames {range}")),
        Err(_) => Ok(shell.held_frames()),
    }
}

fn refused_in_many_ways(shell: &Shell) -> Result<u64, String> {
    match (shell.commands, shell.refusals.len()) {
        (commands, _) if commands > MOST_COMMANDS => Err(format!("these are {commands} commands")),
        (_, 0) => Err("no free was refused".into()),
        (_, reasons) => Ok(reasons as u64),
    }
}

fn lent_and_taken_off(shell: &Shell) -> Result<u64, String> {
    let cached = shell.frames.stats().cached;
    match () {
        () if shell.has_others => Err("there are other commands than 'alloc', 'free' and 'cpu'".into()),
        () if !shell.held.is_empty() => Err(format!("you hold {} still", counted(shell.held_frames(), "frames"))),
        () if cached > 0 => Err(format!("CPUs have {cached} frames at hand still")),
        () if shell.at_hand == 0 => Err("no CPU ever had any at hand".into()),
        () => Ok(shell.commands),
    }
}

fn one_single_frame(shell: &Shell) -> Result<u64, String> {
    let free = shell.frames.free_blocks(ZoneKind::Dma);
    let counts: Vec<u64> = Order::all().take(8).map(|order| free.of(order)).collect();
    if counts == [1, 0, 0, 0, 0, 0, 0, 0] {
        Ok(shell.commands)
    } else {
        Err(format!("free are, of the orders 0 to 7, {counts:?} blocks"))
    }
}

fn falls_back(shell: &Shell) -> Result<u64, String> {
    match shell.frames.take(Order::MAX, Gfp::KERNEL | Gfp::MOVABLE | Gfp::NOWARN) {
        Ok(pfn) if shell.frames.zone_of(pfn) == ZoneKind::Dma32 => Ok(shell.held_frames()),
        Ok(pfn) => Err(format!("the request is served with frame {pfn}, in zone {}", shell.frames.zone_of(pfn))),
        Err(error) => Err(error.to_string()),
    }
}

fn is_in_pieces(shell: &Shell) -> Result<u64, String> {
    let zone = shell.frames.zone(ZoneKind::Dma);
    if zone.free * 2 < zone.managed {
        return Err(format!("only {} of {} frames are free", zone.free, zone.managed));
    }
    match shell.frames.take(order(10), Gfp::KERNEL | Gfp::DMA | Gfp::NOWARN) {
        Ok(pfn) => Err(format!("the request is served, with frame {pfn}")),
        Err(_) => Ok(shell.held_frames()),
    }
}

/// More commands do not count where their number is limited.
const MOST_COMMANDS: u64 = 15;

fn stranded_in_slabs(shell: &Shell) -> Result<u64, String> {
    let (live, frames) = (shell.live(), shell.slab_frames());
    match () {
        () if shell.commands > MOST_COMMANDS => Err(format!("these are {} commands", shell.commands)),
        () if live > 0 => Err(format!("{live} objects are live still")),
        () if frames > 0 => Err(format!("slabs take {frames} frames still")),
        () if shell.stranded_in_slabs == 0 => Err("nothing was ever stranded".into()),
        () => Ok(shell.stranded_in_slabs),
    }
}

fn stranded_and_got_back(shell: &Shell) -> Result<u64, String> {
    let cached = shell.frames.stats().cached;
    match () {
        () if shell.commands > MOST_COMMANDS => Err(format!("these are {} commands", shell.commands)),
        () if !shell.held.is_empty() => Err(format!("you hold {} still", counted(shell.held_frames(), "frames"))),
        () if cached > 0 => Err(format!("{cached} frames are stranded still")),
        () if shell.stranded == 0 => Err("nothing was ever stranded".into()),
        () => Ok(shell.stranded),
    }
}
