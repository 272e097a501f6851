//! A trace that fails, made short: operations are left out as long as what is left fails too, and become a Rust test.
//!
//! What is left gives out other frames than before, so frames are spoken of by the allocation that gave them out.

use anyhow::{Result, ensure};
use bifolio::allocator::{Call, HeapCall};
use bifolio::frame::{FRAME_SIZE, Order, Pfn};
use kit::shortest;
use replay::{Last, World};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

/// What checkpoints may take: there is no way back here.
const BUDGET: usize = 0;

/// An operation of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation {
    cpu: usize,
    call: Call,
    returned: Option<u64>,
    /// The number of the site that asked for it.
    site: u32,
}

/// The operations that a world has done.
fn operations(world: &World) -> Vec<Operation> {
    let mut all = Vec::new();
    world.for_each_operation(|_, within, Last { cpu, call, returned, site }| {
        // What the heap asks for within an operation, it asks for again.
        // What shrinkers do, and what others did meanwhile, it does not.
        let mut asking = within.iter().rev().take_while(|call| !matches!(call, Call::Shrink { .. }));
        let is_asked = matches!(call, Call::Shrink { .. }) || asking.any(|call| matches!(call, Call::Heap(_)));
        if !is_asked {
            all.push(Operation { cpu, call, returned, site });
        }
    });
    all
}

/// Which allocation a frame or an object is of: its number among the operations, and how many frames or bytes lie before.
#[derive(Default)]
struct Owners {
    frames: BTreeMap<u64, (u64, usize)>,
    objects: BTreeMap<u64, usize>,
}

impl Owners {
    fn note(&mut self, number: usize, operation: &Operation) {
        let frames = match operation.call {
            Call::Allocate { order, .. } => order.frames(),
            Call::AllocateExact { frames, .. }
            | Call::AllocateContiguous { frames, .. }
            | Call::AllocateRun { frames, .. } => frames,
            Call::Heap(HeapCall::Allocate { .. }) => {
                self.objects.extend(operation.returned.map(|address| (address, number)));
                return;
            }
            _ => return,
        };
        if let Some(start) = operation.returned {
            self.frames.insert(start, (frames, number));
        }
    }

    fn of(&self, pfn: Pfn) -> Option<(usize, u64)> {
        let (start, (frames, number)) = self.frames.range(..=pfn.number()).next_back()?;
        let offset = pfn.number() - start;
        (offset < *frames).then_some((*number, offset))
    }

    /// The allocation that gave out what `call` is about, how far behind its start that is, and in what that is counted.
    fn of_call(&self, call: &Call) -> Option<(usize, u64, Unit)> {
        match *call {
            Call::Free { pfn, .. } | Call::Split { pfn, .. } => {
                self.of(pfn).map(|(number, offset)| (number, offset, Unit::Frames))
            }
            Call::Heap(HeapCall::Free { address, .. }) => {
                self.objects.get(&address).map(|number| (*number, 0, Unit::Bytes))
            }
            Call::Heap(call) => {
                self.of(Pfn::containing(run_of(&call)?)).map(|(number, offset)| (number, offset, Unit::BytesOfFrames))
            }
            _ => None,
        }
    }
}

/// What a place behind an allocation is counted in, and its start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Unit {
    Frames,
    Bytes,
    /// Bytes, behind what was allocated as frames.
    BytesOfFrames,
}

impl Unit {
    /// The place so far behind what was given.
    fn place(self, given: u64, offset: u64) -> u64 {
        let place = given + offset;
        if self == Self::BytesOfFrames { place * FRAME_SIZE } else { place }
    }
}

/// The address of the large object that a call is about.
fn run_of(call: &HeapCall) -> Option<u64> {
    match *call {
        HeapCall::OpenRun { address, .. }
        | HeapCall::CloseRun { address, .. }
        | HeapCall::TakeRun { address }
        | HeapCall::PutRun { address, .. } => Some(address),
        _ => None,
    }
}

