//! Operations as a Rust test.

use super::Difference;
use super::operations::{Operation, Owners, Unit};
use bifolio::allocator::{Call, HeapCall};
use bifolio::frame::{Gfp, Order, Pfn, PfnRange};
use replay::World;
use std::collections::BTreeSet;
use std::fmt::Write;

/// What a test may speak of, by where it comes from: each is imported where its mark is there.
const NAMES: [(&str, &[(&str, &str)]); 3] = [
    ("bifolio::allocator", &[("Call", "Call::"), ("HeapCall", "HeapCall::")]),
    (
        "bifolio::frame",
        &[
            ("FRAME_SIZE", "FRAME_SIZE"),
            ("Gfp", "Gfp::"),
            ("Order", "Order::"),
            ("Pfn", "Pfn::"),
            ("PfnRange", "PfnRange::"),
            ("ZoneKind", "ZoneKind::"),
        ],
    ),
    ("bifolio::memory_map", &[("Region", "Region {"), ("RegionKind", "RegionKind::")]),
];

/// The operations, of which each has given this, as a file of tests for the crate `replay`: the last of them, or the state behind them, is
/// to be as the trace says, if there is a difference. Else they fail by themselves.
pub(super) fn test(
    world: &World,
    operations: &[Operation],
    given: &[Option<u64>],
    difference: Option<Difference>,
) -> String {
    let body = body(world, operations, given, difference);
    let mut text = "// A file of `kernel/replay/tests`.\n".to_owned();
    for (path, names) in NAMES {
        let used: Vec<&str> = names.iter().filter(|(_, mark)| body.contains(mark)).map(|(name, _)| *name).collect();
        if !used.is_empty() {
            let _ = writeln!(text, "use {path}::{{{}}};", used.join(", "));
        }
    }
    text + "use replay::World;\n\n" + &body
}

fn body(world: &World, operations: &[Operation], given: &[Option<u64>], difference: Option<Difference>) -> String {
    let mut text = String::from("#[test]\nfn minimised() {\n    let map = [\n");
    for region in world.map() {
        let _ = writeln!(
            text,
            "        Region {{ start: {:#x}, end: {:#x}, kind: RegionKind::{:?} }},",
            region.start, region.end, region.kind
        );
    }
    let _ = writeln!(text, "    ];\n    let mut world = World::new(&map, {}, 0).unwrap();", world.cpus());
    let mut owners = Owners::default();
    let mut places = Vec::new();
    for (number, operation) in operations.iter().enumerate() {
        places.push(owners.of_call(&operation.call));
        owners.note(number, operation);
    }
    let spoken_of: BTreeSet<usize> = places.iter().flatten().map(|(owner, ..)| *owner).collect();
    for (number, (operation, place)) in operations.iter().zip(places).enumerate() {
        let place = place.map(|(owner, offset, unit)| match (unit, offset) {
            (Unit::BytesOfFrames, _) => format!("(given{owner} + {offset}) * FRAME_SIZE"),
            (_, 0) => format!("given{owner}"),
            _ => format!("given{owner} + {offset}"),
        });
        if let Some(name) = world.site_name(operation.site) {
            let _ = writeln!(text, "    // {name}");
        }
        let performed = format!("world.perform({}, {})", operation.cpu, spelled(operation.call, place));
        let is_last = number + 1 == operations.len();
        let _ = match difference {
            Some(Difference::Returned { .. }) if is_last => {
                writeln!(
                    text,
                    "    assert_eq!({performed}, {}, \"what the trace says\");",
                    number_of(operation.returned)
                )
            }
            _ if spoken_of.contains(&number) && given.get(number).is_some_and(Option::is_some) => {
                writeln!(text, "    let given{number} = {performed}.unwrap();")
            }
            _ => writeln!(text, "    {performed};"),
        };
    }
    if let Some(Difference::State { expected, .. }) = difference {
        let _ = writeln!(text, "    assert_eq!(world.hash(), {expected:#x}, \"what the trace says\");");
    }
    text + "    world.frames().validate().unwrap();\n    world.heap().validate().unwrap();\n}\n"
}

