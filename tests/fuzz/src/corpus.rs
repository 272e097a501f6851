//! Which inputs of a campaign are worth keeping.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::campaign::Campaign;

/// Inputs that are kept of one target, and bytes that they may have together.
const MOST: usize = 40;
const MOST_BYTES: usize = 30_000;

/// An input, and what it reaches: edges, each with how often.
struct Input {
    bytes: Vec<u8>,
    features: BTreeSet<u32>,
}

/// Puts those inputs of a campaign into `directory`, in place of what is there, that reach most for their size.
///
/// # Errors
/// If the fuzzer does not say what inputs reach.
pub fn keep(campaign: &Campaign<'_>, directory: &Path) -> Result<Vec<Vec<u8>>> {
    fs::create_dir_all(directory)?;
    let mut left = inputs(campaign, directory)?;
    let (mut kept, mut size) = (Vec::new(), 0);
    let mut reached = BTreeSet::new();
    while kept.len() < MOST {
        // What reaches most; of two that reach as much, the shorter.
        let worth = |input: &Input| (input.features.difference(&reached).count(), Reverse(input.bytes.len()));
        let best = (0..left.len()).max_by_key(|nth| worth(&left[*nth])).filter(|nth| worth(&left[*nth]).0 > 0);
        let Some(best) = best else { break };
        let Input { bytes, features } = left.swap_remove(best);
        if size + bytes.len() <= MOST_BYTES {
            size += bytes.len();
            reached.extend(features);
            kept.push(bytes);
        }
    }
    for old in fs::read_dir(directory)? {
        fs::remove_file(old?.path())?;
    }
    for (nth, bytes) in kept.iter().enumerate() {
        fs::write(directory.join(format!("{nth:03}")), bytes)?;
    }
    Ok(kept)
}

/// All inputs that there are, with what each reaches, as libFuzzer notes it when it merges corpora.
fn inputs(campaign: &Campaign<'_>, kept: &Path) -> Result<Vec<Input>> {
    let scratch = campaign.corpus().with_file_name("merged");
    if scratch.exists() {
        fs::remove_dir_all(&scratch)?;
    }
    fs::create_dir_all(scratch.join("into"))?;
    let notes = scratch.join("notes");
    let mut fuzzer = campaign.fuzzer.at(campaign.target.name);
    fuzzer.arg("-set_cover_merge=1").arg(format!("-merge_control_file={}", notes.display()));
    fuzzer.arg(scratch.join("into")).arg(campaign.corpus()).arg(kept);
    let output = fuzzer.output().context("the fuzzer")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let notes = fs::read_to_string(notes)?;
    let mut lines = notes.lines();
    let count: usize = lines.next().context("libFuzzer has noted nothing")?.parse()?;
    let names: Vec<&str> = lines.by_ref().skip(1).take(count).collect();
    let mut inputs = Vec::new();
    // `STARTED number size`, `FT number features`, and `COV number edges`, of which there are those alone that no input before has reached.
    for line in lines.filter_map(|line| line.strip_prefix("FT ")) {
        let mut numbers = line.split_whitespace();
        let number: usize = numbers.next().context("libFuzzer has noted an input without a number")?.parse()?;
        let features = numbers.map(str::parse).collect::<Result<_, _>>()?;
        inputs.push(Input { bytes: fs::read(names.get(number).context("no such input")?)?, features });
    }
    Ok(inputs)
}
