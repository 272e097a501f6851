//! The console on COM1: where people read what the kernel says and type what it should do.
//!
//! Set up before anything that can go wrong, so that it can be said. Everything printed goes through one lock, which masks
//! interrupts, so that lines do not mix and no interrupt can find it held.

use crate::screen;
use crate::sync::{Mutex, lockdep};
use core::fmt::{self, Write};
use core::hint;
use heapless::Deque;
use log::{LevelFilter, Metadata, Record};
use uart_16550::backend::PioBackend;
use uart_16550::spec::registers::{FifoTriggerLevel, IER, LSR};
use uart_16550::{BaudRate, Config, Uart16550, Uart16550Tty};

/// The I/O port at which COM1 starts on every PC.
const COM1: u16 = 0x3f8;

static CONSOLE: Mutex<Uart16550Tty<PioBackend>> = Mutex::new("console", {
    // SAFETY: COM1's ports belong to this static alone for as long as the kernel runs.
    match unsafe { Uart16550::new_port(COM1) } {
        Ok(uart) => Uart16550Tty::from_inner(uart),
        Err(_) => panic!("COM1 lies inside the port space"),
    }
});

/// Bytes that were typed, and looked through for [`CANCEL`], before somebody reads them.
static TYPED: Mutex<Deque<u8, 1024>> = Mutex::new("typed ahead", Deque::new());

/// Ctrl-C, in ASCII the character `ETX`: what is going on is to end. A byte that is part of no command, and of no other
/// key, so that nothing else that is typed can be mistaken for it.
pub const CANCEL: u8 = 0x03;

static LOGGER: Logger = Logger;

/// Sets COM1 up and routes the `log` crate's records to it.
///
/// A machine without COM1 boots all the same, without a word.
pub fn init() {
    let config = Config {
        baud_rate: BaudRate::Baud115200,
        // An interrupt for every byte: a person's typing must not wait for a queue to fill.
        fifo_trigger_level: Some(FifoTriggerLevel::One),
        interrupts: IER::DATA_READY,
        ..Config::DEFAULT
    };
    lockdep::print_with(try_write);
    // Without the device there is nobody to tell.
    let _ = CONSOLE.lock().inner_mut().init(config);
    if log::set_logger(&LOGGER).is_ok() {
        log::set_max_level(LevelFilter::Info);
    }
}

/// Prints to the console. What [`print!`](crate::print) and [`println!`](crate::println) expand to.
///
/// The text is made without the console's lock, which is taken for each line that is finished: what prints itself may take
/// locks, and whoever prints may hold one.
pub fn write(text: fmt::Arguments<'_>) {
    let mut line = Line { bytes: [0; Line::CAPACITY], length: 0 };
    // A console has no errors to report, so neither has the formatting.
    let _ = line.write_fmt(text);
    line.flush();
}

/// As [`write`], unless the console is in use just now: then it does nothing, and returns false.
fn try_write(text: fmt::Arguments<'_>) -> bool {
    CONSOLE.try_lock().map(|mut uart| write_to(&mut uart, text)).is_some()
}

fn write_to(uart: &mut Uart16550Tty<PioBackend>, text: fmt::Arguments<'_>) {
    // A UART has no errors to report, so neither has the formatting.
    let _ = uart.write_fmt(text);
    screen::write(text);
}

/// Sends bytes as they are.
pub(crate) fn write_bytes(bytes: &[u8]) {
    CONSOLE.lock().inner_mut().send_bytes_exact(bytes);
}

/// Waits until all that was printed has left the port.
pub(crate) fn flush() {
    flush_port(CONSOLE.lock().inner_mut());
}

/// Waits until all that was sent has left a port. Of one that is not there every bit is read as set.
pub(crate) fn flush_port(uart: &mut Uart16550<PioBackend>) {
    while !uart.lsr().contains(LSR::TRANSMITTER_EMPTY) {
        hint::spin_loop();
    }
}

/// Whether there is a byte from the console that nobody has read.
pub fn is_key_waiting() -> bool {
    !TYPED.lock().is_empty() || CONSOLE.lock().inner_mut().ready_to_receive().is_ok()
}

/// Whether [`CANCEL`] was typed, which is forgotten with that. All else that was typed is there for [`try_read_byte`] as before:
/// it is for what comes next. Behind more of that than anybody types, `CANCEL` is not seen until some of it is read.
pub fn is_cancelled() -> bool {
    let mut typed = TYPED.lock();
    while !typed.is_full()
        && let Ok(byte) = CONSOLE.lock().inner_mut().try_receive_byte()
    {
        if byte == CANCEL {
            return true;
        }
        typed.push_back(byte).expect("it is not full");
    }
    false
}

/// The next byte that was typed, if there is one.
pub fn try_read_byte() -> Option<u8> {
    let mut typed = TYPED.lock();
    typed.pop_front().or_else(|| CONSOLE.lock().inner_mut().try_receive_byte().ok())
}

/// Breaks the console's lock, for a kernel that stops here and must still say why.
///
/// # Safety
/// Interrupts are masked and whoever holds the lock never runs again.
pub unsafe fn seize() {
    // SAFETY: by this function's contract no one is left to hold the lock.
    unsafe { CONSOLE.seize() };
}

/// Prints to the console.
#[macro_export]
macro_rules! print {
    ($($arg:tt)*) => { $crate::console::write(format_args!($($arg)*)) };
}

/// Prints to the console, with a new line at the end.
#[macro_export]
macro_rules! println {
    () => { $crate::print!("\n") };
    ($($arg:tt)*) => { $crate::console::write(format_args!("{}\n", format_args!($($arg)*))) };
}

/// A line on its way to the console, or what fits of it.
struct Line {
    bytes: [u8; Self::CAPACITY],
    length: usize,
}

impl Line {
    /// Longer ones arrive in pieces.
    const CAPACITY: usize = 256;

    fn flush(&mut self) {
        let text = core::str::from_utf8(&self.bytes[..self.length]).unwrap_or("(not text)");
        if !text.is_empty() {
            write_to(&mut CONSOLE.lock(), format_args!("{text}"));
        }
        self.length = 0;
    }
}

impl fmt::Write for Line {
    fn write_str(&mut self, mut text: &str) -> fmt::Result {
        while !text.is_empty() {
            let end = text.find('\n').map_or(text.len(), |newline| newline + 1);
            let part = &text[..text.floor_char_boundary(end.min(Self::CAPACITY - self.length))];
            self.bytes[self.length..][..part.len()].copy_from_slice(part.as_bytes());
            self.length += part.len();
            text = &text[part.len()..];
            if part.ends_with('\n') || !text.is_empty() {
                self.flush();
            }
        }
        Ok(())
    }
}

/// Takes the `log` crate's records to the console.
struct Logger;

impl log::Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            println!("{:<5} {}", record.level(), record.args());
        }
    }

    fn flush(&self) {}
}

/// The console as a destination for formatted text, for code that takes a [`fmt::Write`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Console;

impl fmt::Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        write(format_args!("{text}"));
        Ok(())
    }
}
