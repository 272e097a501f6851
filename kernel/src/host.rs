//! The way to the host program: what it asks of this boot, the events it follows, the end of the machine.
//!
//! The words and formats stand in `protocol`, which the host program shares. On a machine without a host program (no
//! `fw_cfg`, no COM2, no exit device) everything here is absent and nothing depends on it.

use crate::arch::clock::time_stamp;
use crate::arch::local;
use crate::console;
use crate::sync::Mutex;
use core::fmt::{self, Write};
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use core::time::Duration;
use protocol::event::{self, MAX_FRAME, MAX_TEXT};
use protocol::{Event, ExitCode, exit, input};
use qemu_fw_cfg::FwCfg;
use spin::Once;
use uart_16550::backend::PioBackend;
use uart_16550::{BaudRate, Config, Uart16550};
use x86_64::instructions::port::Port;

static EVENTS: Mutex<Option<Uart16550<PioBackend>>> = Mutex::new("events", None);
/// By how many bits the time-stamp counter is ahead of the instructions; [`UNKNOWN`] if it counts something else.
static CLOCK_SHIFT: AtomicU32 = AtomicU32::new(UNKNOWN);
const UNKNOWN: u32 = u32::MAX;
/// What is to be done before the machine ends, and whether that has begun.
static BEFORE_EXIT: Once<fn(ExitCode)> = Once::new();
static IS_ENDING: AtomicBool = AtomicBool::new(false);

/// Sets COM2 up for events and learns how to count instructions.
pub fn init() {
    // SAFETY: this is the only place that touches COM2's ports, and the value moves into the only static for it.
    if let Ok(mut uart) = unsafe { Uart16550::new_port(event::COM2) } {
        let config = Config { baud_rate: BaudRate::Baud115200, ..Config::DEFAULT };
        if uart.init(config).is_ok() {
            *EVENTS.lock() = Some(uart);
        }
    }
    send(&Event::Started);
    let shift = Input::read(input::CLOCK_SHIFT);
    if let Some(shift) = shift.as_str().and_then(|shift| shift.parse().ok()).filter(|&shift| shift < u64::BITS) {
        CLOCK_SHIFT.store(shift, Ordering::Relaxed);
    }
}

/// Whether somebody watches the machine's display.
pub fn wants_screen() -> bool {
    Input::read(input::SCREEN).is_given()
}

/// Sends an event to the host program, if one listens.
pub fn send(event: &Event<'_>) {
    let mut buffer = [0; MAX_FRAME];
    let frame = event::encode(event, &mut buffer);
    if let Some(uart) = EVENTS.lock().as_mut() {
        // The host reads two ports: this byte in the console's text says where in it the event belongs.
        console::write_bytes(&[event::SYNC]);
        uart.send_bytes_exact(frame);
    }
}

/// Hands the host program more of a trace.
pub fn write_trace(bytes: &[u8]) {
    let mut port = Port::<u8>::new(protocol::TRACE_PORT);
    // SAFETY: the port is that of QEMU's `isa-debugcon`, which a host program that wants a trace has put there.
    bytes.iter().for_each(|&byte| unsafe { port.write(byte) });
}

/// Breaks the lock on the events' port, for a kernel that stops here and must still say why.
///
/// # Safety
/// Interrupts are masked and whoever holds the lock never runs again.
pub unsafe fn seize() {
    // SAFETY: by this function's contract no one is left to hold the lock.
    unsafe { EVENTS.seize() };
}

/// Has this done before the machine ends, with the reason. Only the first time counts, and it is done once.
pub(crate) fn before_exit(act: fn(ExitCode)) {
    BEFORE_EXIT.call_once(|| act);
}

/// Ends the machine, or, where nothing listens to that, stops the CPU.
///
/// The host may be slow to take what is sent to it, and what still waits in a port would end with the machine.
pub fn exit(code: ExitCode) -> ! {
    /// What is read where nothing answers.
    const NOBODY: u32 = u32::MAX;
    if let Some(act) = BEFORE_EXIT.get().filter(|_| !IS_ENDING.swap(true, Ordering::Relaxed)) {
        act(code);
    }
    console::flush();
    if let Some(uart) = EVENTS.lock().as_mut() {
        console::flush_port(uart);
    }
    let mut port = Port::<u32>::new(exit::PORT);
    // SAFETY: under QEMU the port belongs to isa-debug-exit; on a PC nothing answers there.
    let is_there = unsafe { port.read() } != NOBODY;
    // SAFETY: the port is isa-debug-exit's, or nobody's.
    unsafe { port.write(code as u32) };
    if !is_there {
        crate::println!("The machine cannot be switched off from here: stopped.");
    }
    // QEMU may take a moment to end, and this CPU has nothing to say any more.
    local::halt();
}

