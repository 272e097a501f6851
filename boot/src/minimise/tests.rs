use super::*;
use bifolio::frame::{Gfp, Order};
use trace::{Encoder, write_header};

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

fn all(world: &World) -> Vec<Operation> {
    operations(world, world.total())
}

fn failure(world: &World, part: &[Operation]) -> Option<Failure> {
    Trial::new(world).run(part, None).err()
}

/// Whether a block of this order is freed that was allocated before.
fn frees(part: &[Operation], of: u8) -> bool {
    let mut owners = Owners::default();
    part.iter().enumerate().any(|(number, operation)| {
        owners.note(number, operation);
        matches!(operation.call, Call::Free { order, .. } if order.get() == of)
            && owners.of_call(&operation.call).is_some()
    })
}

#[test]
fn operations_do_the_same_with_others_left_out() {
    let world = worked();
    let all = all(&world);
    assert_eq!(failure(&world, &all), None);
    // A block of order 5 that is freed: the shortest way there is to have one, and to free it.
    let short = shortest(&all, |part| frees(part, 5));
    assert_eq!(short.len(), 2);
    let mut trial = Trial::new(&world);
    assert_eq!(trial.run(&short, None), Ok(()));
    let text = spelling::test(&world, &short, &trial.given, None);
    assert!(text.contains("let given0 = world.perform("), "{text}");
    let free = "Call::Free { pfn: Pfn::new(given0), order: Order::new(5).unwrap() });";
    assert!(text.contains(free), "{text}");
}

#[test]
fn what_is_left_fails_in_the_way_in_which_all_fails() {
    let world = worked();
    let (all, panics) = (all(&world), |left: usize| panic!("{left} are left"));
    // One place panics whatever is left, and says something else each time; what is shorter panics at others.
    let fails = |part: &[Operation]| {
        let run = || match part.len() {
            200.. if frees(part, 5) => panics(part.len()),
            _ if frees(part, 4) && frees(part, 6) => panics(part.len()),
            0 => panic!("nothing is left"),
            1..50 => panic!("little is left"),
            _ => {}
        };
        caught(run).err()
    };
    let (short, failure) = shortened(&all, fails).unwrap();
    assert_eq!(short.len(), 4, "{short:?}");
    assert!(matches!(&failure.kind, Kind::Panic(place) if place.contains("minimise/tests.rs:")), "{failure:?}");
    assert!(failure.text.ends_with(": 4 are left"), "{}", failure.text);
}

#[test]
fn what_a_panic_has_cut_off_is_among_the_operations() {
    let (mut bytes, mut encoder) = (Vec::new(), Encoder::new());
    write_header(&mut bytes, 2, explorer::app::machine(64).into_iter());
    let call = |order: u8| Call::Allocate { order: Order::new(order).unwrap(), gfp: Gfp::KERNEL };
    let free = Call::Heap(HeapCall::Free { address: 0x1000, cache: None });
    // A shrinker is asked within the first, frees an object, and has a block by itself when the machine ends.
    for (cpu, call) in [(1, call(3)), (1, Call::Shrink { frames: 8 }), (1, free), (1, call(0))] {
        encoder.begin(&mut bytes, cpu, call);
    }
    encoder.open(&mut bytes);
    let world = World::attach(bytes, BUDGET).unwrap();
    let cut: Vec<(usize, Call)> = unfinished(&world).iter().map(|operation| (operation.cpu, operation.call)).collect();
    assert_eq!(cut, [(1, free), (1, call(3))]);
}
