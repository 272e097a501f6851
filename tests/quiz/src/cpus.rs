//! Lessons 5 and 9: what CPUs have at hand, and what becomes of a frame that one of them frees for another.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use bifolio::allocator::Holding;
use bifolio::frame::{Gfp, Order, Pfn, ZoneKind};
use kit::Random;
use kit::machine::usable;
use replay::take_turn_of;

use crate::Question;
use crate::machine::{Frames, NORMAL, allocate, free, machine};

const KINDS: [(&str, Gfp); 2] = [("Movable", Gfp::MOVABLE), ("Unmovable", Gfp::empty())];

fn fresh(cpus: usize) -> Frames {
    machine(&[usable(NORMAL, NORMAL + 64 * 1024)], cpus)
}

/// Has this CPU allocate a frame.
fn take(frames: &Frames, cpu: usize, kind: Gfp, narration: &mut Vec<String>) -> Pfn {
    take_turn_of(cpu);
    allocate(frames, Order::ZERO, kind | Gfp::KERNEL, narration, |step| {
        !matches!(step, bifolio::allocator::Step::Split { .. })
    })
    .expect("there is much memory")
}

/// Lesson 5.
pub fn ask_what_is_free(random: &mut Random) -> Question {
    let frames = fresh(2);
    let before = frames.zone(ZoneKind::Normal).free;
    let (mut done, mut narration, mut held) = (Vec::new(), Vec::new(), Vec::new());
    for nth in 0..random.between(4, 8) {
        let cpu = random.index(2);
        if nth > 1 && !held.is_empty() && random.per_mille(300) {
            let (pfn, owner) = held.swap_remove(random.index(held.len()));
            let whose = if owner == cpu { "its own" } else { "the other CPU's" };
            done.push(format!("CPU {cpu} frees one of {whose} frames"));
            narration.push(format!("{}:", done[done.len() - 1]));
            take_turn_of(cpu);
            free(&frames, pfn, &mut narration, |_| true);
        } else {
            let (name, kind) = random.one_of(&KINDS);
            done.push(format!("CPU {cpu} allocates a frame for {name} contents"));
            narration.push(format!("{}:", done[done.len() - 1]));
            held.push((take(&frames, cpu, kind, &mut narration), cpu));
        }
    }
    let (free, cached) = (frames.zone(ZoneKind::Normal).free, frames.stats().cached);
    take_turn_of(0);
    Question {
        text: format!(
            "A machine with much free memory has two CPUs, and neither has anything at hand. Then: {}. How many fewer frames does \
             the zone have free than at first, and how many do the CPUs have at hand?",
            done.join("; ")
        ),
        answer: format!("{} frames fewer are free, and {cached} are at hand", before - free),
        narration,
    }
}

/// Lesson 9.
pub fn ask_who_has_it(random: &mut Random) -> Question {
    let frames = fresh(3);
    let (mut narration, mut held) = (Vec::new(), Vec::new());
    for _ in 0..random.between(3, 6) {
        held.push(take(&frames, 0, Gfp::MOVABLE, &mut Vec::new()));
    }
    let names = held.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let mut done = Vec::new();
    let mut left = held.clone();
    for _ in 0..random.between(1, 3) {
        let pfn = left.swap_remove(random.index(left.len()));
        let cpu = random.index(3);
        done.push(format!("CPU {cpu} frees {pfn}"));
        narration.push(format!("CPU {cpu} frees {pfn}:"));
        take_turn_of(cpu);
        free(&frames, pfn, &mut narration, |_| true);
    }
    let asked = held[random.index(held.len())];
    let info = frames.look_at(asked).expect("it is RAM");
    let who = match info.holder {
        None => "the zone has it as free".to_owned(),
        Some((cpu, Holding::HandedOut(_))) => format!("it is in use, and on loan to CPU {cpu}"),
        Some((cpu, _)) => format!("CPU {cpu} has it at hand"),
    };
    narration.push("CPU 0 allocates again:".into());
    let next = take(&frames, 0, Gfp::MOVABLE, &mut narration);
    take_turn_of(0);
    Question {
        text: format!(
            "CPU 0 of three has been lent a word of 64 frames, and has handed these out: {names}. Then: {}. Who has frame {asked} now? And \
             which frame does CPU 0 get if it allocates one more?",
            done.join("; ")
        ),
        answer: format!("{who}; CPU 0 gets {next}"),
        narration,
    }
}
