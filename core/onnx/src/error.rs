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
    /// Cancelled by its owner.
    #[error("cancelled")]
    Cancelled,
}
