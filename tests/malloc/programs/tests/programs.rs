//! Programs with the heap preloaded do what they do without, given little to do: `make programs` gives them more.

use programs::preload;
use programs::program::{PROGRAMS, Scale};
use programs::run::{Allocator, difference, obstacle, run};

#[test]
fn programs_do_what_they_do_without() {
    let bifolio = preload::bifolio().unwrap_or_else(|error| panic!("{error:#}"));
    let folder = tempfile::tempdir().unwrap();
    let (mut passed, mut skipped) = (Vec::new(), Vec::new());
    for program in PROGRAMS {
        if let Some(obstacle) = obstacle(program) {
            skipped.push(format!("{} ({obstacle})", program.name));
            continue;
        }
        let [without, with] = [&Allocator::GLIBC, &bifolio].map(|allocator| {
            run(program, Scale::Quick, allocator, &folder.path().join("run"), None)
                .unwrap_or_else(|error| panic!("{error:#}"))
        });
        assert_eq!(without.output.status, "status 0", "{} without the heap: {}", program.name, without.errors);
        let difference = difference(&without.output, &with.output);
        assert_eq!(difference, None, "{} with the heap: {}", program.name, with.errors);
        passed.push(program.name);
    }
    println!("{} programs the same: {}", passed.len(), passed.join(", "));
    println!("{} programs skipped: {}", skipped.len(), skipped.join(", "));
}
