//! A learner's piece, in a kernel.
#![no_std]
#![no_main]
#![feature(custom_test_frameworks)]
#![test_runner(framework::run)]
#![reexport_test_harness_main = "test_main"]
#![allow(missing_docs, reason = "a test's name says what it tests")]

extern crate alloc;

use alloc::string::String;

use lab_kernel::{Trial, Trier};
use lab_piece::{LAB, SEED};
use labs::lab::Lab;

framework::entry!(test_main);

fn try_it(trial: Trial) -> Result<(), String> {
    lab_piece::with(Trier(Lab::find(LAB).expect("the lab that the piece was built for"), trial))
}

#[test_case]
fn stress() -> Result<(), String> {
    try_it(Trial::Stress)
}

#[test_case]
fn bad_frees() -> Result<(), String> {
    try_it(Trial::BadFrees)
}

#[test_case]
fn costs() -> Result<(), String> {
    try_it(Trial::Costs)
}

#[test_case]
fn fragmentation() -> Result<(), String> {
    try_it(Trial::Fragmentation(SEED))
}

/// The lab's exams, each a test: a lab that has fewer passes those that it has not.
macro_rules! exams {
    ($($name:ident $number:literal),*) => {
        $(#[test_case]
        fn $name() -> Result<(), String> {
            try_it(Trial::Exam($number, SEED))
        })*
    };
}

exams!(exam_0 0, exam_1 1, exam_2 2, exam_3 3, exam_4 4, exam_5 5, exam_6 6, exam_7 7, exam_8 8, exam_9 9);
