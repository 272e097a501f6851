//! Where in a kernel's program operations were asked for: a trace says so by return addresses, and is told here in words what those are.
//!
//! The words go into the trace itself, while the kernel that it was made of is at hand: so whoever has the trace needs no more.

use crate::symbols::{Frame, Symbols};
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;
use tempfile::NamedTempFile;
use trace::{Header, Sink, Site};

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

struct Bytes(Vec<u8>);

impl Sink for Bytes {
    fn put(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }
}

/// Writes into a trace what its sites are called, by the kernel that it was made of.
///
/// # Errors
/// The trace cannot be read, or not be written.
pub fn name(trace: &Path, kernel: &Path) -> Result<()> {
    let bytes = fs::read(trace).with_context(|| format!("cannot read {}", trace.display()))?;
    let Ok((_, first)) = Header::read(&bytes) else { return Ok(()) };
    let (mut place, mut sites) = (first, BTreeMap::new());
    let mut note = |site, is: Site<'_>| {
        if let Site::At(addresses) = is {
            sites.insert(site, addresses.to_vec());
        }
    };
    while let Ok(Some(_)) = place.next_with(&bytes, &mut note) {}
    let symbols = Symbols::of(kernel);
    let mut named = Bytes(bytes[..first.offset()].to_vec());
    for (site, addresses) in sites {
        if let Some(text) = told(&symbols, &addresses) {
            trace::write_site_name(&mut named, site, &text);
        }
    }
    named.put(&bytes[first.offset()..]);
    // Whoever is sent the trace as it grows has the file as it was.
    let directory = trace.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = NamedTempFile::new_in(directory)?;
    file.write_all(&named.0)?;
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
