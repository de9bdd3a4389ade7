//! The model traits.
//!
//! Owns: [`Model`], [`DryModel`]. May know: contexts and settings. Must not know: how weights are stored.

use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{
    Adapter, Context, ContextSettings, Error, MemoryUse, PagingStats, Projector, ProjectorSettings, Separate,
    Sequences, Token, Watch,
};

/// What a model makes of tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Form {
    /// It writes: [`Context::decode`].
    #[default]
    Decoder,
    /// It reads whole texts and keeps nothing of them: [`Context::embed`] alone.
    Encoder,
    /// What it writes follows a text that it reads first: [`Context::encode`], then [`Context::decode`].
    EncoderDecoder {
        /// The token that every answer begins with.
        start: Token,
    },
}

/// A model that was laid out and not loaded.
pub trait DryModel: Send + Sync {
    /// What the model and a context with `settings` would occupy. All of it is counted as the engine would allocate it;
    /// weights that [`crate::LoadSettings::mmap`] maps are counted as if they were read.
    ///
    /// # Errors
    /// As [`Model::new_context`]: what cannot be opened cannot be measured.
    fn measure(&self, settings: &ContextSettings) -> Result<MemoryUse, Error>;
}

/// Loaded weights. Shared by any number of contexts; freed when the last of them is gone.
pub trait Model: Send + Sync {
    /// The number of token ids, and the length of a logits row.
    fn n_vocab(&self) -> usize;

    /// The context length the model was trained for, in tokens.
    fn n_ctx_train(&self) -> u64;

    /// What it makes of tokens.
    fn form(&self) -> Form {
        Form::Decoder
    }

    /// Opens a context, which holds one sequence of tokens ([`ContextSettings::n_sequences`] is 1).
    ///
    /// # Errors
    /// [`Error::Setting`] for a value out of range, [`Error::Context`] when the engine cannot
    /// allocate or refuses the combination.
    fn new_context(self: Arc<Self>, settings: &ContextSettings) -> Result<Box<dyn Context>, Error>;

    /// Opens [`ContextSettings::n_sequences`] sequences that are computed together, of
    /// [`ContextSettings::n_ctx`] tokens each; where the engine computes one at a time, one after the other.
    ///
    /// # Errors
    /// As [`Model::new_context`].
    fn new_sequences(self: Arc<Self>, settings: &ContextSettings) -> Result<Box<dyn Sequences>, Error> {
        if settings.n_sequences == 0 {
            return Err(Error::setting("n_sequences", 0, "at least 1"));
        }
        let one = ContextSettings { n_sequences: 1, ..settings.clone() };
        let contexts = (0..settings.n_sequences).map(|_| Arc::clone(&self).new_context(&one));
        Ok(Box::new(Separate::new(contexts.collect::<Result<_, _>>()?)))
    }

    /// Opens a context whose products with weights `watch` sees.
    ///
    /// # Errors
    /// As [`Model::new_context`]; [`Error::Context`] where an engine cannot show them.
    fn new_watched_context(
        self: Arc<Self>,
        settings: &ContextSettings,
        watch: Box<dyn Watch>,
    ) -> Result<Box<dyn Context>, Error> {
        let _ = (settings, watch);
        Err(Error::Context { reason: "this engine does not show what flows into weights".into() })
    }

    /// Loads the adapter at `path`, to be applied by [`Context::adapt`]. Its memory lies beside the weights.
    ///
    /// # Errors
    /// [`Error::Read`] and [`Error::InvalidFile`] for a file that cannot be read, is none or is of another model;
    /// [`Error::Load`] where the engine refuses it or has no adapters.
    fn load_adapter(self: Arc<Self>, path: &Path) -> Result<Arc<dyn Adapter>, Error> {
        Err(Error::Load { path: path.to_owned(), reason: "this engine has no adapters".into() })
    }

    /// Opens the projector at `path`, which reads pictures or sound for this model. The model must have been loaded with
    /// [`crate::LoadSettings::vocabulary`].
    ///
    /// # Errors
    /// [`Error::Read`] and [`Error::InvalidFile`] for a file that cannot be read or is no projector; [`Error::Load`] where
    /// the engine refuses it, or reads none.
    fn open_projector(
        self: Arc<Self>,
        path: &Path,
        settings: &ProjectorSettings,
    ) -> Result<Arc<dyn Projector>, Error> {
        let _ = settings;
        Err(Error::Load { path: path.to_owned(), reason: "this engine has no projectors".into() })
    }

    /// What paging of experts has done ([`crate::LoadSettings::expert_memory_bytes`]); `None` where none are paged.
    fn paging(&self) -> Option<PagingStats> {
        None
    }

    /// What the weights occupy.
    fn memory(&self) -> MemoryUse;
}
