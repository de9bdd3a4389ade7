//! Second moments of what flows into weights: `Σ x xᵀ` by weight, matrix and block of columns, and the file that keeps
//! them.
//!
//! Owns the file and what is made of its sums: moments per token, with those of rarely used experts drawn towards their
//! layer's. May know GGUF and the engine's watch. Must not know types or recipes.
//!
//! The file is GGUF with `general.type` "moments". For every input (weights that read the same share one) there are
//! `NAME.products`, blocks of columns one after the other, `[values, matrices, 2]`, and `NAME.counts`, `[matrices, 2]`:
//! first what rounding may see, then what was held out to judge it.

mod collect;
mod gather;
mod sums;

pub use collect::{Calibration, collect_moments};
pub(crate) use collect::{engine_error, load, reading_settings};

use crate::{Error, Result};
use bundle::mapped_file::MappedFile;
use formats::gguf::{GgmlType, Header};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// `general.type` of such files.
const KIND: &str = "moments";
/// Tokens that the layer's moments count for beside an expert's own.
const PRIOR_TOKENS: f64 = 64.0;

/// What rounding may see, and what judges it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// Seven chunks of eight.
    Seen,
    /// The others.
    HeldOut,
}

/// An opened file of second moments.
#[derive(Debug, Clone)]
pub struct Moments {
    file: Arc<MappedFile>,
    header: Arc<Header>,
    inputs: BTreeMap<String, String>,
    block: usize,
    /// By weight: the matrices of its stack that are left.
    kept: BTreeMap<String, Vec<usize>>,
    /// By weight: what its input is divided by, one number for each column of each matrix.
    divisors: BTreeMap<String, Arc<[f32]>>,
}

/// Columns, matrices and blocks of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) n_columns: usize,
    pub(crate) n_matrices: usize,
    /// Columns per block; the last block may have fewer.
    pub(crate) block: usize,
}

impl Layout {
    /// Blocks: first column and columns.
    pub(crate) fn blocks(self) -> impl Iterator<Item = (usize, usize)> {
        (0..self.n_columns)
            .step_by(self.block)
            .map(move |first| (first, self.block.min(self.n_columns - first)))
    }

    /// Values of one matrix.
    pub(crate) fn n_values(self) -> usize {
        self.blocks().map(|(_, n)| n * n).sum()
    }
}

/// The moments of one matrix's input.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct InputMoments {
    /// Columns per block.
    pub(crate) block: usize,
    /// Per token, block after block.
    pub(crate) values: Vec<f32>,
    /// Tokens that they are of.
    pub(crate) n_tokens: f64,
}

impl InputMoments {
    /// Those of the same input with every column divided by a number of its own.
    pub(crate) fn divided(mut self, by: &[f32]) -> Self {
        let mut rest = &mut self.values[..];
        for by in by.chunks(self.block) {
            let (of_block, others) = rest.split_at_mut(by.len() * by.len());
            rest = others;
            for (row, of_row) in of_block.chunks_mut(by.len()).zip(by) {
                row.iter_mut().zip(by).for_each(|(value, of_column)| *value /= of_row * of_column);
            }
        }
        self
    }
}

impl Moments {
    /// Opens the file at `path`.
    ///
    /// # Errors
    /// A file that cannot be read or holds no moments.
    pub fn open(path: &Path) -> Result<Self> {
        let file = MappedFile::open(path)?;
        let header = Header::read(&file[..], file.len() as u64)
            .map_err(|source| Error::Gguf { path: path.into(), source })?;
        let refuse = |problem: String| Error::checkpoint(path, problem);
        let metadata = &header.metadata;
        if metadata.str("general.type") != Some(KIND) {
            let got = metadata.str("general.type").unwrap_or("none");
            return Err(refuse(format!("general.type: expected {KIND}, got {got}")));
        }
        let list = |key: &str| {
            metadata.strings(key).ok_or_else(|| refuse(format!("{key}: expected a list of names, got none")))
        };
        let (weights, inputs) = (list("moments.weights")?, list("moments.inputs")?);
        let block = metadata.u64("moments.block").and_then(|block| usize::try_from(block).ok()).unwrap_or(0);
        if weights.len() != inputs.len() || block == 0 {
            return Err(refuse("expected an input for every weight, and blocks of columns".into()));
        }
        let inputs = weights.iter().cloned().zip(inputs.iter().cloned()).collect();
        let (file, header) = (Arc::new(file), Arc::new(header));
        let (kept, divisors) = (BTreeMap::new(), BTreeMap::new());
        let moments = Self { file, header, inputs, block, kept, divisors };
        for (weight, input) in &moments.inputs {
            if moments.layout(weight).is_none() {
                return Err(refuse(format!("tensor `{input}.products`: expected whole blocks and counts")));
            }
        }
        Ok(moments)
    }

