//! `quantize` without graphs of ONNX: language models alone.

use super::Quantize;
use clap::Args;

/// A language model into a bundle.
#[derive(Debug, Args)]
pub(crate) struct QuantizeWhat {
    #[command(flatten)]
    pub(crate) model: Quantize,
}
