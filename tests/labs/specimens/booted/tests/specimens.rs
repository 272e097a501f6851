//! The labs' solutions and some mistakes in them, in a kernel: each as a learner's piece would be.
#![no_std]
#![no_main]
#![feature(custom_test_frameworks)]
#![test_runner(framework::run)]
#![reexport_test_harness_main = "test_main"]
#![allow(missing_docs, reason = "the names of specimens are enough")]

extern crate alloc;

use alloc::string::String;

use kernel::println;
use lab_specimens::{Visitor, with};
use labs::Frames;
use labs::lab::Lab;

framework::entry!(test_main);

/// What is done with a specimen.
enum Trial {
    Stress,
    BadFrees,
    Costs,
}

/// Somebody who does it.
struct Trier(&'static Lab, Trial);

impl Visitor for Trier {
    type Output = Result<(), String>;

    fn visit<P: Frames + Send>(self) -> Result<(), String> {
        match self.1 {
            Trial::Stress => lab_kernel::stress::stress::<P>(self.0),
            Trial::BadFrees => lab_kernel::bad_frees::<P>(self.0),
            Trial::Costs => {
                println!("instructions: {}", lab_kernel::costs::costs::<P>(self.0));
                Ok(())
            }
        }
    }
}

fn try_it(lab: u8, name: &str, trial: Trial) -> Result<(), String> {
    let lab = Lab::find(lab).expect("the lab is there");
    with(lab.number, name, Trier(lab, trial)).expect("the specimen is there")
}

macro_rules! specimen {
    ($module:ident, $lab:literal, $name:literal) => {
        mod $module {
            use super::{String, Trial, try_it};

            #[test_case]
            fn stress() -> Result<(), String> {
                try_it($lab, $name, Trial::Stress)
            }

            #[test_case]
            fn bad_frees() -> Result<(), String> {
                try_it($lab, $name, Trial::BadFrees)
            }

            #[test_case]
            fn costs() -> Result<(), String> {
                try_it($lab, $name, Trial::Costs)
            }
        }
    };
}

specimen!(lab1_solution, 1, "solution");
specimen!(lab1_double, 1, "a double free is accepted");
specimen!(lab1_ring, 1, "a ring is counted");
specimen!(lab2_solution, 2, "solution");
specimen!(lab2_merged, 2, "a merged buddy stays in its list");
specimen!(lab3_solution, 3, "solution");
specimen!(lab3_lowest, 3, "the lowest zone first");
specimen!(lab6_solution, 6, "solution");
specimen!(lab6_counted, 6, "a merged buddy is counted still");
