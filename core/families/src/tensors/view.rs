//! A strided view: which elements of a stored tensor a GGUF tensor consists of, in which order.
//! Owns index arithmetic; must not know names, types or values.

use std::ops::Range;

/// An offset and axes over a tensor's elements in storage order. The view's elements run through the axes with the last
/// one fastest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    offset: u64,
    /// Extent and stride, slowest first, neighbours merged where one continues the other.
    axes: Vec<(u64, u64)>,
}

/// Elements at `start`, `start + stride`, …
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// First element in storage order.
    pub start: u64,
    /// Distance between elements, 1 for contiguous ones.
    pub stride: u64,
    /// Number of elements, at least 1.
    pub len: u64,
}

impl View {
    /// The view of a whole tensor of `n_elements`.
    pub fn whole(n_elements: u64) -> Self {
        Self::new(0, [(n_elements, 1)])
    }

    /// The view of `matrices` of `rows` and `columns`, each transposed.
    pub fn transposed(matrices: u64, rows: u64, columns: u64) -> Self {
        Self::new(0, [(matrices, rows * columns), (columns, 1), (rows, columns)])
    }

    /// The same `n_elements` later.
    pub(crate) fn behind(self, n_elements: u64) -> Self {
        Self { offset: self.offset + n_elements, ..self }
    }

    /// A view with these axes (extent and stride), slowest first.
    pub(crate) fn new(offset: u64, axes: impl IntoIterator<Item = (u64, u64)>) -> Self {
        let mut merged: Vec<(u64, u64)> = Vec::new();
        for (extent, stride) in axes.into_iter().filter(|&(extent, _)| extent != 1) {
            match merged.last_mut() {
                Some((outer, outer_stride)) if *outer_stride == extent * stride => {
                    (*outer, *outer_stride) = (*outer * extent, stride);
                }
                _ => merged.push((extent, stride)),
            }
        }
        if merged.is_empty() {
            merged.push((1, 1));
        }
        Self { offset, axes: merged }
    }

    /// Elements that it shows.
    pub fn n_elements(&self) -> u64 {
        self.axes.iter().map(|(extent, _)| extent).product()
    }

    /// Calls `visit` with the runs that make up elements `range` of the view, in order.
    pub fn each_run(&self, range: Range<u64>, mut visit: impl FnMut(Run)) {
        let (inner, stride) = *self.axes.last().expect("a view has at least one axis");
        let outer = &self.axes[..self.axes.len() - 1];
        let mut at = range.start;
        while at < range.end {
            let within = at % inner;
            let len = (inner - within).min(range.end - at);
            let mut rest = at / inner;
            let mut start = self.offset + within * stride;
            for (extent, stride) in outer.iter().rev() {
                start += rest % extent * stride;
                rest /= extent;
            }
            visit(Run { start, stride, len });
            at += len;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        /// Any range of a view is that part of the whole.
        #[test]
        fn ranges_are_parts_of_the_whole(
            extents in proptest::collection::vec(1u64..5, 1..5),
            order in proptest::sample::subsequence((0usize..5).collect::<Vec<_>>(), 0..5),
            cut in 0.0f64..1.0,
        ) {
            let mut strides = vec![1; extents.len()];
            for axis in (0..extents.len() - 1).rev() {
                strides[axis] = strides[axis + 1] * extents[axis + 1];
            }
            let mut axes: Vec<(u64, u64)> = extents.iter().copied().zip(strides).collect();
            for index in order {
                let n_axes = axes.len();
                axes.swap(index % n_axes, n_axes - 1);
            }
            // Element by element, without merging.
            let mut expected = vec![0];
            for (extent, stride) in &axes {
                expected = expected.iter().flat_map(|at| (0..*extent).map(move |i| at + i * stride)).collect();
            }
            let view = View::new(0, axes);
            proptest::prop_assert_eq!(view.n_elements(), expected.len() as u64);
            let cut = (expected.len() as f64 * cut) as u64;
            let mut places = Vec::new();
            for range in [0..cut, cut..view.n_elements()] {
                view.each_run(range, |run| places.extend((0..run.len).map(|i| run.start + i * run.stride)));
            }
            proptest::prop_assert_eq!(places, expected);
        }
    }

    #[test]
    fn what_continues_is_one_run() {
        let mut runs = Vec::new();
        View::new(5, [(3, 8), (2, 4), (4, 1)]).each_run(1..24, |run| runs.push(run));
        assert_eq!(runs, [Run { start: 6, stride: 1, len: 23 }]);
        let mut columns = Vec::new();
        View::new(0, [(2, 1), (3, 2)]).each_run(0..6, |run| columns.push(run));
        assert_eq!(columns, [Run { start: 0, stride: 2, len: 3 }, Run { start: 1, stride: 2, len: 3 }]);
    }
}
