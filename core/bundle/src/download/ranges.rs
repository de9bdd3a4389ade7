//! A set of byte ranges: which parts of a file are there.
//!
//! Owns insertion and the gaps. Must not know files.

use std::ops::Range;

/// Disjoint, non-adjacent, non-empty ranges in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ranges(Vec<Range<u64>>);

impl Ranges {
    /// Adds a range, merging it with those it touches.
    pub(super) fn insert(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let first = self.0.partition_point(|known| known.end < range.start);
        let last = self.0.partition_point(|known| known.start <= range.end);
        let mut merged = range;
        if first < last {
            merged.start = merged.start.min(self.0[first].start);
            merged.end = merged.end.max(self.0[last - 1].end);
        }
        self.0.splice(first..last, [merged]);
    }

    /// The first part of `0..total` that is not in the set.
    pub(super) fn first_gap(&self, total: u64) -> Option<Range<u64>> {
        let mut start = 0;
        for known in &self.0 {
            if known.start > start {
                return Some(start..known.start.min(total)).filter(|gap| !gap.is_empty());
            }
            start = known.end;
        }
        (start < total).then_some(start..total)
    }

    /// Bytes in the set.
    pub(super) fn bytes(&self) -> u64 {
        self.0.iter().map(|range| range.end - range.start).sum()
    }

    /// The ranges as pairs of start and end.
    pub(super) fn pairs(&self) -> Vec<(u64, u64)> {
        self.0.iter().map(|range| (range.start, range.end)).collect()
    }

    /// From pairs; those that are not inside `0..total` are left out.
    pub(super) fn from_pairs(pairs: &[(u64, u64)], total: u64) -> Ranges {
        let mut ranges = Ranges::default();
        for &(start, end) in pairs.iter().filter(|(start, end)| start < end && *end <= total) {
            ranges.insert(start..end);
        }
        ranges
    }

    /// The highest end.
    pub(super) fn end(&self) -> u64 {
        self.0.last().map_or(0, |range| range.end)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn equals_a_set_of_single_bytes(inserts in prop::collection::vec((0u64..40, 0u64..12), 0..12)) {
            let mut ranges = Ranges::default();
            let mut bytes = [false; 52];
            for (start, length) in inserts {
                ranges.insert(start..start + length);
                bytes[start as usize..(start + length) as usize].fill(true);
            }
            prop_assert_eq!(ranges.bytes(), bytes.iter().filter(|there| **there).count() as u64);
            let gap_start = bytes.iter().position(|there| !there).unwrap();
            let gap = bytes[gap_start..].iter().position(|there| *there).map_or(52, |n| gap_start + n);
            prop_assert_eq!(ranges.first_gap(52), Some(gap_start as u64..gap as u64));
            prop_assert_eq!(&Ranges::from_pairs(&ranges.pairs(), 52), &ranges);
            prop_assert!(ranges.0.windows(2).all(|pair| pair[0].end < pair[1].start));
        }
    }

    #[test]
    fn pairs_outside_the_file_are_left_out() {
        let ranges = Ranges::from_pairs(&[(0, 5), (8, 20), (7, 3)], 10);
        assert_eq!((ranges.pairs(), ranges.end()), (vec![(0, 5)], 5));
        assert_eq!(ranges.first_gap(5), None);
    }
}
