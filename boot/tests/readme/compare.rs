//! Whether two prints are the same but for what another build, or another version of QEMU, changes, and for what is left out.

/// How far a number may be from what was printed: addresses, sizes and counts of instructions depend on how large the
/// kernel is. Small numbers are those of blocks and frames that happen to be free.
const PER_CENT: u64 = 10;
const FRAMES: u64 = 3;

/// A line that stands for any that are left out.
pub const LEFT_OUT: &str = "...";

/// Compares them line by line: words exactly, numbers roughly, and those of zone DMA, which lies below all that grows, exactly.
///
/// # Errors
/// The first difference, for a person.
pub fn texts(shown: &[String], printed: &[&str]) -> Result<(), String> {
    let parts: Vec<&[String]> = shown.split(|line| line == LEFT_OUT).collect();
    let mut at = 0;
    for (number, part) in parts.iter().enumerate() {
        let rest = &printed[at..];
        let is_last = number == parts.len() - 1;
        let skipped = match (number, is_last) {
            (0, _) => 0,
            (_, true) => rest.len().saturating_sub(part.len()),
            _ => place_of(part, rest)
                .ok_or_else(|| format!("nowhere behind what is shown before is printed\n  {}", part[0]))?,
        };
        begins_with(part, &rest[skipped..])?;
        at += skipped + part.len();
        if is_last && at < printed.len() {
            return Err(format!("printed is more:\n  {}", printed[at]));
        }
    }
    Ok(())
}

fn place_of(part: &[String], printed: &[&str]) -> Option<usize> {
    (0..=printed.len()).find(|place| begins_with(part, &printed[*place..]).is_ok())
}

fn begins_with(shown: &[String], printed: &[&str]) -> Result<(), String> {
    for (number, line) in shown.iter().enumerate() {
        let other = printed.get(number).copied().unwrap_or("(nothing)");
        if !are_alike(line, other) {
            return Err(format!("shown is\n  {line}\nand printed is\n  {other}"));
        }
    }
    Ok(())
}

fn are_alike(shown: &str, printed: &str) -> bool {
    // What was typed is no result, and the frames of zone DMA are the same whatever the kernel's size.
    if shown.starts_with("bifolio> ") || printed.starts_with("bifolio> ") {
        return shown == printed;
    }
    let [shown, printed] = [shown, printed].map(tokens);
    if shown.contains(&"DMA") {
        return shown == printed;
    }
    shown.len() == printed.len() && shown.iter().zip(&printed).all(|(shown, printed)| is_alike(shown, printed))
}

/// Words and numbers, each without the punctuation around it. A range is two numbers.
fn tokens(line: &str) -> Vec<&str> {
    let words = line.split([' ', '[', ']', '(', ')', ',', ';', ':', '-', '+']).flat_map(|word| word.split(".."));
    words.filter(|word| !word.is_empty()).collect()
}

fn is_alike(shown: &str, printed: &str) -> bool {
    match (number(shown), number(printed)) {
        (Some(number), Some(other)) if is_low(shown, number) || is_low(printed, other) => number == other,
        (Some(shown), Some(printed)) => shown.abs_diff(printed) <= FRAMES.max(shown.max(printed) / (100 / PER_CENT)),
        // Which of the two QEMU's version decides.
        _ => shown == printed || [shown, printed].iter().all(|word| ["xAPIC", "x2APIC"].contains(word)),
    }
}

/// Whether it is a frame of zone DMA, or the size of a block.
fn is_low(word: &str, number: u64) -> bool {
    word.starts_with("0x") && number < 0x1000
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
        ("free 0x14a0 5", "free 0x14b0 5", true),
        ("free 0x400 5", "free 0x420 5", false),
        ("split into 0x1440+5", "split into 0x1460+5", true),
        ("split into 0x440+5", "split into 0x460+5", false),
        ("[mem 0x0-0x9ffff] usable", "[mem 0x0-0x4ffff] usable", false),
        ("CPU 0: xAPIC, timer at 62454 kHz", "CPU 0: x2APIC, timer at 62555 kHz", true),
        ("CPU 0: xAPIC", "CPU 0: no APIC", false),
        ("bifolio 0.1.0", "bifolio 0.2.0", false),
        ("Node 0, zone  DMA32  2  1  120", "Node 0, zone  DMA32  1  1  119", true),
        ("Node 0, zone  DMA32  2  1  120", "Node 0, zone  DMA32  2  1", false),
        ("Node 0, zone  DMA  2  1  3", "Node 0, zone  DMA  1  1  3", false),
        ("bifolio> alloc 5", "bifolio> alloc 6", false),
    ] {
        assert_eq!(are_alike(shown, printed), alike, "{shown} and {printed}");
    }
    assert!(texts(&["a 1".into()], &["a 1", "b"]).unwrap_err().contains("more"));
    assert!(texts(&["a 1".into(), "b".into()], &["a 1"]).unwrap_err().contains("nothing"));
    let shown = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    for (text, printed, alike) in [
        ("...\nb", &["a", "a", "b"][..], true),
        ("a\n...\nc\n...", &["a", "b", "c", "d"], true),
        ("a\n...", &["a"], true),
        ("...\nc\n...\ne", &["b", "d", "e"], false),
        ("...\nb", &["a", "b", "c"], false),
        ("a\n...\nb", &["b", "b"], false),
    ] {
        assert_eq!(texts(&shown(text), printed).is_ok(), alike, "{text:?} and {printed:?}");
    }
}
