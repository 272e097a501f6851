//! Inputs of earlier campaigns, each of which reaches something that no other does.

use std::fs;
use std::path::Path;

use fuzz::TARGETS;

/// Bytes of all inputs together, at most.
const MOST: usize = 200_000;

#[test]
fn no_input_of_the_corpora_finds_anything() {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let mut bytes = 0;
    for target in TARGETS {
        let inputs: Vec<_> =
            fs::read_dir(corpora.join(target.name)).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(inputs.len() >= 10, "{}: {} inputs", target.name, inputs.len());
        for input in inputs {
            let found = fs::read(&input).unwrap();
            bytes += found.len();
            // What fails says of what.
            println!("{}", input.display());
            (target.run)(&found);
        }
    }
    assert!(bytes <= MOST, "{bytes} bytes are many to keep");
}
