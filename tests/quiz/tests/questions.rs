//! Three seeds a lesson and more: a question is always the same, tells all that its answer needs, and asks other things each time.

use std::collections::BTreeSet;
use std::process::Command;
use std::thread;

use quiz::{LESSONS, Question};

fn question(lesson: u64, seed: u64) -> Question {
    Question::new(lesson, seed).expect("there is such a lesson")
}

#[test]
fn three_seeds_a_lesson_ask_three_different_things_and_always_the_same() {
    for lesson in 0..LESSONS {
        let asked = [1, 2, 3].map(|seed| question(lesson, seed));
        for (seed, question_before) in (1..).zip(&asked) {
            // On another thread, which has asked something else before.
            let again = thread::spawn(move || {
                question((lesson + 1) % LESSONS, seed);
                question(lesson, seed)
            });
            assert_eq!(again.join().unwrap(), *question_before, "lesson {lesson}, seed {seed}");
            assert!(!question_before.answer.is_empty() && !question_before.narration.is_empty(), "{question_before:?}");
        }
        assert!(asked[0].text != asked[1].text && asked[1].text != asked[2].text, "{asked:?}");
    }
    assert_eq!(Question::new(LESSONS, 1), None);
}

#[test]
fn the_answers_differ_and_no_way_of_answering_is_left_out() {
    for (lesson, among) in [
        (3, &["it is refused", "it is served"][..]),
        (5, &["64 frames fewer", "128 frames fewer"]),
        (7, &["; yes", "; no"]),
        (8, &["double free", "is inside", "has order", "not managed", "it is freed"]),
        (9, &["the zone has it as free", "CPU 0 has it at hand", "on loan to CPU 0"]),
    ] {
        let answers: Vec<String> = (0..100).map(|seed| question(lesson, seed).answer).collect();
        for part in among {
            assert!(
                answers.iter().any(|answer| answer.contains(part)),
                "lesson {lesson} never says {part:?}: {answers:?}"
            );
        }
    }
    for lesson in 0..LESSONS {
        let answers: BTreeSet<String> = (0..100).map(|seed| question(lesson, seed).answer).collect();
        assert!(answers.len() >= 5, "lesson {lesson}: {answers:?}");
    }
}

#[test]
fn every_step_is_told_and_one_thing_is_not_called_several() {
    for (lesson, seed) in (0..LESSONS).flat_map(|lesson| (0..100).map(move |seed| (lesson, seed))) {
        let Question { text, answer, narration } = question(lesson, seed);
        let ends = |line: &str| line.ends_with(':');
        let is_empty = narration.windows(2).any(|pair| ends(&pair[0]) && ends(&pair[1]));
        assert!(!is_empty && !ends(narration.last().unwrap()), "lesson {lesson}, seed {seed}: {narration:#?}");
        for said in narration.iter().chain([&text, &answer]) {
            let one = ["slabs", "objects", "frames", "ranges"].map(|many| format!("1 {many}"));
            let is_wrong = |words: &String| said.starts_with(words) || said.contains(&format!(" {words}"));
            assert!(!one.iter().any(is_wrong), "lesson {lesson}, seed {seed}: {said}");
        }
    }
}

/// The numbers in a text that are written in this base, each with what stands right in front of it.
fn hex(text: &str) -> Vec<u64> {
    let words = text.split("0x").skip(1);
    words
        .map(|word| u64::from_str_radix(word.split(|c: char| !c.is_ascii_hexdigit()).next().unwrap(), 16).unwrap())
        .collect()
}

#[test]
fn who_merges_on_paper_comes_to_the_answer_of_lesson_1() {
    for seed in 0..50 {
        let Question { text, answer, .. } = question(1, seed);
        let (blocks, freed) = text.split_once(" Now ").unwrap();
        let (range, blocks) = blocks.split_once("in use").unwrap();
        let (range, blocks, mut pfn) = (hex(range), hex(blocks), hex(freed)[0]);
        let blocks: Vec<&[u64]> = blocks.chunks(2).collect();
        let freed = *blocks.iter().find(|block| block[0] == pfn).unwrap();
        let is_free = |frame: u64| {
            (range[0]..range[1]).contains(&frame)
                && !blocks.iter().any(|block| *block != freed && (block[0]..block[1]).contains(&frame))
        };
        let mut order = (freed[1] - freed[0]).trailing_zeros();
        while order < 10 && (0..1 << order).all(|frame| is_free((pfn ^ 1 << order) + frame)) {
            pfn &= !(1 << order);
            order += 1;
        }
        assert_eq!(answer, format!("at {pfn:#x}, of order {order}"), "{text}");
    }
}