/// Does the operations in a world of their own; what went wrong, if anything did.
fn failure(world: &World, operations: &[Operation]) -> Option<String> {
    let run = || -> Result<()> {
        let mut again = World::new(world.map(), world.cpus(), BUDGET)?;
        let (mut owners, mut given): (_, Vec<Option<u64>>) = (Owners::default(), Vec::new());
        for (number, operation) in operations.iter().enumerate() {
            let call = match owners.of_call(&operation.call) {
                Some((number, offset, unit)) => {
                    given[number].map(|start| with_place(operation.call, unit.place(start, offset)))
                }
                None => Some(operation.call),
            };
            given.push(call.and_then(|call| again.perform(operation.cpu, call)));
            owners.note(number, operation);
        }
        again.frames().validate()?;
        again.heap().validate()?;
        Ok(())
    };
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(result) => result.err().map(|error| error.to_string()),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            Some(text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default())
        }
    }
}

/// The call about another frame or address than its own.
fn with_place(call: Call, place: u64) -> Call {
    match call {
        Call::Free { order, .. } => Call::Free { pfn: Pfn::new(place), order },
        Call::Split { order, into, .. } => Call::Split { pfn: Pfn::new(place), order, into },
        Call::Heap(call) => Call::Heap(match call {
            HeapCall::Free { cache, .. } => HeapCall::Free { address: place, cache },
            HeapCall::OpenRun { bytes, align, .. } => HeapCall::OpenRun { address: place, bytes, align },
            HeapCall::CloseRun { bytes, .. } => HeapCall::CloseRun { address: place, bytes },
            HeapCall::TakeRun { .. } => HeapCall::TakeRun { address: place },
            HeapCall::PutRun { bytes, .. } => HeapCall::PutRun { address: place, bytes },
            call => call,
        }),
        call => call,
    }
}

/// Follows a trace as far as it goes, makes what fails short, and says so as a Rust test.
///
/// # Errors
/// Nothing fails: neither panics anything, nor is an invariant violated.
pub fn run(file: &Path) -> Result<String> {
    let mut world = crate::replay::open(file)?;
    let stop = world.run().err();
    let all = operations(&world);
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let failed = failure(&world, &all);
    let short = failed.as_ref().map(|_| shortest(&all, |part| failure(&world, part).is_some()));
    std::panic::set_hook(hook);
    let what = stop.map_or("it is as the trace says".to_owned(), |stop| stop.to_string());
    ensure!(
        short.is_some(),
        "nothing to make short: no invariant is violated by these {} operations ({what})",
        all.len()
    );
    let (failed, short) = (failed.unwrap_or_default(), short.unwrap_or_default());
    Ok(format!("// {} of {} operations: {failed}\n{}", short.len(), all.len(), test(&world, &short)))
}

/// The operations as a Rust test.
fn test(world: &World, operations: &[Operation]) -> String {
    let mut text = String::from("#[test]\nfn minimised() {\n    let map = [\n");
    for region in world.map() {
        let _ = writeln!(
            text,
            "        Region {{ start: {:#x}, end: {:#x}, kind: RegionKind::{:?} }},",
            region.start, region.end, region.kind
        );
    }
    let _ = writeln!(text, "    ];\n    let order = |order| Order::new(order).unwrap();");
    let _ = writeln!(text, "    let mut world = World::new(&map, {}, 0).unwrap();", world.cpus());
    let mut owners = Owners::default();
    for (number, operation) in operations.iter().enumerate() {
        let place = owners.of_call(&operation.call).map(|(owner, offset, unit)| match (unit, offset) {
            (Unit::BytesOfFrames, _) => format!("(given{owner} + {offset}) * FRAME_SIZE"),
            (_, 0) => format!("given{owner}"),
            _ => format!("given{owner} + {offset}"),
        });
        let call = spelled(operation.call, place);
        if let Some(name) = world.site_name(operation.site) {
            let _ = writeln!(text, "    // {name}");
        }
        let cpu = operation.cpu;
        owners.note(number, operation);
        let gives = owners.frames.values().any(|(_, owner)| *owner == number)
            || owners.objects.values().any(|owner| *owner == number);
        let _ = match gives {
            true => writeln!(text, "    let given{number} = world.perform({cpu}, {call}).unwrap();"),
            false => writeln!(text, "    world.perform({cpu}, {call});"),
        };
    }
    text + "    world.frames().validate().unwrap();\n    world.heap().validate().unwrap();\n}\n"
}

