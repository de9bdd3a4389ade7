//! What can go wrong while making a file. Every message names the file, the tensor or the field.

use std::path::{Path, PathBuf};

/// Result with [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// Why a file or bundle could not be made. Nothing is left behind.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// A JSON file does not parse.
    #[error("{path}: {source}")]
    Json {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: serde_json::Error,
    },
    /// A GGUF file is broken or cannot be written.
    #[error("{path}: {source}")]
    Gguf {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: formats::gguf::Error,
    },
    /// A safetensors file is broken.
    #[error("{path}: {source}")]
    Safetensors {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: formats::safetensors::Error,
    },
    /// An ONNX model cannot be written.
    #[error("{path}: {source}")]
    Onnx {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: formats::onnx::Error,
    },
    /// An importance matrix is broken.
    #[error("{path}: {source}")]
    Imatrix {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: formats::imatrix::Error,
    },
    /// The model is not understood.
    #[error("{path}: {source}")]
    Family {
        /// The configuration or file.
        path: PathBuf,
        /// The cause.
        source: families::Error,
    },
    /// The checkpoint is incomplete or of a kind that is not read.
    #[error("{path}: {problem}")]
    Checkpoint {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong and what is expected.
        problem: String,
    },
    /// A tensor cannot be used.
    #[error("{path}: tensor `{tensor}`: {problem}")]
    Tensor {
        /// The file it is in.
        path: PathBuf,
        /// Its name there.
        tensor: String,
        /// What is expected and what was found.
        problem: String,
    },
    /// A tensor is quantized, and nobody asked for quantizing it again.
    #[error(
        "{path}: tensor `{tensor}`: is {ty} already: quantizing again loses quality and must be asked for"
    )]
    Quantized {
        /// The file it is in.
        path: PathBuf,
        /// Its name there.
        tensor: String,
        /// What it is stored as.
        ty: String,
    },
    /// The tokenizer cannot be converted.
    #[error("{path}: {problem}")]
    Tokenizer {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A tokenizer.json is broken.
    #[error("{path}: {source}")]
    TokenizerJson {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: formats::tokenizer_json::Error,
    },
    /// A wish that cannot be met.
    #[error("{wish}: expected {expected}, got {got}")]
    Request {
        /// The option.
        wish: String,
        /// What is allowed.
        expected: String,
        /// What was asked.
        got: String,
    },
    /// An importance matrix is needed or does not fit.
    #[error("tensor `{tensor}` as {ty}: {problem}")]
    Importance {
        /// Tensor name.
        tensor: String,
        /// Target type.
        ty: String,
        /// What is wrong.
        problem: String,
    },
    /// The engine's block quantizer refused.
    #[error("tensor `{tensor}`: {source}")]
    Engine {
        /// Tensor name.
        tensor: String,
        /// The cause.
        source: engine::Error,
    },
    /// The engine could not load the model or read text with it.
    #[error("reading text with the model: {source}")]
    Reading {
        /// The cause.
        source: engine::Error,
    },
    /// What was read could not be compared.
    #[error("comparing with the original: {source}")]
    Judging {
        /// The cause.
        source: evaluator::Error,
    },
    /// There is too little memory for the work.
    #[error("memory: need {need_bytes} bytes, have {have_bytes}: use fewer threads")]
    Memory {
        /// Most work memory.
        need_bytes: u64,
        /// What the caller allows.
        have_bytes: u64,
    },
    /// The bundle could not be written.
    #[error(transparent)]
    Bundle(#[from] bundle::Error),
    /// The caller asked to stop.
    #[error("cancelled")]
    Cancelled,
}

impl Error {
    pub(crate) fn io(path: &Path, source: std::io::Error) -> Self {
        Self::Io { path: path.into(), source }
    }

    pub(crate) fn checkpoint(path: &Path, problem: impl Into<String>) -> Self {
        Self::Checkpoint { path: path.into(), problem: problem.into() }
    }

    pub(crate) fn tokenizer(path: &Path, problem: impl Into<String>) -> Self {
        Self::Tokenizer { path: path.into(), problem: problem.into() }
    }
}
