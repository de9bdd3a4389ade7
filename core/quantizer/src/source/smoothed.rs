//! A source some of whose columns and rows are multiplied by factors, which others undo: the same model in other numbers.
//! Knows factors by tensor; must not know why (`fold`, `onnx::statics`).

use super::{SourceTensor, TensorSource};
use crate::Result;
use families::OutputType;
use formats::gguf::{GgmlType, Metadata};
use std::collections::BTreeMap;

/// Factors of a tensor.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Factors {
    /// One for each column, or for each column of each matrix of a stack, or none for all.
    pub(crate) columns: Vec<f32>,
    /// One for each row, or none for all.
    pub(crate) rows: Vec<f32>,
}

/// A source with factors.
pub(crate) struct SmoothedSource<'a> {
    inner: &'a dyn TensorSource,
    factors: Vec<Option<&'a Factors>>,
}

impl<'a> SmoothedSource<'a> {
    /// `inner` with the factors of those tensors that `factors` names.
    pub(crate) fn new(inner: &'a dyn TensorSource, factors: &'a BTreeMap<String, Factors>) -> Self {
        Self { inner, factors: inner.tensors().iter().map(|tensor| factors.get(&tensor.name)).collect() }
    }
}

impl TensorSource for SmoothedSource<'_> {
    as_inner!();

    fn metadata(&self) -> &Metadata {
        self.inner.metadata()
    }

    fn tensors(&self) -> &[SourceTensor] {
        self.inner.tensors()
    }

    fn read_rows(&self, index: usize, first_row: u64, out: &mut [f32]) -> Result<()> {
        self.inner.read_rows(index, first_row, out)?;
        let Some(factors) = self.factors[index] else { return Ok(()) };
        let tensor = &self.tensors()[index];
        let (width, per_matrix) = (tensor.dims[0] as usize, tensor.rows_per_matrix());
        for (at, row) in out.chunks_mut(width).enumerate() {
            let matrix = match factors.columns.len() > width {
                true => ((first_row + at as u64) / per_matrix) as usize,
                false => 0,
            };
            let columns = factors.columns.get(matrix * width..).unwrap_or_default();
            row.iter_mut().zip(columns).for_each(|(weight, factor)| *weight *= factor);
            if let Some(factor) = factors.rows.get(first_row as usize + at) {
                row.iter_mut().for_each(|weight| *weight *= factor);
            }
        }
        Ok(())
    }

    fn is_stored(&self, index: usize) -> bool {
        self.factors[index].is_none() && self.inner.is_stored(index)
    }

    fn copy_rows(&self, index: usize, first_row: u64, out: &mut [u8]) {
        self.inner.copy_rows(index, first_row, out);
    }

    fn float_type(&self, index: usize, output: OutputType) -> GgmlType {
        self.inner.float_type(index, output)
    }
}