/// Measures how long something takes, in instructions where the host counts them.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch {
    start: u64,
}

impl Stopwatch {
    /// Starts to measure. Works before [`init`].
    pub fn start() -> Self {
        Self { start: time_stamp() }
    }

    /// How long it has been.
    pub fn elapsed(&self) -> Ticks {
        let difference = time_stamp().wrapping_sub(self.start);
        match CLOCK_SHIFT.load(Ordering::Relaxed) {
            UNKNOWN => Ticks(difference),
            shift => Ticks(difference >> shift),
        }
    }
}

/// A time: the guest's instructions, the same in every run, where the host counts those; otherwise the cycles of whatever
/// clock the machine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticks(pub u64);

impl fmt::Display for Ticks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match CLOCK_SHIFT.load(Ordering::Relaxed) {
            UNKNOWN => "cycles",
            _ => "instructions",
        };
        write!(f, "{} {unit}", self.0)
    }
}

impl Ticks {
    /// How many instructions the machine counts in so long a time; `None` where it does not count them.
    pub fn in_time(time: Duration) -> Option<Self> {
        match CLOCK_SHIFT.load(Ordering::Relaxed) {
            UNKNOWN => None,
            shift => Some(Self(time.as_nanos() as u64 >> shift)),
        }
    }
}

/// One of the host's inputs, up to [`Input::CAPACITY`] bytes.
pub struct Input {
    bytes: [u8; Self::CAPACITY],
    /// The file's own length, which may be more than `bytes` holds; `None` if there is no such file.
    length: Option<usize>,
}

impl Input {
    /// Bytes that an input may have.
    pub const CAPACITY: usize = 4096;

    /// Reads the `fw_cfg` file of this name.
    pub fn read(name: &str) -> Self {
        // `FwCfg` is for one user at a time: selecting and reading are two steps.
        static FW_CFG: Mutex<()> = Mutex::new("fw_cfg", ());
        let mut input = Self { bytes: [0; Self::CAPACITY], length: None };
        let _one_user = FW_CFG.lock();
        // SAFETY: the lock makes this the only `FwCfg`. Without QEMU the ports answer with all ones, which is not the
        // signature that it looks for.
        if let Ok(mut device) = unsafe { FwCfg::new_for_x86() }
            && let Some(file) = device.find_file(name)
        {
            device.read_file_to_buffer(&file, &mut input.bytes);
            input.length = Some(file.size());
        }
        input
    }

    /// Whether the host gave this input at all.
    pub fn is_given(&self) -> bool {
        self.length.is_some()
    }

    /// The input's bytes; `None` if it was not given or is longer than [`Input::CAPACITY`].
    pub fn as_bytes(&self) -> Option<&[u8]> {
        self.bytes.get(..self.length?)
    }

    /// The input as text; `None` if it was not given, is too long or is not UTF-8.
    pub fn as_str(&self) -> Option<&str> {
        core::str::from_utf8(self.as_bytes()?).ok()
    }
}

/// Formats `text` for an event, where memory cannot be asked for. What is too long is cut.
pub fn with_text<R>(text: fmt::Arguments<'_>, then: impl FnOnce(&str) -> R) -> R {
    let mut buffer = Text { bytes: [0; MAX_TEXT], length: 0 };
    // The only error is that the buffer is full: the beginning is what an event has room for.
    let _ = buffer.write_fmt(text);
    then(core::str::from_utf8(&buffer.bytes[..buffer.length]).unwrap_or("(not text)"))
}

struct Text {
    bytes: [u8; MAX_TEXT],
    length: usize,
}

impl Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let part = &text[..text.floor_char_boundary(self.bytes.len() - self.length)];
        self.bytes[self.length..][..part.len()].copy_from_slice(part.as_bytes());
        self.length += part.len();
        if part.len() == text.len() { Ok(()) } else { Err(fmt::Error) }
    }
}
