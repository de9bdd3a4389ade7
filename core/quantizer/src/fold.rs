//! Factors moved between tensors before rounding, where that lessens the errors that rounding then makes: the model computes
//! the same, but its columns lie better in blocks that share a scale.
//! Knows exchanges, moments and rounding; must not know how types are chosen.
//!
//! Where rounding feeds errors back, one of column `j` costs `Dⱼ` (of `H = M D Mᵀ`), and columns of a group share steps as
//! large as its largest weights. `tⱼ = (Dⱼ / Wⱼ²)^(a/4)` with `Wⱼ²` the column's mean square is, at `a = 1`, the least of
//! `(Σⱼ Wⱼ² tⱼ²) (Σⱼ Dⱼ / tⱼ²)`, which is what all columns cost where they share one step. Blocks share it in part, hence `a`.

use crate::exchange::{Exchange, exchanges};
use crate::moments::{Moments, Part};
use crate::pipeline::{self, Step};
use crate::plan::Job;
use crate::progress::Meter;
use crate::rounding::{MatrixInput, round_matrix_rows};
use crate::sensitivity::sampled_weights;
use crate::source::TensorSource;
use crate::source::smoothed::{Factors, SmoothedSource};
use crate::{Error, Result, Watch};
use engine::gguf::quantize::dequantize_rows;
use formats::gguf::GgmlType;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Values of `a` that are tried.
const STRENGTHS: [f64; 2] = [0.5, 1.0];
/// The share of an error, on text that was held out, by which it must fall: less is not worth a change.
const WORTH: f64 = 0.03;
/// Factors are within this and its inverse: scales of blocks have 16 bits.
const MOST: f64 = 8.0;

/// Factors that were moved.
#[derive(Debug, Clone, Default)]
pub struct Folding {
    /// Where, in the model's order.
    pub exchanges: Vec<FoldedExchange>,
    factors: BTreeMap<String, Factors>,
    /// By reader: what flows into it is divided by, one number for each column of each matrix.
    divisors: BTreeMap<String, Arc<[f32]>>,
}

/// Matrices whose columns took factors.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FoldedExchange {
    /// The matrices.
    pub readers: Vec<String>,
    /// Exponent of the factors.
    pub strength: f64,
    /// What is left of their errors on text that was held out.
    pub error_left: f64,
}

impl Folding {
    /// Moves the factors that `factor` gives, one after the other, wherever factors may move in `source`: for checks that it
    /// stays the same model.
    ///
    /// # Errors
    /// Metadata that does not describe a model.
    pub fn by(source: &dyn TensorSource, factor: &mut dyn FnMut() -> f32) -> Result<Self> {
        let mut folding = Self::default();
        for exchange in exchanges(source)?.into_iter().filter(Exchange::is_open) {
            let mut by = Vec::with_capacity(exchange.n_matrices * exchange.width());
            for _ in 0..exchange.n_matrices {
                let of_groups: Vec<f32> = (0..exchange.n_factors()).map(|_| factor()).collect();
                by.extend(exchange.group.iter().map(|group| of_groups[*group]));
            }
            folding.take(&exchange, 0.0, 1.0, &by);
        }
        Ok(folding)
    }

    /// The same model in other numbers.
    pub fn source<'a>(&'a self, source: &'a dyn TensorSource) -> impl TensorSource + 'a {
        SmoothedSource::new(source, &self.factors)
    }

    /// What flows into the weights of that.
    pub(crate) fn moments(&self, moments: &Moments) -> Moments {
        moments.divided(self.divisors.clone())
    }

    fn take(&mut self, exchange: &Exchange, strength: f64, error_left: f64, by: &[f32]) {
        exchange.apply(by, &mut self.factors);
        let readers: Vec<String> = exchange.readers.iter().map(|(name, _)| name.clone()).collect();
        let shared: Arc<[f32]> = by.into();
        self.divisors.extend(readers.iter().map(|reader| (reader.clone(), Arc::clone(&shared))));
        self.exchanges.push(FoldedExchange { readers, strength, error_left });
    }
}

