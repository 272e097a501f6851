//! A machine that waits for gdb, and the command that it prints for that, as somebody would use them.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Builds what these arguments of cargo's name, and finds the ELF file of this kind of target.
fn build(arguments: &[&str], kind: &str) -> PathBuf {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(arguments).args(["--target", "x86_64-unknown-none", "--message-format=json"]);
    let output = cargo.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let messages = String::from_utf8(output.stdout).unwrap();
    boot::suite::executables(&messages, kind).pop().expect("it was built")
}

/// Whether there is a gdb; if not, says what is left out.
fn has_gdb() -> bool {
    let is_there =
        Command::new("gdb").arg("--version").stdout(Stdio::null()).status().is_ok_and(|status| status.success());
    if !is_there {
        // Past the test harness, which keeps what a test prints that passes.
        let _ = io::stderr().write_all(b"skipped: a machine that waits for gdb, which is not on this host\n");
    }
    is_there
}

/// Runs the host program with these arguments and the gdb that it asks for, which does these commands once it has stopped.
/// Returns what the host program printed, and gdb.
fn debug(arguments: &[&str], commands: &[&str]) -> (String, String) {
    let mut boot = Command::new(env!("CARGO_BIN_EXE_boot"))
        .args(arguments)
        .arg("--gdb")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(boot.stderr.take().unwrap()).lines().map(Result::unwrap);
    let gdb = lines.find(|line| line.starts_with("  gdb ")).expect("it prints the command");
    let commands: String = commands.iter().map(|command| format!(" -ex '{command}'")).collect();
    // What gdb says while it stops the machine goes to its standard error.
    let session = format!("exec 2>&1; {gdb} -nx -batch -ex 'set pagination off'{commands}");
    let output = Command::new("sh").args(["-c", &session]).stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut printed = String::new();
    boot.stdout.take().unwrap().read_to_string(&mut printed).unwrap();
    boot.wait().unwrap();
    (printed, said)
}

#[test]
fn gdb_stops_in_generic_code_of_the_kernel() {
    if !has_gdb() {
        return;
    }
    let kernel = build(&["build", "-p", "kernel"], "bin");
    let run = ["run", "--kernel", kernel.to_str().unwrap(), "--cmd", "alloc_contig 3000; validate"];
    // First where the printed command says; then in another generic function, with the argument that it was given.
    let commands = ["bt", "delete", "break take_contiguous", "continue", "bt", "delete", "continue"];
    let (printed, said) = debug(&run, &commands);
    assert!(
        said.contains("bifolio::allocator::PageAllocator<kernel::sync::processor::Processor>::allocate_in"),
        "{said}"
    );
    assert!(said.contains("::take_contiguous<") && said.contains("frames=3000"), "{said}");
    assert!(printed.contains("3000 frames") && printed.contains("every invariant holds"), "{printed}");
}

#[test]
fn gdb_stops_in_a_booted_test_for_as_long_as_it_likes() {
    if !has_gdb() {
        return;
    }
    let kernel = build(&["test", "-p", "specimens", "--no-run"], "test");
    let name = "returns_an_error";
    let run = ["runner", kernel.to_str().unwrap(), "--exact", name, "--timeout", "1"];
    // Longer than a test may take that nobody looks at.
    let (printed, said) = debug(&run, &["bt 1", "shell sleep 3", "delete", "continue"]);
    assert!(said.contains("Breakpoint 1, framework::run "), "{said}");
    assert!(printed.contains("error: this specimen returns an error"), "{printed}");
    assert!(printed.contains("it returned an error") && printed.contains("0 passed; 1 failed"), "{printed}");
}
