//! `make lab`, `make handout` and `make grade`.

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail, ensure};
use boot::explorer;
use clap::{Parser, Subcommand};
use lab::build::{Built, Source};
use lab::class::Class;
use lab::page;
use lab::score::Score;
use lab::trial::{self, Trust};
use lab::{handout, piece};
use labs::lab::{LABS, Lab};

/// Builds a learner's file, tries it and says what it is worth
#[derive(Parser)]
#[command(version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Try a file
    Try {
        /// In which lab
        #[arg(long, env = "BIFOLIO_N", value_name = "NUMBER", hide_env_values = true)]
        lab: Option<u8>,
        /// Which file [default: the one in tests/labs/pieces]
        #[arg(long, env = "BIFOLIO_FILE", value_name = "FILE", hide_env_values = true)]
        file: Option<PathBuf>,
        /// What decides the operations: the same seed gives the same
        #[arg(long, env = "SEED", default_value_t = 1, hide_env_values = true)]
        seed: u64,
    },
    /// Boot the kernel to its shell, with page frames from a file
    Shell {
        /// For which lab
        #[arg(long, env = "BIFOLIO_N", value_name = "NUMBER", hide_env_values = true)]
        lab: Option<u8>,
        /// Which file [default: the one in tests/labs/pieces]
        #[arg(long, env = "BIFOLIO_FILE", value_name = "FILE", hide_env_values = true)]
        file: Option<PathBuf>,
    },
    /// Write the tree that a class is given
    Handout {
        /// Where to
        #[arg(
            long,
            env = "BIFOLIO_DIR",
            value_name = "FOLDER",
            default_value = "target/handout",
            hide_env_values = true
        )]
        dir: PathBuf,
    },
    /// Grade a folder of files, as a table of CSV
    Grade {
        /// For which lab
        #[arg(long, env = "BIFOLIO_N", value_name = "NUMBER", hide_env_values = true)]
        lab: Option<u8>,
        /// The folder: files NAME.rs, or folders NAME with a file lab2.rs in each
        #[arg(long, env = "BIFOLIO_DIR", value_name = "FOLDER", hide_env_values = true)]
        dir: Option<PathBuf>,
        /// Where the table goes; beside it, in a folder of that name, what each author is to be shown
        #[arg(long, value_name = "FILE", default_value = "target/grades.csv")]
        out: PathBuf,
        /// What decides the operations
        #[arg(long, env = "SEED", default_value_t = 1, hide_env_values = true)]
        seed: u64,
    },
}

fn main() -> ExitCode {
    execute(Cli::parse().command).unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

fn execute(action: Action) -> Result<ExitCode> {
    let mut show = |what: &str| eprintln!("{what} ...");
    match action {
        Action::Try { lab, file, seed } => {
            let Some(lab) = find(lab)? else { return Ok(ExitCode::SUCCESS) };
            let file = file.unwrap_or_else(|| piece(lab.number));
            let source = Source { file: &file, lab: lab.number, seed };
            let score = trial::run(lab, source, Trust::Own, &mut show)?;
            print!("{score}");
            draw(&score)?;
        }
        Action::Shell { lab, file } => {
            let Some(lab) = find(lab)? else { return Ok(ExitCode::SUCCESS) };
            let file = file.unwrap_or_else(|| piece(lab.number));
            return shell(Source { file: &file, lab: lab.number, seed: 1 });
        }
        Action::Handout { dir } => {
            let count = handout::write(&dir)?;
            println!("{count} files are in {}: give that to the class, as it is.", dir.display());
        }
        Action::Grade { lab, dir, out, seed } => {
            let Some(lab) = find(lab)? else { return Ok(ExitCode::SUCCESS) };
            let dir = dir
                .context("grade what? With DIR=..., a folder of files NAME.rs, or of folders NAME with a file each")?;
            let class = Class::find(lab, &dir)?;
            let mut file = File::create(&out).with_context(|| format!("cannot write {}", out.display()))?;
            let sheets = out.with_extension("");
            let left_out = class.grade(seed, &mut file, &sheets, &mut show)?;
            io::stdout().write_all(&std::fs::read(&out)?)?;
            eprintln!("That is in {}, and what to show each author in {}/.", out.display(), sheets.display());
            if !class.left_alone.is_empty() {
                eprintln!("Neither NAME.rs nor a folder, and not looked at: {}", class.left_alone.join(", "));
            }
            ensure!(left_out.is_empty(), "not graded, and why stands in the table: {}", left_out.join(", "));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes the page of the first mistake, if there is one to draw.
fn draw(score: &Score) -> Result<()> {
    let Some((exam, found)) = score.drawn() else { return Ok(()) };
    let file = format!("target/lab{}.html", score.lab.number);
    std::fs::write(&file, explorer::of_lab(&page::data(score.lab, exam, found))?)
        .with_context(|| format!("cannot write {file}"))?;
    println!("The first that went wrong, step by step on a machine to play with, is in {file}: open it in a browser.");
    Ok(())
}

/// Boots the kernel whose shell works on a file. The machine and the commands are what the host program takes from the environment.
fn shell(source: Source<'_>) -> Result<ExitCode> {
    let kernel =
        match trial::screened(source)?.map_or_else(|| source.for_shell(), |refused| Ok(Built::Refused(refused)))? {
            Built::Program(kernel) => kernel,
            Built::Refused(complaints) => bail!("{}\n{}", source.file.display(), complaints.trim_end()),
        };
    let boot = std::env::current_exe()?.with_file_name("boot");
    let status =
        Command::new(boot).arg("run").arg("--kernel").arg(kernel).status().context("cannot start the host program")?;
    Ok(ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)))
}

/// The lab with this number. Without one, what there are is listed.
fn find(number: Option<u8>) -> Result<Option<&'static Lab>> {
    let Some(number) = number else {
        println!("Which lab? With N=1, and so on:");
        LABS.iter().for_each(|lab| println!("  {}  {} ({} points)", lab.number, lab.title, lab.points()));
        return Ok(None);
    };
    let there = || LABS.iter().map(|lab| lab.number.to_string()).collect::<Vec<_>>().join(", ");
    Lab::find(number).map(Some).with_context(|| format!("there is no lab {number}: there are {}", there()))
}