/// A matrix or stack that is rounded.
struct Reader<'a> {
    index: usize,
    name: &'a str,
    ty: GgmlType,
    /// Divergence per unit of error.
    kappa: f64,
}

/// Finds factors for the types of `job`, with `kappa` the divergence that a unit of a tensor's error adds.
///
/// # Errors
/// Weights that are no finite numbers, or [`Error::Cancelled`].
pub(crate) fn fold(
    source: &dyn TensorSource,
    job: &Job,
    moments: &Moments,
    kappa: &(dyn Fn(&str) -> f64 + Sync),
    threads: usize,
    watch: &mut Watch<'_>,
) -> Result<Folding> {
    let readers_of = |exchange: &Exchange| -> Vec<Reader<'_>> {
        let planned = exchange.readers.iter().filter_map(|(name, index)| {
            let plan = job.tensors.iter().find(|plan| plan.index == *index)?;
            let layout = moments.layout(name)?;
            let is_known = layout.n_columns == exchange.width() && layout.n_matrices == exchange.n_matrices;
            let rounded = plan.to.is_quantized() && plan.to != plan.from && is_known;
            rounded.then(|| Reader { index: *index, name: &plan.name, ty: plan.to, kappa: kappa(name) })
        });
        planned.collect()
    };
    let open: Vec<Exchange> = exchanges(source)?.into_iter().filter(Exchange::is_open).collect();
    let open: Vec<(Exchange, Vec<Reader<'_>>)> = open
        .into_iter()
        .map(|exchange| {
            let readers = readers_of(&exchange);
            (exchange, readers)
        })
        .filter(|(_, readers)| !readers.is_empty())
        .collect();
    let mut meter = Meter::new(watch, &format!("{}: folding", job.label), open.len() as u64);
    let mut folding = Folding::default();
    let n_workers = crate::execute::n_workers(threads);
    pipeline::run(
        Step { n_items: open.len(), n_workers, n_ahead: 2 * n_workers },
        |at, (): &mut (), out| {
            out.clear();
            let (exchange, readers) = &open[at];
            if let Some((strength, error_left, by)) = best(source, exchange, readers, moments)? {
                out.extend([strength, error_left].iter().flat_map(|figure| figure.to_le_bytes()));
                out.extend(by.iter().flat_map(|factor| factor.to_le_bytes()));
            }
            Ok(())
        },
        |at, found| {
            if let Some((figures, by)) = found.split_at_checked(16) {
                let figures = figures.as_chunks::<8>().0;
                let by: Vec<f32> =
                    by.as_chunks::<4>().0.iter().map(|four| f32::from_le_bytes(*four)).collect();
                let [strength, error_left] = [figures[0], figures[1]].map(f64::from_le_bytes);
                folding.take(&open[at].0, strength, error_left, &by);
            }
            meter.add(1)
        },
    )?;
    Ok(folding)
}

