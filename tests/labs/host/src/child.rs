//! Work in a process of its own, which may end as it likes.

use std::cell::RefCell;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::FromRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::{fmt, process, ptr};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// How a process ended that did not do its work to the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It panicked, with this message.
    Panicked(String),
    /// It was not done in the processor's time that it had.
    Hung,
    /// The system ended it, with this signal: a stack that is too deep, most likely.
    Crashed(i32),
}

impl Ended {
    /// Whether it is the same end. A panic may say another number.
    pub fn is_like(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Panicked(message) => write!(f, "it panicked: {message}"),
            Self::Hung => f.write_str("it hung: it never came back from this"),
            Self::Crashed(signal) => write!(f, "it crashed with signal {signal}; was the stack too deep?"),
        }
    }
}

/// A line that says that the work panicked.
const PANIC: &str = "panic ";

/// Does `work` in a process of its own that may compute for so long, and gives `each` what it tells meanwhile. `None` if it did
/// its work to the end.
///
/// # Panics
/// The system gives no process or no pipe.
pub fn run<M: Serialize + DeserializeOwned>(
    limit: Duration,
    work: impl FnOnce(&mut dyn FnMut(&M)),
    mut each: impl FnMut(M),
) -> Option<Ended> {
    note_panics();
    let mut ends = [0; 2];
    // SAFETY: the array has room for the two descriptors, which are this function's alone.
    assert_eq!(unsafe { libc::pipe(ends.as_mut_ptr()) }, 0, "the system gives no pipe");
    // SAFETY: both were opened a moment ago and have no other owner.
    let [from, to] = ends.map(|end| unsafe { File::from_raw_fd(end) });
    // SAFETY: the child only computes, writes to the pipe and ends; of what other threads may hold it needs nothing but malloc's
    // locks, which the system's library looks after.
    match unsafe { libc::fork() } {
        -1 => panic!("the system gives no process"),
        0 => {
            drop(from);
            child(limit, work, to)
        }
        child => {
            drop(to);
            let mut panicked = None;
            for line in BufReader::new(from).lines().map_while(Result::ok) {
                match line.strip_prefix(PANIC) {
                    Some(message) => panicked = Some(serde_json::from_str(message).unwrap_or_default()),
                    // The last line of one that was ended may be cut off.
                    None => serde_json::from_str(&line).into_iter().for_each(&mut each),
                }
            }
            ended(child, panicked)
        }
    }
}

/// Waits for a process, and says how it ended if that was early.
fn ended(child: libc::pid_t, panicked: Option<String>) -> Option<Ended> {
    let mut status = 0;
    // SAFETY: the child is this process's, and nobody else waits for it.
    unsafe { libc::waitpid(child, &raw mut status, 0) };
    match () {
        () if panicked.is_some() => panicked.map(Ended::Panicked),
        () if !libc::WIFSIGNALED(status) => None,
        () if libc::WTERMSIG(status) == libc::SIGVTALRM => Some(Ended::Hung),
        () => Some(Ended::Crashed(libc::WTERMSIG(status))),
    }
}

/// Whether this process is one that was begun here to do some work.
static IN_CHILD: AtomicBool = AtomicBool::new(false);

/// Has panics in such processes be noted instead of shown. That is done before there is any: where a thread of the parent has just the
/// lock that this takes, a child would wait for it for ever.
fn note_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let shown = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !IN_CHILD.load(Ordering::Relaxed) {
                return shown(info);
            }
            let place = info.location().map_or_else(String::new, |place| {
                let file = place.file().rsplit('/').next().unwrap_or_default();
                format!(", at {file}:{}", place.line())
            });
            let message = info.payload_as_str().unwrap_or("it did not say why");
            let lines: Vec<&str> = message.lines().map(str::trim).collect();
            MESSAGE.set(format!("{}{place}", lines.join("; ")));
        }));
    });
}

thread_local! {
    static MESSAGE: RefCell<String> = const { RefCell::new(String::new()) };
}

fn child<M: Serialize>(limit: Duration, work: impl FnOnce(&mut dyn FnMut(&M)), mut to: File) -> ! {
    let timer = libc::itimerval {
        it_interval: libc::timeval { tv_sec: 0, tv_usec: 0 },
        it_value: libc::timeval { tv_sec: limit.as_secs() as i64, tv_usec: i64::from(limit.subsec_micros()) },
    };
    // SAFETY: the timer is this process's own, and ends it: nothing handles its signal. What the system says of a stack that is
    // too deep is of no use to anybody, and standard error is not used any more.
    unsafe {
        libc::setitimer(libc::ITIMER_VIRTUAL, &raw const timer, ptr::null_mut());
        libc::close(libc::STDERR_FILENO);
    }
    IN_CHILD.store(true, Ordering::Relaxed);
    let mut send = |line: String| {
        // Whoever reads it may have lost interest.
        let _ = to.write_all(line.as_bytes());
    };
    let done = catch_unwind(AssertUnwindSafe(|| {
        work(&mut |message| send(serde_json::to_string(message).expect("messages are plain data") + "\n"));
    }));
    if done.is_err() {
        send(format!("{PANIC}{}\n", serde_json::to_string(&MESSAGE.take()).expect("text is plain data")));
    }
    // Without what a process does at its end: that is the parent's to do.
    // SAFETY: nothing of this process is needed any more.
    unsafe { libc::_exit(0) };
    #[allow(unreachable_code, reason = "what the system does not do, this does")]
    process::abort()
}
