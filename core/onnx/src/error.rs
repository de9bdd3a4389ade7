//! What can go wrong between a path and an output. Messages name the file, the model, the tensor or the node.

use formats::onnx;
use std::path::PathBuf;

/// Why something could not be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No library where one was looked for.
    #[error(
        "no ONNX Runtime library (version 1.{needed} or later) in {}: install the Python package `onnxruntime`, or name the library's path",
        folders.iter().map(|folder| folder.display().to_string()).collect::<Vec<_>>().join(", ")
    )]
    LibraryMissing {
        /// Where it was looked for.
        folders: Vec<PathBuf>,
        /// The least minor version.
        needed: u32,
    },
    /// A file that is no ONNX Runtime library, or one that is too old.
    #[error("{}: not a usable ONNX Runtime library: {reason}", path.display())]
    LibraryBroken {
        /// The file.
        path: PathBuf,
        /// What the loader says.
        reason: String,
    },
    /// A process has one library.
    #[error("{}: this process already uses {}, and a process has one ONNX Runtime library", asked.display(), loaded.display())]
    LibraryAlready {
        /// What was asked for.
        asked: PathBuf,
        /// What is loaded.
        loaded: PathBuf,
    },
    /// A model that breaks the format.
    #[error(transparent)]
    Format(#[from] onnx::Error),
    /// The runtime refuses a model, e.g. for an operator it does not know.
    #[error("ONNX Runtime {version} refuses the model: {reason}")]
    Load {
        /// The library's version.
        version: String,
        /// What it says.
        reason: String,
    },
    /// A session has no such input or output.
    #[error("{direction} `{name}`: the model has {}", known.join(", "))]
    Port {
        /// `input` or `output`.
        direction: &'static str,
        /// What was asked for.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
    /// A value that is not what was asked for.
    #[error("tensor `{name}`: expected {expected}, got {got}")]
    Value {
        /// Its name.
        name: String,
        /// What it must be.
        expected: String,
        /// What it is.
        got: String,
    },
    /// Computing failed.
    #[error("ONNX Runtime failed while computing: {0}")]
    Run(String),
    /// A graph that cannot be quantized as it stands.
    #[error("node `{node}`: {reason}")]
    Graph {
        /// Which node.
        node: String,
        /// What is expected and what it is.
        reason: String,
    },
    /// Nothing to learn ranges from.
    #[error("samples: expected at least one, got none")]
    NoSamples,
    /// Nothing that a precision applies to.
    #[error("nothing was quantized: {0}")]
    Nothing(String),
    /// A result that nobody would want for its speed.
    #[error(
        "the result would run at {ratio:.2} of the float model's speed here, expected at least {least}: ask for size, or for another precision"
    )]
    TooSlow {
        /// Float time over its time.
        ratio: f64,
        /// What was expected.
        least: f64,
    },
    /// A file could not be read or written.
    #[error("{}: {reason}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A setting that does not fit.
    #[error("{field}: expected {expected}, got {got}")]
    Setting {
        /// Its name.
        field: &'static str,
        /// What is allowed.
        expected: String,
        /// What was said.
        got: String,
    },
    /// Cancelled by its owner.
    #[error("cancelled")]
    Cancelled,
}
