//! How a guest ends its machine.
//!
//! QEMU's `isa-debug-exit` device ends the emulator with status `(value << 1) | 1`. The values stay clear of what QEMU
//! itself exits with (0 for an ordered end, 1 for a bad command line), so the host can tell a guest that spoke from one
//! that could not.

/// The port of the `isa-debug-exit` device.
pub const PORT: u16 = 0xf4;

/// What a guest writes to [`PORT`], 32 bits wide, as its last act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum ExitCode {
    /// All that was asked for succeeded.
    Success = 0x10,
    /// The kernel is well, but a command or a test failed.
    Failure = 0x11,
    /// The kernel panicked.
    Panic = 0x12,
}

impl ExitCode {
    /// The status that QEMU exits with when a guest ends with this code.
    #[must_use]
    pub const fn qemu_status(self) -> i32 {
        ((self as i32) << 1) | 1
    }

    /// What the guest said, given QEMU's exit status; `None` if that status does not come from a guest.
    #[must_use]
    pub fn from_qemu_status(status: i32) -> Option<ExitCode> {
        [ExitCode::Success, ExitCode::Failure, ExitCode::Panic].into_iter().find(|code| code.qemu_status() == status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_told_apart_from_qemus_own() {
        assert_eq!(ExitCode::from_qemu_status(0x21), Some(ExitCode::Success));
        assert_eq!(ExitCode::from_qemu_status(0x23), Some(ExitCode::Failure));
        assert_eq!(ExitCode::from_qemu_status(0x25), Some(ExitCode::Panic));
        for other in [0, 1, 2, 0x10, 0x20, 0x22, 0x27, 101, 137] {
            assert_eq!(ExitCode::from_qemu_status(other), None);
        }
    }
}
