//! Questions to the lessons in `docs/lessons/`, other ones for each seed.
//!
//! No answer is written down anywhere: the allocator, or the heap, does what the question is about, and what comes of it is the
//! answer. Where there is an explanation, it is the one that the allocator gives of itself. Frames are numbers here, and all
//! that is random comes from the seed, so a question is the same on every machine, and in the explorer's page.
#![no_std]

extern crate alloc;

mod cpus;
mod exact;
mod firmware;
mod fragments;
mod machine;
mod marks;
mod merges;
mod mistakes;
mod objects;
mod post;
mod shell;
pub mod task;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use kit::Random;
pub use line::counted;

/// How many lessons there are.
pub const LESSONS: u64 = 10;

/// A question to a lesson.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Question {
    /// What is asked.
    pub text: String,
    /// What the allocator answers.
    pub answer: String,
    /// How it comes to that, step by step.
    pub narration: Vec<String>,
}

impl Question {
    /// The question to a lesson that this seed gives; `None` if there is no such lesson.
    pub fn new(lesson: u64, seed: u64) -> Option<Self> {
        let ask = match lesson {
            0 => post::ask,
            1 => merges::ask,
            2 => firmware::ask,
            3 => marks::ask,
            4 => fragments::ask,
            5 => cpus::ask_what_is_free,
            6 => objects::ask,
            7 => exact::ask,
            8 => mistakes::ask,
            9 => cpus::ask_who_has_it,
            _ => return None,
        };
        Some(ask(&mut Random::new(seed.wrapping_mul(LESSONS).wrapping_add(lesson))))
    }

    /// The answer, with how it comes about.
    pub fn solution(&self) -> impl fmt::Display {
        let narration: String = self.narration.iter().map(|line| format!("  {line}\n")).collect();
        format!("{narration}Answer: {}", self.answer)
    }
}
