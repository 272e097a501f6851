//! Addresses of a kernel as functions and lines, from its unstripped ELF file.
//!
//! Kernels are linked to run at a fixed address, so an address that a guest prints, or that a stopped CPU stands at, is
//! one of the ELF file.

use addr2line::Loader;
use object::{Object, ObjectSection, SectionKind};
use protocol::backtrace;
use std::fmt;
use std::ops::Range;
use std::path::Path;

/// What is known about the addresses in a kernel.
pub struct Symbols {
    loader: Option<Loader>,
    /// Where code lies. Debug information also tells of functions that the linker threw away, at addresses near zero.
    code: Vec<Range<u64>>,
    /// The workspace, with a slash at its end.
    root: Option<String>,
}

/// A function, and the place in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Frame {
    /// The function's path.
    pub function: String,
    /// The file, from the workspace.
    pub file: String,
    /// The line.
    pub line: u32,
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}:{}", self.function, self.file, self.line)
    }
}

/// What debug information tells of a function that an instruction is of.
struct Known {
    function: Option<String>,
    /// Its file, from the workspace, and the line in it.
    place: Option<(String, u32)>,
}

impl Symbols {
    /// The symbols of `kernel`. A file without any, or one that cannot be read, knows nothing of any address: a missing
    /// name must not keep a kernel from running.
    #[must_use]
    pub fn of(kernel: &Path) -> Symbols {
        Symbols { loader: Loader::new(kernel).ok(), code: code_of(kernel).unwrap_or_default(), root: workspace() }
    }

    /// Function, file and line of the instruction at `address`; a line more for each function that it was inlined into,
    /// the one that really was called last. `None` if nothing is known.
    #[must_use]
    pub fn describe(&self, address: u64) -> Option<String> {
        let in_words = |Known { function, place }| {
            let place = place.map(|(file, line)| format!(" at {file}:{line}")).unwrap_or_default();
            function.unwrap_or_else(|| "?".to_owned()) + &place
        };
        let mut lines: Vec<String> = self.inlined(address)?.into_iter().map(in_words).collect();
        if lines.is_empty() {
            let symbol = self.loader.as_ref()?.find_symbol(address)?;
            lines.push(without_hash(&addr2line::demangle_auto(symbol.into(), None)).to_owned());
        }
        Some(lines.join("\n       inlined into "))
    }

    /// The functions that the instruction at `address` is of, one for each that it was inlined into, the one that really was called
    /// last: as far as it is known where they are.
    #[must_use]
    pub fn frames(&self, address: u64) -> Vec<Frame> {
        let frame = |Known { function, place }| {
            let (file, line) = place?;
            Some(Frame { function: function?, file, line })
        };
        self.inlined(address).into_iter().flatten().filter_map(frame).collect()
    }

    /// The same, with what is known of each. `None` if there is no code.
    fn inlined(&self, address: u64) -> Option<Vec<Known>> {
        let loader = self.loader.as_ref().filter(|_| self.code.iter().any(|range| range.contains(&address)))?;
        let mut frames = loader.find_frames(address).ok()?;
        let mut all = Vec::new();
        while let Ok(Some(frame)) = frames.next() {
            let name = frame.function.as_ref().and_then(|function| function.demangle().ok());
            let place = frame.location.and_then(|location| location.file.zip(location.line));
            let place = place.map(|(file, line)| (self.shortened(file).to_owned(), line));
            all.push(Known { function: name.map(|name| without_hash(&name).to_owned()), place });
        }
        Some(all)
    }

    /// What [`describe`](Self::describe) says, for a line of a backtrace.
    #[must_use]
    pub fn describe_frame(&self, line: backtrace::Line) -> Option<String> {
        self.describe(line.instruction())
    }

    /// A path from the workspace, a crate's directory or the library's: what comes before is the same everywhere.
    fn shortened<'f>(&self, file: &'f str) -> &'f str {
        if let Some(inside) = self.root.as_deref().and_then(|root| file.strip_prefix(root)) {
            return inside;
        }
        if let Some((_, inside)) = file.split_once("/rustlib/src/rust/") {
            return inside;
        }
        for root in ["/registry/src/", "/rustc/"] {
            if let Some((_, inside)) = file.split_once(root) {
                return inside.split_once('/').map_or(inside, |(_, path)| path);
            }
        }
        file
    }
}

/// The addresses of the sections that can be executed.
fn code_of(kernel: &Path) -> Option<Vec<Range<u64>>> {
    let bytes = std::fs::read(kernel).ok()?;
    let file = object::File::parse(&*bytes).ok()?;
    let code = file.sections().filter(|section| section.kind() == SectionKind::Text);
    Some(code.map(|section| section.address()..section.address() + section.size()).collect())
}

/// A legacy mangled name's last part is a hash that means nothing to people.
fn without_hash(name: &str) -> &str {
    match name.rsplit_once("::h") {
        Some((front, hash)) if hash.len() == 16 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()) => front,
        _ => name,
    }
}

/// The workspace that this runs in: cargo runs tests in the directories of their packages, and names files from its own.
fn workspace() -> Option<String> {
    let here = std::env::current_dir().ok()?;
    let root = here.ancestors().filter(|directory| directory.join("Cargo.lock").is_file()).last()?;
    Some(format!("{}/", root.to_str()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[inline(never)]
    fn landmark() -> u64 {
        std::hint::black_box(1)
    }

    #[test]
    fn an_address_becomes_function_file_and_line() {
        use object::ObjectSymbol;
        // This very program carries debug information as a kernel does.
        let program = std::env::current_exe().unwrap();
        let bytes = std::fs::read(&program).unwrap();
        let file = object::File::parse(&*bytes).unwrap();
        let is_landmark = |name: &str| name.contains("symbols") && name.contains("landmark");
        let address = file.symbols().find(|symbol| symbol.name().is_ok_and(is_landmark)).unwrap().address();
        let symbols = Symbols::of(&program);
        let text = symbols.describe(address + landmark() - 1).unwrap();
        assert!(text.contains("boot::symbols::tests::landmark at boot/src/symbols.rs:"), "{text}");
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
        let symbols = Symbols { loader: None, code: vec![], root: Some("/home/x/bifolio/".into()) };
        for (file, expected) in [
            ("/home/x/bifolio/tests/framework/src/lib.rs", "tests/framework/src/lib.rs"),
            ("/home/x/.cargo/registry/src/index-1/log-0.4/src/lib.rs", "log-0.4/src/lib.rs"),
            ("/rustc/abcdef/library/core/src/panicking.rs", "library/core/src/panicking.rs"),
            ("/usr/lib/rustlib/src/rust/library/core/src/fmt/mod.rs", "library/core/src/fmt/mod.rs"),
            ("kernel/src/main.rs", "kernel/src/main.rs"),
        ] {
            assert_eq!(symbols.shortened(file), expected);
        }
    }
}
