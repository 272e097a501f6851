//! Tries the piece that `lab-piece` was built of, and says what came of it as JSON.

use lab_piece::piece::first_test;
use lab_piece::{LAB, Piece, SEED};
use labs::Frames;
use labs::lab::Lab;

fn main() {
    let lab = Lab::find(LAB).unwrap_or_else(|| panic!("there is no lab {LAB}"));
    let mut results = vec![lab_host::first_test(|| first_test(Piece::new(lab.layouts[0].memory())))];
    results.extend(lab_host::examine::<Piece>(lab, SEED));
    println!("{}", serde_json::to_string(&results).expect("results are plain data"));
}
