//! How gdb gets to a machine that waits for it.

use object::{Object, ObjectSymbol};
use std::net::TcpListener;
use std::path::Path;
use std::{fs, io};

/// What the user is told: how to start gdb so that it stops in `function`, and how to stop elsewhere.
///
/// gdb wants every parameter of a generic function's full name; a last name, or a line, is enough without. QEMU keeps the
/// breakpoints by address, so they can be set before the kernel is in memory.
///
/// # Errors
/// The system's.
pub fn instructions(kernel: &Path, listener: &TcpListener, function: &str) -> io::Result<String> {
    let port = listener.local_addr()?.port();
    let kernel = fs::canonicalize(kernel)?;
    let kernel = shlex::try_quote(&kernel.to_string_lossy()).map_err(io::Error::other)?.into_owned();
    Ok(format!(
        "The machine waits for gdb. In another terminal:\n  \
           gdb {kernel} -ex 'target remote :{port}' -ex 'break {function}' -ex continue\n\
         `break` takes a function by the last part of its name, generic or not, or a line: `break allocator/mod.rs:LINE`."
    ))
}

/// Where to stop for a test: in its function, if it is one of this name that was not inlined; else before the first test.
///
/// # Errors
/// The kernel cannot be read.
pub fn stop_for(test: Option<&str>, kernel: &Path) -> anyhow::Result<String> {
    const BEFORE_TESTS: &str = "framework::run";
    let Some(name) = test.and_then(|test| test.rsplit("::").next()) else { return Ok(BEFORE_TESTS.into()) };
    let file = fs::read(kernel)?;
    let symbols = object::File::parse(&*file)?;
    let mut names = symbols.symbols().filter_map(|symbol| symbol.name().ok());
    let is_it = |symbol: &str| addr2line::demangle_auto(symbol.into(), None).rsplit("::").next() == Some(name);
    Ok(if names.any(is_it) { name.into() } else { BEFORE_TESTS.into() })
}
