//! The labs' solutions and some mistakes in them, in a kernel: each as a learner's piece would be.
#![no_std]
#![no_main]
#![feature(custom_test_frameworks)]
#![test_runner(framework::run)]
#![reexport_test_harness_main = "test_main"]
#![allow(missing_docs, reason = "the names of specimens are enough")]

extern crate alloc;

use alloc::string::String;

use lab_kernel::{Trial, Trier};
use lab_specimens::with;
use labs::lab::Lab;

framework::entry!(test_main);

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
specimen!(lab4_solution, 4, "solution");
specimen!(lab4_last, 4, "one slot too many in the last word");
specimen!(lab5_solution, 5, "solution");
specimen!(lab5_unmasked, 5, "no mask in an allocation");
specimen!(lab6_solution, 6, "solution");
specimen!(lab6_counted, 6, "a merged buddy is counted still");
