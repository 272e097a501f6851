//! Where in a kernel's program operations were asked for: a trace says so by return addresses, and is told here in words what those are.
//!
//! The words go into the trace itself, while the kernel that it was made of is at hand: so whoever has the trace needs no more.

use crate::symbols::{Frame, Symbols};
use anyhow::{Context, Result};
use std::fs;
use std::io::Write;
use std::path::Path;
use tempfile::NamedTempFile;
use trace::{Broken, Defect, Header, MAGIC, Place, Sink, Site};

/// Where the kernel's own code lies, and its tests'.
const OWN: [&str; 2] = ["kernel/", "tests/"];
/// What asks on behalf of others: the crate, the heap's source of memory and the like. Nobody wants to know that those ask.
const BETWEEN: [&str; 5] = [
    "kernel/mm/",
    "kernel/src/memory/heap.rs",
    "kernel/src/memory/frames.rs",
    "kernel/src/memory/record",
    "kernel/src/sync/",
];
/// Calls that are told of: what asks, and what called that.
const TOLD: usize = 2;

/// Says what the sites of a trace are called, as it comes: of each before the first operation that was asked for there.
pub struct Naming {
    symbols: Symbols,
    /// What has come of the trace.
    trace: Vec<u8>,
    /// How much of that was given on.
    given: usize,
    /// Where it is read next: nowhere before there is a whole header.
    place: Option<Place>,
}

impl Naming {
    /// One for the trace of a kernel.
    #[must_use]
    pub fn of(kernel: &Path) -> Self {
        Self { symbols: Symbols::of(kernel), trace: Vec::new(), given: 0, place: None }
    }

    /// Takes what has come of the trace, and gives what there is of it as whole records, with the names between those. What is no trace is
    /// given as it is.
    pub fn named(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.trace.extend_from_slice(bytes);
        let mut named = Vec::new();
        if self.place.is_none() {
            match Header::read(&self.trace) {
                Ok((_, first)) => {
                    self.give(&mut named, first.offset());
                    self.place = Some(first);
                }
                Err(broken) if broken.defect == Defect::Cut || MAGIC.starts_with(&self.trace) => {}
                Err(_) => self.give(&mut named, self.trace.len()),
            }
        }
        while let Some(place) = &mut self.place {
            let mut sites = Vec::new();
            let mut note = |site, is: Site<'_>| {
                if let Site::At(addresses) = is {
                    sites.push((site, addresses.to_vec()));
                }
            };
            let end = match place.next_with(&self.trace, &mut note) {
                Ok(Some(_)) => place.offset(),
                Ok(None) | Err(Broken { defect: Defect::Cut, .. }) => break,
                Err(_) => self.trace.len(),
            };
            for (site, addresses) in sites {
                if let Some(text) = told(&self.symbols, &addresses) {
                    trace::write_site_name(&mut named, site, &text);
                }
            }
            self.give(&mut named, end);
            if end == self.trace.len() {
                break;
            }
        }
        named
    }

    /// What has come and was not given: less than a record.
    #[must_use]
    pub fn rest(&self) -> &[u8] {
        &self.trace[self.given..]
    }

    fn give(&mut self, to: &mut Vec<u8>, end: usize) {
        to.put(&self.trace[self.given..end]);
        self.given = end;
    }
}

/// Writes into a trace what its sites are called, by the kernel that it was made of.
///
/// # Errors
/// The trace cannot be read, or not be written.
pub fn name(trace: &Path, kernel: &Path) -> Result<()> {
    let mut naming = Naming::of(kernel);
    let mut named = naming.named(&fs::read(trace).with_context(|| format!("cannot read {}", trace.display()))?);
    named.extend_from_slice(naming.rest());
    // Whoever is sent the trace as it grows has the file as it was.
    let directory = trace.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = NamedTempFile::new_in(directory)?;
    file.write_all(&named)?;
    file.persist(trace).with_context(|| format!("cannot write {}", trace.display()))?;
    Ok(())
}

/// A site in words: the innermost calls that are of interest.
fn told(symbols: &Symbols, addresses: &[u64]) -> Option<String> {
    // A return address is behind its call.
    let frames = addresses.iter().flat_map(|address| symbols.frames(address.wrapping_sub(1)));
    let of_interest = |frame: &Frame| {
        let is_own = OWN.iter().any(|own| frame.file.starts_with(own));
        is_own && !BETWEEN.iter().any(|between| frame.file.starts_with(between))
    };
    let told: Vec<String> = frames.filter(of_interest).take(TOLD).map(|frame| frame.to_string()).collect();
    (!told.is_empty()).then(|| told.join(", called by "))
}
