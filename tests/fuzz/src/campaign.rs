//! A campaign: inputs that were found to reach something, how many were tried, and what was found.

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result};
use fuzz::Target;

use crate::fuzzer::Fuzzer;
use crate::kept_in;

/// Inputs that are tried before it is noted how many were: if it is stopped, so many may be tried once more.
const SLICE: u64 = 500_000;
/// Seconds that an input may take.
const PATIENCE: u32 = 20;

/// The campaign of a target.
pub struct Campaign<'f> {
    pub fuzzer: &'f Fuzzer,
    pub target: Target,
    directory: PathBuf,
}

/// What libFuzzer says at the end.
#[derive(Default)]
struct Said {
    executions: u64,
    /// Edges that inputs have reached.
    edges: String,
    /// Inputs that reach something, and their size.
    corpus: String,
}

impl Said {
    fn of(log: &str) -> Self {
        let last = log.lines().rev().find(|line| line.contains(" cov: ")).unwrap_or_default();
        let word = |name| last.split_whitespace().skip_while(|word| *word != name).nth(1).unwrap_or("0").to_owned();
        let executed = log.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
        let executions = executed.and_then(|number| number.trim().parse().ok()).unwrap_or(0);
        Self { executions, edges: word("cov:"), corpus: word("corp:") }
    }
}

impl<'f> Campaign<'f> {
    /// The campaign of this target, begun or not.
    ///
    /// # Errors
    /// If there can be no such directories.
    pub fn of(fuzzer: &'f Fuzzer, target: Target) -> Result<Self> {
        let directory = fuzzer.directory.join(target.name);
        for part in ["corpus", "findings"] {
            fs::create_dir_all(directory.join(part))?;
        }
        Ok(Self { fuzzer, target, directory })
    }

    /// Where its inputs are.
    pub fn corpus(&self) -> PathBuf {
        self.directory.join("corpus")
    }

    fn executions(&self) -> u64 {
        fs::read_to_string(self.directory.join("executions")).map_or(0, |number| number.trim().parse().unwrap_or(0))
    }

    /// Goes on until so many inputs were tried in all. Whether nothing was found.
    ///
    /// # Errors
    /// If the fuzzer cannot be run.
    pub fn run(&self, wanted: u64) -> Result<bool> {
        let (begin, before) = (Instant::now(), self.executions());
        let mut done = before;
        let mut said = Said::default();
        let mut is_clean = true;
        while done < wanted && is_clean {
            let log = self.directory.join("log");
            let file = fs::File::create(&log)?;
            let mut fuzzer = self.fuzzer.at(self.target.name);
            fuzzer.arg(self.corpus()).arg(kept_in(self.target.name));
            fuzzer.arg(format!("-runs={}", SLICE.min(wanted - done))).arg(format!("-max_len={}", self.target.longest));
            fuzzer.arg(format!("-timeout={PATIENCE}")).arg("-print_final_stats=1");
            fuzzer.arg(format!("-artifact_prefix={}/", self.directory.join("findings").display()));
            let status = fuzzer.stdout(file.try_clone()?).stderr(file).status().context("the fuzzer")?;
            let text = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
            said = Said::of(&text);
            done += said.executions;
            fs::write(self.directory.join("executions"), done.to_string())?;
            is_clean = status.success();
            if !is_clean {
                self.show(&text);
            }
        }
        let Said { edges, corpus, .. } = said;
        println!(
            "{:<7} {done:>9} executions, {} of them now in {:.0} s; {edges} edges, corpus {corpus}; {} findings",
            self.target.name,
            done - before,
            begin.elapsed().as_secs_f32(),
            fs::read_dir(self.directory.join("findings"))?.count()
        );
        Ok(is_clean)
    }

    /// Shows what was found.
    fn show(&self, log: &str) {
        let is_said = |line: &&str| !line.starts_with('#') && !line.starts_with("INFO:") && !line.contains("NEW_FUNC");
        log.lines().filter(is_said).take(40).for_each(|line| println!("    {line}"));
        println!("    to see it again: cargo run -p fuzz -- replay {} FILE", self.target.name);
    }
}
