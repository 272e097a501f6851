//! That every mistake has its place, and that twelve of them are caught.

use std::fs;
use std::path::{Path, PathBuf};

use planted::{Copy, PLANTS, fixed, in_document};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

#[test]
fn every_mistake_has_its_place_its_test_and_a_line_in_the_table() {
    let mm = root().join("kernel/mm");
    for (nth, plant) in PLANTS.iter().enumerate() {
        assert_eq!(plant.number(), nth + 1);
        let sources = mm.join("src").join(plant.file);
        plant.switched(&fs::read_to_string(sources).unwrap()).unwrap();
        let (modules, test) = plant.test().rsplit_once("::").unwrap_or(("", plant.test()));
        let file = match (plant.program(), modules) {
            ("lib", modules) => mm.join("src").join(modules.trim_end_matches("::tests").replace("::", "/")),
            (program, "") => mm.join("tests").join(program),
            (program, module) => mm.join("tests").join(program).join(module),
        };
        let tests = fs::read_to_string(file.with_extension("rs")).unwrap();
        assert!(tests.contains(&format!("fn {test}()")), "there is no test {}", plant.test);
    }
    let document = fs::read_to_string(root().join("docs/assurance.md")).unwrap();
    assert!(
        in_document(&document) == Some(document),
        "the table is not the mistakes': make planted UPDATE=1 writes it"
    );
}

#[test]
fn twelve_mistakes_that_are_compiled_in_are_caught() {
    let copy = Copy::build(&root()).unwrap();
    let plants: Vec<_> = fixed().collect();
    assert_eq!(plants.len(), 12);
    copy.try_sound(&plants).unwrap();
    for plant in plants {
        let outcome = copy.hunt(plant).unwrap();
        assert!(outcome.is_caught, "{} is not caught by {}:\n{}", plant.what, plant.test, outcome.output);
    }
}
