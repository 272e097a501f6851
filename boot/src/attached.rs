//! A running machine in a browser: the explorer's page, and the machine's trace as it grows, at an address of this host alone.
//!
//! The kernel's operations go into a file byte by byte, as for `--trace`, and whoever has the page open is sent what comes to it. That is
//! all that is answered: two paths, to whoever asks for this very address. A page of somebody else's, which has a name of its own lead here
//! ("DNS rebinding"), names the wrong host, and gets nothing. All of it ends with the machine.

use crate::explorer;
use crate::options;
use crate::sites::Naming;
use anyhow::{Context, Result};
use clap::{ArgAction, Args};
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// What becomes of the operations of a machine.
#[derive(Args, Clone, Debug, Default)]
pub struct Recording {
    /// Write a trace of all operations on page frames to this file
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Show the machine's memory in a browser while it runs, at an address that is printed
    #[arg(long, env = "BIFOLIO_EXPLORE", value_parser = options::switch, action = ArgAction::SetTrue)]
    explore: bool,
}

impl Recording {
    /// Makes ready for that of a kernel: where the trace goes, and whoever sends it on.
    ///
    /// # Errors
    /// The page cannot be had, or there is no place for the trace.
    pub fn begin(&self, kernel: &Path) -> Result<Recorded> {
        if !self.explore {
            return Ok(Recorded { server: None, trace: self.trace.clone(), _place: None });
        }
        let place = tempfile::tempdir()?;
        let trace = self.trace.clone().unwrap_or_else(|| place.path().join("trace"));
        // There from the beginning, and without what another machine left there.
        File::create(&trace).with_context(|| format!("cannot write {}", trace.display()))?;
        let server = Server::start(explorer::attached()?, &trace, kernel)?;
        Ok(Recorded { server: Some(server), trace: Some(trace), _place: Some(place) })
    }
}

/// A recording that has begun; it ends when this is dropped.
#[derive(Debug)]
pub struct Recorded {
    server: Option<Server>,
    trace: Option<PathBuf>,
    /// Goes after the server, which reads what is in it.
    _place: Option<TempDir>,
}

impl Recorded {
    /// Where the trace goes.
    #[must_use]
    pub fn trace(&self) -> Option<&Path> {
        self.trace.as_deref()
    }

    /// Where a browser finds the page.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.server.as_ref().map(|server| server.shared.address)
    }
}

/// How often a trace is looked at for what has come.
const INTERVAL: Duration = Duration::from_millis(5);
/// How long somebody may take to ask, and after the end to take what is left.
const PATIENCE: Duration = Duration::from_secs(5);
/// Conversations at once: more than the tabs that anybody has open.
const MOST: usize = 32;
/// Bytes of a question, of which browsers send some hundreds.
const LONGEST: usize = 16 << 10;
/// Lines of a question's head.
const HEADERS: usize = 64;

#[derive(Debug)]
struct Server {
    shared: Arc<Shared>,
    listening: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    address: SocketAddr,
    page: String,
    trace: PathBuf,
    /// What knows the names of the trace's sites.
    kernel: PathBuf,
    has_ended: AtomicBool,
    conversations: AtomicUsize,
}

impl Server {
    fn start(page: String, trace: &Path, kernel: &Path) -> Result<Server> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("there is no free port on this host")?;
        let shared = Arc::new(Shared {
            address: listener.local_addr()?,
            page,
            trace: trace.to_owned(),
            kernel: kernel.to_owned(),
            has_ended: AtomicBool::new(false),
            conversations: AtomicUsize::new(0),
        });
        let listening = thread::spawn({
            let shared = Arc::clone(&shared);
            move || listen(&listener, &shared)
        });
        Ok(Server { shared, listening: Some(listening) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.has_ended.store(true, Ordering::SeqCst);
        // It waits for somebody: that is this.
        let _ = TcpStream::connect(self.shared.address);
        if let Some(listening) = self.listening.take() {
            let _ = listening.join();
        }
    }
}

/// Answers whoever comes, until the end, and then waits for those who still listen.
fn listen(listener: &TcpListener, shared: &Arc<Shared>) {
    let mut all: Vec<JoinHandle<()>> = Vec::new();
    for stream in listener.incoming() {
        if shared.has_ended.load(Ordering::SeqCst) {
            break;
        }
        let Ok(stream) = stream else { continue };
        all.retain(|one| !one.is_finished());
        if shared.conversations.fetch_add(1, Ordering::SeqCst) >= MOST {
            shared.conversations.fetch_sub(1, Ordering::SeqCst);
            continue;
        }
        let shared = Arc::clone(shared);
        all.push(thread::spawn(move || {
            // Whoever has gone away misses nothing.
            let _ = converse(stream, &shared);
            shared.conversations.fetch_sub(1, Ordering::SeqCst);
        }));
    }
    for one in all {
        let _ = one.join();
    }
}

fn converse(mut stream: TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(INTERVAL))?;
    stream.set_nodelay(true)?;
    let question = question(&mut stream)?;
    let answer = shared.answer(&question);
    shared.send(&mut stream, answer.head(shared.page.len()).as_bytes())?;
    match answer {
        Answer::Page => shared.send(&mut stream, shared.page.as_bytes()),
        Answer::Trace => shared.follow(&mut stream),
        Answer::Refused(_) => Ok(()),
    }
}

