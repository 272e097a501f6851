//! `bench record`: runs a program with the recorder preloaded, and makes a trace of what its busiest process did.

use super::{Event, Numbers, Trace};
use anyhow::{Context, Result, bail, ensure};
use std::collections::HashMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where the recorder looks for its folder.
const FOLDER: &str = "BIFOLIO_TRACE";
/// Words of an event of the recorder's.
const WORDS: usize = 4;
/// What the recorder's kinds of events are, in its order.
const ALLOCATE: u64 = 0;
const ALLOCATE_ZEROED: u64 = 1;
const REALLOCATE: u64 = 2;
const FREE: u64 = 3;
/// What C aligns an object to if it is as large as that.
const C_ALIGN: u32 = 16;

/// Runs the command, and writes its first `most` events to `out`.
///
/// # Errors
/// The recorder has not been built, the command fails or does nothing, or the file cannot be written.
pub fn record(command: &[String], most: usize, out: &Path) -> Result<()> {
    let recorder = recorder()?;
    let folder = tempfile::tempdir()?;
    let (program, arguments) = command.split_first().context("no command")?;
    let mut child = Command::new(program);
    child.args(arguments).env("LD_PRELOAD", &recorder).env(FOLDER, folder.path());
    let status = child.status().with_context(|| format!("cannot start {program}"))?;
    ensure!(status.success(), "{program} ended with {status}");

    let mut files = fs::read_dir(folder.path())?.collect::<Result<Vec<_>, _>>()?;
    files.sort_by_key(|file| file.metadata().map(|metadata| metadata.len()).unwrap_or_default());
    let busiest = files.pop().context("no process left any event: is it linked statically?")?;
    let recorded = fs::read(busiest.path())?;
    let (events, skipped) = translate(&recorded, most)?;
    let trace =
        Trace { program: command.join(" "), recorded: (recorded.len() / (WORDS * size_of::<u64>())) as u64, events };
    let bytes = trace.encode()?;
    fs::write(out, &bytes).with_context(|| format!("cannot write {}", out.display()))?;
    println!(
        "{}: {} of {} events in {} bytes; {} processes, and {skipped} events of objects that are unknown",
        out.display(),
        trace.events.len(),
        trace.recorded,
        bytes.len(),
        files.len() + 1
    );
    Ok(())
}

fn recorder() -> Result<PathBuf> {
    let own = env::current_exe()?;
    let target = own.ancestors().nth(2).context("this program lies in no target directory")?;
    let file = target.join("release/librecorder.so");
    ensure!(file.is_file(), "{} is not there: `cargo build --release -p recorder`", file.display());
    Ok(file)
}

/// From addresses to numbers. How many events were about objects that the recorder has not seen: a parent's, say.
fn translate(recorded: &[u8], most: usize) -> Result<(Vec<Event>, usize)> {
    let (mut numbers, mut live, mut skipped) = (Numbers::default(), HashMap::new(), 0);
    let mut events = Vec::new();
    let (words, _) = recorded.as_chunks::<8>();
    for event in words.chunks_exact(WORDS) {
        if events.len() >= most {
            break;
        }
        let [kind, address, other, size] = [0, 1, 2, 3].map(|nth| u64::from_ne_bytes(event[nth]));
        let size = u32::try_from(size.max(1)).context("an object of more than 4 GiB")?;
        let c_align = C_ALIGN.min(size.next_power_of_two()).max(8);
        let (is_zeroed, align) = match kind {
            ALLOCATE => (false, if other > 0 { other as u32 } else { c_align }),
            ALLOCATE_ZEROED => (true, c_align),
            REALLOCATE => match live.remove(&other) {
                Some(object) => {
                    live.insert(address, object);
                    events.push(Event::Reallocate { object, size });
                    continue;
                }
                // C's `realloc` of nothing allocates.
                None => (false, c_align),
            },
            FREE => {
                match live.remove(&address) {
                    Some(object) => {
                        numbers.give(object);
                        events.push(Event::Free { object });
                    }
                    None => skipped += 1,
                }
                continue;
            }
            kind => bail!("the recorder knows no event of kind {kind}"),
        };
        live.insert(address, numbers.take());
        events.push(Event::Allocate { size, align: align.ilog2() as u8, is_zeroed });
    }
    Ok((events, skipped))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_become_numbers() {
        let recorded = [
            [ALLOCATE, 0x1000, 0, 3],
            [ALLOCATE_ZEROED, 0x2000, 0, 0],
            [REALLOCATE, 0x3000, 0x1000, 100],
            [FREE, 0x9999, 0, 0],
            [FREE, 0x3000, 0, 0],
            [ALLOCATE, 0x1000, 64, 20],
            [REALLOCATE, 0x4000, 0, 40],
        ];
        let bytes: Vec<u8> = recorded.iter().flatten().flat_map(|word| word.to_ne_bytes()).collect();
        let (events, skipped) = translate(&bytes, usize::MAX).unwrap();
        assert_eq!(skipped, 1);
        let expected = [
            Event::Allocate { size: 3, align: 3, is_zeroed: false },
            Event::Allocate { size: 1, align: 3, is_zeroed: true },
            Event::Reallocate { object: 0, size: 100 },
            Event::Free { object: 0 },
            Event::Allocate { size: 20, align: 6, is_zeroed: false },
            Event::Allocate { size: 40, align: 4, is_zeroed: false },
        ];
        assert_eq!(events, expected);
        assert_eq!(translate(&bytes, 2).unwrap().0, expected[..2]);
    }
}
