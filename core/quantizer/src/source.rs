//! Where weights come from: one view over checkpoints and GGUF files, read row by row.
//!
//! Owns [`TensorSource`]; the implementations are [`Checkpoint`] and [`GgufSource`]. Both read from mapped files, so
//! nothing but the rows asked for becomes anonymous memory.

/// What a source that lies over another, its `inner`, passes on of it; `but tables`: it has metadata and
/// tensors of its own.
macro_rules! as_inner {
    (but tables) => {
        as_inner!();

        fn metadata(&self) -> &formats::gguf::Metadata {
            &self.metadata
        }

        fn tensors(&self) -> &[crate::source::SourceTensor] {
            &self.tensors
        }
    };
    () => {
        fn path(&self) -> &std::path::Path {
            self.inner.path()
        }

        fn warnings(&self) -> &[String] {
            self.inner.warnings()
        }

        fn precision(&self) -> String {
            self.inner.precision()
        }
    };
}

mod adapter;
mod assemble;
mod checkpoint;
mod coded;
mod gguf_file;
mod json;
pub(crate) mod mlx;
pub(crate) mod padded;
mod pooling;
mod projector;
pub(crate) mod pruned;
mod restate;
mod rows;
mod shards;
pub(crate) mod smoothed;
mod stored;
pub(crate) mod view;

pub use checkpoint::Checkpoint;
pub(crate) use checkpoint::QUANTIZATION_VERSION;
pub use gguf_file::GgufSource;
pub(crate) use json::SourceJson;
pub use padded::architectures as padding_architectures;
pub use pruned::PrunedSource;
pub use restate::parse_metadata;
pub(crate) use rows::{Float, largest_magnitude};

use crate::{Error, Result};
use families::{Description, OutputType};
use formats::gguf::{GgmlType, Metadata, TensorInfo};
use std::path::Path;

/// A tensor as the output will name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceTensor {
    /// Name in GGUF.
    pub name: String,
    /// Extents, contiguous dimension first.
    pub dims: Vec<u64>,
    /// The type it has, or that a plain conversion gives it.
    pub ty: GgmlType,
    /// Bytes it takes in the source.
    pub source_bytes: u64,
}

impl SourceTensor {
    /// Rows over all dimensions but the first.
    pub fn n_rows(&self) -> u64 {
        self.dims[1..].iter().product()
    }

    /// Rows of one matrix of a stack.
    pub fn rows_per_matrix(&self) -> u64 {
        self.dims.get(1).copied().unwrap_or(1)
    }
}

/// Weights by tensor and row.
pub trait TensorSource: Sync {
    /// File or directory, for messages.
    fn path(&self) -> &Path;

    /// Metadata of a file with these tensors, tokenizer included.
    fn metadata(&self) -> &Metadata;

    /// Tensors in the order of a plain conversion.
    fn tensors(&self) -> &[SourceTensor];

    /// Fills `out` with whole rows of tensor `index` from row `first_row` on, as 32-bit floats.
    ///
    /// # Errors
    /// A weight that is not a finite number, by tensor.
    fn read_rows(&self, index: usize, first_row: u64, out: &mut [f32]) -> Result<()>;

    /// Whether tensor `index` lies there in its type, to be copied as it is.
    fn is_stored(&self, _index: usize) -> bool {
        false
    }

    /// Fills `out` with whole rows of tensor `index` from row `first_row` on, in its type; only where
    /// [`TensorSource::is_stored`].
    fn copy_rows(&self, _index: usize, _first_row: u64, _out: &mut [u8]) {
        unreachable!("the caller asks whether there is something to copy")
    }

    /// The type that a plain conversion to `output` gives tensor `index`.
    fn float_type(&self, index: usize, output: OutputType) -> GgmlType {
        let tensor = &self.tensors()[index];
        output.of_tensor(&tensor.name, tensor.dims.len())
    }

    /// Things to know of the source.
    fn warnings(&self) -> &[String] {
        &[]
    }

    /// The type of most of its weights, for the provenance.
    fn precision(&self) -> String;
}

/// What the model is, as its metadata and tensors say.
///
/// # Errors
/// Metadata that does not describe a model.
pub fn describe(source: &dyn TensorSource) -> Result<Description> {
    let info = |tensor: &SourceTensor| TensorInfo {
        name: tensor.name.clone(),
        dims: tensor.dims.clone(),
        ty: tensor.ty,
        offset: 0,
        bytes: tensor.source_bytes,
    };
    let tensors: Vec<TensorInfo> = source.tensors().iter().map(info).collect();
    families::detect_gguf_tensors(source.metadata(), &tensors)
        .map_err(|error| Error::Family { path: source.path().into(), source: error })
}
