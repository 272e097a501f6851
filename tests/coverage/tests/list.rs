//! That what `make coverage` lists as not run is there.

use std::fs;
use std::path::Path;

use coverage::{List, Source};

#[test]
fn every_line_that_is_not_run_is_explained_and_in_the_sources() {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    let list = List::parse(&fs::read_to_string(own.join("uncovered.txt")).unwrap()).unwrap();
    let sources = Source::all(&own.join("../../kernel/mm/src")).unwrap();
    assert!(sources.len() > 50 && list.count() > 0);
    assert_eq!(list.strangers(&sources), Vec::<String>::new());
}
