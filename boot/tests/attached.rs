//! A running machine in a browser: what is typed is heard at once, and is what the kernel did.

mod page;

use bifolio::allocator::Call;
use bifolio::frame::Order;
use boot::browser::Browser;
use replay::World;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

/// A machine whose memory is shown.
struct Machine {
    boot: Child,
    keys: Option<ChildStdin>,
    address: String,
}

impl Machine {
    fn start(options: &[&str]) -> Machine {
        page::code();
        let build = ["build", "-q", "-p", "kernel", "--target", "x86_64-unknown-none"];
        assert!(Command::new(env!("CARGO")).args(build).status().unwrap().success());
        let mut boot = Command::new(env!("CARGO_BIN_EXE_boot"))
            .args(["run", "--mem", "64M", "--explore"])
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(boot.stderr.take().unwrap());
        let mut line = String::new();
        let address = loop {
            line.clear();
            assert!(said.read_line(&mut line).unwrap() > 0, "no address is said");
            if let Some((_, address)) = line.split_once("http://") {
                break address.split('/').next().unwrap().to_owned();
            }
        };
        Machine { keys: boot.stdin.take(), boot, address }
    }

    fn enter(&mut self, command: &str) {
        writeln!(self.keys.as_mut().unwrap(), "{command}").unwrap();
    }

    /// Asks for a path: the head of the answer, and what follows.
    fn ask(&self, path: &str) -> (String, BufReader<TcpStream>) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.address).unwrap();
        let (mut head, mut answer) = (String::new(), BufReader::new(stream));
        while !head.ends_with("\r\n\r\n") {
            assert!(answer.read_line(&mut head).unwrap() > 0, "{head}");
        }
        (head, answer)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Of a test that has failed. Asked to stop, the host program sees to it that the emulator ends too.
        if matches!(self.boot.try_wait(), Ok(None)) {
            let _ = Command::new("sh").args(["-c", &format!("kill {}", self.boot.id())]).status();
            let _ = self.boot.wait();
        }
    }
}

/// Somebody who listens to the trace of a machine, and does what is heard.
struct Listener {
    stream: BufReader<TcpStream>,
    heard: Vec<u8>,
    /// None before there is a whole header.
    world: Option<World>,
}

impl Listener {
    fn of(machine: &Machine) -> Listener {
        let (head, stream) = machine.ask("/trace");
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        Listener { stream, heard: Vec::new(), world: None }
    }

    /// Hears what comes next, and does it; false at the end.
    fn listen(&mut self) -> bool {
        let mut length = String::new();
        self.stream.read_line(&mut length).unwrap();
        let length = usize::from_str_radix(length.trim_end(), 16).expect("the end is said");
        let mut bytes = vec![0; length + 2];
        self.stream.read_exact(&mut bytes).unwrap();
        assert_eq!(bytes.split_off(length), b"\r\n");
        self.heard.extend_from_slice(&bytes);
        match &mut self.world {
            Some(world) => world.extend(&bytes).unwrap(),
            None => self.world = World::attach(self.heard.clone(), 1 << 24).ok(),
        }
        if let Some(world) = &mut self.world {
            world.run().unwrap();
        }
        length > 0
    }

    /// Listens until a block of this order has been allocated.
    fn hear_block(&mut self, order: u8) {
        let is_it = |call| matches!(call, Call::Allocate { order: of, .. } if of == Order::new(order).unwrap());
        let mut is_heard = false;
        while !is_heard {
            assert!(self.listen(), "the machine has ended");
            let Some(world) = &self.world else { continue };
            world.for_each_operation(|_, _, last| is_heard |= is_it(last.call) && last.returned.is_some());
        }
    }
}

