//! How the values of a stored tensor are arranged in GGUF's, as data: `heads 2 head_dim/2 hidden -> 0 2 1 3`.
//! Owns the grammar and its evaluation to a [`View`]; must not know what a name stands for.

use crate::View;
use crate::extent::{Extent, Failure};
use serde::Deserialize;
use std::fmt;

/// Axes of the stored tensor, slowest first, as extents that may split its own, and the order in which the
/// result runs through them. `a|[b]|c` is an axis of three parts of which the second is taken; `a|[b,c]` splits it into axes
/// of its own. Without `->` the order
/// stays.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Arrangement {
    text: String,
    axes: Vec<Axis>,
    order: Vec<usize>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Axis {
    /// Extents of each part; those of one behind commas are multiplied.
    parts: Vec<Vec<Extent>>,
    taken: usize,
}

impl TryFrom<String> for Arrangement {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let (words, order) = match text.split_once("->") {
            Some((words, order)) => (words, Some(order)),
            None => (text.as_str(), None),
        };
        let axes = words.split_whitespace().map(axis).collect::<Result<Vec<_>, _>>()?;
        let n_axes: usize = axes.iter().map(|axis: &Axis| axis.parts[axis.taken].len()).sum();
        let order: Vec<usize> = match order {
            None => (0..n_axes).collect(),
            Some(order) => {
                let numbers = order.split_whitespace().map(|word| word.parse().ok());
                numbers.collect::<Option<_>>().ok_or_else(|| format!("`{order}` are not axis numbers"))?
            }
        };
        let mut sorted = order.clone();
        sorted.sort_unstable();
        if axes.is_empty() || !sorted.iter().copied().eq(0..n_axes) {
            return Err(format!("`{text}`: expected every axis once behind `->`"));
        }
        Ok(Self { text, axes, order })
    }
}

impl fmt::Display for Arrangement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn axis(text: &str) -> Result<Axis, String> {
    let words: Vec<&str> = text.split('|').collect();
    let bracketed = |word: &&str| word.starts_with('[') && word.ends_with(']');
    let taken: Vec<usize> = (0..words.len()).filter(|&index| bracketed(&words[index])).collect();
    let taken = match (taken.as_slice(), words.len()) {
        ([one], _) => *one,
        ([], 1) => 0,
        _ => return Err(format!("`{text}`: expected one part in brackets")),
    };
    let part = |word: &&str| {
        let sides = word.trim_matches(['[', ']']).split(',');
        sides.map(|side| Extent::try_from(side.to_string())).collect::<Result<Vec<_>, _>>()
    };
    Ok(Axis { parts: words.iter().map(part).collect::<Result<_, _>>()?, taken })
}

impl Arrangement {
    /// Every name in it.
    #[cfg(test)]
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.axes.iter().flat_map(|axis| &axis.parts).flatten().flat_map(Extent::names)
    }

    /// The view it stands for, with `value_of` for the names, on a tensor of `shape` (slowest first). `None` where the
    /// axes are not that shape's, some of them split.
    pub(crate) fn view<E>(
        &self,
        shape: &[u64],
        value_of: impl Fn(&str) -> Result<u64, E> + Copy,
    ) -> Result<Option<View>, Failure<E>> {
        let mut extents = Vec::with_capacity(self.axes.len());
        // Where the taken part of each axis begins, and the axes that it is split into.
        let mut taken = Vec::with_capacity(self.axes.len());
        for axis in &self.axes {
            let (mut sum, mut start, mut split) = (0u64, 0, Vec::new());
            for (index, part) in axis.parts.iter().enumerate() {
                let sides: Vec<u64> =
                    part.iter().map(|side| side.evaluate(value_of)).collect::<Result<_, _>>()?;
                let extent = sides.iter().try_fold(1u64, |product, side| product.checked_mul(*side));
                if index == axis.taken {
                    (start, split) = (sum, sides);
                }
                sum = extent.and_then(|extent| sum.checked_add(extent)).ok_or(Failure::Overflow)?;
            }
            extents.push(sum);
            taken.push((start, split));
        }
        if !splits(&extents, shape) {
            return Ok(None);
        }
        let mut strides = vec![1u64; extents.len()];
        for axis in (0..extents.len() - 1).rev() {
            strides[axis] = strides[axis + 1].checked_mul(extents[axis + 1]).ok_or(Failure::Overflow)?;
        }
        let offset = taken
            .iter()
            .zip(&strides)
            .try_fold(0u64, |offset, ((start, _), stride)| offset.checked_add(start.checked_mul(*stride)?));
        let mut axes = Vec::with_capacity(self.order.len());
        for ((_, split), stride) in taken.iter().zip(&strides) {
            let inner: Vec<u64> = split
                .iter()
                .rev()
                .scan(*stride, |stride, side| {
                    let own = *stride;
                    *stride = stride.saturating_mul(*side);
                    Some(own)
                })
                .collect();
            axes.extend(split.iter().copied().zip(inner.into_iter().rev()));
        }
        let axes = self.order.iter().map(|&axis| axes[axis]);
        Ok(Some(View::new(offset.ok_or(Failure::Overflow)?, axes)))
    }
}

