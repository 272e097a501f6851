//! QEMU's machine protocol: why a machine stopped, how far its clock has come, and what its CPUs are doing.
//!
//! A reset that the guest asked for and a triple fault look the same from outside, and a guest that hangs says nothing
//! at all. QEMU knows: the machine is made to stand still when it would reset, and is then asked for its registers.
//!
//! Nothing here waits, but for [`Qmp::registers`]: a QEMU that answers late, or not at all, must not keep this program
//! from showing what its guest says.

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// The longest that QEMU may take to tell the registers of a machine that has ended.
const PATIENCE: Duration = Duration::from_secs(60);

/// The control socket of one QEMU.
#[derive(Debug)]
pub struct Qmp {
    stream: UnixStream,
    unread: Vec<u8>,
    events: VecDeque<Stopped>,
    answers: VecDeque<Answer>,
}

/// What QEMU answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The time of the machine's own clock, in whole seconds, to [`Qmp::ask_clock`].
    Clock(Duration),
    /// The registers of all CPUs in QEMU's own format, to [`Qmp::ask_registers`].
    Registers(String),
    /// The timer of one CPU's local APIC, to [`Qmp::ask_timer`].
    Timer {
        /// It runs down, and will then interrupt.
        runs: bool,
    },
}

/// QEMU says that the machine stopped for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// It would reset: a triple fault, or the guest asked for it.
    Reset,
    /// It switched itself off.
    PoweredOff,
    /// A signal to QEMU itself, such as a terminal's or a shell's to all processes of a job.
    Killed,
    /// The user closed its window, or QEMU was told to quit.
    Quit,
}

impl Qmp {
    /// Begins to speak to the QEMU at the other end of `stream`. The greeting is read with the first answer.
    ///
    /// # Errors
    /// The socket's.
    pub fn new(stream: UnixStream) -> Result<Qmp> {
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut qmp = Qmp { stream, unread: Vec::new(), events: VecDeque::new(), answers: VecDeque::new() };
        qmp.send(&json!({ "execute": "qmp_capabilities" }))?;
        Ok(qmp)
    }

    /// The socket, to wait on.
    #[must_use]
    pub fn stream(&self) -> &UnixStream {
        &self.stream
    }

