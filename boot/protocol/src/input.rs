//! What the host asks of a guest: text files in QEMU's `fw_cfg` device, each optional.
//!
//! `fw_cfg` reads the same on BIOS and UEFI, before any driver is there, and holds any length: a command line through
//! the boot loader would need an image for every set of commands.

/// The port that takes a selector, 16 bits wide.
pub const FW_CFG_SELECTOR: u16 = 0x510;

/// The port that yields the selected item's bytes one by one.
pub const FW_CFG_DATA: u16 = 0x511;

/// The selector of the device's signature, the bytes `QEMU`.
pub const FW_CFG_SIGNATURE: u16 = 0x0000;

/// The selector of the file directory: a big-endian `u32` count, then per file a big-endian `u32` size, a big-endian
/// `u16` selector, two reserved bytes and a name of 56 bytes, padded with zeros.
pub const FW_CFG_FILE_DIRECTORY: u16 = 0x0019;

/// Shell commands, separated by `;`: run them one after another, then end the machine.
pub const COMMANDS: &str = "opt/bifolio/cmd";

/// Decimal index of the test to begin with. The host boots again with the next one after a test that killed its kernel.
pub const FIRST_TEST: &str = "opt/bifolio/first-test";

/// Which tests to run, as a [`Selection`](crate::Selection).
pub const SELECTION: &str = "opt/bifolio/selection";

/// There, with any content, if tests are to be listed rather than run.
pub const LIST: &str = "opt/bifolio/list";

/// How the time-stamp counter counts guest instructions: it advances by two to the power of this decimal number with
/// each, the same in every run, so an instruction count is a difference of ticks shifted right by it.
///
/// Missing where the counter counts something host-dependent. (The shift is not 0 because firmware waits on timers by
/// polling them: on a clock of one nanosecond an instruction UEFI takes minutes to boot, on 128 it takes seconds.)
pub const CLOCK_SHIFT: &str = "opt/bifolio/clock-shift";

/// There, with any content, if every operation on page frames is to be written to [`TRACE_PORT`](crate::TRACE_PORT), as a trace.
pub const TRACE: &str = "opt/bifolio/trace";

/// Boot parameters, as on a kernel's command line: words, most of them `name=value`.
pub const PARAMETERS: &str = "opt/bifolio/parameters";

/// There, with any content, if somebody watches the machine's display: show the console on the framebuffer as well.
pub const SCREEN: &str = "opt/bifolio/screen";

/// What the terminal can show that a person sees the console on, as a [`Terminal`](crate::Terminal); missing if the console goes
/// to a file or a pipe.
pub const TERMINAL: &str = "opt/bifolio/terminal";

/// There, with any content, if what is typed comes from a file or a pipe: a script, which fails if one of its commands does.
pub const SCRIPT: &str = "opt/bifolio/script";