/// Whether `axes` are those of `shape`, some of them split.
fn splits(axes: &[u64], shape: &[u64]) -> bool {
    let borders = |extents: &[u64]| -> Option<Vec<u64>> {
        let mut product = 1u64;
        let mut borders = vec![1];
        for &extent in extents.iter().rev() {
            product = product.checked_mul(extent).filter(|&product| product > 0)?;
            borders.push(product);
        }
        Some(borders)
    };
    let (Some(of_axes), Some(of_shape)) = (borders(axes), borders(shape)) else { return false };
    of_axes.last() == of_shape.last() && of_shape.iter().all(|border| of_axes.contains(border))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(text: &str, shape: &[u64]) -> Option<View> {
        let arrangement = Arrangement::try_from(text.to_string()).expect("parses");
        let value_of = |name: &str| match name {
            "heads" => Ok(2),
            "half" => Ok(3),
            "hidden" => Ok(4),
            other => Err(other.to_string()),
        };
        arrangement.view(shape, value_of).expect("every name has a value")
    }

    /// Source places of the view's elements.
    fn places(view: &View) -> Vec<u64> {
        let mut places = Vec::new();
        view.each_run(0..view.n_elements(), |run| {
            places.extend((0..run.len).map(|index| run.start + index * run.stride));
        });
        places
    }

    #[test]
    fn axes_are_exchanged() {
        let view = view("heads 2 half -> 0 2 1", &[12]).expect("12 elements");
        assert_eq!(places(&view), [0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11]);
    }

    #[test]
    fn parts_of_an_axis_are_taken() {
        let view = view("heads 1|[2] hidden", &[6, 4]).expect("24 elements");
        assert_eq!(places(&view), (4..12).chain(16..24).collect::<Vec<_>>());
        let transposed = self::view("heads 1|[2] hidden -> 0 2 1", &[6, 4]).expect("24 elements");
        assert_eq!(places(&transposed)[..4], [4, 8, 5, 9]);
    }

    #[test]
    fn a_taken_part_may_be_split() {
        let view = view("2|[half,2] hidden -> 1 0 2", &[8, 4]).expect("32 elements");
        let rows: Vec<u64> = places(&view).into_iter().step_by(4).map(|place| place / 4).collect();
        assert_eq!(rows, [2, 4, 6, 3, 5, 7]);
    }

    #[test]
    fn other_shapes_have_no_view() {
        assert_eq!(view("heads half hidden", &[4, 6]), None);
        assert!(view("heads half hidden", &[6, 1, 4]).is_some());
        assert_eq!(view("heads hidden", &[9]), None);
        assert_eq!(view("heads hidden", &[]), None);
        assert_eq!(view("heads hidden", &[u64::MAX, 2]), None);
    }

    #[test]
    fn anything_else_does_not_parse() {
        for text in
            ["", "->", "a b -> 0", "a b -> 0 0", "a b -> 0 2", "a|b", "[a]|[b]", "a b -> x y", "a (b)"]
        {
            assert!(Arrangement::try_from(text.to_string()).is_err(), "{text}");
        }
    }
}
