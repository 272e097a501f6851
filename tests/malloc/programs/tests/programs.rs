//! Programs with the heap preloaded do what they do without, given little to do: `make programs` gives them more.

use std::io::{self, Write};
use std::sync::Mutex;
use std::thread;

use programs::preload;
use programs::program::{PROGRAMS, Scale};
use programs::run::{Allocator, difference, obstacle, run};

#[test]
fn programs_do_what_they_do_without() {
    let bifolio = &preload::bifolio().unwrap_or_else(|error| panic!("{error:#}"));
    let folder = &tempfile::tempdir().unwrap();
    let (next, skipped) = (&Mutex::new(PROGRAMS.iter()), &Mutex::new(Vec::new()));
    let work = || {
        while let Some(program) = { next.lock().unwrap().next() } {
            if let Some(obstacle) = obstacle(program) {
                skipped.lock().unwrap().push(format!("{} ({obstacle})", program.name));
                continue;
            }
            // Both in a folder of the same name: some programs write it down.
            let [without, with] = [&Allocator::GLIBC, bifolio].map(|allocator| {
                let outcome = run(program, Scale::Quick, allocator, &folder.path().join(program.name), None);
                outcome.unwrap_or_else(|error| panic!("{error:#}"))
            });
            assert_eq!(without.output.status, "status 0", "{} without the heap: {}", program.name, without.errors);
            let difference = difference(&without.output, &with.output);
            assert_eq!(difference, None, "{} with the heap: {}", program.name, with.errors);
        }
    };
    thread::scope(|scope| [scope.spawn(work), scope.spawn(work)].map(|worker| worker.join().unwrap()));
    let skipped = skipped.lock().unwrap();
    let names: String = skipped.iter().map(|name| format!(", {name}")).collect();
    // Not by a macro, whose text the harness would keep to itself: nothing is skipped silently.
    let line = format!("skipped: {} of {} programs with the heap preloaded{names}\n", skipped.len(), PROGRAMS.len());
    io::stderr().write_all(line.as_bytes()).unwrap();
}
