//! Programs with the heap preloaded do what they do without, given little to do: `make programs` gives them more.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Mutex;
use std::thread;

use programs::preload;
use programs::program::{PROGRAMS, Scale};
use programs::run::{Allocator, difference, obstacle, run};

/// Memory that a program may have with the heap beyond half as much again as without, in MiB.
const MORE_MEMORY: f64 = 16.0;

#[test]
fn programs_do_what_they_do_without() {
    let bifolio = &preload::bifolio().unwrap_or_else(|error| panic!("{error:#}"));
    let folder = &tempfile::tempdir().unwrap();
    let meter = Some(Path::new(env!("CARGO_BIN_EXE_programs")));
    let (next, skipped) = (&Mutex::new(PROGRAMS.iter()), &Mutex::new(Vec::new()));
    let work = || {
        while let Some(program) = { next.lock().unwrap().next() } {
            if let Some(obstacle) = obstacle(program) {
                skipped.lock().unwrap().push(format!("{} ({obstacle})", program.name));
                continue;
            }
            // Both in a folder of the same name: some programs write it down.
            let [without, with] = [&Allocator::GLIBC, bifolio].map(|allocator| {
                let outcome = run(program, Scale::Quick, allocator, &folder.path().join(program.name), meter);
                outcome.unwrap_or_else(|error| panic!("{error:#}"))
            });
            assert_eq!(without.output.status, "status 0", "{} without the heap: {}", program.name, without.errors);
            let difference = difference(&without.output, &with.output);
            assert_eq!(difference, None, "{} with the heap: {}", program.name, with.errors);
            let bound = 1.5 * without.peak + MORE_MEMORY;
            assert!(without.peak > 0.0 && with.peak > 0.0, "{}'s memory was not measured", program.name);
            assert!(
                with.peak <= bound,
                "{} has {:.1} MiB with the heap, {:.1} without",
                program.name,
                with.peak,
                without.peak
            );
        }
    };
    thread::scope(|scope| [scope.spawn(work), scope.spawn(work)].map(|worker| worker.join().unwrap()));
    let skipped = skipped.lock().unwrap();
    let names: String = skipped.iter().map(|name| format!(", {name}")).collect();
    // Not by a macro, whose text the harness would keep to itself: nothing is skipped silently.
    let line = format!("skipped: {} of {} programs with the heap preloaded{names}\n", skipped.len(), PROGRAMS.len());
    io::stderr().write_all(line.as_bytes()).unwrap();
}
