//! Tries a piece on the host.
//!
//! Whatever a piece does, it costs its own points: each sequence runs in a process of its own ([`child`]), which may panic, hang
//! or crash. The first that goes wrong is made short and drawn.

pub mod child;

use std::time::Duration;
use std::{mem, ptr};

use child::Ended;
use labs::caches::Caches;
use labs::draw::{Row, Step, picture};
use labs::judge::{Event, Failure, Kind, Rules};
use labs::lab::{Exam, FRAGMENTATION, LEAST, Lab};
use labs::layout::Layout;
use labs::objects::Objects;
use labs::subject::{OfCaches, OfFrames, OfObjects, Subject, Visitor};
use labs::{Frames, fragmentation};
use serde::{Deserialize, Serialize};

/// The longest that a sequence may take, in time of this process and not of the clock: a thousand times what it takes.
const LIMIT: Duration = Duration::from_secs(1);
/// The same while one that hangs is made short.
const SHORT_LIMIT: Duration = Duration::from_millis(100);

/// What came of one of the things that are tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Examined {
    /// What must hold.
    pub name: String,
    /// Points for it.
    pub points: u32,
    /// Points that there are for it.
    pub of: u32,
    /// Why it is not all of them.
    pub failure: Option<Found>,
}

/// What was found wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// In a line.
    pub what: String,
    /// The shortest sequence that shows it, drawn; empty if there is none.
    pub picture: String,
    /// The same step by step.
    pub steps: Vec<Shown>,
    /// The memory that it was seen in, as firmware tells of memory.
    pub map: String,
    /// Operations in that; 0 if there is none.
    pub operations: usize,
}

/// A step of a picture.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// What was asked and said.
    pub said: String,
    /// What is in each column.
    pub cells: String,
    /// A `^` below each column that it was about.
    pub marks: String,
    /// The first frame that it was about, if any.
    pub frame: Option<u64>,
    /// What a machine of the explorer's does of it, as its commands.
    pub script: String,
}

impl From<Step> for Shown {
    fn from(Step { said, cells, marks, frame, script }: Step) -> Self {
        Self { said, cells, marks, frame, script }
    }
}

/// So many sequences are made short, to show the shortest.
const MADE_SHORT: usize = 3;

/// What a sequence came to.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    /// Nothing went wrong.
    Fine,
    Wrong(Failure),
    Ended(Ended),
}

impl Verdict {
    /// Whether it is the same mistake, as far as can be told.
    fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Wrong(own), Self::Wrong(other)) => own.kind == other.kind,
            (Self::Ended(own), Self::Ended(other)) => own.is_like(other),
            _ => false,
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Fine => "nothing is wrong".into(),
            Self::Wrong(failure) => failure.text.clone(),
            Self::Ended(ended) => ended.to_string(),
        }
    }
}

/// What is to be done with a piece.
#[derive(Clone, Copy)]
struct Trial {
    layout: &'static Layout,
    rules: Rules,
    kinds: &'static [Kind],
    limit: Duration,
}

impl Trial {
    /// Has a piece do a sequence.
    fn run<S: Subject>(self, subject: S, operations: &[S::Operation]) -> Verdict {
        self.try_it(subject, operations, false).verdict
    }

    /// As [`run`](Self::run), with all that is known of it.
    fn try_it<S: Subject>(self, subject: S, operations: &[S::Operation], is_drawn: bool) -> Tried {
        let mut tried = Tried { verdict: Verdict::Fine, right: 0, rows: Vec::new() };
        let ended = child::run(
            self.limit,
            |tell| {
                let mut see = |event| tell(&Message::from(event));
                let see = is_drawn.then_some(&mut see as &mut dyn FnMut(Event));
                let (tally, failure) = subject.perform(self.layout, operations, self.rules, see);
                tell(&Message::Right(self.kinds.iter().map(|kind| tally.of(*kind)).sum()));
                failure.iter().for_each(|Failure { operation, kind, text }| {
                    tell(&Message::Wrong(*operation, *kind as usize, text.clone()));
                });
            },
            |message: Message| match message {
                Message::Right(times) => tried.right = times,
                Message::Wrong(operation, kind, text) => {
                    tried.verdict = Verdict::Wrong(Failure { operation, kind: Kind::ALL[kind], text });
                }
                Message::Asked(what) => Row::note(&mut tried.rows, Event::Asked(what)),
                Message::Answered(answer, states, start, end) => {
                    Row::note(&mut tried.rows, Event::Answered { answer, states, touched: start..end });
                }
            },
        );
        tried.verdict = ended.map_or(tried.verdict, Verdict::Ended);
        tried
    }
}

