//! Addresses of a kernel as functions and lines, from its unstripped ELF file.
//!
//! Kernels are linked to run at a fixed address, so an address that a guest prints, or that a stopped CPU stands at, is
//! one of the ELF file.

use addr2line::Loader;
use protocol::backtrace;
use std::fmt::Write;
use std::path::Path;

/// What is known about the addresses in a kernel.
pub struct Symbols(Option<Loader>);

impl Symbols {
    /// The symbols of `kernel`. A file without any, or one that cannot be read, knows nothing of any address: a missing
    /// name must not keep a kernel from running.
    #[must_use]
    pub fn of(kernel: &Path) -> Symbols {
        Symbols(Loader::new(kernel).ok())
    }

    /// Function, file and line of the instruction at `address`; functions that were inlined there come first, the one
    /// that really was called last. `None` if nothing is known.
    #[must_use]
    pub fn describe(&self, address: u64) -> Option<String> {
        let loader = self.0.as_ref()?;
        let mut text = String::new();
        let mut frames = loader.find_frames(address).ok()?;
        while let Ok(Some(frame)) = frames.next() {
            let separator = if text.is_empty() { "" } else { ", inlined into " };
            let _ = match frame.function.as_ref().map(|function| function.demangle()) {
                Some(Ok(name)) => write!(text, "{separator}{}", without_hash(&name)),
                _ => write!(text, "{separator}?"),
            };
            if let Some((file, line)) = frame.location.and_then(|location| location.file.zip(location.line)) {
                let _ = write!(text, " at {}:{line}", shortened(file));
            }
        }
        if text.is_empty() {
            text = without_hash(&addr2line::demangle_auto(loader.find_symbol(address)?.into(), None)).to_owned();
        }
        Some(text)
    }

    /// The same for a line of a backtrace.
    #[must_use]
    pub fn describe_frame(&self, line: backtrace::Line) -> Option<String> {
        self.describe(line.instruction())
    }
}

/// A legacy mangled name's last part is a hash that means nothing to people.
fn without_hash(name: &str) -> &str {
    match name.rsplit_once("::h") {
        Some((front, hash)) if hash.len() == 16 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()) => front,
        _ => name,
    }
}

/// A path from the working directory, a crate's directory or the library's: what comes before is the same everywhere.
fn shortened(file: &str) -> &str {
    let here = std::env::current_dir()
        .ok()
        .and_then(|here| Some(format!("{}/", here.to_str()?)));
    if let Some(inside) = here.as_deref().and_then(|here| file.strip_prefix(here)) {
        return inside;
    }
    for root in ["/registry/src/", "/rustc/"] {
        if let Some((_, inside)) = file.split_once(root) {
            return inside.split_once('/').map_or(inside, |(_, path)| path);
        }
    }
    file
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An address of this very program, which carries debug information like a kernel does.
    #[test]
    #[inline(never)]
    fn an_address_becomes_function_file_and_line() {
        let program = std::env::current_exe().unwrap();
        let symbols = Symbols::of(&program);
        let bytes = std::fs::read(&program).unwrap();
        let file = object::File::parse(&*bytes).unwrap();
        use object::{Object, ObjectSymbol};
        let ours = file
            .symbols()
            .find(|symbol| {
                symbol
                    .name()
                    .is_ok_and(|name| name.contains("an_address_becomes") && !name.contains("closure"))
            })
            .unwrap();
        let text = symbols.describe(ours.address()).unwrap();
        assert!(
            text.contains("boot::symbols::tests::an_address_becomes_function_file_and_line"),
            "{text}"
        );
        assert!(text.contains("symbols.rs:"), "{text}");
        assert_eq!(symbols.describe(1), None);
    }

    #[test]
    fn a_file_without_symbols_knows_nothing() {
        assert_eq!(Symbols::of(Path::new("/nonexistent")).describe(0x1000), None);
    }

    #[test]
    fn paths_and_names_lose_what_says_nothing() {
        assert_eq!(without_hash("core::fmt::h0123456789abcdef"), "core::fmt");
        assert_eq!(without_hash("core::fmt::hello"), "core::fmt::hello");
        assert_eq!(
            shortened("/home/x/.cargo/registry/src/index-1/log-0.4/src/lib.rs"),
            "log-0.4/src/lib.rs"
        );
        assert_eq!(
            shortened("/rustc/abcdef/library/core/src/panicking.rs"),
            "library/core/src/panicking.rs"
        );
        assert_eq!(shortened("kernel/src/main.rs"), "kernel/src/main.rs");
    }
}
