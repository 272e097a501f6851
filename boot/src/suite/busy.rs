//! Processes that do nothing but keep the host busy, to show that no test minds.

use anyhow::{Context, Result, ensure};
use std::process::{Child, Command, Stdio};

/// Keeps a processor busy for as long as its parent, the host program, is there.
const SPIN: &str = "while kill -0 $PPID 2>/dev/null; do i=0; while [ $i -lt 100000 ]; do i=$((i + 1)); done; done";

/// Busy processes, which end with this.
pub(super) struct Busy(Vec<Child>);

impl Busy {
    /// Starts so many.
    pub(super) fn start(count: usize) -> Result<Busy> {
        let mut busy = Busy(Vec::new());
        for _ in 0..count {
            let child = Command::new("sh").args(["-c", SPIN]).stdin(Stdio::null()).stdout(Stdio::null()).spawn();
            busy.0.push(child.context("cannot start a busy process")?);
        }
        Ok(busy)
    }

    /// Ends them, which were busy all the time.
    ///
    /// # Errors
    /// One had ended before.
    pub(super) fn end(mut self) -> Result<()> {
        for child in &mut self.0 {
            ensure!(child.try_wait()?.is_none(), "a busy process ended before the suite did");
        }
        Ok(())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // One that has ended already is no worse.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::time::Duration;

    #[test]
    fn they_are_busy_until_they_are_ended() {
        let busy = Busy::start(2).unwrap();
        let ids: Vec<u32> = busy.0.iter().map(Child::id).collect();
        // Ticks of processor time: the 14th field, the 12th behind the name in parentheses.
        let ticks = |id: &u32| -> u64 {
            let status = fs::read_to_string(format!("/proc/{id}/stat")).unwrap();
            status.rsplit(')').next().unwrap().split_whitespace().nth(11).unwrap().parse().unwrap()
        };
        while !ids.iter().all(|id| ticks(id) > 1) {
            std::thread::sleep(Duration::from_millis(1));
        }
        busy.end().unwrap();
        assert!(ids.iter().all(|id| !fs::exists(format!("/proc/{id}")).unwrap()));
    }
}
