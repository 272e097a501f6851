//! A program of a stranger's, kept from the host by bubblewrap: no network, no processes but its own, nothing to write to.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// Bubblewrap's command.
const BUBBLEWRAP: &str = "bwrap";
/// What a program gets: the system to read, an empty place of its own, and nothing else.
const OPTIONS: &[&str] = &[
    "--unshare-all",
    "--die-with-parent",
    "--new-session",
    "--clearenv",
    "--ro-bind",
    "/",
    "/",
    "--dev",
    "/dev",
    "--proc",
    "/proc",
    "--tmpfs",
    "/tmp",
    "--chdir",
    "/tmp",
];

/// Whether programs can be kept from this host: bubblewrap is there and allowed to work.
pub fn is_there() -> bool {
    static IS_THERE: OnceLock<bool> = OnceLock::new();
    let try_it = || {
        let mut command = Command::new(BUBBLEWRAP);
        command.args(OPTIONS).arg("true").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    *IS_THERE.get_or_init(try_it)
}

/// A program, kept from this host.
pub fn command(program: &Path) -> Command {
    let mut command = Command::new(BUBBLEWRAP);
    // The program itself may lie where the empty place covers it.
    command.args(OPTIONS).arg("--ro-bind").arg(program).arg("/tmp/program").arg("/tmp/program");
    command
}
