//! Boot parameters that are about memory, by Linux's names: what is written behind `make run APPEND=`, as on a kernel's command line.
//!
//! | parameter | |
//! |---|---|
//! | `init_on_alloc=1` | what is allocated holds zeros |
//! | `init_on_free=1` | what is freed is filled with zeros |
//! | `kfence.sample_interval=100` | one of so many requests for objects that find nothing in a CPU's hand is watched (Linux: one in so many ms) |
//! | `slab_debug=ZPUQR,kmalloc-64,...` | objects of these classes are debugged, or, where none are named, of all |

use super::frames::MEMORY;
use super::heap::{self, HEAP};
use crate::host::Input;
use bifolio::hardening::Hardening;
use bifolio::heap::{SizeClass, SlabDebug};
use log::{info, warn};
use protocol::input;

/// The letters of `slab_debug`: Linux's, and two of our own.
const LETTERS: [(char, SlabDebug); 5] = [
    ('Z', SlabDebug::RED_ZONE),
    ('P', SlabDebug::POISON),
    ('U', SlabDebug::STORE_USER),
    ('Q', SlabDebug::QUARANTINE),
    ('R', SlabDebug::RANDOM),
];

/// Does what the boot's parameters ask for. Of one that makes no sense the log tells, and all others are heeded.
pub(super) fn apply() {
    let input = Input::read(input::PARAMETERS);
    if input.is_given() && input.as_str().is_none() {
        return warn!("boot parameters: not text, or longer than {} bytes", Input::CAPACITY);
    }
    let mut hardening = Hardening::empty();
    for word in input.as_str().unwrap_or_default().split_whitespace() {
        let (name, value) = word.split_once('=').unwrap_or((word, ""));
        let done = match name {
            "init_on_alloc" => switch(&mut hardening, Hardening::INIT_ON_ALLOC, value),
            "init_on_free" => switch(&mut hardening, Hardening::INIT_ON_FREE, value),
            "kfence.sample_interval" => value
                .parse()
                .map_err(|_| "no number")
                .and_then(|interval| if heap::sample(interval) { Ok(()) } else { Err("no memory for it") }),
            "slab_debug" => slab_debug(value),
            _ => Err("there is no such parameter"),
        };
        if let Err(why) = done {
            warn!("boot parameter {word}: {why}");
        }
    }
    if !hardening.is_empty() {
        MEMORY.harden(hardening);
        let is_on = |which| if hardening.contains(which) { "on" } else { "off" };
        let [alloc, free] = [Hardening::INIT_ON_ALLOC, Hardening::INIT_ON_FREE].map(is_on);
        info!("mem auto-init: heap alloc:{alloc}, heap free:{free}");
    }
}

/// As Linux takes a switch.
fn switch(hardening: &mut Hardening, which: Hardening, value: &str) -> Result<(), &'static str> {
    let is_on = match value {
        "1" | "on" | "y" => true,
        "0" | "off" | "n" => false,
        _ => return Err("neither 1 nor 0"),
    };
    hardening.set(which, is_on);
    Ok(())
}

fn slab_debug(value: &str) -> Result<(), &'static str> {
    let mut words = value.split(',');
    let letters = words.next().filter(|letters| !letters.is_empty()).unwrap_or("ZPU");
    let flags = letters.chars().map(|letter| LETTERS.iter().find(|(own, _)| *own == letter).map(|(_, flag)| *flag));
    let flags = flags.collect::<Option<SlabDebug>>().ok_or("its letters are Z, P, U, Q and R")?;
    let debug = |class: SizeClass| HEAP.set_debug(class, flags).then_some(()).ok_or("no memory for it");
    if value.contains(',') {
        words.try_for_each(|name| {
            let class = SizeClass::all().find(|class| class.name() == name);
            debug(class.ok_or("a class that there is not")?)
        })
    } else {
        SizeClass::all().try_for_each(debug)
    }
}