/// A call as Rust writes it, about a place that is written so, or its own.
fn spelled(call: Call, place: Option<String>) -> String {
    let frame = |pfn: Pfn| format!("Pfn::new({})", place.clone().unwrap_or_else(|| format!("{:#x}", pfn.number())));
    let at = |address: u64| place.clone().unwrap_or_else(|| format!("{address:#x}"));
    let order = |order: Order| format!("order({order})");
    match call {
        Call::Allocate { order: of, gfp } => {
            format!("Call::Allocate {{ order: {}, gfp: Gfp::from_bits_retain({:#x}) }}", order(of), gfp.bits())
        }
        Call::Free { pfn, order: of } => format!("Call::Free {{ pfn: {}, order: {} }}", frame(pfn), order(of)),
        Call::Split { pfn, order: of, into } => {
            format!("Call::Split {{ pfn: {}, order: {}, into: {} }}", frame(pfn), order(of), order(into))
        }
        Call::Heap(HeapCall::Free { address, cache }) => {
            format!("Call::Heap(HeapCall::Free {{ address: {}, cache: {cache:?} }})", at(address))
        }
        Call::Heap(HeapCall::OpenRun { address, bytes, align }) => {
            format!("Call::Heap(HeapCall::OpenRun {{ address: {}, bytes: {bytes}, align: {align} }})", at(address))
        }
        Call::Heap(HeapCall::CloseRun { address, bytes }) => {
            format!("Call::Heap(HeapCall::CloseRun {{ address: {}, bytes: {bytes} }})", at(address))
        }
        Call::Heap(HeapCall::TakeRun { address }) => {
            format!("Call::Heap(HeapCall::TakeRun {{ address: {} }})", at(address))
        }
        Call::Heap(HeapCall::PutRun { address, bytes }) => {
            format!("Call::Heap(HeapCall::PutRun {{ address: {}, bytes: {bytes:?} }})", at(address))
        }
        Call::Heap(call) => format!("Call::Heap(HeapCall::{call:?})"),
        call => format!("Call::{call:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bifolio::frame::Gfp;

    fn worked() -> World {
        let map = explorer::app::machine(64);
        let mut world = World::new(&map, 2, 1 << 20).unwrap();
        let mut held = Vec::new();
        for n in 0..300_u64 {
            let order = Order::new((n % 7) as u8).unwrap();
            held.push((world.perform((n % 2) as usize, Call::Allocate { order, gfp: Gfp::KERNEL }).unwrap(), order));
            if n % 3 == 0 {
                let (pfn, order) = held.swap_remove((n * 31) as usize % held.len());
                world.perform(0, Call::Free { pfn: Pfn::new(pfn), order }).unwrap();
            }
        }
        world
    }

    #[test]
    fn operations_do_the_same_with_others_left_out() {
        let world = worked();
        let all = operations(&world);
        assert_eq!(failure(&world, &all), None);
        // A block of order 5 that is freed: the shortest way there is to have one, and to free it.
        let frees = |part: &[Operation]| {
            let mut owners = Owners::default();
            part.iter().enumerate().any(|(number, operation)| {
                owners.note(number, operation);
                matches!(operation.call, Call::Free { pfn, order } if order.get() == 5 && owners.of(pfn).is_some())
            })
        };
        let short = shortest(&all, frees);
        assert_eq!(short.len(), 2);
        assert_eq!(failure(&world, &short), None);
        let text = test(&world, &short);
        assert!(text.contains("let given0 = world.perform("), "{text}");
        assert!(text.contains("Call::Free { pfn: Pfn::new(given0), order: order(5) });"), "{text}");
    }
}
