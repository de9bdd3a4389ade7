//! `export`: a checkpoint of a vision or speech model as graphs of ONNX.

use super::parse_bytes;
use clap::{Args, ValueEnum};
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(crate) struct Export {
    /// Checkpoint directory (config.json and safetensors) of a ViT, CLIP or Whisper model
    pub(crate) model: PathBuf,
    /// Directory to write to: graphs into onnx/, what is read beside them into itself
    #[arg(short, long, alias = "out")]
    pub(crate) output: PathBuf,
    /// Which floats weights are, and what computes with them
    #[arg(long, value_enum, default_value_t = ExportPrecision::Fp32)]
    pub(crate) precision: ExportPrecision,
    /// Version of ONNX's operators, 17 to 23. From 23 on attention is one operator; older ones are known to more providers
    #[arg(long, default_value_t = 23)]
    pub(crate) opset: i64,
    /// Weights of more bytes lie in a file beside the graph
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes, default_value = "256MiB")]
    pub(crate) max_inline: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExportPrecision {
    Fp32,
    Fp16,
}
