//! What has happened since boot.

use core::fmt::{self, Write};

use crate::allocator::View;
use crate::cpu::Cpu;
use crate::frame::{Mobility, Order, ZoneKind};
use crate::zone::{Fallback, ZoneStats};

/// Counts of frames and of events, `name value` (Linux: `/proc/vmstat`). The names are Linux's where it counts the same;
/// what it does not count begins with `bifolio_`.
///
/// # Errors
/// Those of the writer.
pub fn vmstat<C: Cpu>(frames: &View<'_, C>, out: &mut impl Write) -> fmt::Result {
    let stats = frames.stats();
    let blocks = ZoneKind::ALL.map(|kind| frames.free_blocks(kind));
    let whole: u64 = blocks.iter().map(|blocks| blocks.suitable(Order::PAGEBLOCK) << Order::PAGEBLOCK.get()).sum();
    let sum = |count: fn(&ZoneStats) -> u64| stats.zones.iter().map(count).sum::<u64>();
    writeln!(out, "nr_free_pages {}", sum(|zone| zone.free))?;
    writeln!(out, "nr_free_pages_blocks {whole}")?;
    for zone in &stats.zones {
        write_lower(out, "pgalloc_", zone.kind.name())?;
        writeln!(out, " {}", zone.allocated)?;
    }
    for (kind, count) in ZoneKind::ALL.into_iter().zip(stats.stalls) {
        write_lower(out, "allocstall_", kind.name())?;
        writeln!(out, " {count}")?;
    }
    writeln!(out, "pgfree {}", sum(|zone| zone.freed))?;
    writeln!(out, "pgsteal_kswapd {}", stats.background_reclaimed)?;
    writeln!(out, "pgsteal_direct {}", stats.reclaimed)?;
    writeln!(out, "pgscan_kswapd {}", stats.background_scanned)?;
    writeln!(out, "pgscan_direct {}", stats.scanned)?;
    writeln!(out, "pageoutrun {}", stats.balances)?;
    writeln!(out, "bifolio_isolated {}", sum(|zone| zone.isolated))?;
    writeln!(out, "bifolio_reserved_highatomic {}", sum(|zone| zone.reserved_highatomic))?;
    writeln!(out, "bifolio_free_highatomic {}", sum(|zone| zone.free_highatomic))?;
    writeln!(out, "bifolio_cached {}", stats.cached)?;
    writeln!(out, "bifolio_drain {}", stats.drains)?;
    writeln!(out, "bifolio_refused {}", stats.refused)?;
    writeln!(out, "bifolio_late_double_free {}", stats.late_double_frees)?;
    writeln!(out, "bifolio_bad_drop {}", stats.bad_drops)?;
    write_fallbacks(out, &stats.zones)
}

/// Writes how often requests were served from pageblocks of another mobility, a line for each way and each two kinds.
fn write_fallbacks(out: &mut impl Write, zones: &[ZoneStats]) -> fmt::Result {
    for way in Fallback::ALL {
        for to in Mobility::REQUESTED {
            for from in to.fallbacks().iter().copied() {
                let count: u64 = zones.iter().map(|zone| zone.fallbacks(way, from, to)).sum();
                write!(out, "bifolio_{}", way.name())?;
                write_lower(out, "_", from.name())?;
                write_lower(out, "_to_", to.name())?;
                writeln!(out, " {count}")?;
            }
        }
    }
    Ok(())
}

/// Writes a name in lower case behind another.
fn write_lower(out: &mut impl Write, prefix: &str, name: &str) -> fmt::Result {
    out.write_str(prefix)?;
    name.chars().try_for_each(|c| out.write_char(c.to_ascii_lowercase()))
}