/// A sequence, tried.
struct Tried {
    verdict: Verdict,
    /// How often what is asked for went right.
    right: usize,
    rows: Vec<Row>,
}

/// What a process that tries a piece says.
#[derive(Serialize, Deserialize)]
enum Message {
    Asked(String),
    Answered(String, String, u64, u64),
    Right(usize),
    Wrong(usize, usize, String),
}

impl From<Event> for Message {
    fn from(event: Event) -> Self {
        match event {
            Event::Asked(what) => Self::Asked(what),
            Event::Answered { answer, states, touched } => Self::Answered(answer, states, touched.start, touched.end),
        }
    }
}

/// Does the first test, which lies in a piece's own file and is worth nothing.
pub fn first_test(test: impl FnOnce()) -> Examined {
    let ended = child::run(LIMIT, |_: &mut dyn FnMut(&())| test(), |()| {});
    let failure = ended.map(|ended| Found::of(ended.to_string()));
    Examined { name: "the first test, which is in the file".into(), points: 0, of: 0, failure }
}

/// Tries a piece at everything that a lab asks on the host, with sequences of a seed. Of the first that goes wrong there is
/// a picture.
#[derive(Clone, Copy, Debug)]
pub struct Examiner(pub &'static Lab, pub u64);

impl Visitor for Examiner {
    type Output = Vec<Examined>;

    fn frames<P: Frames + Send + 'static>(self) -> Self::Output {
        let (Self(lab, seed), subject) = (self, OfFrames::of::<P>());
        let mut all = examine(subject, lab, seed);
        all.extend(lab.fragmentation.map(|(points, least)| fragments(subject, points, least, seed)));
        all
    }

    fn objects<P: Objects + Send + 'static>(self) -> Self::Output {
        examine(OfObjects::of::<P>(), self.0, self.1)
    }

    fn caches<P: Caches + Send + 'static>(self) -> Self::Output {
        examine(OfCaches::of::<P>(), self.0, self.1)
    }
}

fn examine<S: Subject>(subject: S, lab: &Lab, seed: u64) -> Vec<Examined> {
    let mut all: Vec<Examined> = Vec::new();
    for exam in lab.exams {
        let is_first = all.iter().all(|result| result.failure.is_none());
        all.push(examine_one(subject, lab, exam, seed, is_first));
    }
    all
}

/// A sequence that went wrong, where and how.
type Wrong<S> = (Trial, Vec<<S as Subject>::Operation>, Verdict);