#[test]
fn who_paints_on_paper_comes_to_the_answer_of_lesson_2() {
    for seed in 0..50 {
        let Question { text, answer, .. } = question(2, seed);
        let entries: Vec<(Vec<u64>, &str)> = text
            .lines()
            .filter(|line| line.contains(" up to "))
            .map(|line| (hex(line), line.rsplit(", ").next().unwrap()))
            .collect();
        let end = entries.iter().map(|(range, _)| range[1]).max().unwrap();
        // Byte by byte would take long; all begin at half a frame.
        let kind = |address: u64| {
            let has = |kind: &str| {
                entries.iter().any(|(range, other)| *other == kind && (range[0]..range[1]).contains(&address))
            };
            if has("reserved") || has("ACPI reclaimable") {
                '#'
            } else if has("usable") {
                '.'
            } else {
                ' '
            }
        };
        let frames: Vec<bool> =
            (0..=end / 4096).map(|frame| kind(frame * 4096) == '.' && kind(frame * 4096 + 2048) == '.').collect();
        let usable = frames.iter().filter(|usable| **usable).count();
        let ranges = frames.windows(2).filter(|pair| !pair[0] && pair[1]).count();
        assert_eq!(answer, format!("{usable} frames, in {ranges} ranges"), "{text}");
    }
}

#[test]
fn who_compares_on_paper_comes_to_the_answer_of_lesson_3() {
    // So many that some are decided by one frame.
    for seed in 0..500 {
        let Question { text, answer, .. } = question(3, seed);
        let number = |word: &str| -> u64 {
            let rest = text.split_once(word).unwrap_or_else(|| panic!("{word} in {text}")).1;
            rest.trim_start().split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap()
        };
        let (free, min, order) = (number("zone DMA,"), number("min"), number("order"));
        let mark = match text.contains("DMA|ATOMIC") {
            true => (min - min / 2) - (min - min / 2) / 4,
            false => min,
        };
        let reserve = if text.contains("MOVABLE") { number("it keeps") } else { 0 };
        let is_served = free >= (1 << order) + mark + reserve;
        assert_eq!(answer.starts_with("it is served"), is_served, "{text}: {answer}");
    }
}

#[test]
fn who_counts_on_paper_comes_to_the_answer_of_lesson_4() {
    for seed in 0..50 {
        let Question { text, answer, .. } = question(4, seed);
        let drawing: Vec<bool> = text
            .lines()
            .filter_map(|line| line.strip_prefix("  "))
            .flat_map(|line| line.chars().map(|cell| cell == '.'))
            .collect();
        assert_eq!(drawing.len(), 64, "{text}");
        let is_free = |order: u32, at: usize| drawing[at..at + (1 << order)].iter().all(|free| *free);
        let blocks = |order: u32| -> usize {
            let starts = (0..64).step_by(1 << order).filter(|at| is_free(order, *at));
            starts.filter(|at| order == 6 || !is_free(order + 1, at >> (order + 1) << (order + 1))).count()
        };
        let counts: Vec<String> = (0..7).map(|order| blocks(order).to_string()).collect();
        assert!(answer.starts_with(&format!("{}; order ", counts.join(", "))), "{text}: {answer}");
    }
}

#[test]
fn the_program_answers_only_if_it_is_asked_to() {
    let run_with = |variables: &[(&str, &str)], arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_quiz"));
        for name in ["SEED", "BIFOLIO_LESSON", "BIFOLIO_ANSWER"] {
            command.env_remove(name);
        }
        let output = command.envs(variables.iter().copied()).args(arguments).output().unwrap();
        (output.status.success(), String::from_utf8(output.stdout).unwrap())
    };
    let run = |arguments: &[&str]| run_with(&[], arguments);
    let (is_asked, asked) = run(&["--lesson", "3", "--seed", "7"]);
    let (is_told, told) = run(&["--lesson", "3", "--seed", "7", "--answer"]);
    let Question { text, answer, .. } = question(3, 7);
    let on_one_line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let (asked, told, text) = (on_one_line(&asked), on_one_line(&told), on_one_line(&text));
    assert!(is_asked && asked.contains(&text) && !asked.contains("Answer: "), "{asked}");
    assert!(is_told && told.contains(&text) && told.contains(&format!("Answer: {answer}")), "{told}");
    // As make hands it over.
    let variables = [("BIFOLIO_LESSON", "3"), ("SEED", "7"), ("BIFOLIO_ANSWER", "1")];
    let (is_told, by_make) = run_with(&variables, &[]);
    assert!(is_told && on_one_line(&by_make) == told, "{by_make}");
    assert!(!run(&["--lesson", "10"]).0 && !run(&[]).0);
}
