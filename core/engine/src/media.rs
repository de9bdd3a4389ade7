//! Pictures and sound: what a projector makes of them stands in a prompt like tokens.
//!
//! Owns: the [`Projector`] and [`Media`] traits. May know: tokens, errors. Must not know: how messages hold them.

use std::any::Any;
use std::fmt::Debug;
use std::sync::Arc;

use crate::{Error, Token};

/// How to open a projector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProjectorSettings {
    /// Threads that read a file. Default 2.
    pub n_threads: usize,
    /// Compute on a GPU where there is one. Default false.
    pub gpu: bool,
}

impl Default for ProjectorSettings {
    fn default() -> Self {
        Self { n_threads: 2, gpu: false }
    }
}

/// What reads pictures or sound for one loaded model. Shared between threads; it reads one file at a time.
pub trait Projector: Send + Sync {
    /// Whether it reads pictures.
    fn sees(&self) -> bool;

    /// Whether it reads sound.
    fn hears(&self) -> bool;

    /// Reads a file's bytes: a picture (JPEG, PNG, BMP, GIF) or sound (WAV, MP3, FLAC).
    ///
    /// # Errors
    /// [`Error::Media`] for bytes that are none of these, are damaged, too large, or are not what it reads.
    fn read(self: Arc<Self>, file: &[u8]) -> Result<Vec<Piece>, Error>;
}

/// A part of what stands in a prompt for a file.
#[derive(Clone, Debug)]
pub enum Piece {
    /// Tokens that the model was trained to see around what was read.
    Tokens(Vec<Token>),
    /// What was read, to be given to [`crate::Context::decode_media`].
    Media(Arc<dyn Media>),
}

/// A part of a file as its model sees it.
pub trait Media: Any + Debug + Send + Sync {
    /// How much of a context it takes.
    fn n_tokens(&self) -> usize;

    /// What tells it from others: the same of the same bytes.
    fn digest(&self) -> u64;
}