/// Strength, what is left of the errors, and factors by column and matrix: of those that lessen errors most, where that is
/// worth it.
fn best(
    source: &dyn TensorSource,
    exchange: &Exchange,
    readers: &[Reader<'_>],
    moments: &Moments,
) -> Result<Option<(f64, f64, Vec<f32>)>> {
    let width = exchange.width();
    let mut candidates = STRENGTHS.map(|_| Vec::with_capacity(exchange.n_matrices * width));
    // By reader: errors without factors and with each candidate's, and the power of products.
    let mut errors = vec![[0f64; STRENGTHS.len() + 1]; readers.len()];
    let mut powers = vec![0f64; readers.len()];
    for matrix in 0..exchange.n_matrices {
        let of = |part| moments.of(readers[0].name, matrix, part);
        let Some((seen, held_out)) = of(Part::Seen).zip(of(Part::HeldOut)) else { return Ok(None) };
        let input = MatrixInput::new(width, seen.clone(), held_out.clone());
        let samples: Vec<Vec<f32>> = readers
            .iter()
            .map(|reader| sampled_weights(source, reader.index, matrix as u64))
            .collect::<Result<_>>()?;
        let mut squares = vec![0f64; width];
        for ((reader, weights), (errors, power)) in
            readers.iter().zip(&samples).zip(errors.iter_mut().zip(&mut powers))
        {
            let plain = rounding_error(reader, weights, width, &input)?;
            let of_matrix = input.error(weights, &vec![0f32; weights.len()], width);
            errors[0] += input.n_tokens * plain;
            *power += input.n_tokens * of_matrix;
            let all: f64 = weights.iter().map(|weight| f64::from(*weight).powi(2)).sum();
            let harm = reader.kappa * plain / (of_matrix * all).max(f64::MIN_POSITIVE);
            for row in weights.chunks(width) {
                squares
                    .iter_mut()
                    .zip(row)
                    .for_each(|(sum, weight)| *sum += harm * f64::from(*weight).powi(2));
            }
        }
        let ratios = ratios(exchange, &input.costs(), &squares);
        for (at, strength) in STRENGTHS.iter().enumerate() {
            let by: Vec<f32> = ratios
                .iter()
                .map(|ratio| (ratio * strength / 4.0).exp().clamp(1.0 / MOST, MOST) as f32)
                .collect();
            let input = MatrixInput::new(width, seen.clone().divided(&by), held_out.clone().divided(&by));
            for ((reader, weights), errors) in readers.iter().zip(&samples).zip(&mut errors) {
                let mut weights = weights.clone();
                for row in weights.chunks_mut(width) {
                    row.iter_mut().zip(&by).for_each(|(weight, by)| *weight *= by);
                }
                errors[at + 1] += input.n_tokens * rounding_error(reader, &weights, width, &input)?;
            }
            candidates[at].extend(by);
        }
    }
    let harm = |at: usize| -> f64 {
        let of_reader = readers.iter().zip(&errors).zip(&powers);
        of_reader
            .map(|((reader, errors), power)| reader.kappa * errors[at] / power.max(f64::MIN_POSITIVE))
            .sum()
    };
    let least = (1..=STRENGTHS.len()).min_by(|a, b| harm(*a).total_cmp(&harm(*b))).unwrap_or(0);
    if least == 0 || harm(least) > (1.0 - WORTH) * harm(0) {
        return Ok(None);
    }
    let by = candidates.into_iter().nth(least - 1).unwrap_or_default();
    Ok(Some((STRENGTHS[least - 1], harm(least) / harm(0), by)))
}

/// `ln (D / W²)` by column, columns of a factor together, about their mean.
fn ratios(exchange: &Exchange, costs: &[f32], squares: &[f64]) -> Vec<f64> {
    let mut sums = vec![(0f64, 0usize); exchange.n_factors()];
    let small = |values: f64| values.max(f64::from(f32::MIN_POSITIVE)).ln();
    let mean_square = squares.iter().sum::<f64>() / squares.len().max(1) as f64;
    for ((group, cost), square) in exchange.group.iter().zip(costs).zip(squares) {
        // A column without weights may be anything.
        let ratio = small(f64::from(*cost)) - small(square.max(1e-6 * mean_square));
        sums[*group].0 += ratio;
        sums[*group].1 += 1;
    }
    let of_group = |group: &usize| sums[*group].0 / sums[*group].1.max(1) as f64;
    let mean = exchange.group.iter().map(of_group).sum::<f64>() / exchange.width().max(1) as f64;
    exchange.group.iter().map(|group| of_group(group) - mean).collect()
}

/// `tr(Δ H Δᵀ)` per token of rows that are rounded with feedback, on text that was held out.
fn rounding_error(reader: &Reader<'_>, weights: &[f32], width: usize, input: &MatrixInput) -> Result<f64> {
    let failed = |source| Error::Engine { tensor: reader.name.into(), source };
    let n_bytes = reader.ty.row_bytes(width as u64).unwrap_or(0) as usize * (weights.len() / width);
    let (mut bytes, mut values) = (vec![0u8; n_bytes], vec![0f32; weights.len()]);
    round_matrix_rows(reader.ty, weights, width, input, true, &mut bytes).map_err(failed)?;
    dequantize_rows(reader.ty, &bytes, &mut values).map_err(failed)?;
    Ok(input.error(weights, &values, width))
}

#[cfg(test)]
mod tests;
