//! What has happened since boot.

use core::fmt::{self, Write};

use crate::allocator::{Cpu, PageAllocator};
use crate::frame::{Mobility, Order, ZoneKind};
use crate::zone::{Fallback, Fallbacks};

/// Counts of frames and of events, `name value` (Linux: `/proc/vmstat`). The names are Linux's where it counts the same;
/// what it does not count begins with `bifolio_`.
///
/// # Errors
/// Those of the writer.
pub fn vmstat<C: Cpu>(frames: &PageAllocator<'_, C>, out: &mut impl Write) -> fmt::Result {
    const ALLOCSTALL: [&str; ZoneKind::COUNT] = ["allocstall_dma", "allocstall_dma32", "allocstall_normal"];
    let stats = frames.stats();
    let blocks = ZoneKind::ALL.map(|kind| frames.free_blocks(kind));
    let whole: u64 = blocks.iter().map(|blocks| blocks.suitable(Order::PAGEBLOCK) << Order::PAGEBLOCK.get()).sum();
    let free: u64 = stats.zones.iter().map(|zone| zone.free).sum();
    writeln!(out, "nr_free_pages {free}")?;
    writeln!(out, "nr_free_pages_blocks {whole}")?;
    for (name, count) in ALLOCSTALL.into_iter().zip(stats.stalls) {
        writeln!(out, "{name} {count}")?;
    }
    writeln!(out, "pgscan_direct {}", stats.scanned)?;
    writeln!(out, "pgsteal_direct {}", stats.reclaimed)?;
    writeln!(out, "bifolio_cached {}", stats.cached)?;
    writeln!(out, "bifolio_drain {}", stats.drains)?;
    writeln!(out, "bifolio_refused {}", stats.refused)?;
    writeln!(out, "bifolio_late_double_free {}", stats.late_double_frees)?;
    writeln!(out, "bifolio_bad_drop {}", stats.bad_drops)?;
    let mut fallbacks = Fallbacks::default();
    stats.zones.iter().for_each(|zone| fallbacks += zone.fallbacks);
    for way in Fallback::ALL {
        for to in Mobility::REQUESTED {
            for from in to.fallbacks().iter().copied() {
                let count = fallbacks.count(way, from, to);
                write!(out, "bifolio_{}_", way.name())?;
                write_lower(out, from.name())?;
                out.write_str("_to_")?;
                write_lower(out, to.name())?;
                writeln!(out, " {count}")?;
            }
        }
    }
    Ok(())
}

fn write_lower(out: &mut impl Write, name: &str) -> fmt::Result {
    name.chars().try_for_each(|c| out.write_char(c.to_ascii_lowercase()))
}
