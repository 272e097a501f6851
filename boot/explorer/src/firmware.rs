//! Memory maps as people have them: the text in which a kernel's log or `/proc/iomem` tells what the firmware said.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use bifolio::memory_map::{Region, RegionKind};

/// Maps of real machines, with names, from the boot logs of bug reports that anybody can read.
pub const KNOWN: [(&str, &str); 3] = [
    (
        "a laptop, 32 GiB",
        "BIOS-e820: [mem 0x0000000000000000-0x000000000009efff] usable
BIOS-e820: [mem 0x000000000009f000-0x00000000000fffff] reserved
BIOS-e820: [mem 0x0000000000100000-0x0000000057cb5fff] usable
BIOS-e820: [mem 0x0000000057cb6000-0x000000005cd10fff] reserved
BIOS-e820: [mem 0x000000005cd11000-0x000000005d571fff] ACPI NVS
BIOS-e820: [mem 0x000000005d572000-0x000000005d7fefff] ACPI data
BIOS-e820: [mem 0x000000005d7ff000-0x000000005d7fffff] usable
BIOS-e820: [mem 0x000000005d800000-0x0000000065ffffff] reserved
BIOS-e820: [mem 0x0000000066400000-0x00000000665fffff] reserved
BIOS-e820: [mem 0x0000000066e00000-0x00000000707fffff] reserved
BIOS-e820: [mem 0x00000000c0000000-0x00000000cfffffff] reserved
BIOS-e820: [mem 0x00000000f9000000-0x00000000f9ffffff] reserved
BIOS-e820: [mem 0x00000000fed20000-0x00000000fed7ffff] reserved
BIOS-e820: [mem 0x00000000ff000000-0x00000000ffffffff] reserved
BIOS-e820: [mem 0x0000000100000000-0x000000088f7fffff] usable",
    ),
    (
        "a desktop, 16 GiB, seen by Xen",
        "0000000000000000 - 0000000000058000 (usable)
0000000000058000 - 0000000000059000 (reserved)
0000000000059000 - 000000000005f000 (usable)
000000000005f000 - 0000000000060000 (reserved)
0000000000060000 - 000000000009f000 (usable)
000000000009f000 - 00000000000a0000 (reserved)
0000000000100000 - 0000000000800000 (usable)
0000000000800000 - 0000000000b5f000 (unusable)
0000000000b5f000 - 00000000bcbff000 (usable)
00000000bcbff000 - 00000000d92a5000 (reserved)
00000000d92a5000 - 00000000d92d6000 (ACPI data)
00000000d92d6000 - 00000000d9a5e000 (reserved)
00000000d9a5e000 - 00000000da1cf000 (ACPI NVS)
00000000da1cf000 - 00000000db700000 (reserved)
00000000dbef0000 - 00000000dc000000 (reserved)
00000000dd000000 - 00000000df800000 (reserved)
00000000f8000000 - 00000000fc000000 (reserved)
00000000fec00000 - 00000000fec01000 (reserved)
00000000fed00000 - 00000000fed04000 (reserved)
00000000fed1c000 - 00000000fed30000 (reserved)
00000000fed40000 - 00000000fed45000 (reserved)
00000000fee00000 - 00000000fee01000 (reserved)
00000000ff000000 - 0000000100000000 (reserved)
0000000100000000 - 000000041e800000 (usable)",
    ),
    (
        "a virtual machine, 24 GiB",
        "BIOS-e820: [mem 0x0000000000000000-0x000000000009fbff] usable
BIOS-e820: [mem 0x000000000009fc00-0x00000000000fffff] reserved
BIOS-e820: [mem 0x0000000000100000-0x00000000bfffffff] usable
BIOS-e820: [mem 0x00000000eec00000-0x00000000febfffff] reserved
BIOS-e820: [mem 0x0000000100000000-0x000000063fffffff] usable",
    ),
];

/// Digits that a number without `0x` before it must have, not to be part of a date or of a name.
const DIGITS: usize = 8;

/// Reads a map: each line with a range is an entry, and what its words call it is its kind. Known are the lines of Linux's log
/// (`BIOS-e820:`, `efi: mem`), of `/proc/iomem`, of Xen's log and of this project's kernel. In a log that has `BIOS-e820:` nothing
/// else counts: there are other ranges in it.
///
/// # Errors
/// No line has a range, or a range ends before it begins: then the line.
pub fn read(text: &str) -> Result<Vec<Region>, String> {
    let is_log = text.contains("BIOS-e820:");
    let lines = text.lines().filter(|line| !is_log || line.contains("BIOS-e820:"));
    let entries: Vec<Region> = lines.filter_map(|line| entry(line).transpose()).collect::<Result<_, _>>()?;
    if entries.is_empty() {
        return Err("no line of this has a range of addresses, as 0x100000-0x7fffffff usable".to_string());
    }
    Ok(entries)
}

fn entry(line: &str) -> Result<Option<Region>, String> {
    // In `/proc/iomem` what is indented is a part of the entry before it.
    if line.starts_with(' ') && line.contains(" : ") {
        return Ok(None);
    }
    let Some((start, end, is_behind)) = line.match_indices('-').find_map(|(dash, _)| range(line, dash)) else {
        return Ok(None);
    };
    let end = if is_behind { end } else { end.wrapping_add(1) };
    // The last byte of all is one that a range may end with.
    if end != 0 && end < start {
        return Err(alloc::format!("this range ends before it begins: {}", line.trim()));
    }
    Ok(Some(Region { start, end, kind: kind(&line.to_ascii_lowercase()) }))
}

