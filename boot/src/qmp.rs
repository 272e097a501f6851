//! QEMU's machine protocol: why a machine stopped, and what its CPUs were doing.
//!
//! A reset that the guest asked for and a triple fault look the same from outside, and a guest that hangs says nothing
//! at all. QEMU knows: the machine is made to stand still when it would reset, and is then asked for its registers.

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// The longest that QEMU may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// The control socket of one QEMU.
#[derive(Debug)]
pub struct Qmp {
    stream: UnixStream,
    unread: Vec<u8>,
    events: VecDeque<Stopped>,
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
        let mut qmp = Qmp { stream, unread: Vec::new(), events: VecDeque::new() };
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

    /// The registers of all CPUs in QEMU's own format.
    ///
    /// # Errors
    /// QEMU is gone, or did not answer in time.
    pub fn registers(&mut self) -> Result<String> {
        let command = json!({ "execute": "human-monitor-command", "id": "registers",
                              "arguments": { "command-line": "info registers -a" } });
        self.send(&command)?;
        loop {
            while let Some(message) = self.next_message()? {
                if message["id"] == "registers" {
                    return message["return"].as_str().map(Into::into).context("QEMU does not tell the registers");
                }
                self.sort(&message);
            }
            let mut buffer = [0; 4096];
            match self.stream.read(&mut buffer)? {
                0 => bail!("QEMU has gone"),
                count => self.unread.extend(&buffer[..count]),
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
        if message["event"] != "SHUTDOWN" {
            return;
        }
        self.events.push_back(match message["data"]["reason"].as_str() {
            Some("guest-reset" | "subsystem-reset") => Stopped::Reset,
            Some("guest-shutdown") => Stopped::PoweredOff,
            Some("host-signal") => Stopped::Killed,
            _ => Stopped::Quit,
        });
    }
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
}

/// Reads where each CPU stands out of [`Qmp::registers`].
#[must_use]
pub fn cpus(registers: &str) -> Vec<Cpu> {
    let mut cpus: Vec<Cpu> = Vec::new();
    let mut number = 0;
    for word in registers.split_whitespace() {
        if let Some(digits) = word.strip_prefix("CPU#") {
            number = digits.parse().unwrap_or(0);
        } else if let Some(Ok(rip)) = word.strip_prefix("RIP=").map(|digits| u64::from_str_radix(digits, 16)) {
            cpus.push(Cpu { number, rip, halted: false });
        } else if let (Some(flag), Some(cpu)) = (word.strip_prefix("HLT="), cpus.last_mut()) {
            cpu.halted = flag == "1";
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
        drop(theirs);
        assert!(!qmp.receive().unwrap());
    }

    #[test]
    fn each_cpu_is_found_in_the_registers() {
        let text = "\r\nCPU#0\r\nRAX=00 RBX=1\r\nRIP=ffffffff80004072 RFL=00000046 [---Z-P-] CPL=0 II=0 A20=1 SMM=0 HLT=0\r\n\
                    CPU#1\r\nRIP=000000000000fff0 RFL=00000002 [-------] CPL=0 II=0 A20=1 SMM=0 HLT=1\r\n";
        let expected = [
            Cpu { number: 0, rip: 0xffff_ffff_8000_4072, halted: false },
            Cpu { number: 1, rip: 0xfff0, halted: true },
        ];
        assert_eq!(cpus(text), expected);
        assert_eq!(cpus("CPU#0 EIP"), []);
    }
}
