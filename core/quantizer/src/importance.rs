//! Importance of weights, by tensor, matrix and column, ready for the block quantizers.
//! Knows importance matrix files and the keys they leave in a quantized file; must not know types or recipes.

use crate::{Error, Result};
use bundle::Sha256Digest;
use bundle::mapped_file::MappedFile;
use formats::gguf::{Metadata, Value};
use formats::imatrix::{Entry, Imatrix};
use std::collections::BTreeMap;
use std::path::Path;

/// An importance matrix, in the values that llama-quantize hands to the quantizers.
#[derive(Debug, Clone)]
pub struct Importance {
    file: String,
    sha256: Option<Sha256Digest>,
    datasets: Vec<String>,
    n_chunks: u32,
    /// Tensors in the file.
    n_entries: u32,
    /// By tensor name: matrix after matrix, one value per column.
    values: BTreeMap<String, Vec<f32>>,
    /// By tensor name: what each matrix saw, where it is known by matrix.
    counts: BTreeMap<String, Vec<f32>>,
}

impl Importance {
    /// Reads a file of either form.
    ///
    /// # Errors
    /// A file that cannot be read or is no importance matrix.
    pub fn read(path: &Path) -> Result<Self> {
        let file = MappedFile::open(path)?;
        let imatrix =
            formats::imatrix::read(&file).map_err(|source| Error::Imatrix { path: path.into(), source })?;
        let importance = Self::new(path.to_string_lossy(), imatrix);
        Ok(Self { sha256: Some(Sha256Digest::of(&file)), ..importance })
    }

    /// Takes over a matrix; `file` is the name that quantized files will state.
    pub fn new(file: impl Into<String>, imatrix: Imatrix) -> Self {
        let Imatrix { entries, datasets, chunk_count, .. } = imatrix;
        let n_entries = entries.len() as u32;
        let by_matrix = |entry: &Entry| !entry.legacy && entry.counts.len() == entry.n_matrices;
        let known = entries.iter().filter(|(_, entry)| by_matrix(entry));
        let counts = known.map(|(name, entry)| (name.clone(), entry.counts.clone())).collect();
        // One entry at a time is turned into values and dropped.
        let values = entries.into_iter().map(|(name, entry)| (name, entry.importance())).collect();
        Self { file: file.into(), sha256: None, datasets, n_chunks: chunk_count, n_entries, values, counts }
    }

    /// Whether there is nothing in it, which counts as having none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Values there are for `tensor`.
    pub fn n_values(&self, tensor: &str) -> Option<u64> {
        self.values.get(tensor).map(|values| values.len() as u64)
    }

    /// One value per column of matrix number `matrix` of `tensor`.
    pub fn row(&self, tensor: &str, matrix: usize, n_columns: usize) -> Option<&[f32]> {
        self.values.get(tensor)?.get(matrix.checked_mul(n_columns)?..)?.get(..n_columns)
    }

    /// Activations that matrix number `matrix` of `tensor` saw, where that is known by matrix.
    pub fn count(&self, tensor: &str, matrix: usize) -> Option<f64> {
        self.counts.get(tensor)?.get(matrix).map(|count| f64::from(*count))
    }

    /// Gives tensors the names that `name` says, and forgets those that it says none of.
    pub(crate) fn rename(&mut self, name: impl Fn(&str) -> Option<String>) {
        for of_all in [&mut self.values, &mut self.counts] {
            let all = std::mem::take(of_all).into_iter();
            *of_all = all.filter_map(|(tensor, values)| Some((name(&tensor)?, values))).collect();
        }
    }

    /// Leaves of a stack's matrices only those that are `kept`.
    pub(crate) fn keep(&mut self, tensor: &str, n_matrices: usize, kept: &[usize]) {
        for of_all in [&mut self.values, &mut self.counts] {
            if let Some(values) = of_all.get_mut(tensor).filter(|values| values.len() >= n_matrices) {
                let per_matrix = values.len() / n_matrices;
                let of_kept = kept.iter().flat_map(|matrix| &values[matrix * per_matrix..][..per_matrix]);
                *values = of_kept.copied().collect();
            }
        }
    }

    /// Gives every matrix of a tensor more columns, which do not matter.
    pub(crate) fn pad(&mut self, tensor: &str, before: usize, now: usize) {
        let Some(values) = self.values.get_mut(tensor).filter(|values| values.len().is_multiple_of(before))
        else {
            return;
        };
        let zeros = std::iter::repeat_n(0.0, now - before);
        *values = values.chunks(before).flat_map(|row| row.iter().copied().chain(zeros.clone())).collect();
    }

    /// Digest of the file it came from.
    pub fn sha256(&self) -> Option<Sha256Digest> {
        self.sha256
    }

    /// Texts it was computed on.
    pub fn datasets(&self) -> &[String] {
        &self.datasets
    }

    /// Chunks it was computed on.
    pub fn n_chunks(&self) -> u32 {
        self.n_chunks
    }

    /// Adds the keys that llama-quantize adds, in its order.
    pub(crate) fn describe_in(&self, metadata: &mut Metadata) {
        metadata.insert("quantize.imatrix.file", Value::String(self.file.clone()));
        if let Some(dataset) = self.datasets.first() {
            metadata.insert("quantize.imatrix.dataset", Value::String(dataset.clone()));
        }
        metadata.insert("quantize.imatrix.entries_count", Value::U32(self.n_entries));
        if self.n_chunks > 0 {
            metadata.insert("quantize.imatrix.chunks_count", Value::U32(self.n_chunks));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_matrix_of_a_stack_has_its_own_row() {
        let entry = Entry {
            n_columns: 2,
            n_matrices: 3,
            sums: vec![2.0, 4.0, 0.0, 0.0, 9.0, 3.0],
            counts: vec![2.0, 0.0, 3.0],
            legacy: false,
        };
        let imatrix = Imatrix { entries: BTreeMap::from([("stack".into(), entry)]), ..Imatrix::default() };
        let importance = Importance::new("some.imatrix", imatrix);
        let rows: Vec<_> = (0..4).map(|matrix| importance.row("stack", matrix, 2)).collect();
        // A matrix that saw nothing counts all columns alike.
        assert_eq!(rows, [Some(&[1.0, 2.0][..]), Some(&[1.0, 1.0]), Some(&[3.0, 1.0]), None]);
        assert_eq!(importance.row("other", 0, 2), None);
        assert_eq!(importance.n_values("stack"), Some(6));
        assert_eq!([0, 2, 3].map(|matrix| importance.count("stack", matrix)), [Some(2.0), Some(3.0), None]);
        let mut pruned = importance.clone();
        pruned.keep("stack", 3, &[0, 2]);
        let rows: Vec<_> = (0..3).map(|matrix| pruned.row("stack", matrix, 2)).collect();
        assert_eq!(rows, [Some(&[1.0, 2.0][..]), Some(&[3.0, 1.0]), None]);
        assert_eq!(pruned.count("stack", 1), Some(3.0));
        let mut padded = importance.clone();
        padded.pad("stack", 2, 3);
        assert_eq!(padded.row("stack", 2, 3), Some(&[3.0, 1.0, 0.0][..]));
        let mut metadata = Metadata::new();
        importance.describe_in(&mut metadata);
        assert_eq!(metadata.len(), 2, "no dataset and no chunks are known");
    }
}
