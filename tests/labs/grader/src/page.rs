//! The first mistake as a page of the explorer's: the shortest sequence that shows it, step by step.
//!
//! What a learner's allocator *answered* may be nothing that Bifolio's state could be. So the machine of the page does what of the
//! sequence was right, and the answers are told beside it.

use crate::score::operations;
use lab_host::{Found, Shown};
use labs::lab::Lab;
use serde_json::{Value, json};

/// What the signs and colours of the page mean.
const LEGEND: &str = "In the row, light is free, and a dark edge begins a block or a slot. Blue is somebody's; the sign where it begins is its \
    order, its class or its CPU. Pale blue are columns of which a part is somebody's. The bar is below what the step was about. What is shown \
    is what should be, and the map is of a machine that has just that in use: go on with it at the prompt, where 'help' lists the commands.";

/// What the page is to show of a mistake that was drawn, and to say.
pub fn data(lab: &Lab, exam: &str, found: &Found) -> Value {
    let step = |step: &Shown| {
        let Shown { said, cells, marks, frame, script } = step;
        json!({ "said": said, "cells": cells, "marks": marks, "frame": frame, "script": script })
    };
    json!({
        "title": format!("Lab {}: {}", lab.number, lab.title),
        "about": format!("\"{exam}\" went wrong {}.", operations(found)),
        "head": found.picture.lines().next().unwrap_or_default().trim(),
        "what": found.what,
        "legend": LEGEND,
        "map": found.map,
        "steps": found.steps.iter().map(step).collect::<Vec<_>>(),
    })
}
