//! A machine, what is done with it, and what of that is undone.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use bifolio::allocator::{Call, HeapCall, ZoneStats};
use bifolio::frame::{Order, Pfn, ZoneKind};
use bifolio::memory_map::{Region, RegionKind};
use replay::{OpenError, World};
use trace::{Broken, Defect, MAGIC};

use crate::cells::Cells;
use crate::describe;
use crate::filter::Moments;
use crate::map::Map;

/// What checkpoints may take.
const BUDGET: usize = 96 << 20;
/// The most memory that a machine of the page has, in MiB: a byte for each frame is kept to draw it.
pub const MOST_MIB: u64 = 64 << 10;
/// CPUs that a machine of the page can have.
pub const MOST_CPUS: usize = 64;

/// A machine in the page.
#[derive(Debug)]
pub struct App {
    pub(crate) world: World,
    pub(crate) cells: Cells,
    /// What is drawn of it.
    pub map: Map,
    /// The CPU that does what is asked for.
    pub(crate) cpu: usize,
    /// The moments between which a command was done: how many operations there were.
    marks: Vec<u64>,
    /// What happened last, in words.
    pub(crate) told: String,
    /// This moment was come to from the one before.
    pub(crate) is_step: bool,
    /// The moments that are gone to.
    pub(crate) moments: Moments,
    /// Objects that were allocated here and not freed: the address of each, and the frames of a large one.
    pub(crate) objects: Vec<(u64, u64)>,
}

/// The memory map of a machine with so much memory, as a PC's firmware has it: what does not fit below 3 GiB is above 4.
pub fn machine(mib: u64) -> Vec<Region> {
    const MIB: u64 = 1 << 20;
    const HOLE: u64 = 3 << 30;
    let bytes = mib * MIB;
    let region = |start, end, kind| Region { start, end, kind };
    let mut map = alloc::vec![
        region(0, 0x9_f000, RegionKind::Usable),
        region(0x9_f000, MIB, RegionKind::Reserved),
        region(MIB, bytes.min(HOLE), RegionKind::Usable),
    ];
    if bytes > HOLE {
        map.push(region(4 << 30, (4 << 30) + bytes - HOLE, RegionKind::Usable));
    }
    map
}

impl App {
    fn with(world: World) -> Self {
        let cells = Cells::new(&world);
        Self {
            world,
            cells,
            map: Map::new(),
            cpu: 0,
            marks: alloc::vec![0],
            told: String::new(),
            is_step: false,
            moments: Moments::default(),
            objects: Vec::new(),
        }
    }

    /// A machine with so much memory and so many CPUs, with nothing done yet.
    ///
    /// # Errors
    /// What is wrong with that.
    pub fn new(mib: u64, cpus: usize) -> Result<Self, String> {
        if !(4..=MOST_MIB).contains(&mib) {
            return Err(alloc::format!("a machine here has 4 MiB to {} GiB", MOST_MIB >> 10));
        }
        Self::of_map(&machine(mib), cpus)
    }

    /// A machine whose firmware says this of its memory, with nothing done yet. What it says that cannot be true is told.
    ///
    /// # Errors
    /// What is wrong with that.
    pub fn of_map(map: &[Region], cpus: usize) -> Result<Self, String> {
        if !(1..=MOST_CPUS).contains(&cpus) {
            return Err(alloc::format!("a machine here has 1 to {MOST_CPUS} CPUs"));
        }
        let mut app = Self::of(World::new(map, cpus, BUDGET))?;
        let faults: Vec<String> = map.iter().filter_map(Region::fault).map(|fault| fault.to_string()).collect();
        app.told = faults.join("\n");
        Ok(app)
    }

    /// The machine of a trace, at its beginning.
    ///
    /// # Errors
    /// What is wrong with the trace, and where.
    pub fn open(trace: Vec<u8>) -> Result<Self, String> {
        Self::of(World::open(trace, BUDGET))
    }

    /// The machine of a trace that is still being written; none as long as what has come of it is no whole header.
    ///
    /// # Errors
    /// Those of [`open`](Self::open).
    pub fn attach(trace: &[u8]) -> Result<Option<Self>, String> {
        let is_whole = |world: &Result<World, OpenError>| {
            !matches!(world, Err(OpenError::Broken(Broken { defect: Defect::Cut, .. })))
        };
        if trace.len() < MAGIC.len() {
            return Ok(None);
        }
        Some(World::attach(trace.to_vec(), BUDGET)).filter(is_whole).map(Self::of).transpose()
    }

