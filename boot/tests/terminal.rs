//! Somebody at a terminal: what its keys do to a machine.

use nix::pty::openpty;
use nix::sys::termios::{Termios, tcgetattr};
use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Command};

struct Terminal {
    boot: Child,
    keys: File,
    /// What has been shown and not been looked at.
    shown: String,
}

impl Terminal {
    fn new() -> Terminal {
        let build = ["build", "-q", "-p", "kernel", "--target", "x86_64-unknown-none"];
        assert!(Command::new(env!("CARGO")).args(build).status().unwrap().success());
        let pty = openpty(None, None).unwrap();
        let boot = Command::new(env!("CARGO_BIN_EXE_boot"))
            .arg("run")
            .stdin(pty.slave.try_clone().unwrap())
            .stdout(pty.slave)
            .spawn()
            .unwrap();
        Terminal { boot, keys: pty.master.into(), shown: String::new() }
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    /// The modes of the terminal.
    fn modes(&self) -> Termios {
        tcgetattr(&self.keys).unwrap()
    }

    fn until(&mut self, text: &str) {
        let mut buffer = [0; 4096];
        loop {
            if let Some((_, rest)) = self.shown.split_once(text) {
                self.shown = rest.to_owned();
                return;
            }
            let count = self.keys.read(&mut buffer).expect("the terminal is open");
            self.shown.push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Of a test that has failed. Asked to stop, the host program sees to it that the emulator ends too.
        if matches!(self.boot.try_wait(), Ok(None)) {
            let _ = Command::new("sh").args(["-c", &format!("kill {}", self.boot.id())]).status();
            let _ = self.boot.wait();
        }
    }
}

#[test]
fn control_c_ends_commands_and_control_a_x_the_machine() {
    let mut terminal = Terminal::new();
    terminal.until("bifolio> ");
    terminal.press("stress 100000; validate\r");
    terminal.until("memory is made short now and then");
    terminal.press("\x03");
    terminal.until("ended early, by Ctrl-C");
    terminal.until("bifolio> ");
    assert!(!terminal.shown.contains("every invariant holds"), "what stands behind it is not run either");
    terminal.press("kmalloc 8 100000000\r");
    terminal.until("kfree 0x");
    terminal.press("\x03");
    terminal.until("^C");
    terminal.until("bifolio> ");
    terminal.press("poweroff\x03alloc 3\r");
    terminal.until("poweroff^C");
    terminal.until("order 3, 32 kB in zone");
    terminal.press("\x01x");
    assert!(terminal.boot.wait().unwrap().success());
}

#[test]
fn keys_that_are_pressed_before_the_prompt_wait_for_it_and_leave_all_the_same() {
    let mut terminal = Terminal::new();
    terminal.press("alloc 4\rpow");
    terminal.until("order 4, 64 kB in zone");
    terminal.press("eroff\r");
    assert!(terminal.boot.wait().unwrap().success());
    let mut terminal = Terminal::new();
    terminal.press("\x01x");
    assert!(terminal.boot.wait().unwrap().success());
}

#[test]
fn what_is_watched_is_shown_anew_until_control_c_and_the_terminal_is_as_it_was() {
    let mut terminal = Terminal::new();
    let before = terminal.modes();
    terminal.until("bifolio> ");
    assert_ne!(terminal.modes(), before, "keys come one by one");
    terminal.press("watch map\r");
    for time in 1..=3 {
        terminal.until(&format!("\x1b[H\x1b[2Jmap ({time}, until Ctrl-C)"));
    }
    // What is typed meanwhile is for the prompt.
    terminal.press("alloc 3\r\x03");
    terminal.until("^C");
    terminal.until("bifolio> ");
    terminal.until("order 3, 32 kB in zone");
    terminal.press("watch 2 page 0x100\r");
    terminal.until("\x1b[H\x1b[2Jpage 0x100 (1 of 2)");
    terminal.until("\x1b[H\x1b[2Jpage 0x100 (2 of 2)");
    terminal.until("bifolio> ");
    // What fails is not run again.
    terminal.press("watch alloc 11\r");
    terminal.until("alloc 11 (1, until Ctrl-C)");
    terminal.until("error: ");
    terminal.until("bifolio> ");
    terminal.press("\x01x");
    assert!(terminal.boot.wait().unwrap().success());
    assert_eq!(terminal.modes(), before);
}
