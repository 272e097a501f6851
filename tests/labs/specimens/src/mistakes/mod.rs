//! Typical mistakes: each is a few words of a solution, changed to what somebody might have written.

mod lab1;
mod lab2;
mod lab3;
mod lab4;
mod lab5;
pub mod lab6;

/// A mistake.
#[derive(Debug)]
pub struct Mistake {
    /// In which lab's solution.
    pub lab: u8,
    /// What it is.
    pub name: &'static str,
    /// What is there, and what is planted instead.
    pub edits: &'static [(&'static str, &'static str)],
    /// What it fails at on the host.
    pub fails: &'static [&'static str],
    /// What is said of the first of those, or its beginning.
    pub says: &'static str,
    /// Operations in the shortest sequence that shows it.
    pub operations: usize,
    /// Which tests it fails in a kernel, with one CPU and with several.
    pub boots: [&'static [&'static str]; 2],
}

/// The labs that there are.
pub const LABS: &[u8] = &[1, 2, 3, 4, 5, 6];

/// All mistakes.
pub fn all() -> impl Iterator<Item = &'static Mistake> {
    [lab1::MISTAKES, lab2::MISTAKES, lab3::MISTAKES, lab4::MISTAKES, lab5::MISTAKES, lab6::MISTAKES]
        .into_iter()
        .flatten()
}