/// Reads the head of a question; nothing asked for here has a body.
fn question(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let (mut head, mut part, begun) = (Vec::new(), [0; 1024], Instant::now());
    while !head.windows(4).any(|end| end == b"\r\n\r\n") && head.len() < LONGEST && begun.elapsed() < PATIENCE {
        match stream.read(&mut part)? {
            0 => break,
            count => head.extend_from_slice(&part[..count]),
        }
    }
    Ok(head)
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Answer {
    Page,
    Trace,
    Refused(&'static str),
}

impl Answer {
    fn head(self, length: usize) -> String {
        let (status, body) = match self {
            Self::Page => ("200 OK", format!("Content-Type: text/html; charset=utf-8\r\nContent-Length: {length}")),
            Self::Trace => {
                ("200 OK", "Content-Type: application/octet-stream\r\nTransfer-Encoding: chunked".to_owned())
            }
            Self::Refused(status) => (status, "Content-Length: 0".to_owned()),
        };
        format!(
            "HTTP/1.1 {status}\r\n{body}\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n\
             Cross-Origin-Resource-Policy: same-origin\r\nConnection: close\r\n\r\n"
        )
    }
}

impl Shared {
    fn answer(&self, question: &[u8]) -> Answer {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS];
        let mut request = httparse::Request::new(&mut headers);
        if !request.parse(question).is_ok_and(|status| status.is_complete()) {
            return Answer::Refused("400 Bad Request");
        }
        let own = [self.address.to_string(), format!("localhost:{}", self.address.port())];
        let mut hosts = request.headers.iter().filter(|header| header.name.eq_ignore_ascii_case("host"));
        let is_own = |host: &httparse::Header<'_>| own.iter().any(|own| own.as_bytes() == host.value);
        if !hosts.next().is_some_and(is_own) || hosts.next().is_some() {
            return Answer::Refused("403 Forbidden");
        }
        match (request.method, request.path) {
            (Some("GET"), Some("/")) => Answer::Page,
            (Some("GET"), Some("/trace")) => Answer::Trace,
            (Some("GET"), _) => Answer::Refused("404 Not Found"),
            _ => Answer::Refused("405 Method Not Allowed"),
        }
    }

    /// Sends the trace, and what comes to it until the end.
    fn follow(&self, stream: &mut TcpStream) -> io::Result<()> {
        stream.set_read_timeout(Some(INTERVAL))?;
        let (mut trace, mut part) = (File::open(&self.trace)?, vec![0; 64 << 10]);
        let mut naming = Naming::of(&self.kernel);
        loop {
            // What comes before the end is read after it was asked for.
            let has_ended = self.has_ended.load(Ordering::SeqCst);
            match trace.read(&mut part)? {
                0 if has_ended => {
                    self.send_part(stream, naming.rest())?;
                    return self.send(stream, b"0\r\n\r\n");
                }
                0 => match stream.read(&mut [0; 64]) {
                    Ok(0) => return Ok(()),
                    Ok(_) => {}
                    Err(error) if is_timeout(&error) => {}
                    Err(error) => return Err(error),
                },
                count => self.send_part(stream, &naming.named(&part[..count]))?,
            }
        }
    }

    /// Sends a part of the trace, if it is one: an empty one would be the end.
    fn send_part(&self, stream: &mut TcpStream, part: &[u8]) -> io::Result<()> {
        let head = format!("{:x}\r\n", part.len());
        if part.is_empty() { Ok(()) } else { self.send(stream, &[head.as_bytes(), part, b"\r\n"].concat()) }
    }

    /// Sends all of this, however slowly it is taken, as long as the machine runs.
    fn send(&self, stream: &mut TcpStream, mut bytes: &[u8]) -> io::Result<()> {
        let mut since_end = None;
        while !bytes.is_empty() {
            match stream.write(bytes) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => bytes = &bytes[count..],
                Err(error) if is_timeout(&error) => {
                    if self.has_ended.load(Ordering::SeqCst)
                        && since_end.get_or_insert_with(Instant::now).elapsed() > PATIENCE
                    {
                        return Err(error);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a server says to a question, which has `$` where its address goes.
    fn say(question: &str) -> String {
        let trace = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(trace.path(), "what happened").unwrap();
        let server = Server::start("the page".into(), trace.path(), Path::new("no kernel")).unwrap();
        let mut stream = TcpStream::connect(server.shared.address).unwrap();
        let question = question.replace('$', &server.shared.address.to_string());
        // It may break off what it does not read to the end, while that is still being written too.
        let asked = stream.write_all(question.as_bytes());
        let _ = asked.and_then(|()| stream.shutdown(std::net::Shutdown::Write));
        let mut said = String::new();
        let _ = stream.read_to_string(&mut said);
        said
    }

    #[test]
    fn two_paths_are_answered_to_whoever_asks_for_this_host_by_its_address() {
        let page = say("GET / HTTP/1.1\r\nHost: $\r\n\r\n");
        assert!(page.starts_with("HTTP/1.1 200 OK\r\n") && page.ends_with("\r\n\r\nthe page"), "{page}");
        for (question, status) in [
            ("GET / HTTP/1.1\r\nHost: attacker.example\r\n\r\n", "403 Forbidden"),
            ("GET /trace HTTP/1.0\r\nHost: attacker.example:$\r\n\r\n", "403 Forbidden"),
            ("GET / HTTP/1.1\r\nHost: $\r\nHost: attacker.example\r\n\r\n", "403 Forbidden"),
            ("GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", "403 Forbidden"),
            ("GET / HTTP/1.1\r\n\r\n", "403 Forbidden"),
            ("GET /trace/ HTTP/1.1\r\nHost: $\r\n\r\n", "404 Not Found"),
            ("GET /../../etc/passwd HTTP/1.1\r\nHost: $\r\n\r\n", "404 Not Found"),
            ("GET http://$/ HTTP/1.1\r\nHost: $\r\n\r\n", "404 Not Found"),
            ("POST / HTTP/1.1\r\nHost: $\r\n\r\n", "405 Method Not Allowed"),
            ("\x16\x03\x01\x02\r\n\r\n", "400 Bad Request"),
            ("GET / HTTP/1.1\r\nHost: $\r\n", "400 Bad Request"),
            ("", "400 Bad Request"),
        ] {
            let said = say(question);
            assert!(said.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{question:?}: {said}");
            assert!(said.ends_with("Connection: close\r\n\r\n"), "{question:?}: nothing else is said: {said}");
        }
    }

    #[test]
    fn whoever_listens_hears_what_comes_until_the_machines_end() {
        let place = tempfile::tempdir().unwrap();
        let mut trace = File::create(place.path().join("trace")).unwrap();
        let server = Server::start(String::new(), &place.path().join("trace"), Path::new("no kernel")).unwrap();
        let address = server.shared.address;
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "GET /trace HTTP/1.1\r\nHost: localhost:{}\r\n\r\n", address.port()).unwrap();
        let mut heard = String::new();
        for part in ["what", " happened"] {
            trace.write_all(part.as_bytes()).unwrap();
            let expected = format!("{:x}\r\n{part}\r\n", part.len());
            while !heard.ends_with(&expected) {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                heard.push(char::from(byte[0]));
            }
        }
        trace.write_all(b"!").unwrap();
        drop(server);
        heard.clear();
        stream.read_to_string(&mut heard).unwrap();
        assert_eq!(heard, "1\r\n!\r\n0\r\n\r\n");
        assert!(TcpStream::connect(address).is_err(), "nobody answers any more");
    }

    #[test]
    fn a_question_that_is_too_long_is_none() {
        let long = format!("GET / HTTP/1.1\r\nHost: $\r\nX: {}\r\n\r\n", "x".repeat(4 * LONGEST));
        assert!(!say(&long).contains("200 OK"));
    }
}
