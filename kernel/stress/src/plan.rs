//! What a run is to be.

use crate::failure::Failure;
use crate::machine::Machine;
use core::time::Duration;

/// What is to be done.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// How many CPUs take part: the first that run.
    pub cpus: usize,
    /// How long.
    pub time: Duration,
    /// Whether timers are to fire.
    pub timers: bool,
    /// Another seed, other operations.
    pub seed: u64,
    /// Whether somebody on the console can end it early.
    pub cancellable: bool,
}

impl Plan {
    /// Whether this machine can do that.
    ///
    /// # Errors
    /// [`Failure`], if not.
    pub fn check<M: Machine>(&self) -> Result<(), Failure> {
        if self.time.is_zero() {
            return Err(Failure::NoTime);
        }
        let running = M::online().count();
        if self.cpus == 0 || self.cpus > running {
            return Err(Failure::BadCpus { asked: self.cpus, running });
        }
        if self.timers && !M::has_timers() {
            return Err(Failure::NoTimer);
        }
        Ok(())
    }
}