    /// Adds what has come of a trace that is still being written.
    ///
    /// # Errors
    /// It is broken, or something was done here, which the trace has nothing of.
    pub fn extend(&mut self, bytes: &[u8]) -> Result<(), String> {
        if !self.is_recorded() {
            return Err(
                "What was done here is no part of the kernel's trace. Load the page anew to see the kernel again."
                    .into(),
            );
        }
        self.moments.forget();
        self.world.extend(bytes).map_err(|broken| broken.to_string())
    }

    fn of(world: Result<World, OpenError>) -> Result<Self, String> {
        let world = world.map_err(|error| error.to_string())?;
        let frames: u64 = ZoneKind::ALL
            .map(|kind| world.frames().free_blocks(kind))
            .iter()
            .map(|free| Order::all().map(|order| free.of(order) * order.frames()).sum::<u64>())
            .sum();
        if frames >> 8 > MOST_MIB {
            return Err(alloc::format!("a machine of {} GiB: more than this page draws", frames >> 18));
        }
        Ok(Self::with(world))
    }

    /// The world behind it.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// What each frame is.
    pub fn cells(&self) -> &Cells {
        &self.cells
    }

    /// What happened last, in words.
    pub fn told(&self) -> &str {
        &self.told
    }

    /// The map and the cells, to be drawn.
    pub fn picture(&mut self) -> (&mut Map, &mut Cells) {
        (&mut self.map, &mut self.cells)
    }

    /// How the zones stand.
    pub fn zones(&mut self) -> [ZoneStats; ZoneKind::COUNT] {
        self.world.zones()
    }

    /// Goes to a moment: after so many operations.
    pub fn seek(&mut self, operation: u64) {
        let before = self.world.operation();
        let result = self.world.seek(operation.min(self.world.total()));
        self.cells.refresh(&self.world);
        self.is_step = self.world.operation() == before + 1;
        self.told = match result {
            Ok(()) if self.is_step => describe::last(&self.world, &self.cells),
            Ok(()) => describe::moment(&self.world),
            Err(stop) => stop.to_string(),
        };
    }

    /// Follows a trace for so many operations, and checks it on the way; false at its end, or at what is not as it says.
    pub fn follow(&mut self, operations: u64) -> bool {
        for _ in 0..operations {
            if let Err(stop) = self.world.step() {
                if stop != replay::Stop::End {
                    self.told = stop.to_string();
                }
                return false;
            }
        }
        true
    }

    /// Goes back to before the last command, or by one operation of a trace.
    pub fn undo(&mut self) {
        let now = self.world.operation();
        let mark = self.marks.iter().rev().find(|mark| **mark < now).copied();
        self.seek(mark.unwrap_or(0).max(if self.is_recorded() { now.saturating_sub(1) } else { 0 }));
    }

    /// Does again what was undone last.
    pub fn redo(&mut self) {
        let now = self.world.operation();
        let mark = self.marks.iter().find(|mark| **mark > now).copied();
        self.seek(mark.unwrap_or(now + 1));
    }

    /// Whether nothing of it was done here.
    fn is_recorded(&self) -> bool {
        self.marks.len() <= 1
    }

    /// Does one operation.
    pub(crate) fn perform(&mut self, call: Call) -> Option<u64> {
        self.world.perform(self.cpu, call)
    }

    /// Looks at what a command has come to.
    pub(crate) fn conclude(&mut self, before: u64) {
        self.cells.refresh(&self.world);
        let now = self.world.operation();
        self.is_step = now == before + 1;
        if now != before {
            self.moments.forget();
            self.marks.retain(|mark| *mark < before);
            self.marks.extend([before, now]);
        }
        if self.is_step {
            self.told = describe::last(&self.world, &self.cells);
        }
    }

    /// The frame that the last operation was about.
    pub fn touched(&self) -> Option<u64> {
        let last = self.world.last()?;
        match last.call {
            Call::Free { pfn, .. } | Call::Split { pfn, .. } => Some(pfn.number()),
            Call::Allocate { .. }
            | Call::AllocateExact { .. }
            | Call::AllocateContiguous { .. }
            | Call::AllocateRun { .. } => last.returned,
            Call::Heap(HeapCall::Allocate { .. }) => last.returned.map(|address| Pfn::containing(address).number()),
            Call::Heap(HeapCall::Free { address, .. }) => Some(Pfn::containing(address).number()),
            Call::AllocateRange { range, .. } | Call::Resize { range, .. } | Call::Add(range) => {
                Some(range.start.number())
            }
            _ => None,
        }
    }

    /// The allocated block that holds a frame.
    pub fn allocated(&self, pfn: u64) -> Option<(Pfn, Order)> {
        match crate::palette::meaning(self.cells.code(pfn))? {
            (bifolio::allocator::BlockState::Allocated, _, order) => Some((Cells::head(pfn, order), order)),
            _ => None,
        }
    }
}
