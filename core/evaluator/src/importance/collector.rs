//! Sums of squares by weight, matrix and column, and how many rows each matrix saw.
//! Owns the sums and their order of addition; must not know texts.

use engine::{Product, Watch};
use formats::imatrix::{Entry, Imatrix};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What stacks of experts are called in files.
const EXPERTS: &str = "_exps.";

/// What one weight saw.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Seen {
    pub(crate) n_columns: usize,
    pub(crate) n_matrices: usize,
    /// Σx² by matrix and column.
    pub(crate) sums: Vec<f32>,
    /// Rows by matrix.
    pub(crate) counts: Vec<u64>,
}

/// What all weights saw so far.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sums {
    pub(crate) weights: BTreeMap<String, Seen>,
}

impl Sums {
    /// Adds a product, of whose matrices only those that `counts` accepts; within the call in double precision, so that
    /// the sum does not depend on how often it was interrupted between calls.
    fn add(&mut self, product: &Product<'_>, counts: impl Fn(&str, u32) -> bool) {
        let n_columns = product.n_columns;
        let seen = match self.weights.get_mut(product.weight) {
            Some(seen) => seen,
            None => self.weights.entry(product.weight.into()).or_insert_with(|| Seen {
                n_columns,
                n_matrices: product.n_matrices,
                sums: vec![0.0; n_columns * product.n_matrices],
                counts: vec![0; product.n_matrices],
            }),
        };
        // Rows by the matrix that multiplies them, in order.
        let mut rows: Vec<(u32, &[f32])> = Vec::with_capacity(product.matrices.len());
        for (row, matrices) in product.iter() {
            rows.extend(matrices.iter().map(|matrix| (*matrix, row)));
        }
        rows.sort_by_key(|(matrix, _)| *matrix);
        let mut sums = vec![0.0f64; n_columns];
        for run in rows.chunk_by(|a, b| a.0 == b.0) {
            let (matrix, _) = run[0];
            if !counts(product.weight, matrix) {
                continue;
            }
            sums.fill(0.0);
            for (_, row) in run {
                for (sum, value) in sums.iter_mut().zip(*row) {
                    *sum += f64::from(*value) * f64::from(*value);
                }
            }
            let start = matrix as usize * n_columns;
            for (total, sum) in seen.sums[start..start + n_columns].iter_mut().zip(&sums) {
                *total = (f64::from(*total) + sum) as f32;
            }
            seen.counts[matrix as usize] += run.len() as u64;
        }
    }

    /// As an importance matrix. Dense stacks, whose matrices all see every token, have one count, as llama-imatrix
    /// writes it.
    pub fn to_imatrix(&self, datasets: Vec<String>, chunk_count: u32, chunk_size: u32) -> Imatrix {
        Imatrix { datasets, chunk_count, chunk_size, ..self.entries(true) }
    }

    /// With every matrix's own count, which [`Sums::of_imatrix`] reads back.
    pub(super) fn whole(&self) -> Imatrix {
        self.entries(false)
    }

    fn entries(&self, one_count: bool) -> Imatrix {
        let entry = |(name, seen): (&String, &Seen)| {
            let is_dense = one_count && seen.n_matrices > 1 && !name.contains(EXPERTS);
            let (n_columns, n_matrices) = match is_dense {
                true => (seen.n_columns * seen.n_matrices, 1),
                false => (seen.n_columns, seen.n_matrices),
            };
            let counts = seen.counts.iter().take(n_matrices).map(|count| *count as f32).collect();
            let entry = Entry { n_columns, n_matrices, sums: seen.sums.clone(), counts, legacy: false };
            (name.clone(), entry)
        };
        Imatrix { entries: self.weights.iter().map(entry).collect(), ..Imatrix::default() }
    }

    /// Of what [`Sums::whole`] made.
    pub(super) fn of_imatrix(imatrix: &Imatrix) -> Self {
        let seen = |(name, entry): (&String, &Entry)| {
            let counts = entry.counts.iter().map(|count| *count as u64).collect();
            let (n_columns, n_matrices) = (entry.n_columns, entry.n_matrices);
            (name.clone(), Seen { n_columns, n_matrices, sums: entry.sums.clone(), counts })
        };
        Self { weights: imatrix.entries.iter().map(seen).collect() }
    }

    /// Stacks of experts with how many rows each expert saw.
    pub(crate) fn experts(&self) -> impl Iterator<Item = (&str, &[u64])> {
        let stacks = self.weights.iter().filter(|(name, seen)| name.contains(EXPERTS) && seen.n_matrices > 1);
        stacks.map(|(name, seen)| (name.as_str(), seen.counts.as_slice()))
    }
}

/// Which products count.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Wanted {
    /// Those of every matrix; of the output and the embedding that serves as such with `true`.
    All { output: bool },
    /// Those of these experts alone, by stack; the others have seen enough.
    Experts(BTreeMap<String, Vec<bool>>),
}

impl Wanted {
    fn weight(&self, name: &str) -> bool {
        match self {
            // Routers and the like are never quantized, and cost little to see.
            Self::All { output } => name.ends_with(".weight") && (*output || name.starts_with("blk.")),
            Self::Experts(stacks) => stacks.contains_key(name),
        }
    }

    fn matrix(&self, name: &str, matrix: u32) -> bool {
        match self {
            Self::All { .. } => true,
            Self::Experts(stacks) => {
                stacks.get(name).and_then(|wanted| wanted.get(matrix as usize)).copied().unwrap_or(false)
            }
        }
    }
}

/// The sums and what is to be added to them, shared by the watch inside of a context and whoever drives it.
#[derive(Debug, Clone)]
pub(crate) struct Collector(Arc<Mutex<(Sums, Wanted)>>);

impl Collector {
    pub(crate) fn new(sums: Sums, wanted: Wanted) -> Self {
        Self(Arc::new(Mutex::new((sums, wanted))))
    }

    fn locked(&self) -> MutexGuard<'_, (Sums, Wanted)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn sums(&self) -> Sums {
        self.locked().0.clone()
    }

    pub(crate) fn with<R>(&self, read: impl FnOnce(&Sums) -> R) -> R {
        read(&self.locked().0)
    }

    pub(crate) fn want(&self, wanted: Wanted) {
        self.locked().1 = wanted;
    }
}

impl Watch for Collector {
    fn wants(&mut self, weight: &str) -> bool {
        self.locked().1.weight(weight)
    }

    fn saw(&mut self, product: &Product<'_>) {
        let (sums, wanted) = &mut *self.locked();
        sums.add(product, |name, matrix| wanted.matrix(name, matrix));
    }
}
