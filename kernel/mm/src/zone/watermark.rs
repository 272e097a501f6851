//! Watermarks and reserves: how much of a zone is kept back, and from whom. The formulas are Linux's.

use core::fmt;

use crate::frame::ZoneKind;

/// The frames that must stay free in a zone, by how pressing a request is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Watermarks {
    /// Only the reserve for requests that cannot wait lies below.
    pub min: u64,
    /// The fast path stops here; memory should be reclaimed from here on.
    pub low: u64,
    /// Reclaiming may stop here.
    pub high: u64,
}

impl fmt::Display for Watermarks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.min, self.low, self.high)
    }
}

impl Watermarks {
    /// The marks of a zone with `managed` of `total` frames, when `min_free` frames are kept on the whole machine.
    pub fn new(managed: u64, total: u64, min_free: u64) -> Self {
        let share = (u128::from(min_free) * u128::from(managed)).checked_div(total.into()).unwrap_or(0);
        let min = u64::try_from(share).unwrap_or(u64::MAX);
        let step = (min / 4).max(managed / 1000);
        let low = min.saturating_add(step);
        Self { min, low, high: low.saturating_add(step) }
    }

    /// Whether a request may take so many frames, at least one, from a zone with `free` free ones and leave `mark` and `reserve`
    /// frames in it.
    pub fn admit_frames(free: u64, frames: u64, mark: u64, reserve: u64) -> bool {
        let rest = free.checked_sub(frames).and_then(|rest| rest.checked_sub(mark));
        rest.is_some_and(|rest| rest >= reserve)
    }
}

/// What the machine keeps free, in KiB (Linux: `min_free_kbytes`), given how much the allocator manages, in KiB.
pub fn min_free_kib(managed_kib: u64) -> u64 {
    managed_kib.saturating_mul(16).isqrt().clamp(128, 262_144)
}

/// Frames that each zone keeps from requests that could use a higher one, by the highest zone the request may use.
///
/// `protection(managed)[i][j]` is a 256th of what zones `i + 1..=j` manage: the frames that everybody can use go first
/// to requests that can use nothing else.
pub fn protection(managed: [u64; ZoneKind::COUNT]) -> [[u64; ZoneKind::COUNT]; ZoneKind::COUNT] {
    core::array::from_fn(|zone| {
        let higher = |highest: usize| managed.iter().take(highest + 1).skip(zone + 1);
        core::array::from_fn(|highest| higher(highest).fold(0_u64, |sum, frames| sum.saturating_add(*frames)) / 256)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The machine of the vector: 3840, 520192 and 1048576 managed pages.
    const MANAGED: [u64; 3] = [3840, 520_192, 1_048_576];

    #[test]
    fn marks_are_linuxs() {
        let total = MANAGED.iter().sum();
        let kib = min_free_kib(total * 4);
        assert_eq!(kib, 10_032);
        let marks = MANAGED.map(|managed| {
            let Watermarks { min, low, high } = Watermarks::new(managed, total, kib / 4);
            [min, low, high]
        });
        assert_eq!(marks, [[6, 9, 12], [829, 1349, 1869], [1672, 2720, 3768]]);
    }

    #[test]
    fn reserves_are_linuxs() {
        assert_eq!(protection(MANAGED), [[0, 2032, 6128], [0, 0, 4096], [0, 0, 0]]);
    }

    #[test]
    fn min_free_is_bounded_on_both_sides() {
        assert_eq!(min_free_kib(512), 128);
        assert_eq!(min_free_kib(1 << 40), 262_144);
    }

    #[test]
    fn a_request_must_leave_more_than_the_mark() {
        assert!(!Watermarks::admit_frames(100, 1, 60, 40));
        assert!(Watermarks::admit_frames(101, 1, 60, 40));
        assert!(!Watermarks::admit_frames(107, 8, 60, 40));
        assert!(Watermarks::admit_frames(108, 8, 60, 40));
        assert!(!Watermarks::admit_frames(0, 1024, 0, 0));
    }
}
