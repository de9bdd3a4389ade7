//! A source some of whose columns and rows are multiplied by factors, which others undo: the same model in other numbers.
//! Knows factors by tensor; must not know why (`onnx::statics`).

use super::{SourceTensor, TensorSource};
use crate::Result;
use formats::gguf::Metadata;
use std::collections::BTreeMap;
use std::path::Path;

/// Factors of a tensor.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Factors {
    /// One for each column, or none for all.
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
    fn path(&self) -> &Path {
        self.inner.path()
    }

    fn metadata(&self) -> &Metadata {
        self.inner.metadata()
    }

    fn tensors(&self) -> &[SourceTensor] {
        self.inner.tensors()
    }

    fn read_rows(&self, index: usize, first_row: u64, out: &mut [f32]) -> Result<()> {
        self.inner.read_rows(index, first_row, out)?;
        let Some(factors) = self.factors[index] else { return Ok(()) };
        let width = self.tensors()[index].dims[0] as usize;
        for (at, row) in out.chunks_mut(width).enumerate() {
            row.iter_mut().zip(&factors.columns).for_each(|(weight, factor)| *weight *= factor);
            if let Some(factor) = factors.rows.get(first_row as usize + at) {
                row.iter_mut().for_each(|weight| *weight *= factor);
            }
        }
        Ok(())
    }

    fn warnings(&self) -> &[String] {
        self.inner.warnings()
    }

    fn precision(&self) -> String {
        self.inner.precision()
    }
}
