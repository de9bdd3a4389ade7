//! Importance matrices: the GGUF form and the legacy binary form, into one table, and the GGUF form out of it.
//! Knows sums and counts per tensor; must not know how a quantizer uses them.
//! Source: llama.cpp `common/imatrix-loader.cpp`, and `load_imatrix` of its quantize tool.

mod error;
mod gguf_form;
mod legacy_form;

pub use error::Error;
pub use gguf_form::{read_gguf, write_gguf};
pub use legacy_form::read_legacy;

use crate::gguf;
use error::refuse;
use std::collections::BTreeMap;

/// Sums of squared activations per input column.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Imatrix {
    /// By name of the weight tensor, with its `.weight`.
    pub entries: BTreeMap<String, Entry>,
    /// Texts it was computed on.
    pub datasets: Vec<String>,
    /// Chunks it was computed on.
    pub chunk_count: u32,
    /// Tokens per chunk; 0 in the legacy form, which does not say.
    pub chunk_size: u32,
}

/// The statistics of one weight tensor.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Columns of the weight (`ne0`).
    pub n_columns: usize,
    /// Matrices of a stack, 1 for a plain weight.
    pub n_matrices: usize,
    /// Σx² by matrix and column, `n_matrices · n_columns`.
    pub sums: Vec<f32>,
    /// Activations seen by each matrix (legacy: one number of calls).
    pub counts: Vec<f32>,
    /// Whether the sums are means times calls, as the legacy form stores them.
    pub legacy: bool,
}

impl Entry {
    /// Importance per column and matrix, bit for bit as llama-quantize derives it.
    ///
    /// GGUF form: sums over the matrix's count (a whole number, half away from zero), and 1 for every column of a
    /// matrix that saw nothing. Legacy form: values over calls, or the values themselves where there were none.
    pub fn importance(&self) -> Vec<f32> {
        if self.legacy {
            let calls = self.counts.first().copied().unwrap_or(0.0);
            return self.sums.iter().map(|&sum| if calls > 0.0 { sum / calls } else { sum }).collect();
        }
        let matrices = self.sums.chunks_exact(self.n_columns.max(1)).zip(&self.counts);
        matrices
            .flat_map(|(row, &count)| {
                let count = count.round();
                row.iter().map(move |&sum| if count > 0.0 { sum / count } else { 1.0 })
            })
            .collect()
    }
}

/// Reads either form from the bytes of a whole file, told apart by the first four bytes.
///
/// # Errors
/// The first breach of the format; every value must be finite.
pub fn read(bytes: &[u8]) -> Result<Imatrix, Error> {
    if bytes.starts_with(&gguf::MAGIC) { read_gguf(bytes) } else { read_legacy(bytes) }
}

fn check_finite(name: &str, entry: &Entry) -> Result<(), Error> {
    for (field, values) in [("in_sum2", &entry.sums), ("counts", &entry.counts)] {
        if let Some(at) = values.iter().position(|value| !value.is_finite()) {
            let got = format!("{} at {at}", values[at]);
            return Err(refuse(name, field, "finite numbers", got));
        }
    }
    Ok(())
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|four| f32::from_le_bytes(*four)).collect()
}

#[cfg(test)]
mod tests;
