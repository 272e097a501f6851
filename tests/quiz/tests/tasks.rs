//! Each task has a solution that reaches the best known score, and ones that are not taken for any.

use std::process::Command;

use quiz::task::{TASKS, Task};

/// The best solutions that are known.
fn solution(task: &Task) -> String {
    match (task.lesson, task.number) {
        // Each takes a frame or more of two or three stretches of 32 KiB, so that none is whole: half of memory in all.
        (0, 1) => "alloc_range 0x100007 10 MEMALLOC; alloc_range 0x10001f 10 MEMALLOC; alloc_range 0x100032 12 MEMALLOC".into(),
        (1, 1) => "alloc_exact 255 DMA".into(),
        (2, 1) => {
            let middle = (0..7).map(|frame| 0x20_0800 + frame * 0x1000);
            let middle: String = middle.map(|start| format!("usable {start:#x} {:#x}; ", start + 0x1000)).collect();
            format!("usable 0x200000 0x200800; {middle}usable 0x207800 0x208000")
        }
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
        (7, 1) => "alloc_range 0x4ff 1 DMA; alloc_range 0x8ff 1 DMA; alloc_range 0xcff 1 DMA".into(),
        (8, 1) => "alloc 3 DMA; free 0x401; free 0x400 2; free 0x500; free 0x800; free 0x12345678; free_range 0x400 0".into(),
        // What is left of a word of 64 frames is lent: 8 of them, which are two blocks.
        (9, 1) => "alloc 5; alloc 5; cpu 1; free all".into(),
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
        (0, "alloc_range 0x100000 64 MEMALLOC", "only 0 of 256 KiB are free"),
        (0, "alloc_range 0x100000 32 MEMALLOC", "a chunk of 128 KiB is free"),
        (1, "", "[0, 0, 0, 0, 0, 0, 0, 0]"),
        (2, "", "an allocator gets 0 frames"),
        (2, "usable 0x200000 0x208000", "by themselves, the entries give 8 frames"),
        (2, "usable 0x200000 0x300000; reserved 0x200000 0x2f8001", "an allocator gets 7 frames"),
        (1, "alloc 0 DMA", "[1, 1, 1, 1, 1, 1, 1, 1]"),
        (3, "alloc 10 MOVABLE", "in zone Normal"),
        (4, "alloc_range 0x400 1 DMA; alloc_range 0x800 1 DMA", "is served, with frame 0xc00"),
        (4, "alloc 10 DMA; alloc 10 DMA; alloc 10 DMA", "only 768 of 3840 frames are free"),
        (5, "alloc 0", "you hold 1 frame still"),
        (5, "alloc 0; free all", "64 frames are stranded still"),
        (5, "drain", "nothing was ever stranded"),
        (6, "kmalloc 100 11; kfree 0", "10 objects are live still"),
        (6, "kmalloc 100; kfree all", "slabs take 8 frames still"),
        (6, "kmalloc 9000", "objects here have 1 to 8192 bytes"),
        (6, "shrink", "nothing was ever stranded"),
        (7, "alloc_range 0x4ff 1 DMA; alloc_range 0x8ff 1 DMA", "is served, with the frames 0xc00"),
        (7, "alloc 9 DMA; alloc 9 DMA", "only 2816 frames are free"),
        (8, "alloc 0 DMA; free all", "no free was refused"),
        (9, "alloc 0; cpu 1; free all", "CPUs have 63 frames at hand still"),
        (9, "alloc 0; drain; free all", "there are other commands"),
        (9, "alloc 6; free all", "no CPU ever had any at hand"),
        (9, "alloc 0", "you hold 1 frame still"),
        (5, "nonsense", "there is no command 'nonsense' here"),
        (5, "alloc 11", "'11' is no order"),
        (5, "free 0x100000", "frame 0x100000 is free already (double free)"),
    ] {
        let attempt = Task::find(lesson, 1).unwrap().attempt(commands);
        assert!(attempt.score.as_ref().is_err_and(|error| error.contains(why)), "{commands}: {attempt:?}");
    }
    // Of wrong frees each is told, and the attempt goes on.
    let attempt = Task::find(8, 1).unwrap().attempt("free 0x500; free 0x500; free 0x800");
    assert_eq!((attempt.said.len(), attempt.score), (3, Ok(2)), "{:?}", attempt.said);
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
