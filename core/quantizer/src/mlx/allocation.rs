//! Affine grids for matrices within a number of bytes, by what each costs the model.
//! Knows matrices, sensitivities and what flows in; must not know how files are laid out.

use super::grid::{AFFINE_BITS, AFFINE_GROUPS, Grid};
use super::plan::{Form, is_embedding, pure_form};
use super::recipe::Wishes;
use super::search;
use crate::allocate::{Candidate, allocate};
use crate::execute::n_workers;
use crate::pipeline::{self, Step};
use crate::progress::Meter;
use crate::rounding::MatrixInput;
use crate::sensitivity::{Outline, sampled};
use crate::source::mlx::{Held, MlxSource};
use crate::{Error, Moments, Result, Sensitivity, Watch};
use families::Role;
use families::mlx::Kind;
use std::sync::Arc;

/// What is known of a model's matrices.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Guide<'a> {
    /// What errors cost; by role and depth where nothing was measured.
    pub(crate) sensitivity: Option<&'a Sensitivity>,
    /// What flows into matrices; all columns count alike where nothing is known.
    pub(crate) moments: Option<&'a Arc<Moments>>,
}

/// A matrix that has a choice.
#[derive(Debug, Clone)]
struct Open {
    index: usize,
    grids: Vec<Grid>,
    kappa: f64,
    /// Error by grid.
    errors: Vec<f64>,
}

/// Choices and what they cost.
#[derive(Debug, Clone)]
pub(super) struct Choices {
    open: Vec<Open>,
    wishes: Wishes,
}

impl Choices {
    /// Measures what every grid does to every matrix that has no form of its own.
    ///
    /// # Errors
    /// Weights that are no finite numbers, or [`Error::Cancelled`].
    pub(super) fn measure(
        source: &MlxSource,
        wishes: Wishes,
        guide: Guide<'_>,
        threads: usize,
        watch: &mut Watch<'_>,
    ) -> Result<Self> {
        let names: Vec<&String> = source.tensors.iter().flat_map(|held| &held.tensor.gguf_names).collect();
        let outline = Outline::of(names.iter().copied());
        let nothing = Sensitivity::default();
        let measured = guide.sensitivity.unwrap_or(&nothing);
        let kappa = |held: &Held| {
            let harm = |name: &String| {
                let sharing = names.iter().filter(|other| **other == name).count();
                measured.kappa(name, outline) / sharing.max(1) as f64
            };
            held.tensor.gguf_names.iter().map(harm).sum()
        };
        let is_open = |held: &Held| held.tensor.kind == Kind::Matrix { is_fixed: false } && !held.is_mxfp4;
        let mut open: Vec<Open> = Vec::new();
        for (index, held) in source.tensors.iter().enumerate().filter(|(_, held)| is_open(held)) {
            let least = least_bits(held.tensor.role);
            let asked = wishes.embedding_bits.filter(|_| is_embedding(held));
            let all =
                AFFINE_BITS.into_iter().filter(|bits| asked.map_or(*bits >= least, |asked| *bits == asked));
            let all =
                all.flat_map(|bits| AFFINE_GROUPS.into_iter().map(move |group| Grid::Affine { bits, group }));
            let grids: Vec<Grid> = all.filter(|grid| grid.fits(held.columns())).collect();
            if !grids.is_empty() {
                open.push(Open { index, grids, kappa: kappa(held), errors: Vec::new() });
            }
        }
        let bytes = |index: usize| source.tensors[index].source_bytes;
        let mut meter = Meter::new(watch, "mlx: measuring", open.iter().map(|of| bytes(of.index)).sum());
        let n_workers = n_workers(threads);
        let step = Step { n_items: open.len(), n_workers, n_ahead: 2 * n_workers };
        let mut errors: Vec<Vec<f64>> = Vec::with_capacity(open.len());
        pipeline::run(
            step,
            |at, _: &mut (), out| {
                out.clear();
                let figures = errors_of(source, &open[at], guide.moments)?;
                out.extend(figures.iter().flat_map(|figure| figure.to_le_bytes()));
                Ok(())
            },
            |at, figures| {
                errors.push(
                    figures.as_chunks::<8>().0.iter().map(|eight| f64::from_le_bytes(*eight)).collect(),
                );
                meter.add(bytes(open[at].index))
            },
        )?;
        for (open, errors) in open.iter_mut().zip(errors) {
            open.errors = errors;
        }
        Ok(Self { open, wishes })
    }