    /// Reads what is there, once the socket is readable; `false` when QEMU has closed it.
    ///
    /// # Errors
    /// The socket's.
    pub fn receive(&mut self) -> Result<bool> {
        let mut buffer = [0; 4096];
        let count = match self.stream.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => 0,
            result => result?,
        };
        self.unread.extend(&buffer[..count]);
        while let Some(message) = self.next_message()? {
            self.sort(&message);
        }
        Ok(count > 0)
    }

    /// The next reason to stop that QEMU has named.
    pub fn stopped(&mut self) -> Option<Stopped> {
        self.events.pop_front()
    }

    /// The next answer to what it was asked.
    pub fn answer(&mut self) -> Option<Answer> {
        self.answers.pop_front()
    }

    /// Asks how far the machine's clock has come. It is the real-time clock, which QEMU runs off the machine's own time
    /// (`-rtc clock=vm`): no other clock of a machine can be asked for in every version.
    ///
    /// # Errors
    /// QEMU is gone.
    pub fn ask_clock(&mut self) -> Result<()> {
        let arguments = json!({ "path": "/machine", "property": "rtc-time" });
        self.send(&json!({ "execute": "qom-get", "id": CLOCK, "arguments": arguments }))
    }

    /// Asks for the registers of all CPUs.
    ///
    /// # Errors
    /// QEMU is gone.
    pub fn ask_registers(&mut self) -> Result<()> {
        let arguments = json!({ "command-line": "info registers -a" });
        self.send(&json!({ "execute": "human-monitor-command", "id": REGISTERS, "arguments": arguments }))
    }

    /// Asks whether the timer of one CPU's local APIC runs.
    ///
    /// # Errors
    /// QEMU is gone.
    pub fn ask_timer(&mut self, cpu: u32) -> Result<()> {
        let arguments = json!({ "command-line": "info lapic", "cpu-index": cpu });
        self.send(&json!({ "execute": "human-monitor-command", "id": TIMER, "arguments": arguments }))
    }

    /// Has QEMU end a machine that has stopped, with the status that its guest has chosen, if it has.
    ///
    /// # Errors
    /// QEMU is gone.
    pub fn quit(&mut self) -> Result<()> {
        self.send(&json!({ "execute": "quit" }))
    }

    /// Waits for the registers of all CPUs.
    ///
    /// # Errors
    /// QEMU is gone, or did not answer in time.
    pub fn registers(&mut self) -> Result<String> {
        self.ask_registers()?;
        loop {
            if let Some(Answer::Registers(registers)) = self.answer() {
                return Ok(registers);
            }
            if !self.receive()? {
                bail!("QEMU has gone");
            }
        }
    }

    fn send(&mut self, message: &Value) -> Result<()> {
        self.stream.write_all(format!("{message}\n").as_bytes()).context("QEMU does not listen")
    }

    /// Takes the next whole line out of what was read.
    fn next_message(&mut self) -> Result<Option<Value>> {
        let Some(end) = self.unread.iter().position(|&byte| byte == b'\n') else {
            return Ok(None);
        };
        let line: Vec<u8> = self.unread.drain(..=end).collect();
        Ok(Some(serde_json::from_slice(&line).context("QEMU's control socket does not speak JSON")?))
    }

    fn sort(&mut self, message: &Value) {
        if message["id"] == CLOCK {
            self.answers.extend(seconds(&message["return"]).map(|time| Answer::Clock(Duration::from_secs(time))));
        } else if message["id"] == REGISTERS {
            self.answers.extend(message["return"].as_str().map(|text| Answer::Registers(text.to_owned())));
        } else if message["id"] == TIMER {
            self.answers.push_back(Answer::Timer { runs: message["return"].as_str().is_some_and(timer_runs) });
        } else if message["event"] == "SHUTDOWN" {
            self.events.push_back(match message["data"]["reason"].as_str() {
                Some("guest-reset" | "subsystem-reset") => Stopped::Reset,
                Some("guest-shutdown") => Stopped::PoweredOff,
                Some("host-signal") => Stopped::Killed,
                _ => Stopped::Quit,
            });
        }
    }
}

/// The names of questions, which come back with the answers.
const CLOCK: &str = "clock";
const REGISTERS: &str = "registers";
const TIMER: &str = "timer";

/// Whether a timer runs, out of all that QEMU tells of a local APIC.
fn timer_runs(apic: &str) -> bool {
    const LEFT: &str = "current_count = ";
    apic.split_once(LEFT).is_some_and(|(_, left)| !left.starts_with('0'))
}

/// The seconds since 1970 of what QEMU calls a `struct tm`; `None` if it is none.
fn seconds(time: &Value) -> Option<u64> {
    let field = |name: &str| time[name].as_u64();
    let (year, month, day) = (1900 + field("tm_year")?, 1 + field("tm_mon")?, field("tm_mday")?);
    // The year begins with March, so that the day that some years have more is its last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day;
    let days = days.checked_sub(719_469)?;
    Some(((days * 24 + field("tm_hour")?) * 60 + field("tm_min")?) * 60 + field("tm_sec")?)
}

/// Where a CPU stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cpu {
    /// QEMU's number for it.
    pub number: u32,
    /// Its instruction pointer.
    pub rip: u64,
    /// It waits for an interrupt.
    pub halted: bool,
    /// Interrupts that can be masked reach it.
    pub interruptible: bool,
}

/// The bit of the flags that lets interrupts in.
const INTERRUPT_FLAG: u64 = 1 << 9;

