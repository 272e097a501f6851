//! `make quiz`: asks, and on demand answers; or sets a task, and judges what is done.

use std::process::ExitCode;

use clap::Parser;
use clap::builder::FalseyValueParser;
use quiz::task::{COMMANDS, TASKS, Task};
use quiz::{LESSONS, Question, counted};

/// Columns of a line.
const WIDTH: usize = 100;

/// Asks a question to a lesson, whose answer the allocator computes
#[derive(Parser)]
#[command(version, max_term_width = 100)]
struct Cli {
    /// To which lesson
    #[arg(long, env = "BIFOLIO_LESSON", hide_env_values = true)]
    lesson: Option<u64>,
    /// Which one: the same seed gives the same
    #[arg(long, env = "SEED", default_value_t = 1, hide_env_values = true)]
    seed: u64,
    /// Say the answer, and how it comes about
    #[arg(long, env = "BIFOLIO_ANSWER", value_parser = FalseyValueParser::new(), hide_env_values = true)]
    answer: bool,
    /// The lesson's task with this number, in place of a question
    #[arg(long, env = "BIFOLIO_TASK", hide_env_values = true)]
    task: Option<u64>,
    /// The commands that do it, separated by ';'
    #[arg(long, env = "BIFOLIO_CMD", requires = "task", hide_env_values = true)]
    cmd: Option<String>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let Some(lesson) = cli.lesson.filter(|lesson| *lesson < LESSONS) else {
        eprintln!("error: which lesson? LESSON=0 to LESSON={}", LESSONS - 1);
        return ExitCode::FAILURE;
    };
    if let Some(number) = cli.task {
        return judge(lesson, number, cli.cmd.as_deref());
    }
    let question = Question::new(lesson, cli.seed).expect("there is such a lesson");
    println!("Lesson {lesson}, seed {}\n\n{}", cli.seed, wrapped(&question.text));
    if cli.answer {
        println!("\n{}", question.solution());
    } else {
        println!("\nANSWER=1 says the answer; SEED={} asks another one.", cli.seed.wrapping_add(1));
    }
    ExitCode::SUCCESS
}

/// Sets a task, or judges what these commands do.
fn judge(lesson: u64, number: u64, commands: Option<&str>) -> ExitCode {
    let Some(task) = Task::find(lesson, number) else {
        let judged = TASKS.iter().filter(|task| task.lesson == lesson).map(|task| format!("TASK={}", task.number));
        let judged = judged.collect::<Vec<_>>().join(", ");
        eprintln!(
            "error: of lesson {lesson}, {judged} is judged; of the other tasks you see yourself whether they are done"
        );
        return ExitCode::FAILURE;
    };
    println!("Lesson {lesson}, task {number}\n\n{}\n", wrapped(task.text));
    let Some(commands) = commands else {
        println!("CMD=\"...\", with ';' between commands, is judged. Best known: {}.", counted(task.best, task.unit));
        println!(
            "\n{}",
            wrapped(&format!(
                "The commands: {COMMANDS}. Flags are those of the kernel's shell, such as DMA or MOVABLE."
            ))
        );
        return ExitCode::SUCCESS;
    };
    let attempt = task.attempt(commands);
    attempt.said.iter().for_each(|line| println!("  {line}"));
    let score = match attempt.score {
        Ok(score) => score,
        Err(why) => {
            println!("Not done: {why}.");
            return ExitCode::FAILURE;
        }
    };
    print!("Done, with {}", counted(score, task.unit));
    match (score == task.best, (score > task.best) == task.more_is_better) {
        (true, _) => println!(": nobody is known to have done better."),
        (_, true) => println!(": better than all that is known, which is {}!", task.best),
        (_, false) => println!("; the best known is {}.", task.best),
    }
    ExitCode::SUCCESS
}

/// The text in lines that a terminal can show; those that are set in stay as they are.
fn wrapped(text: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    for paragraph in text.lines() {
        lines.push(String::new());
        if paragraph.starts_with("  ") {
            lines.last_mut().expect("there is one").push_str(paragraph);
            continue;
        }
        for word in paragraph.split(' ') {
            let line = lines.last_mut().expect("there is one");
            match line.len() {
                0 => line.push_str(word),
                length if length + 1 + word.len() <= WIDTH => *line += &format!(" {word}"),
                _ => lines.push(word.to_owned()),
            }
        }
    }
    lines.join("\n")
}