    /// Bytes of the matrices that have a choice, on `usual` where it divides them, and of all other tensors.
    pub(super) fn usual_bytes(&self, source: &MlxSource, usual: Grid) -> (u64, u64) {
        let bytes = |held: &Held| bytes_as(held, pure_form(held, usual, self.wishes));
        let all: u64 = source.tensors.iter().map(bytes).sum();
        let open: u64 = self.open.iter().map(|open| bytes(&source.tensors[open.index])).sum();
        (open, all - open)
    }

    /// The forms of all tensors, with at most `budget_bytes` for those that have a choice and the others as `usual` has them, and
    /// the error of each.
    ///
    /// # Errors
    /// A budget that the smallest grids exceed.
    pub(super) fn within(
        &self,
        source: &MlxSource,
        usual: Grid,
        budget_bytes: u64,
    ) -> Result<Vec<(Form, Option<f64>)>> {
        let candidates: Vec<Vec<Candidate>> = self
            .open
            .iter()
            .map(|open| {
                let held = &source.tensors[open.index];
                let of = |(grid, error): (&Grid, &f64)| Candidate {
                    bytes: bytes_as(held, Form::On(*grid)),
                    harm: open.kappa * error,
                };
                open.grids.iter().zip(&open.errors).map(of).collect()
            })
            .collect();
        let chosen = allocate(&candidates, budget_bytes).ok_or_else(|| {
            let least = |of: &Vec<Candidate>| of.iter().map(|candidate| candidate.bytes).min().unwrap_or(0);
            Error::Request {
                wish: "target size".into(),
                expected: format!(
                    "at least {} bytes for matrices, which the smallest grids take",
                    candidates.iter().map(least).sum::<u64>()
                ),
                got: format!("{budget_bytes} bytes"),
            }
        })?;
        let usual = source.tensors.iter().map(|held| (pure_form(held, usual, self.wishes), None));
        let mut forms: Vec<(Form, Option<f64>)> = usual.collect();
        for (open, at) in self.open.iter().zip(chosen) {
            forms[open.index] = (Form::On(open.grids[at]), Some(open.errors[at]));
        }
        Ok(forms)
    }
}

/// Fewest bits of a role, whatever the figures say: predictions of large harm are too low.
fn least_bits(role: Role) -> u32 {
    match role {
        Role::TokenEmbedding | Role::Output | Role::LatentDown | Role::LatentUp | Role::SsmIn => 3,
        _ => 2,
    }
}

fn bytes_as(held: &Held, form: Form) -> u64 {
    let (columns, n_rows) = (held.columns(), held.n_elements() / held.columns());
    match form {
        Form::Plain => held.n_elements() * held.float.bytes() as u64,
        Form::On(grid) => grid.row_bytes(columns, held.float) * n_rows,
        Form::Copied => Grid::Mxfp4.row_bytes(columns, held.float) * n_rows,
    }
}

/// The share of the product's power that each grid changes, on sampled rows, before errors are fed back.
fn errors_of(source: &MlxSource, open: &Open, moments: Option<&Arc<Moments>>) -> Result<Vec<f64>> {
    let held = &source.tensors[open.index];
    let columns = held.columns();
    let per_matrix = held.rows_per_matrix();
    let n_matrices = held.n_elements() / columns / per_matrix;
    let rows = || sampled(n_matrices, per_matrix);
    let mut sums = vec![0f64; open.grids.len()];
    let mut power = 0.0;
    let mut weights = vec![0f32; rows().len() * columns as usize];
    for matrix in 0..n_matrices {
        for (row, out) in rows().zip(weights.chunks_mut(columns as usize)) {
            source.read(open.index, (matrix * per_matrix + row) * columns, out)?;
        }
        let input = moments
            .zip(held.tensor.gguf_names.first())
            .and_then(|(moments, name)| MatrixInput::of(moments, name, matrix as usize, columns as usize));
        // A matrix counts as often as it is used.
        let error = |values: &[f32]| match &input {
            Some(input) => input.n_tokens * input.error(&weights, values, columns as usize),
            None => weights.iter().zip(values).map(|(w, v)| f64::from(w - v).powi(2)).sum(),
        };
        power += error(&vec![0f32; weights.len()]);
        for (sum, grid) in sums.iter_mut().zip(&open.grids) {
            let (bits, group) = (grid.bits(), grid.group() as usize);
            let rounded =
                search::onto_lines(&weights, columns as usize, (bits, group), held.float, input.as_ref());
            *sum += error(&rounded.values(group));
        }
    }
    let share = |sum: f64| if power > 0.0 { sum / power } else { 0.0 };
    Ok(sums.into_iter().map(share).collect())
}
