//! What can go wrong in an engine.
//!
//! Owns: [`Error`]. May know: paths, numbers, the formats' errors. Must not know: how errors are
//! shown.

use std::path::PathBuf;

use crate::Token;

/// An engine's error. Every variant names what was wrong, what was expected and what was found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The engine could not start.
    #[error("the engine cannot start: {reason}")]
    Start {
        /// Why.
        reason: String,
    },
    /// No CPU variant of that name is in this library.
    #[error("no CPU variant `{wanted}` in this library, it has {available:?}")]
    UnknownCpuVariant {
        /// The name asked for.
        wanted: String,
        /// The names there are.
        available: Vec<&'static str>,
    },
    /// The CPU variant needs instructions that this processor does not have.
    #[error("the CPU variant `{wanted}` needs instructions this processor lacks, usable are {usable:?}")]
    UnsupportedCpuVariant {
        /// The name asked for.
        wanted: String,
        /// The names that would run here.
        usable: Vec<&'static str>,
    },
    /// The file could not be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The file is not a valid model file.
    #[error("{path}: {reason}")]
    InvalidFile {
        /// The file.
        path: PathBuf,
        /// What is wrong, with offset and field.
        reason: String,
    },
    /// The file is valid, and the engine refuses to load it.
    #[error("cannot load {path}: {reason}")]
    Load {
        /// The file.
        path: PathBuf,
        /// The engine's own words.
        reason: String,
    },
    /// The caller raised the cancel flag or broke off the progress.
    #[error("cancelled")]
    Cancelled,
    /// A setting is out of range.
    #[error("setting `{name}` is {got}, expected {expected}")]
    Setting {
        /// The field.
        name: &'static str,
        /// Its value.
        got: String,
        /// What is allowed.
        expected: String,
    },
    /// The context could not be opened.
    #[error("cannot open a context: {reason}")]
    Context {
        /// The engine's own words.
        reason: String,
    },
    /// The context, or its model, is not for that.
    #[error("{asked} asked of a context that is for {purpose}")]
    Purpose {
        /// What was asked.
        asked: &'static str,
        /// What it is for.
        purpose: &'static str,
    },
    /// A decoder was asked to go on before its encoder read anything.
    #[error("nothing is read yet: the decoder follows what the encoder read")]
    NothingRead,
    /// A text of more tokens than are computed at a time.
    #[error("a text of {n_tokens} tokens, at most {max} can be read at once")]
    TextTooLong {
        /// Its tokens.
        n_tokens: usize,
        /// The smallest of the context, its `n_ubatch` and, where the model counts positions, those.
        max: usize,
    },
    /// A decode without tokens.
    #[error("nothing to decode: expected at least one token")]
    EmptyBatch,
    /// A token id outside the vocabulary.
    #[error("token {index} is {token}, expected 0 .. {n_vocab}")]
    TokenOutOfRange {
        /// Its index in the call.
        index: usize,
        /// The id.
        token: Token,
        /// The size of the vocabulary.
        n_vocab: usize,
    },
    /// The tokens do not fit into the context.
    #[error("context full: {n_past} held + {n_tokens} new tokens, room for {n_ctx}")]
    ContextFull {
        /// Tokens held.
        n_past: usize,
        /// Tokens of the call.
        n_tokens: usize,
        /// Room.
        n_ctx: usize,
    },
    /// More logits were asked for than the context keeps.
    #[error("logits of {wanted} tokens asked for, the context keeps at most {max} (n_outputs_max)")]
    TooManyLogits {
        /// Rows asked for.
        wanted: usize,
        /// Rows that can be kept.
        max: usize,
    },
    /// The last decode kept no such row of logits.
    #[error("no logits row {row}: the last decode kept {kept}")]
    NoLogits {
        /// The row asked for.
        row: usize,
        /// How many rows there are.
        kept: usize,
    },
    /// The context cannot go back to that position.
    #[error("cannot truncate to {to} tokens, {n_past} held: {reason}")]
    Truncate {
        /// The wanted length.
        to: usize,
        /// The held length.
        n_past: usize,
        /// Why.
        reason: &'static str,
    },
    /// The engine failed while computing.
    #[error("decode failed after {n_past} tokens (engine code {code}): {reason}")]
    Decode {
        /// Tokens held after the failure.
        n_past: usize,
        /// The engine's return code.
        code: i32,
        /// The engine's own words.
        reason: String,
    },
    /// The computation took longer than it was given.
    #[error("not computed within {limit:?}, {n_past} tokens held")]
    TimeLimit {
        /// Tokens held after it was broken off.
        n_past: usize,
        /// What it was given.
        limit: std::time::Duration,
    },
    /// An adapter cannot be applied.
    #[error("adapter: expected {expected}, got {got}")]
    Adapter {
        /// What is allowed.
        expected: &'static str,
        /// What was asked.
        got: String,
    },
    /// A picture or sound that cannot be read or appended.
    #[error("expected {expected}, got {got}")]
    Media {
        /// What is read.
        expected: String,
        /// What it is instead.
        got: String,
    },
    /// A state could not be written or read.
    #[error("state: {reason}")]
    State {
        /// Why.
        reason: String,
    },
    /// The engine cannot make or read this tensor type.
    #[error("tensor type {ty}: {reason}")]
    UnsupportedType {
        /// The type's name.
        ty: &'static str,
        /// What is missing.
        reason: &'static str,
    },
    /// A weight or an importance that a block format cannot hold.
    #[error("{what} {index} is {value}, expected {expected}")]
    Weight {
        /// Which of the two.
        what: &'static str,
        /// Its index in the buffer.
        index: usize,
        /// Its value.
        value: f32,
        /// What is allowed.
        expected: &'static str,
    },
    /// The process in which the engine runs ended, cannot be started, or refuses (module `isolate`).
    #[error("the engine's process: {reason}")]
    Process {
        /// What became of it.
        reason: String,
    },
    /// A buffer's length does not fit the rows.
    #[error("{what} has length {got}, expected {expected}")]
    Length {
        /// Which buffer.
        what: &'static str,
        /// Its length.
        got: usize,
        /// The length it should have.
        expected: String,
    },
}

impl Error {
    pub(crate) fn setting(name: &'static str, got: impl ToString, expected: impl Into<String>) -> Self {
        Self::Setting { name, got: got.to_string(), expected: expected.into() }
    }
}
