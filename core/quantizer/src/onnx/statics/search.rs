//! Which factors and which range an input's codes have: those whose products with some rows of its matrices are nearest
//! to the plain ones, on text that was held out.
//! Knows numbers alone.

use super::magnitudes::{LEVELS, Magnitudes, Reach};
use crate::rounding::arithmetic::dot;

/// Factors stay within this and its inverse.
const MOST_FACTOR: f32 = 1e4;

/// Rows of a matrix.
pub(super) struct Sample {
    pub(super) rows: Vec<f32>,
}

/// What won.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Choice {
    /// Number of the candidate.
    pub(super) candidate: usize,
    pub(super) by: Reach,
    /// How far codes reach, in smoothed numbers.
    pub(super) reach: f32,
    /// Squared error of products as a part of their square, the mean over matrices.
    pub(super) error: f64,
    /// The same of the first candidate, with its best range.
    pub(super) first_error: f64,
}

/// What columns are divided by before they are coded: `max|x|^a / max|w|^(1-a)`, 1 in the middle; 1 where nothing flows.
pub(super) fn divisors(largest: &[f32], of_weights: &[f32], strength: f64) -> Vec<f32> {
    let of = |(x, w): (&f32, &f32)| {
        let flows = *x > 0.0 && *w > 0.0;
        flows.then(|| strength * f64::from(*x).ln() - (1.0 - strength) * f64::from(*w).ln())
    };
    let logs: Vec<Option<f64>> = largest.iter().zip(of_weights).map(of).collect();
    let n = logs.iter().flatten().count().max(1) as f64;
    let middle = logs.iter().flatten().sum::<f64>() / n;
    let factor = |log: &Option<f64>| {
        log.map_or(1.0, |log| ((log - middle).exp() as f32).clamp(1.0 / MOST_FACTOR, MOST_FACTOR))
    };
    logs.iter().map(factor).collect()
}

/// The best of the candidates, each with what its columns are divided by and how large numbers are then.
pub(super) fn choose(
    held_out: &[f32],
    samples: &[Sample],
    candidates: &[(Vec<f32>, Magnitudes)],
    ranges: &[Reach],
) -> Choice {
    let width = candidates.first().map_or(1, |(divisors, _)| divisors.len()).max(1);
    let plain: Vec<Vec<f32>> = samples.iter().map(|sample| products(held_out, &sample.rows, width)).collect();
    let mut best: Option<Choice> = None;
    let mut first_error = f64::INFINITY;
    for (candidate, (divisors, magnitudes)) in candidates.iter().enumerate() {
        let coded: Vec<Vec<f32>> = samples.iter().map(|sample| coded_rows(&sample.rows, divisors)).collect();
        for by in ranges {
            let reach = magnitudes.reach(*by);
            let flows = coded_inputs(held_out, divisors, reach);
            let errors = coded
                .iter()
                .zip(&plain)
                .map(|(coded, plain)| part_lost(&products(&flows, coded, width), plain));
            let error = errors.sum::<f64>() / samples.len().max(1) as f64;
            if candidate == 0 {
                first_error = first_error.min(error);
            }
            if best.as_ref().is_none_or(|best| error < best.error) {
                best = Some(Choice { candidate, by: *by, reach, error, first_error });
            }
        }
    }
    let best = best.expect("there are candidates and ranges: the table's first candidate is none");
    Choice { first_error, ..best }
}

/// Rows of a matrix times the divisors, as their codes tell them: a scale for each row.
fn coded_rows(rows: &[f32], divisors: &[f32]) -> Vec<f32> {
    let mut coded = Vec::with_capacity(rows.len());
    for row in rows.chunks_exact(divisors.len()) {
        let first = coded.len();
        coded.extend(row.iter().zip(divisors).map(|(weight, by)| weight * by));
        let own = &mut coded[first..];
        let step = own.iter().fold(0f32, |most, weight| most.max(weight.abs())) / LEVELS as f32;
        if step > 0.0 {
            own.iter_mut().for_each(|weight| *weight = (*weight / step).round_ties_even() * step);
        }
    }
    coded
}

fn coded_inputs(rows: &[f32], divisors: &[f32], reach: f32) -> Vec<f32> {
    let (step, most) = (reach / LEVELS as f32, LEVELS as f32);
    let told = |value: f32| (value / step).round_ties_even().clamp(-most - 1.0, most) * step;
    rows.chunks_exact(divisors.len())
        .flat_map(|row| row.iter().zip(divisors).map(|(value, by)| told(value / by)))
        .collect()
}

/// Every row of `a` times every row of `b`.
fn products(a: &[f32], b: &[f32], width: usize) -> Vec<f32> {
    a.chunks_exact(width).flat_map(|x| b.chunks_exact(width).map(|w| dot(x, w))).collect()
}

fn part_lost(got: &[f32], plain: &[f32]) -> f64 {
    let square = |value: f32| f64::from(value) * f64::from(value);
    let lost: f64 = got.iter().zip(plain).map(|(got, plain)| square(got - plain)).sum();
    lost / plain.iter().map(|plain| square(*plain)).sum::<f64>().max(f64::MIN_POSITIVE)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDTH: usize = 24;

    /// Even numbers, but one column so many times as large.
    fn flows(n: usize, seed: u32, large: f32) -> Vec<f32> {
        let mut state = seed;
        let mut even = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        (0..n * WIDTH).map(|at| even() * if at % WIDTH == 5 { large } else { 1.0 }).collect()
    }

    #[test]
    fn a_large_column_is_made_small_where_that_helps() {
        let (learned, held_out, rows) = (flows(200, 1, 100.0), flows(40, 7, 100.0), flows(16, 3, 1.0));
        let largest = |rows: &[f32]| -> Vec<f32> {
            let of =
                |column: usize| rows.iter().skip(column).step_by(WIDTH).fold(0f32, |a, b| a.max(b.abs()));
            (0..WIDTH).map(of).collect()
        };
        let (x, w) = (largest(&learned), largest(&rows));
        let mut candidates = Vec::new();
        for divisors in [vec![1.0; WIDTH], divisors(&x, &w, 0.5)] {
            let scaled: Vec<f32> =
                learned.iter().enumerate().map(|(at, value)| value / divisors[at % WIDTH]).collect();
            let mut magnitudes = Magnitudes::up_to(scaled.iter().fold(0f32, |a, b| a.max(b.abs())));
            scaled.iter().for_each(|value| magnitudes.add(*value));
            candidates.push((divisors, magnitudes));
        }
        let choice = choose(&held_out, &[Sample { rows }], &candidates, &[Reach::Largest]);
        assert_eq!(choice.candidate, 1);
        assert!(choice.error * 4.0 < choice.first_error, "{choice:?}");
    }

    #[test]
    fn divisors_are_one_in_the_middle_and_where_nothing_flows() {
        let divisors = divisors(&[4.0, 1.0, 0.0, 0.25], &[1.0; 4], 0.5);
        assert_eq!(divisors, [2.0, 1.0, 1.0, 0.5]);
    }

    #[test]
    fn products_are_sums_of_all_terms() {
        let (a, b): (Vec<f32>, Vec<f32>) = ((0..37).map(|n| n as f32).collect(), vec![1.0; 37]);
        assert_eq!(products(&a, &b, 37), [666.0]);
    }
}
