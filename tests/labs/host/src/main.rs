//! Tries the piece that `lab-piece` was built of, and says what came of it as JSON.

use lab_host::Examiner;
use lab_piece::{LAB, SEED};
use labs::lab::Lab;

fn main() {
    let lab = Lab::find(LAB).unwrap_or_else(|| panic!("there is no lab {LAB}"));
    let mut results = vec![lab_host::first_test(|| lab_piece::first_test(&lab.layouts[0]))];
    results.extend(lab_piece::with(Examiner(lab, SEED)));
    println!("{}", serde_json::to_string(&results).expect("results are plain data"));
}
