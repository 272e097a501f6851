//! That every mistake has its place, and that twelve of them are caught.

use std::fs;
use std::path::{Path, PathBuf};

use planted::{Copy, Home, Plant, fixed, in_document, plants};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// The file that has the test which is to find a mistake.
fn file_of_test(plant: &Plant) -> PathBuf {
    let tests = root().join(if plant.home == Home::Kernel { "tests/booted/tests" } else { "kernel/mm/tests" });
    let modules = plant.test().rsplit_once("::").map_or("", |(modules, _)| modules);
    if let Some((package, program)) = plant.program().split_once('/') {
        return root().join("tests").join(package).join("tests").join(program).with_extension("rs");
    }
    let file = match (plant.program(), modules) {
        ("lib", modules) => {
            let of = |modules: &str| root().join("kernel/mm/src").join(modules.replace("::", "/"));
            // Tests have a file of their own, or are in the one that they are about.
            Some(of(modules))
                .filter(|file| file.with_extension("rs").is_file())
                .unwrap_or_else(|| of(modules.trim_end_matches("::tests")))
        }
        (program, "") if tests.join(program).is_dir() => tests.join(program).join("main"),
        (program, "") => tests.join(program),
        (program, module) => tests.join(program).join(module),
    };
    file.with_extension("rs")
}

#[test]
fn every_mistake_has_its_place_its_test_and_a_line_in_the_table() {
    for (nth, plant) in plants().enumerate() {
        assert_eq!(plant.number(), nth + 1);
        let sources = root().join(plant.home.sources()).join(plant.file);
        plant.switched(&fs::read_to_string(sources).unwrap()).unwrap();
        let test = plant.test().rsplit("::").next().unwrap();
        let tests = fs::read_to_string(file_of_test(plant)).unwrap();
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
    let plants: Vec<_> = fixed().collect();
    let copy = Copy::build(&root(), Home::Crate, &plants).unwrap();
    assert_eq!(plants.len(), 12);
    copy.try_sound(&plants).unwrap();
    for plant in plants {
        let outcome = copy.hunt(plant).unwrap();
        assert!(outcome.is_caught, "{} is not caught by {}:\n{}", plant.what, plant.test, outcome.output);
    }
}
