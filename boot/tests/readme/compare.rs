//! Whether two prints are the same but for what another build, or another version of QEMU, changes.

/// How far a number may be from what was printed: addresses, sizes and counts of instructions depend on how large the
/// kernel is. Small numbers are those of blocks and frames that happen to be free.
const PER_CENT: u64 = 10;
const FRAMES: u64 = 3;

/// Compares them line by line: words exactly, numbers roughly.
///
/// # Errors
/// The first difference, for a person.
pub fn texts(shown: &[String], printed: &[&str]) -> Result<(), String> {
    for (number, line) in shown.iter().enumerate() {
        let other = printed.get(number).copied().unwrap_or("(nothing)");
        if !are_alike(line, other) {
            return Err(format!("shown is\n  {line}\nand printed is\n  {other}"));
        }
    }
    match printed.get(shown.len()) {
        Some(more) => Err(format!("printed is more:\n  {more}")),
        None => Ok(()),
    }
}

fn are_alike(shown: &str, printed: &str) -> bool {
    // What was typed is no result.
    if shown.starts_with("bifolio> ") || printed.starts_with("bifolio> ") {
        return shown == printed;
    }
    let [shown, printed] = [shown, printed].map(tokens);
    shown.len() == printed.len() && shown.iter().zip(&printed).all(|(shown, printed)| is_alike(shown, printed))
}

/// Words and numbers, each without the punctuation around it. A range is two numbers.
fn tokens(line: &str) -> Vec<&str> {
    let words = line.split([' ', '[', ']', '(', ')', ',', ':', '-']).flat_map(|word| word.split(".."));
    words.filter(|word| !word.is_empty()).collect()
}

fn is_alike(shown: &str, printed: &str) -> bool {
    match (number(shown), number(printed)) {
        (Some(shown), Some(printed)) => shown.abs_diff(printed) <= FRAMES.max(shown.max(printed) / (100 / PER_CENT)),
        // Which of the two QEMU's version decides.
        _ => shown == printed || [shown, printed].iter().all(|word| ["xAPIC", "x2APIC"].contains(word)),
    }
}

fn number(word: &str) -> Option<u64> {
    match word.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => word.parse().ok(),
    }
}

#[test]
fn numbers_may_differ_a_little_and_words_not_at_all() {
    for (shown, printed, alike) in [
        ("MemFree:          517056 kB", "MemFree:  515000 kB", true),
        ("MemFree:          517056 kB", "MemFree:  415000 kB", false),
        ("MemFree:          517056 kB", "MemFrei:  517056 kB", false),
        ("10 metadata pages (at 0x1ffd5..0x1ffdf)", "12 metadata pages (at 0x1ffd0..0x1ffda)", true),
        ("[mem 0x0-0x9ffff] usable", "[mem 0x0-0x9efff] usable", true),
        ("[mem 0x0-0x9ffff] usable", "[mem 0x0-0x4ffff] usable", false),
        ("CPU 0: xAPIC, timer at 62454 kHz", "CPU 0: x2APIC, timer at 62555 kHz", true),
        ("CPU 0: xAPIC", "CPU 0: no APIC", false),
        ("bifolio 0.1.0", "bifolio 0.2.0", false),
        ("Node 0, zone  DMA  2  1  120", "Node 0, zone  DMA  1  1  119", true),
        ("Node 0, zone  DMA  2  1  120", "Node 0, zone  DMA  2  1", false),
        ("bifolio> alloc 5", "bifolio> alloc 6", false),
    ] {
        assert_eq!(are_alike(shown, printed), alike, "{shown} and {printed}");
    }
    assert!(texts(&["a 1".into()], &["a 1", "b"]).unwrap_err().contains("more"));
    assert!(texts(&["a 1".into(), "b".into()], &["a 1"]).unwrap_err().contains("nothing"));
}
