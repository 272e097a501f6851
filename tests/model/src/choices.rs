//! Where a round's choices come from: random numbers, or bytes that a fuzzer has put together.

use kit::Random;

/// Choices that can be made again.
pub struct Choices(Source);

enum Source {
    Random(Random),
    /// What is left of the bytes.
    Bytes(std::vec::IntoIter<u8>),
}

impl Choices {
    /// Those of a round of a seed: without end.
    pub fn random(seed: u64, round: u64) -> Self {
        Self(Source::Random(Random::new(seed ^ round.wrapping_mul(0xd134_2543_de82_ef95))))
    }

    /// Those that bytes stand for. Each takes as few as its bound has, so that bytes in the middle can change without those behind them
    /// being read as something else; when they are [spent](Self::are_spent), it is always the first choice.
    pub fn bytes(bytes: &[u8]) -> Self {
        Self(Source::Bytes(Vec::from(bytes).into_iter()))
    }

    /// Whether no byte is left.
    pub fn are_spent(&self) -> bool {
        matches!(&self.0, Source::Bytes(bytes) if bytes.len() == 0)
    }

    /// The next 64 bits.
    #[inline]
    pub fn bits(&mut self) -> u64 {
        self.below(u64::MAX)
    }

    /// The next number, below `bound`, which is not 0.
    #[inline]
    pub fn below(&mut self, bound: u64) -> u64 {
        match &mut self.0 {
            Source::Random(random) => random.below(bound),
            Source::Bytes(bytes) => {
                let count = u64::BITS.saturating_sub((bound - 1).leading_zeros()).div_ceil(8) as usize;
                bytes.take(count).fold(0, |number, byte| number << 8 | u64::from(byte)) % bound
            }
        }
    }

    /// The next number, from `from` up to, but not including, `to`.
    pub fn between(&mut self, from: u64, to: u64) -> u64 {
        from + self.below(to - from)
    }

    /// Whether something happens that happens `times` in a thousand: by a byte, in 256 at least once, if ever.
    #[inline]
    pub fn per_mille(&mut self, times: u64) -> bool {
        match &mut self.0 {
            Source::Random(random) => random.per_mille(times),
            Source::Bytes(bytes) => u64::from(bytes.next().unwrap_or(u8::MAX)) * 1000 / 256 < times,
        }
    }

    /// One of a list, which is not empty.
    #[inline]
    pub fn one_of<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len() as u64) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_taken_one_by_one_and_then_there_are_none() {
        let mut choices = Choices::bytes(&[7, 1, 2, 255, 0]);
        assert_eq!([choices.below(1), choices.below(5), choices.below(257)], [0, 2, (1 << 8 | 2) % 257]);
        assert!(!choices.per_mille(996) && choices.per_mille(1) && choices.are_spent());
        assert_eq!((choices.below(1000), choices.bits(), choices.per_mille(996)), (0, 0, false));
        assert!(!Choices::random(1, 0).are_spent());
    }
}