/// Reads where each CPU stands out of [`Qmp::registers`]: `RIP` and `RFL` in 64-bit mode, `EIP` and `EFL` in others.
#[must_use]
pub fn cpus(registers: &str) -> Vec<Cpu> {
    let mut cpus: Vec<Cpu> = Vec::new();
    for word in registers.split_whitespace() {
        if let Some(digits) = word.strip_prefix("CPU#") {
            let number = digits.parse().unwrap_or(0);
            cpus.push(Cpu { number, rip: 0, halted: false, interruptible: false });
        } else if let (Some((name, value)), Some(cpu)) = (word.split_once('='), cpus.last_mut()) {
            let number = u64::from_str_radix(value, 16).unwrap_or(0);
            match name {
                "RIP" | "EIP" => cpu.rip = number,
                "RFL" | "EFL" => cpu.interruptible = number & INTERRUPT_FLAG != 0,
                "HLT" => cpu.halted = number == 1,
                _ => {}
            }
        }
    }
    cpus
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_told_apart_and_answers_found_between_them() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut qmp = Qmp::new(ours).unwrap();
        theirs
            .write_all(b"{\"QMP\": {}}\r\n{\"return\": {}}\r\n{\"event\": \"RESUME\"}\r\n{\"event\": \"SHUT")
            .unwrap();
        assert!(qmp.receive().unwrap());
        assert_eq!(qmp.stopped(), None);
        theirs.write_all(b"DOWN\", \"data\": {\"guest\": true, \"reason\": \"guest-reset\"}}\r\n").unwrap();
        assert!(qmp.receive().unwrap());
        assert_eq!((qmp.stopped(), qmp.stopped()), (Some(Stopped::Reset), None));
        theirs
            .write_all(b"{\"event\": \"STOP\"}\r\n{\"return\": \"CPU#0\\r\\nRIP=10 \", \"id\": \"registers\"}\r\n")
            .unwrap();
        assert_eq!(qmp.registers().unwrap(), "CPU#0\r\nRIP=10 ");
        theirs.write_all(b"{\"return\": {\"tm_sec\": 1}, \"id\": \"clock\"}\r\n").unwrap();
        theirs.write_all(b"{\"id\": \"clock\", \"return\": {\"tm_year\": 70, \"tm_mon\": 0, \"tm_mday\": 2, ").unwrap();
        theirs.write_all(b"\"tm_hour\": 1, \"tm_min\": 1, \"tm_sec\": 1}}\r\n").unwrap();
        assert!(qmp.receive().unwrap());
        assert_eq!((qmp.answer(), qmp.answer()), (Some(Answer::Clock(Duration::from_secs(90_061))), None));
        for (count, runs) in [("0", false), ("10", true)] {
            let text = format!("LVTT\\t one-shot\\r\\nTimer\\t initial_count = 10 current_count = {count}\\r\\n");
            theirs.write_all(format!("{{\"return\": \"{text}\", \"id\": \"timer\"}}\r\n").as_bytes()).unwrap();
            assert!(qmp.receive().unwrap());
            assert_eq!(qmp.answer(), Some(Answer::Timer { runs }));
        }
        drop(theirs);
        assert!(!qmp.receive().unwrap());
    }

    #[test]
    fn times_are_counted_in_seconds() {
        let time = |year: u32, month: u32, day: u32| {
            seconds(&json!({ "tm_year": year - 1900, "tm_mon": month - 1, "tm_mday": day,
                             "tm_hour": 0, "tm_min": 0, "tm_sec": 5 }))
        };
        assert_eq!(time(1970, 1, 1), Some(5));
        assert_eq!(time(2000, 2, 29), Some(951_782_405));
        assert_eq!(time(2000, 3, 1), Some(951_868_805));
        assert_eq!(time(2026, 12, 31), Some(1_798_675_205));
        assert_eq!(seconds(&json!({})), None);
    }

    #[test]
    fn each_cpu_is_found_in_the_registers() {
        let text = "\r\nCPU#0\r\nRAX=00 RBX=1\r\nRIP=ffffffff80004072 RFL=00000246 [---Z-P-] CPL=0 II=0 A20=1 SMM=0 HLT=0\r\n\
                    CPU#1\r\nEAX=00\r\nEIP=0000fff0 EFL=00000002 [-------] CPL=0 II=0 A20=1 SMM=0 HLT=1\r\n";
        let expected = [
            Cpu { number: 0, rip: 0xffff_ffff_8000_4072, halted: false, interruptible: true },
            Cpu { number: 1, rip: 0xfff0, halted: true, interruptible: false },
        ];
        assert_eq!(cpus(text), expected);
        assert_eq!(cpus("no such command"), []);
    }
}