fn examine_one<S: Subject>(subject: S, lab: &Lab, exam: &Exam, seed: u64, is_drawn: bool) -> Examined {
    let (mut right, mut wrong, mut other): (_, Vec<Wrong<S>>, Option<Wrong<S>>) = (0, Vec::new(), None);
    for (layout, operations) in exam.sequences::<S>(lab, seed) {
        let trial = Trial { layout, rules: exam.rules(lab), kinds: exam.kinds, limit: LIMIT };
        let Tried { verdict, right: times, .. } = trial.try_it(subject, &operations, false);
        right += times;
        let is_other = matches!(&verdict, Verdict::Wrong(failure) if !exam.kinds.contains(&failure.kind));
        let has_ended = matches!(verdict, Verdict::Ended(_));
        match verdict {
            Verdict::Fine => {}
            verdict if is_other => _ = other.get_or_insert((trial, operations, verdict)),
            verdict => wrong.push((trial, operations, verdict)),
        }
        // One that hangs takes long enough once.
        if has_ended || wrong.len() >= if is_drawn { MADE_SHORT } else { 1 } {
            break;
        }
    }
    let found = |wrong: &[Wrong<S>]| match is_drawn {
        true => shortest(subject, wrong),
        false => wrong.first().map(|(.., verdict)| Found::of(verdict.text())),
    };
    let failure = found(&wrong).or_else(|| {
        if right >= LEAST {
            return None;
        }
        // What kept it from being tried is as good as a mistake of its own.
        let found = found(other.as_slice()).unwrap_or(Found::of("it does too little".into()));
        Some(Found { what: format!("that could not be tried: {}", found.what), ..found })
    });
    let points = if failure.is_none() { exam.points } else { 0 };
    Examined { name: exam.name.into(), points, of: exam.points, failure }
}

impl Found {
    /// Without a picture.
    pub fn of(what: String) -> Self {
        Self { what, picture: String::new(), steps: Vec::new(), map: String::new(), operations: 0 }
    }
}

/// The shortest part of any of these sequences that goes wrong in the same way as the first, drawn.
fn shortest<S: Subject>(subject: S, wrong: &[Wrong<S>]) -> Option<Found> {
    let (place, _, first) = wrong.first()?;
    // In the same memory: other is larger.
    let alike =
        wrong.iter().filter(|(trial, _, verdict)| verdict.is_like(first) && ptr::eq(trial.layout, place.layout));
    let shorts = alike.map(|(trial, operations, verdict)| {
        let limit = if matches!(verdict, Verdict::Ended(Ended::Hung)) { SHORT_LIMIT } else { LIMIT };
        let trial = Trial { limit, ..*trial };
        let end = if let Verdict::Wrong(failure) = verdict { failure.operation + 1 } else { operations.len() };
        (trial, easiest(subject, &operations[..end], |part| trial.run(subject, part).is_like(verdict)))
    });
    let (trial, short) = shorts.min_by_key(|(_, short)| short.len())?;
    let Tried { verdict, rows, .. } = trial.try_it(subject, &short, true);
    let what = verdict.text();
    let picture = picture(&S::strip(trial.layout), &rows, &what);
    let text = picture.to_string();
    let steps = picture.steps.into_iter().map(Shown::from).collect();
    Some(Found { picture: text, steps, map: trial.layout.map(), what, operations: short.len() })
}

/// The shortest part of a sequence that fails, with no more of it in the middle of other operations than it takes.
fn easiest<S: Subject>(
    _: S,
    all: &[S::Operation],
    mut fails: impl FnMut(&[S::Operation]) -> bool,
) -> Vec<S::Operation> {
    let mut short = kit::shortest(all, &mut fails);
    for place in 0..short.len() {
        let Some(easier) = S::easier(short[place]) else { continue };
        let before = mem::replace(&mut short[place], easier);
        if !fails(&short) {
            short[place] = before;
        }
    }
    // What only kept others apart is not needed any more.
    kit::shortest(&short, fails)
}

/// Whether a piece leaves large blocks large.
fn fragments(OfFrames(new): OfFrames, points: u32, least: u64, seed: u64) -> Examined {
    let mut measured = None;
    let ended =
        child::run(LIMIT, |tell| tell(&fragmentation::measure(new, seed)), |value: Option<u64>| measured = value);
    let what = match (&ended, measured) {
        (Some(ended), _) => Some(ended.to_string()),
        (None, None) => Some(fragmentation::NOT_MEASURED.into()),
        (None, Some(large)) if large < least => Some(fragmentation::complaint(large, least)),
        (None, Some(_)) => None,
    };
    Examined {
        name: FRAGMENTATION.into(),
        points: if what.is_none() { points } else { 0 },
        of: points,
        failure: what.map(Found::of),
    }
}
