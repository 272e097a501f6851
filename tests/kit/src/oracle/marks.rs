//! The marks and reserves of zones, worked out once more from their formulas.

use bifolio::frame::{Gfp, ZoneKind};

use super::Oracle;

impl Oracle {
    /// The marks of a zone (min, low, high), and what it keeps from requests by the highest zone that they may use.
    pub fn marks(&self, zone: ZoneKind) -> ([u64; 3], [u64; ZoneKind::COUNT]) {
        let total: u64 = self.managed.iter().sum();
        let own = self.managed[zone.index()];
        // Where there is less than 1 MiB, no more than an eighth.
        let kept = ((64 * total).isqrt().clamp(128, 262_144) / 4).min(total / 8);
        let min = kept * own / total;
        let step = (min / 4).max(own / 1000);
        let higher = |highest| self.managed.iter().take(highest + 1).skip(zone.index() + 1).sum::<u64>();
        let reserve = core::array::from_fn(|highest| higher(highest) / 256);
        ([min, min + step, min + 2 * step], reserve)
    }

    /// Whether a zone may give so many frames to a request, pressing as its flags say, as far as marks and reserves go.
    pub fn admits(&self, zone: ZoneKind, highest: ZoneKind, frames: u64, gfp: Gfp) -> bool {
        if gfp.contains(Gfp::MEMALLOC) {
            return true;
        }
        let ([min, ..], reserve) = self.marks(zone);
        let mark = match (gfp.contains(Gfp::HIGH), gfp.contains(Gfp::WAIT)) {
            (false, _) => min,
            (true, true) => min.div_ceil(2),
            (true, false) => min.div_ceil(2) - min.div_ceil(2) / 4,
        };
        self.free_frames(zone) >= mark + reserve[highest.index()] + frames
    }
}