/// What an operation returned, as Rust writes it.
fn number_of(returned: Option<u64>) -> String {
    returned.map_or("None".to_owned(), |number| format!("Some({number:#x})"))
}

fn order(order: Order) -> String {
    format!("Order::new({order}).unwrap()")
}

fn flags(gfp: Gfp) -> String {
    format!("Gfp::from_bits_retain({:#x})", gfp.bits())
}

fn frame(pfn: Pfn) -> String {
    format!("Pfn::new({:#x})", pfn.number())
}

fn range(range: PfnRange) -> String {
    format!("PfnRange::new({}, {})", frame(range.start), frame(range.end))
}

/// A call as Rust writes it, about a place that is written so, or its own.
fn spelled(call: Call, place: Option<String>) -> String {
    let at = |pfn: Pfn| place.as_ref().map_or(frame(pfn), |place| format!("Pfn::new({place})"));
    let fields = match call {
        Call::Allocate { order: of, gfp } => format!("Allocate {{ order: {}, gfp: {} }}", order(of), flags(gfp)),
        Call::Free { pfn, order: of } => format!("Free {{ pfn: {}, order: {} }}", at(pfn), order(of)),
        Call::Split { pfn, order: of, into } => {
            format!("Split {{ pfn: {}, order: {}, into: {} }}", at(pfn), order(of), order(into))
        }
        Call::AllocateExact { frames, align, gfp } => {
            format!("AllocateExact {{ frames: {frames}, align: {}, gfp: {} }}", order(align), flags(gfp))
        }
        Call::AllocateContiguous { frames, align, gfp } => {
            format!("AllocateContiguous {{ frames: {frames}, align: {align}, gfp: {} }}", flags(gfp))
        }
        Call::AllocateRun { frames, align, gfp } => {
            format!("AllocateRun {{ frames: {frames}, align: {align}, gfp: {} }}", flags(gfp))
        }
        Call::AllocateRange { range: of, gfp } => {
            format!("AllocateRange {{ range: {}, gfp: {} }}", range(of), flags(gfp))
        }
        Call::Resize { range: of, frames, gfp } => {
            let range = match &place {
                Some(place) => format!("PfnRange::new(Pfn::new({place}), Pfn::new({place} + {}))", of.frames()),
                None => range(of),
            };
            format!("Resize {{ range: {range}, frames: {frames}, gfp: {} }}", flags(gfp))
        }
        Call::Isolate(of) => format!("Isolate({})", range(of)),
        Call::Unisolate(of) => format!("Unisolate({})", range(of)),
        Call::Add(of) => format!("Add({})", range(of)),
        Call::Settle(kind) => format!("Settle(ZoneKind::{kind:?})"),
        Call::Heap(call) => format!("Heap(HeapCall::{})", spelled_of_heap(call, place)),
        call => format!("{call:?}"),
    };
    format!("Call::{fields}")
}

fn spelled_of_heap(call: HeapCall, place: Option<String>) -> String {
    let at = |address: u64| place.unwrap_or_else(|| format!("{address:#x}"));
    match call {
        HeapCall::Free { address, cache } => format!("Free {{ address: {}, cache: {cache:?} }}", at(address)),
        HeapCall::OpenRun { address, bytes, align } => {
            format!("OpenRun {{ address: {}, bytes: {bytes}, align: {align} }}", at(address))
        }
        HeapCall::CloseRun { address, bytes } => format!("CloseRun {{ address: {}, bytes: {bytes} }}", at(address)),
        HeapCall::TakeRun { address } => format!("TakeRun {{ address: {} }}", at(address)),
        HeapCall::PutRun { address, bytes } => format!("PutRun {{ address: {}, bytes: {bytes:?} }}", at(address)),
        call => format!("{call:?}"),
    }
}
