//! Each task has a solution that reaches the best known score, and ones that are not taken for any.

use std::process::Command;

use quiz::task::{TASKS, Task};

/// The best solutions that are known.
fn solution(task: &Task) -> String {
    match (task.lesson, task.number) {
        (1, 1) => "alloc_exact 255 DMA".into(),
        (3, 1) => {
            let held = (0..14).map(|block| format!("alloc_range {:#x} 1 MOVABLE; ", 0x10_0000 + 1024 * block));
            // What the CPU has at hand lies in two more blocks, one for each mobility, and nobody holds it.
            held.collect::<String>() + "alloc 0; alloc 0 RECLAIMABLE; free 0x103800; free 0x103c00"
        }
        (4, 1) => "alloc_range 0x400 1 DMA; alloc_range 0x800 1 DMA; alloc_range 0xc00 1 DMA".into(),
        (5, 1) => "alloc 10 MOVABLE; split 0x100000 5; alloc 10; split 0x100400 5; alloc 10 RECLAIMABLE; split 0x100800 5; \
                   alloc 9 MOVABLE; split 0x100c00 4; alloc 9; split 0x101000 4; alloc 9 RECLAIMABLE; split 0x101400 4; alloc 0; free all; \
                   drain"
            .into(),
        (6, 1) => {
            // Eleven slabs of 32 frames, of which the last becomes empty, and is kept; and two of 16 frames, each as well.
            let all_but_the_first = (0..9).map(|slab| format!("kfree {} {}; ", slab * 19 + 1, slab * 19 + 18)).collect::<String>();
            format!("kmalloc 6656 209; kmalloc 5632; kmalloc 7168; {all_but_the_first}kfree 172 210; kfree all; shrink")
        }
        other => panic!("no solution to {other:?}"),
    }
}

#[test]
fn each_task_has_a_solution_with_the_best_known_score() {
    for task in TASKS {
        let attempt = task.attempt(&solution(task));
        assert_eq!(attempt.score, Ok(task.best), "{task:?}: {attempt:?}");
    }
}

#[test]
fn what_does_not_do_a_task_is_told_why() {
    for (lesson, commands, why) in [
        (1, "", "[0, 0, 0, 0, 0, 0, 0, 0]"),
        (1, "alloc 0 DMA", "[1, 1, 1, 1, 1, 1, 1, 1]"),
        (3, "alloc 10 MOVABLE", "in zone Normal"),
        (4, "alloc_range 0x400 1 DMA; alloc_range 0x800 1 DMA", "is served, with frame 0xc00"),
        (4, "alloc 10 DMA; alloc 10 DMA; alloc 10 DMA", "only 768 of 3840 frames are free"),
        (5, "alloc 0", "you hold 1 frames still"),
        (5, "alloc 0; free all", "64 frames are stranded still"),
        (5, "drain", "nothing was ever stranded"),
        (6, "kmalloc 100 11; kfree 0", "10 objects are live still"),
        (6, "kmalloc 100; kfree all", "slabs take 8 frames still"),
        (6, "kmalloc 9000", "objects here have 1 to 8192 bytes"),
        (6, "shrink", "nothing was ever stranded"),
        (5, "nonsense", "there is no command 'nonsense' here"),
        (5, "alloc 11", "'11' is no order"),
        (5, "free 0x100000", "frame 0x100000 is free already (double free)"),
    ] {
        let attempt = Task::find(lesson, 1).unwrap().attempt(commands);
        assert!(attempt.score.as_ref().is_err_and(|error| error.contains(why)), "{commands}: {attempt:?}");
    }
    let many = ["alloc 0; free all; "; 8].concat() + "drain";
    assert_eq!(Task::find(5, 1).unwrap().attempt(&many).score, Err("these are 17 commands".into()));
    assert_eq!(Task::find(6, 1).unwrap().attempt(&"shrink;".repeat(16)).score, Err("these are 16 commands".into()));
}

#[test]
fn the_program_judges_and_fails_with_what_fails() {
    let run = |commands: &str| {
        let arguments = ["--lesson", "4", "--task", "1", "--cmd", commands];
        let output = Command::new(env!("CARGO_BIN_EXE_quiz")).args(arguments).output().unwrap();
        (output.status.success(), String::from_utf8(output.stdout).unwrap())
    };
    let task = Task::find(4, 1).unwrap();
    let (is_done, said) = run(&solution(task));
    assert!(is_done && said.contains("Done, with 3 frames held: nobody is known to have done better"), "{said}");
    let (is_done, said) = run("alloc 9 DMA");
    assert!(!is_done && said.contains("Not done: the request is served"), "{said}");
    let more = solution(task) + "; alloc 0 DMA";
    assert!(run(&more).1.contains("Done, with 4 frames held; the best known is 3"), "{}", run(&more).1);
}
