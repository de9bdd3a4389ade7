//! What watches a context and sums up: which weights read the same input, and products of its columns.
//! Knows the engine's products; must not know files.

use super::Layout;
use super::sums::{add_products, mirror};
use engine::{Product, Watch};
use rayon::ThreadPool;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// An input and its sums.
pub(super) struct Input {
    /// The first weight that reads it.
    pub(super) name: String,
    pub(super) layout: Layout,
    /// Σ x xᵀ: parts, then matrices, then blocks. Empty while it is not summed.
    pub(super) sums: Vec<f32>,
    /// Tokens by part and matrix.
    pub(super) counts: Vec<f32>,
}

/// What is known so far.
#[derive(Default)]
pub(super) struct Sums {
    pub(super) inputs: Vec<Input>,
    /// Weights by the input that they read.
    pub(super) input_of: BTreeMap<String, usize>,
    /// Most columns of a block.
    pub(super) block: usize,
    /// Which part the present chunk belongs to; `None` while inputs are only found.
    pub(super) part: Option<usize>,
    /// The latest product, by which weights that read the same are found.
    latest: (Vec<f32>, Vec<u32>),
    rows: Vec<f32>,
}

/// The sums, shared by the watch of a context and whoever runs it.
#[derive(Clone)]
pub(super) struct Gatherer {
    sums: Arc<Mutex<Sums>>,
    pool: Arc<ThreadPool>,
    wanted: Arc<BTreeSet<String>>,
}

impl Gatherer {
    pub(super) fn new(wanted: impl IntoIterator<Item = String>, block: usize, pool: ThreadPool) -> Self {
        let sums = Arc::new(Mutex::new(Sums { block, ..Sums::default() }));
        Self { sums, pool: Arc::new(pool), wanted: Arc::new(wanted.into_iter().collect()) }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Sums> {
        self.sums.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watch for Gatherer {
    fn wants(&mut self, weight: &str) -> bool {
        if !self.wanted.contains(weight) {
            return false;
        }
        let sums = self.lock();
        match sums.part {
            None => !sums.input_of.contains_key(weight),
            Some(_) => sums
                .input_of
                .get(weight)
                .map(|at| &sums.inputs[*at])
                .is_some_and(|input| input.name == weight && !input.sums.is_empty()),
        }
    }

    fn saw(&mut self, product: &Product<'_>) {
        let mut locked = self.lock();
        let sums = &mut *locked;
        match sums.part {
            None => sums.find(product),
            Some(part) => self.pool.install(|| sums.add(product, part)),
        }
    }
}

impl Sums {
    /// Tells which input the weight reads: the latest one, or a new one.
    fn find(&mut self, product: &Product<'_>) {
        let layout = Layout {
            n_columns: product.n_columns,
            n_matrices: product.n_matrices,
            block: self.block.min(product.n_columns),
        };
        let same = self.inputs.last().is_some_and(|input| input.layout == layout)
            && self.latest.0 == product.rows
            && self.latest.1 == product.matrices;
        if !same {
            self.latest = (product.rows.to_vec(), product.matrices.to_vec());
            let counts = vec![0.0; 2 * layout.n_matrices];
            self.inputs.push(Input { name: product.weight.into(), layout, sums: Vec::new(), counts });
        }
        self.input_of.insert(product.weight.into(), self.inputs.len() - 1);
    }

    fn add(&mut self, product: &Product<'_>, part: usize) {
        let Some(&at) = self.input_of.get(product.weight) else { return };
        let input = &mut self.inputs[at];
        let (layout, n_values) = (input.layout, input.layout.n_values());
        for matrix in 0..layout.n_matrices {
            let rows: &[f32] = if layout.n_matrices == 1 {
                product.rows
            } else {
                self.rows.clear();
                let of_matrix = product.iter().filter(|(_, matrices)| matrices.contains(&(matrix as u32)));
                of_matrix.for_each(|(row, _)| self.rows.extend_from_slice(row));
                &self.rows
            };
            let at = part * layout.n_matrices + matrix;
            input.counts[at] += (rows.len() / layout.n_columns) as f32;
            add_products(layout, rows, &mut input.sums[at * n_values..][..n_values]);
        }
    }

    /// Makes room for the sums of input `at`.
    pub(super) fn open(&mut self, at: usize) {
        let layout = self.inputs[at].layout;
        self.inputs[at].sums = vec![0.0; 2 * layout.n_matrices * layout.n_values()];
    }

    /// The whole sums of input `at`; their room is given back.
    pub(super) fn close(&mut self, at: usize) -> Vec<f32> {
        let mut sums = std::mem::take(&mut self.inputs[at].sums);
        let layout = self.inputs[at].layout;
        sums.chunks_mut(layout.n_values()).for_each(|matrix| mirror(layout, matrix));
        sums
    }
}
