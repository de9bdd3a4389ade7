//! The errors that users of the runtime see.

use std::path::PathBuf;

/// Result with [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// Why the runtime could not do what was asked.
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
    /// A GGUF file is broken.
    #[error("{path}: {source}")]
    Gguf {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: formats::gguf::Error,
    },
    /// The model is not understood.
    #[error("{path}: {source}")]
    Family {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: families::Error,
    },
    /// The bundle is broken or not trusted.
    #[error(transparent)]
    Bundle(#[from] bundle::Error),
    /// The host could not be described.
    #[error(transparent)]
    Hardware(#[from] hardware::Error),
    /// The engine refused.
    #[error(transparent)]
    Engine(#[from] engine::Error),
    /// The tokenizer of the model cannot be used.
    #[error("tokenizer: {0}")]
    Tokenizer(String),
    /// The chat template of the model fails.
    #[error("chat template: {0}")]
    Template(String),
    /// No variant fits.
    #[error("no variant fits this machine: {0}")]
    NothingFits(String),
    /// What was planned takes more than there is by now, by the engine's own account before anything is loaded.
    #[error(
        "{id} needs {} of {place}, {} are left by now, {} too few{}",
        planner::bytes(*need_bytes), planner::bytes(*have_bytes),
        planner::bytes(need_bytes.saturating_sub(*have_bytes)), smaller(nearest.as_ref())
    )]
    NoRoom {
        /// The variant.
        id: String,
        /// `memory`, or the name of a device.
        place: String,
        /// What it takes there.
        need_bytes: u64,
        /// What is left.
        have_bytes: u64,
        /// The variant and context that would fit now, where one does.
        nearest: Option<(String, u64)>,
    },
    /// Logits that no token can be chosen from.
    #[error("logits: {0}")]
    Logits(String),
    /// A request that cannot be met.
    #[error("{what}: expected {expected}, got {got}")]
    Request {
        /// Which part.
        what: &'static str,
        /// What is allowed.
        expected: String,
        /// What was asked.
        got: String,
    },
    /// What this build of the library was made without.
    #[error("{what} needs a library with the feature `{feature}`")]
    Unsupported {
        /// What was asked for.
        what: &'static str,
        /// The cargo feature that brings it.
        feature: &'static str,
    },
    /// The governor takes no new work at the moment: try again when it does ([`crate::LoadedModel::refused`]).
    #[error("no new work is taken at the moment: {because}")]
    Refused {
        /// Why.
        because: &'static str,
    },
    /// As many requests wait as may wait: try again later.
    #[error("{waiting} requests wait already")]
    Busy {
        /// How many.
        waiting: usize,
    },
    /// It takes no more requests.
    #[error("closed: no more requests are taken")]
    Closed,
    /// Stopped by the caller.
    #[error("cancelled")]
    Cancelled,
}

fn smaller(nearest: Option<&(String, u64)>) -> String {
    nearest.map_or_else(String::new, |(id, context)| {
        format!("; {id} with {context} tokens of context would fit")
    })
}