/// The numbers on the two sides of a dash, and whether the second is of the first byte behind the range: so it is before `)`, and where
/// there are spaces around the dash.
fn range(line: &str, dash: usize) -> Option<(u64, u64, bool)> {
    let (before, after) = (&line[..dash], &line[dash + 1..]);
    let is_spaced = before.ends_with(' ');
    let before = before.trim_end();
    let digits = before.len() - before.trim_end_matches(|c: char| c.is_ascii_hexdigit()).len();
    let is_marked = before[..before.len() - digits].ends_with("0x");
    let start = number(&before[before.len() - digits..], is_marked)?;
    let after = after.trim_start();
    let (after, is_marked) = after.strip_prefix("0x").map_or((after, false), |rest| (rest, true));
    let rest = after.trim_start_matches(|c: char| c.is_ascii_hexdigit());
    let end = number(&after[..after.len() - rest.len()], is_marked)?;
    Some((start, end, is_spaced || rest.starts_with(')')))
}

fn number(digits: &str, is_marked: bool) -> Option<u64> {
    (is_marked || digits.len() >= DIGITS).then(|| u64::from_str_radix(digits, 16).ok()).flatten()
}

/// What the words of a line call its range; whatever is not known is reserved.
fn kind(line: &str) -> RegionKind {
    // What the firmware's boot services and the boot loader had is free once a kernel runs. Older kernels print UEFI's numbers.
    const USABLE: &[&str] = &[
        "usable",
        "system ram",
        "conventional",
        "boot code",
        "boot data",
        "loader code",
        "loader data",
        "type=1,",
        "type=2,",
        "type=3,",
        "type=4,",
        "type=7,",
    ];
    const RECLAIMABLE: &[&str] = &["acpi data", "acpi reclaim", "acpi table", "type=9,"];
    let has = |words: &[&str]| words.iter().any(|word| line.contains(word));
    if has(RECLAIMABLE) {
        RegionKind::AcpiReclaimable
    } else if has(USABLE) && !line.contains("unusable") {
        RegionKind::Usable
    } else {
        RegionKind::Reserved
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use RegionKind::{AcpiReclaimable, Reserved, Usable};

    fn entries(text: &str) -> Vec<(u64, u64, RegionKind)> {
        read(text).unwrap().iter().map(|region| (region.start, region.end, region.kind)).collect()
    }

    #[test]
    fn every_form_of_a_line_is_read() {
        for (line, expected) in [
            ("[    0.000000] BIOS-e820: [mem 0x0000000000000000-0x000000000009fbff] usable", (0, 0x9_fc00, Usable)),
            (
                "Dec 29 13:31:21 my-pc kernel: BIOS-e820: [mem 0x10000-0x1ffff] ACPI data",
                (0x1_0000, 0x2_0000, AcpiReclaimable),
            ),
            ("BIOS-e820: [mem 0x100000-0x7fffffff]  System RAM", (0x10_0000, 0x8000_0000, Usable)),
            (
                "efi: mem20: [Conventional Memory|   |WB] range=[0xabc1b000-0xabc27000) (0MB)",
                (0xabc1_b000, 0xabc2_7000, Usable),
            ),
            ("efi: mem23: type=7, attr=0xf, range=[0xae383000-0xae390000) (0MB)", (0xae38_3000, 0xae39_0000, Usable)),
            (
                "efi: mem15: type=10, attr=0xf, range=[0xad853000-0xad85a000) (0MB)",
                (0xad85_3000, 0xad85_a000, Reserved),
            ),
            ("efi:   0x000080000000-0x0000957bffff [Conventional|   |WB]", (0x8000_0000, 0x957c_0000, Usable)),
            ("00100000-3fffffff : System RAM", (0x10_0000, 0x4000_0000, Usable)),
            ("(XEN)  0000000000800000 - 0000000000b5f000 (unusable)", (0x80_0000, 0xb5_f000, Reserved)),
            (
                "INFO    [mem 0x0000000000100000-0x0000000000ffffff]      15360 kB  usable",
                (0x10_0000, 0x100_0000, Usable),
            ),
            ("BIOS-e820: [mem 0xff000000-0xffffffffffffffff] reserved", (0xff00_0000, 0, Reserved)),
        ] {
            assert_eq!(entries(line), [expected], "{line}");
        }
    }

    #[test]
    fn what_is_no_entry_is_passed_over() {
        let iomem = "00001000-0009fbff : System RAM\n  00002000-00002fff : a part\n00100000-001fffff : PCI";
        assert_eq!(entries(iomem), [(0x1000, 0x9_fc00, Usable), (0x10_0000, 0x20_0000, Reserved)]);
        let log = "[mem 0x0-0xfff] reserved\nBIOS-e820: [mem 0x1000-0x1fff] usable\nnode 0: [mem 0x1000-0x1fff]";
        assert_eq!(entries(log), [(0x1000, 0x2000, Usable)]);
        assert!(read("what-ever, 2026-11-29, beef-cafe").unwrap_err().contains("no line"));
        assert!(read("").is_err());
        assert_eq!(read("0x2000-0x1000 usable").unwrap_err(), "this range ends before it begins: 0x2000-0x1000 usable");
    }

    #[test]
    fn each_known_map_is_read_to_its_last_line_and_has_the_memory_it_is_named_after() {
        for (name, text) in KNOWN {
            let entries = read(text).unwrap();
            assert_eq!(entries.len(), text.lines().count(), "{name}");
            let usable = entries.iter().filter(|entry| entry.kind == Usable);
            let gib = usable.map(|entry| entry.end - entry.start).sum::<u64>().div_ceil(1 << 30);
            let said: u64 = name.split(' ').find_map(|word| word.parse().ok()).unwrap();
            assert!((said - 1..=said).contains(&gib), "{name}: {gib} GiB");
        }
    }
}