#[test]
fn whoever_listens_hears_at_once_what_is_typed_and_in_the_end_the_kernels_own_hash() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("trace");
    let mut machine = Machine::start(&["--smp", "2", "--trace", file.to_str().unwrap()]);
    let (head, mut page) = machine.ask("/");
    let mut text = String::new();
    page.read_to_string(&mut text).unwrap();
    assert!(head.starts_with("HTTP/1.1 200 ") && text.contains("connect-src 'self'"), "{head}");
    for path in ["/favicon.ico", "/trace/", "/../Cargo.toml"] {
        assert!(machine.ask(path).0.starts_with("HTTP/1.1 404 "));
    }
    let mut listener = Listener::of(&machine);
    // The second is typed only once the first was heard.
    for order in [7, 8] {
        machine.enter(&format!("alloc {order}"));
        listener.hear_block(order);
    }
    // What asked for it is heard with it.
    let mut askers = Vec::new();
    let world = listener.world.as_ref().unwrap();
    world.for_each_operation(|_, _, last| askers.extend(world.site_name(last.site).map(str::to_owned)));
    assert!(askers.iter().any(|asker| asker.contains("kernel/src/shell/")), "{askers:?}");
    let late = Listener::of(&machine);
    machine.enter("kmalloc 100 300; churn 500; free all; validate; poweroff");
    for mut listener in [listener, late] {
        while listener.listen() {}
        is_the_kernels(&listener, &file);
    }
    assert!(machine.boot.wait().unwrap().success());
    assert!(TcpStream::connect(&machine.address).is_err(), "nobody answers once the machine has ended");
}

/// What was heard is what the kernel wrote, and comes to the hash with which that ends.
fn is_the_kernels(listener: &Listener, file: &Path) {
    const HASH: u8 = 0xb0;
    let (heard, world) = (&listener.heard, listener.world.as_ref().unwrap());
    assert!(std::fs::read(file).unwrap() == *heard);
    let ([.., mark], hash) = heard.split_at(heard.len() - 8) else { panic!("it is too short") };
    assert_eq!(*mark, HASH, "a trace of the kernel's ends with a hash");
    assert_eq!(world.hash(), u64::from_le_bytes(hash.try_into().unwrap()));
    assert!(world.operation() == world.total() && world.operation() > 500);
}

#[test]
fn the_page_shows_what_is_typed_while_the_machine_runs() {
    let Some(program) = page::chromium() else { return };
    let mut machine = Machine::start(&["--smp", "2"]);
    let mut browser = Browser::start(&program).unwrap();
    browser.set(1280, 900, false).unwrap();
    browser.visit(&format!("http://{}/", machine.address)).unwrap();
    let is_told = |words: &str| {
        format!("[...document.querySelectorAll('#log > *')].some((one) => one.textContent.includes('{words}'))")
    };
    machine.enter("alloc 7 MOVABLE");
    browser.wait_for(&is_told("alloc 7 ")).unwrap();
    assert_eq!(browser.evaluate("document.getElementById('live').textContent").unwrap(), "attached");
    let history = "explorer.wasm.history(explorer.wasm.touched()), explorer.text()";
    let history = browser.evaluate(history).unwrap();
    assert!(history.as_str().unwrap().contains("kernel/src/shell/"), "{history}");
    // A page that shows another moment goes on showing it.
    browser.evaluate("explorer.seek(5)").unwrap();
    let total = browser.evaluate("explorer.wasm.total()").unwrap();
    machine.enter("alloc 8");
    browser.wait_for(&format!("explorer.wasm.total() > {total}")).unwrap();
    assert_eq!(browser.evaluate("explorer.wasm.operation()").unwrap(), 5.0);
    browser.evaluate("explorer.seek(explorer.wasm.total())").unwrap();
    machine.enter("alloc 6; poweroff");
    browser.wait_for("document.getElementById('live').textContent === 'the machine has ended'").unwrap();
    browser.wait_for("explorer.wasm.operation() === explorer.wasm.total()").unwrap();
    assert_eq!(browser.evaluate(&is_told("alloc 6 ")).unwrap(), Value::Bool(true));
    assert_eq!(browser.evaluate("document.getElementById('alert').hidden").unwrap(), Value::Bool(true));
    assert_eq!(browser.take_problems(), [""; 0]);
    assert!(machine.boot.wait().unwrap().success());
}
