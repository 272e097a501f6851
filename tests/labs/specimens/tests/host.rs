//! The graders tell solutions from mistakes, and say what is wrong with those.

use explorer::{App, firmware};
use lab_host::{Examined, Examiner, Found};
use lab_specimens::mistakes::lab6::PLANTED;
use lab_specimens::mistakes::{self, LABS, Mistake};
use lab_specimens::with;
use labs::lab::Lab;

const SEED: u64 = 1;

fn examined(lab: u8, name: &str) -> Vec<Examined> {
    examined_with(lab, name, SEED)
}

fn examined_with(lab: u8, name: &str, seed: u64) -> Vec<Examined> {
    let examiner = Examiner(Lab::find(lab).unwrap(), seed);
    with(lab, name, examiner).unwrap_or_else(|| panic!("lab {lab} has no specimen '{name}'"))
}

#[test]
fn solutions_get_all_points_with_any_seed() {
    for (lab, seed) in LABS.iter().flat_map(|lab| [SEED, 7, 4711].map(|seed| (*lab, seed))) {
        for result in examined_with(lab, "solution", seed) {
            assert_eq!((result.points, result.failure), (result.of, None), "lab {lab}, seed {seed}: {}", result.name);
        }
    }
}

/// What is different from what a mistake should come to.
fn difference(mistake: &Mistake) -> Option<String> {
    let results = examined(mistake.lab, mistake.name);
    let failed: Vec<&Examined> = results.iter().filter(|result| result.failure.is_some()).collect();
    let names: Vec<&str> = failed.iter().map(|result| result.name.as_str()).collect();
    let first = failed.first().and_then(|result| result.failure.clone());
    let (says, operations) = first.as_ref().map_or(("", 0), |found| (&found.what, found.operations));
    // Each operation is shown, and does something.
    let last = first.as_ref().and_then(|found| found.steps.last());
    let is_numbered = last.is_none_or(|step| step.said.trim_start().starts_with(&format!("{operations} ")));
    let is_right = names == mistake.fails
        && says.starts_with(mistake.says)
        && operations == mistake.operations
        && is_numbered
        && !names.is_empty();
    let picture = first.as_ref().map_or("", |found| &found.picture);
    let otherwise = first.as_ref().and_then(done_otherwise);
    (!is_right || otherwise.is_some()).then(|| {
        format!("lab {}, '{}'\n        fails: &{names:?},\n        says: {says:?},\n        operations: {operations},\n{picture}on the explorer's machine: {otherwise:?}", mistake.lab, mistake.name)
    })
}

#[test]
fn each_lab_has_ten_mistakes_and_more() {
    for lab in LABS {
        assert!(mistakes::all().filter(|mistake| mistake.lab == *lab).count() >= 10, "lab {lab}");
    }
}

#[test]
fn each_mistake_costs_what_it_should_and_is_shown() {
    let differences: Vec<String> = mistakes::all().filter_map(difference).collect();
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// What is wrong with how the explorer's machine does again what was right of a mistake's shortest sequence: `make lab` makes a page of that.
fn done_otherwise(found: &Found) -> Option<String> {
    let last = found.steps.last()?;
    let mut app = App::of_map(&firmware::read(&found.map).unwrap(), 1).unwrap();
    let refused = found.steps.iter().find_map(|step| Some(format!("{}: {}", step.said, app.run(&step.script).err()?)));
    // Where a column is a frame, and what begins there has its order on it.
    let is_of_blocks = found.picture.contains("a column is a frame") && !found.picture.contains("CPU ");
    let is_other = |(pfn, sign): (u64, char)| {
        let allocated = app.allocated(pfn).map(|(head, order)| (head.number() == pfn, u32::from(order.get())));
        let is_so = match sign.to_digit(16) {
            Some(order) => allocated == Some((true, order)),
            None => {
                (sign == '#') == allocated.is_some_and(|(is_head, _)| !is_head) && (sign == '#' || allocated.is_none())
            }
        };
        (!is_so).then(|| format!("frame {pfn:#x} is {allocated:?}"))
    };
    let columns = last.cells.chars().filter(|_| is_of_blocks);
    refused.or_else(|| (start(&found.picture)..).zip(columns).find_map(is_other))
}

/// The first frame of a picture.
fn start(picture: &str) -> u64 {
    let word = picture.split("from frame 0x").nth(1).and_then(|rest| rest.split(',').next());
    u64::from_str_radix(word.unwrap_or("0"), 16).unwrap()
}

/// A picture on a page is what the graders draw.
#[test]
fn the_pages_show_what_the_graders_draw() {
    for (lab, name, page) in [
        (1, "a double free is accepted", include_str!("../../../../docs/labs/1-free-list.md")),
        (2, "the half that is kept is free too", include_str!("../../../../docs/labs/2-buddies.md")),
        (3, "what is asked for counts as left", include_str!("../../../../docs/labs/3-zones.md")),
        (4, "one slot too many in the last word", include_str!("../../../../docs/labs/4-slabs.md")),
        (5, "no mask in an allocation", include_str!("../../../../docs/labs/5-caches.md")),
        (6, "what is freed below the lowest is not found", include_str!("../../../../docs/labs/6-five-mistakes.md")),
    ] {
        let found = examined(lab, name).into_iter().find_map(|result| result.failure).unwrap();
        assert!(page.contains(&format!("```text\n{}```\n", found.picture)), "lab {lab}, '{name}':\n{}", found.picture);
    }
}

/// What a learner of lab 6 begins with is the solution with all five mistakes in it, and fails at what each of them costs.
#[test]
fn lab_6_begins_with_five_mistakes() {
    let code = |text: &str| text[text.find("use labs::").unwrap()..].replace("\r\n", "\n");
    let five = mistakes::all().filter(|mistake| mistake.lab == 6).take(PLANTED);
    let edits = five.flat_map(|mistake| mistake.edits);
    let solution = code(include_str!("../../solutions/lab6.rs"));
    let planted = edits.fold(solution, |text, (old, new)| text.replace(old, new));
    assert_eq!(planted, code(include_str!("../../pieces/lab6.rs")));
}
