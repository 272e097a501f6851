//! Machines as `make run` would boot them, and somebody at their prompt.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Once;
use std::{env, thread, time::Duration};

const PROMPT: &str = "bifolio> ";
/// Of the host's seconds, the last resort of a session that waits for a prompt which never comes.
const TIMEOUT: &str = "900";

/// The options of the host program for what a line asks for.
pub struct Machine {
    options: Vec<String>,
    needs_company: bool,
}

/// The words of a command as a shell has them, as far as the README needs one.
pub fn words(command: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut is_quoted = false;
    for letter in command.chars() {
        match letter {
            '"' => is_quoted = !is_quoted,
            ' ' if !is_quoted => words.push(String::new()),
            _ => words.last_mut().expect("there is one").push(letter),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

impl Machine {
    /// For the variables behind `make run`.
    pub fn of(variables: &str) -> Machine {
        let mut machine = Machine { options: Vec::new(), needs_company: false };
        for word in words(variables) {
            let (name, value) = word.split_once('=').unwrap_or_else(|| panic!("{word} is no variable"));
            match name {
                "GDB" | "GDB_PORT" | "DISPLAY_WINDOW" | "EXPLORE" => machine.needs_company = true,
                "PARALLEL" => machine.options.push("--parallel".into()),
                _ => machine.options.push(format!("--{}={value}", name.to_lowercase().replace('_', "-"))),
            }
        }
        machine
    }

    /// For options as the host program has them.
    pub fn with_options(options: &str) -> Machine {
        Machine { options: words(options), needs_company: false }
    }

    /// Whether a display or gdb has to be there.
    pub fn needs_company(&self) -> bool {
        self.needs_company
    }

    pub fn is_default(&self) -> bool {
        self.options.is_empty()
    }

    pub fn has_commands(&self) -> bool {
        self.options.iter().any(|option| option.starts_with("--cmd"))
    }

    pub fn has(&self, options: &[&str]) -> bool {
        options.iter().all(|option| self.options.iter().any(|own| own == option))
    }

    fn command(&self) -> Command {
        build();
        let mut command = Command::new(env!("CARGO_BIN_EXE_boot"));
        command.arg("run").args(&self.options);
        // Those of a `make` that runs this test are not meant.
        let names = env::vars_os().map(|(name, _)| name);
        names.filter(|name| name.to_string_lossy().starts_with("BIFOLIO_")).for_each(|name| {
            command.env_remove(name);
        });
        command
    }

    /// Boots it to its end, and returns what it prints. All its commands must succeed.
    pub fn run(&self) -> String {
        let (text, errors) = self.run_anyhow();
        assert_eq!(errors, None, "{:?}\n{text}", self.options);
        text
    }

    /// Boots it to its end, and returns what it prints; and what the host program says, if that or a command fails.
    pub fn run_anyhow(&self) -> (String, Option<String>) {
        let output = self.command().output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).replace('\r', "");
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        (text, (!output.status.success()).then_some(errors))
    }

    /// Boots it to its prompt.
    pub fn start(&self) -> Session {
        let mut child =
            self.command().args(["--timeout", TIMEOUT]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (keys, console) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut session = Session { child, keys, console, typed: Vec::new(), log: String::new() };
        session.log = session.until_the_prompt();
        session
    }
}

/// The kernel, built as `make run` would.
fn build() {
    static BUILT: Once = Once::new();
    BUILT.call_once(|| {
        let build = ["build", "-q", "-p", "kernel", "--target", "x86_64-unknown-none"];
        assert!(Command::new(env!("CARGO")).args(build).status().unwrap().success());
    });
}

/// A machine whose prompt waits for a command.
pub struct Session {
    child: Child,
    keys: ChildStdin,
    console: ChildStdout,
    /// Every command so far.
    pub typed: Vec<String>,
    /// What was printed before the first prompt.
    pub log: String,
}

impl Session {
    /// Types a command, and returns what it prints.
    pub fn say(&mut self, command: &str) -> String {
        self.typed.push(command.into());
        let answer = self.press(&format!("{command}\r"));
        let (echo, answer) = answer.split_once('\n').unwrap_or((&answer, ""));
        assert_eq!(echo, command, "the line that was typed is shown");
        answer.to_owned()
    }

    /// Presses keys, of which the last ends a line, and returns all that follows.
    pub fn press(&mut self, keys: &str) -> String {
        self.keys.write_all(keys.as_bytes()).unwrap();
        self.until_the_prompt()
    }

    /// Types a command again and again, until it prints what is wanted.
    pub fn say_until(&mut self, command: &str, is_wanted: impl Fn(&str) -> bool) {
        let mut answer = String::new();
        for _ in 0..100 {
            answer = self.say(command);
            if is_wanted(&answer) {
                return;
            }
            thread::sleep(Duration::from_millis(1500));
        }
        panic!("{command} never printed what was waited for, but\n{answer}");
    }

    /// Switches the machine off.
    pub fn end(self) {
        self.end_by("poweroff");
    }

    /// Switches the machine off with this command; returns all that were typed.
    pub fn end_by(mut self, command: &str) -> Vec<String> {
        self.keys.write_all(format!("{command}\r").as_bytes()).unwrap();
        let mut rest = String::new();
        self.console.read_to_string(&mut rest).unwrap();
        assert!(self.child.wait().unwrap().success(), "{rest}");
        let mut typed = core::mem::take(&mut self.typed);
        typed.push(command.into());
        typed
    }

    fn until_the_prompt(&mut self) -> String {
        let mut bytes = Vec::new();
        while !bytes.ends_with(PROMPT.as_bytes()) {
            let mut byte = [0];
            let count = self.console.read(&mut byte).unwrap();
            assert_eq!(count, 1, "the console ends: {}", String::from_utf8_lossy(&bytes));
            bytes.push(byte[0]);
        }
        bytes.truncate(bytes.len() - PROMPT.len());
        String::from_utf8_lossy(&bytes).replace('\r', "")
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Of a test that has failed. Asked to stop, the host program sees to it that the emulator ends too.
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = Command::new("sh").args(["-c", &format!("kill {}", self.child.id())]).status();
            let _ = self.child.wait();
        }
    }
}
