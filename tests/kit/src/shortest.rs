//! What fails, made short.

use alloc::vec::Vec;

/// The shortest part of `all`, in its order, that fails and does not without any one of its parts. All of it must fail.
pub fn shortest<T: Clone>(all: &[T], mut fails: impl FnMut(&[T]) -> bool) -> Vec<T> {
    let mut left = all.to_vec();
    let mut size = left.len().div_ceil(2);
    while size > 0 {
        let (mut start, before) = (0, left.len());
        while start < left.len() {
            let end = (start + size).min(left.len());
            let rest = [&left[..start], &left[end..]].concat();
            if fails(&rest) {
                left = rest;
            } else {
                start = end;
            }
        }
        // A part that was needed may not be any more.
        size = if size == 1 && left.len() < before { 1 } else { size / 2 };
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_fails_and_nothing_can_be_left_out() {
        let fails = |part: &[u32]| part.contains(&17) && part.contains(&900) && part.iter().any(|n| n % 100 == 5);
        let all: Vec<u32> = (0..1000).collect();
        let short = shortest(&all, fails);
        assert_eq!(short.len(), 3);
        assert!(fails(&short));
        assert_eq!(shortest(&all, |part| part.len() > 1).len(), 2);
        assert_eq!(shortest(&all, |_| true), [0_u32; 0]);
    }
}
