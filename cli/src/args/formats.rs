//! Grammar of the formats that variants are written in.

use clap::ValueEnum;

/// A format of variants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ModelFormat {
    /// One file for llama.cpp's engine
    Gguf,
    /// A directory for MLX
    Mlx,
    /// A directory for ONNX Runtime
    Onnx,
}

impl ModelFormat {
    /// As users type it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Gguf => "gguf",
            Self::Mlx => "mlx",
            Self::Onnx => "onnx",
        }
    }
}
