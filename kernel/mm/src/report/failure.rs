//! What is said of a refused request.

use core::fmt;

use super::show_mem;
use crate::allocator::Failure;
use crate::cpu::Cpu;

impl<C: Cpu> fmt::Display for Failure<'_, '_, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.suppressed > 0 {
            writeln!(f, "warn_alloc: {} callbacks suppressed", self.suppressed)?;
        }
        writeln!(f, "{}", self.error)?;
        show_mem(self.frames, f)
    }
}