    /// Gives weights the names that `name` says, and forgets those that it says none of.
    pub(crate) fn rename(&mut self, name: impl Fn(&str) -> Option<String>) {
        let all = std::mem::take(&mut self.inputs).into_iter();
        self.inputs = all.filter_map(|(weight, input)| Some((name(&weight)?, input))).collect();
        let all = std::mem::take(&mut self.kept).into_iter();
        self.kept = all.filter_map(|(weight, kept)| Some((name(&weight)?, kept))).collect();
    }

    /// Leaves of the matrices of a weight only those that are `kept`.
    pub(crate) fn keep(&mut self, weight: &str, kept: &[usize]) {
        if self.inputs.contains_key(weight) {
            self.kept.insert(weight.into(), kept.to_vec());
        }
    }

    /// The same with the inputs of these weights divided: one number for each column of each matrix.
    pub(crate) fn divided(&self, by: BTreeMap<String, Arc<[f32]>>) -> Self {
        Self { divisors: by, ..self.clone() }
    }

    /// Whether anything is known of what flows into `weight`, and in which shape.
    pub(crate) fn layout(&self, weight: &str) -> Option<Layout> {
        let stored = self.stored_layout(weight)?;
        let n_matrices = self.kept.get(weight).map_or(stored.n_matrices, Vec::len);
        Some(Layout { n_matrices, ..stored })
    }

    /// The shape in the file.
    fn stored_layout(&self, weight: &str) -> Option<Layout> {
        let input = self.inputs.get(weight)?;
        let counts = self.header.tensor(&format!("{input}.counts"))?;
        let products = self.header.tensor(&format!("{input}.products"))?;
        let columns = self.header.metadata.u64(&format!("moments.columns.{input}"))?;
        let layout = Layout {
            n_columns: usize::try_from(columns).ok().filter(|columns| *columns > 0)?,
            n_matrices: usize::try_from(*counts.dims.first()?).ok()?,
            block: self.block,
        };
        let values = layout.n_values().checked_mul(layout.n_matrices)?.checked_mul(2)?;
        let fits = products.ty == GgmlType::F32
            && counts.ty == GgmlType::F32
            && products.n_elements() == values as u64
            && counts.n_elements() == 2 * layout.n_matrices as u64;
        fits.then_some(layout)
    }

    /// Moments of what flows into `matrix` of `weight`. Of matrices of a stack that saw little, those of the whole stack
    /// count for some tokens more.
    pub(crate) fn of(&self, weight: &str, matrix: usize, part: Part) -> Option<InputMoments> {
        let layout = self.stored_layout(weight)?;
        let by = self.divisors.get(weight).map(|by| by.get(matrix * layout.n_columns..));
        let matrix = match self.kept.get(weight) {
            Some(kept) => *kept.get(matrix)?,
            None => matrix,
        };
        let input = self.inputs.get(weight)?;
        let counts = self.floats(&format!("{input}.counts"))?;
        let at = if part == Part::Seen { 0 } else { layout.n_matrices };
        let n_tokens = f64::from(*counts.get(at + matrix)?);
        let products = self.floats(&format!("{input}.products"))?;
        let n_values = layout.n_values();
        let of_matrix = |matrix: usize| &products[(at + matrix) * n_values..][..n_values];
        let mut values: Vec<f64> = of_matrix(matrix).iter().map(|value| f64::from(*value)).collect();
        let mut weight_of_all = n_tokens;
        if layout.n_matrices > 1 && part == Part::Seen {
            let all: f64 = counts[at..at + layout.n_matrices].iter().map(|count| f64::from(*count)).sum();
            let share = PRIOR_TOKENS / all.max(1.0);
            for other in 0..layout.n_matrices {
                for (value, more) in values.iter_mut().zip(of_matrix(other)) {
                    *value += share * f64::from(*more);
                }
            }
            weight_of_all += PRIOR_TOKENS;
        }
        let per_token = 1.0 / weight_of_all.max(1.0);
        let values = values.iter().map(|value| (value * per_token) as f32).collect();
        let moments = InputMoments { block: layout.block, values, n_tokens };
        Some(match by {
            Some(by) => moments.divided(by?.get(..layout.n_columns)?),
            None => moments,
        })
    }

    fn floats(&self, name: &str) -> Option<Vec<f32>> {
        let tensor = self.header.tensor(name)?;
        let start = usize::try_from(self.header.data_offset + tensor.offset).ok()?;
        let bytes = self.file.get(start..start + usize::try_from(tensor.bytes).ok()?)?;
        Some(bytes.as_chunks::<4>().0.iter().map(|four| f32::from_le_bytes(*four)).collect())
    }
}
