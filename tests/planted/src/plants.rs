//! The mistakes.

mod frames_and_heap;
mod glue;

use std::ptr;

use anyhow::Result;

use crate::copy::replaced;

/// Where a mistake is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Home {
    /// The crate: a program of tests on the host is to find it.
    Crate,
    /// The kernel around it: a booted subject is to find it.
    Kernel,
}

impl Home {
    /// Where its sources are.
    pub const fn sources(self) -> &'static str {
        match self {
            Self::Crate => "kernel/mm/src",
            Self::Kernel => "kernel/src",
        }
    }
}

/// A mistake.
#[derive(Debug)]
pub struct Plant {
    /// What is wrong.
    pub what: &'static str,
    /// Where it is.
    pub home: Home,
    /// The file that it is in, below those sources.
    pub file: &'static str,
    /// What is there: an expression, or whole statements none of which binds anything.
    old: &'static str,
    /// What is planted instead.
    new: &'static str,
    /// What must find it: the program with the test, and the test's path.
    pub test: &'static str,
}

const fn of_the_crate(
    what: &'static str,
    file: &'static str,
    old: &'static str,
    new: &'static str,
    test: &'static str,
) -> Plant {
    Plant { what, home: Home::Crate, file, old, new, test }
}

const fn of_the_kernel(
    what: &'static str,
    file: &'static str,
    old: &'static str,
    new: &'static str,
    test: &'static str,
) -> Plant {
    Plant { what, home: Home::Kernel, file, old, new, test }
}

/// All of them, in the order of their numbers.
pub fn plants() -> impl Iterator<Item = &'static Plant> {
    frames_and_heap::PLANTS.iter().chain(&glue::PLANTS)
}

/// Those that are there.
pub fn plants_of(home: Home) -> impl Iterator<Item = &'static Plant> {
    plants().filter(move |plant| plant.home == home)
}

/// The twelve of the crate that `make test` hunts.
pub fn fixed() -> impl Iterator<Item = &'static Plant> {
    plants_of(Home::Crate).step_by(plants_of(Home::Crate).count() / 12).take(12)
}

impl Plant {
    /// Its number in the table, from 1 on.
    pub fn number(&self) -> usize {
        plants().take_while(|other| !ptr::eq(*other, self)).count() + 1
    }

    /// The program with the test that must find it: `lib` or an integration test of the crate, one of another package, whose name comes
    /// before a slash, or a booted subject.
    pub fn program(&self) -> &'static str {
        self.test.split_once("::").map_or(self.test, |(program, _)| program)
    }

    /// The path of that test in its program.
    pub fn test(&self) -> &'static str {
        self.test.split_once("::").map_or(self.test, |(_, test)| test)
    }

    /// The file that it is in, with a switch between what is there and what is planted instead.
    ///
    /// # Errors
    /// If what is to be changed is not there, or is there twice.
    pub fn switched(&self, text: &str) -> Result<String> {
        let (old, new) = (self.old, self.new);
        let choice = format!("if crate::planted::is({}) {{ {new} }} else {{ {old} }}", self.number());
        let choice = if old.ends_with([';', '}']) { choice } else { format!("({choice})") };
        replaced(text, old, &choice, self.file)
    }
}
