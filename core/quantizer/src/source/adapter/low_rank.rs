//! The product of two thin matrices, added to parts of a row where they are asked for.
//! Owns the arithmetic; must not know names' meaning.

use super::super::coded::Part;
use super::super::rows::Float;
use bundle::mapped_file::MappedFile;
use std::ops::Range;

/// `scale * B A`, with A of `rank` rows as wide as a module's input, and B of one row for each of its outputs.
#[derive(Debug, Clone)]
pub(in super::super) struct LowRank {
    /// Names of A and B.
    pub(super) names: [String; 2],
    /// A and B.
    pub(super) factors: [Factor; 2],
    pub(super) rank: u64,
    /// Width of A.
    pub(super) inner: u64,
    pub(super) scale: f32,
    pub(super) layout: Layout,
}

/// How the changed matrix lies to the product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// A row for each output.
    Straight,
    /// A row for each input: embeddings, and weights of `fan_in_fan_out`.
    Transposed,
}

/// One thin matrix where it lies.
#[derive(Debug, Clone)]
pub(super) struct Factor {
    part: Part,
    float: Float,
}

impl Factor {
    pub(super) fn new(shard: usize, range: Range<u64>, float: Float) -> Self {
        Self { part: Part { shard, range }, float }
    }

    /// Fills `out` with the elements from `first` on.
    fn read(&self, shards: &[MappedFile], first: u64, out: &mut [f32]) {
        let width = self.float.bytes();
        let first = first as usize * width;
        self.float.widen(&self.part.bytes(shards)[first..first + out.len() * width], out);
    }
}

impl LowRank {
    /// Adds its part to `out`, the columns of `row` from `column` on.
    pub(in super::super) fn add(&self, shards: &[MappedFile], row: u64, column: u64, out: &mut [f32]) {
        let [a, b] = &self.factors;
        let (rank, len) = (self.rank as usize, out.len());
        match self.layout {
            Layout::Straight => {
                let (mut outputs, mut inputs, mut sum) = (vec![0.0; rank], vec![0.0; len], vec![0.0f32; len]);
                b.read(shards, row * self.rank, &mut outputs);
                for (k, output) in (0..).zip(&outputs) {
                    a.read(shards, k * self.inner + column, &mut inputs);
                    sum.iter_mut().zip(&inputs).for_each(|(sum, input)| *sum += output * input);
                }
                out.iter_mut().zip(&sum).for_each(|(value, sum)| *value += self.scale * sum);
            }
            Layout::Transposed => {
                let (mut inputs, mut outputs) = (vec![0.0; rank], vec![0.0; rank]);
                for (k, input) in (0..).zip(&mut inputs) {
                    a.read(shards, k * self.inner + row, std::slice::from_mut(input));
                }
                for (at, value) in (column..).zip(out) {
                    b.read(shards, at * self.rank, &mut outputs);
                    let sum: f32 = inputs.iter().zip(&outputs).map(|(input, output)| input * output).sum();
                    *value += self.scale * sum;
                }
            }
        }
    }

    /// The first of A and B that holds a number that is not finite, with its shard.
    pub(in super::super) fn not_finite(&self, shards: &[MappedFile]) -> Option<(usize, &str)> {
        let mut value = [0.0];
        self.factors.iter().zip(&self.names).find_map(|(factor, name)| {
            let n_elements = factor.part.len() / factor.float.bytes() as u64;
            let bad = (0..n_elements).any(|at| {
                factor.read(shards, at, &mut value);
                !value[0].is_finite()
            });
            bad.then_some((factor.part.shard, name.as_str()))
        })
    }
}
