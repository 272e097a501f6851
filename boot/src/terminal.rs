//! The user's side of a run: keys as they are pressed, what the terminal can show, and the signals that end a run.
//!
//! The guest edits its own lines, so the terminal hands over each key and echoes none. Ctrl-C is the guest's too: it ends a
//! command there, and never the machine. To leave the machine there is Ctrl-A x, as in QEMU, whatever state the guest is in.
//! Ctrl-Z is the guest's, since nothing would restore the terminal for a program that stands still. Where no keys are taken,
//! as with `CMD=`, Ctrl-C is the signal that it always is.

use anyhow::{Context, Result};
use protocol::Terminal;
use rustix::termios::{self, LocalModes, OptionalActions, SpecialCodeIndex, Termios};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::low_level::pipe;
use signal_hook::{flag, low_level};
use std::io::{self, IsTerminal, Stdin};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

/// A terminal on standard input that gives single keys; as it was again when this goes, also while panicking.
pub struct Keys {
    stdin: Stdin,
    before: Option<Termios>,
}

impl Keys {
    /// Takes the keys of standard input. A file or a pipe there stays as it is.
    ///
    /// # Errors
    /// The terminal refuses its new modes.
    pub fn take() -> Result<Keys> {
        let stdin = io::stdin();
        if !stdin.is_terminal() {
            return Ok(Keys { stdin, before: None });
        }
        let before = termios::tcgetattr(&stdin).context("cannot read the terminal's modes")?;
        let mut modes = before.clone();
        modes.local_modes -= LocalModes::ICANON | LocalModes::ECHO | LocalModes::IEXTEN;
        modes.input_modes -= termios::InputModes::ICRNL | termios::InputModes::IXON;
        modes.special_codes[SpecialCodeIndex::VMIN] = 1;
        modes.special_codes[SpecialCodeIndex::VTIME] = 0;
        modes.special_codes[SpecialCodeIndex::VSUSP] = 0;
        modes.special_codes[SpecialCodeIndex::VINTR] = 0;
        termios::tcsetattr(&stdin, OptionalActions::Now, &modes).context("cannot set the terminal's modes")?;
        Ok(Keys { stdin, before: Some(before) })
    }

    /// Standard input, to wait on.
    #[must_use]
    pub fn stdin(&self) -> &Stdin {
        &self.stdin
    }

    /// Whether a person can press keys here.
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        self.before.is_some()
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            // Nothing can be done about a terminal that has gone.
            let _ = termios::tcsetattr(&self.stdin, OptionalActions::Now, before);
        }
    }
}

/// Finds Ctrl-A x among keys.
#[derive(Debug, Default)]
pub struct Leaving {
    is_begun: bool,
}

impl Leaving {
    const CTRL_A: u8 = 1;

    /// Whether these keys, which follow those that were asked about before, leave the machine.
    #[must_use]
    pub fn is_among(&mut self, keys: &[u8]) -> bool {
        keys.iter().any(|&key| {
            let was_begun = std::mem::replace(&mut self.is_begun, key == Self::CTRL_A);
            was_begun && matches!(key, b'x' | b'X')
        })
    }
}

/// What the terminal on standard output can show; `None` if there is none.
#[must_use]
pub fn on_stdout() -> Option<Terminal> {
    let term = console::Term::stdout();
    let (rows, columns) = term.size();
    term.is_term().then(|| Terminal {
        columns,
        rows,
        unicode: term.features().wants_emoji(),
        colour: term.features().colors_supported() && console::colors_enabled(),
    })
}

/// The signals that end this program's runs: Ctrl-C where it is one, Ctrl-\, a hangup and a polite kill.
pub struct Signals {
    /// Becomes readable with the first signal and stays so, for all runs that wait.
    arrived: UnixStream,
    which: Arc<AtomicUsize>,
}

impl Signals {
    fn take() -> Result<Signals> {
        let (arrived, sender) = UnixStream::pair()?;
        let which = Arc::new(AtomicUsize::new(0));
        for signal in [SIGINT, SIGQUIT, SIGTERM, SIGHUP] {
            let number = usize::try_from(signal).expect("signals are positive");
            flag::register_usize(signal, Arc::clone(&which), number)?;
            pipe::register(signal, sender.try_clone()?)?;
        }
        Ok(Signals { arrived, which })
    }

    /// Readable once a signal has come.
    #[must_use]
    pub fn stream(&self) -> &UnixStream {
        &self.arrived
    }

    /// The signal that has come, if any has.
    #[must_use]
    pub fn received(&self) -> Option<i32> {
        i32::try_from(self.which.load(Ordering::Relaxed)).ok().filter(|&signal| signal != 0)
    }
}

/// This program's signals, taken from the system by the first call.
///
/// # Errors
/// The system refuses.
pub fn signals() -> Result<&'static Signals> {
    static SIGNALS: OnceLock<Signals> = OnceLock::new();
    if let Some(signals) = SIGNALS.get() {
        return Ok(signals);
    }
    let signals = Signals::take().context("cannot take signals")?;
    Ok(SIGNALS.get_or_init(|| signals))
}

/// The name of a signal that [`Signals`] takes.
#[must_use]
pub fn signal_name(signal: i32) -> &'static str {
    low_level::signal_name(signal).unwrap_or("a signal")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_a_x_leaves_and_nothing_else_does() {
        let mut leaving = Leaving::default();
        for keys in [b"x".as_slice(), b"\x01ax", b"ctrl-a x", b"\x01", b"", b"\x01", b"a", b"x\x01"] {
            assert!(!leaving.is_among(keys), "{keys:?}");
        }
        assert!(leaving.is_among(b"x"), "in two pieces");
        assert!(leaving.is_among(b"alloc\x01X"));
    }
}
