//! What is said of a piece: what went right, and what its first mistake is.

use alloc::format;
use alloc::string::{String, ToString};
use core::ops::Range;

use crate::BadFree;

/// What a piece is held to.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// The largest order that it serves.
    pub largest: u8,
    /// Whether its counts of free blocks must be right after each operation.
    pub counts: bool,
}

/// What kind of mistake it is. A sequence is made short with the same kind of mistake at its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// It handed out what it must not.
    Served,
    /// It refused what it could have served.
    Refused,
    /// It did not take back what was its owner's.
    NotTakenBack,
    /// It took a free for good that is not.
    Accepted,
    /// It refused rightly, and said a wrong reason.
    Reason,
    /// It counts wrongly.
    Counts,
    /// It served from a zone that is not the first to be asked.
    Zone,
    /// It served what a zone keeps for others.
    Mark,
    /// It served, or refused for another reason, what is larger than anything there is.
    TooLarge,
    /// It put an object among those of another size.
    Class,
    /// It took more memory although it has some of that kind.
    Took,
    /// It kept memory in which nothing is live.
    Kept,
    /// It gave memory back in which something is live.
    GaveAway,
}

impl Kind {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::Served,
        Self::Refused,
        Self::NotTakenBack,
        Self::Accepted,
        Self::Reason,
        Self::Counts,
        Self::Zone,
        Self::Mark,
        Self::TooLarge,
        Self::Class,
        Self::Took,
        Self::Kept,
        Self::GaveAway,
    ];
}

/// What is wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// The operation with which it came to light.
    pub operation: usize,
    /// Of what kind it is.
    pub kind: Kind,
    /// Said to its author.
    pub text: String,
}

/// What happens while a sequence is done, as code that draws it is told.
#[derive(Debug)]
pub enum Event {
    /// The piece is asked something, and may never answer.
    Asked(String),
    /// It has answered.
    Answered {
        /// What it said.
        answer: String,
        /// What each cell of the picture is after that.
        states: String,
        /// The cells that it was about.
        touched: Range<u64>,
    },
}

/// How often something could have gone wrong, and did not, by its kind.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally([usize; Kind::ALL.len()]);

impl Tally {
    /// Of one kind.
    pub fn of(&self, kind: Kind) -> usize {
        self.0[kind as usize]
    }

    pub(crate) fn count(&mut self, kind: Kind) {
        self.0[kind as usize] += 1;
    }
}

/// What comes of one operation.
pub(crate) type Step = Result<(), (Kind, String)>;

/// What was said to a free, as it stands in a picture.
pub(crate) fn said(answer: Result<(), BadFree>) -> String {
    answer.map_or_else(|reason| format!("{reason:?}"), |()| "done".to_string())
}

/// What must be said of a free that was not done, and is its owner's.
pub(crate) fn not_taken_back(what: &str, reason: BadFree) -> (Kind, String) {
    (Kind::NotTakenBack, format!("{what} was not taken back ({reason:?}), and it is its owner's"))
}

/// Whether a free that must be refused for a reason was.
pub(crate) fn check_refused(what: &str, answer: Result<(), BadFree>, must: BadFree) -> Step {
    match answer {
        Err(said) if said == must => Ok(()),
        Err(said) => {
            Err((Kind::Reason, format!("the free of {what} was refused as {said:?}: it is {must:?} ({must})")))
        }
        Ok(()) => {
            Err((Kind::Accepted, format!("the free of {what} was accepted, and must be refused as {must:?}: {must}")))
        }
    }
}

/// Does a sequence up to its first mistake.
pub(crate) fn drive<O: Copy>(operations: &[O], mut step: impl FnMut(O) -> Step) -> Option<Failure> {
    operations
        .iter()
        .enumerate()
        .find_map(|(operation, what)| step(*what).err().map(|(kind, text)| Failure { operation, kind, text }))
}
