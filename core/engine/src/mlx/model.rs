//! Loaded models.
//!
//! Owns: [`MlxModel`], and what a model and its caches occupy. May know: crate `mlx`. Must not know: decoding.

use std::sync::{Arc, Mutex};

use ::mlx::{Decoder, Model as Directory};

use super::context::MlxContext;
use super::worker::Worker;
use crate::{Context, ContextSettings, DryModel, Error, MemoryUse, Model};

/// A directory's numbers.
#[derive(Debug, Clone)]
pub(super) struct Sizes {
    directory: Arc<Directory>,
}

impl Sizes {
    pub(super) fn of(directory: &Directory) -> Self {
        Self { directory: Arc::new(directory.clone()) }
    }

    pub(super) fn n_vocab(&self) -> usize {
        self.directory.n_vocab()
    }

    /// What the model occupies, with a context of these settings.
    pub(super) fn memory(&self, settings: Option<&ContextSettings>) -> MemoryUse {
        let model_bytes = self.directory.weights_bytes();
        let Some(settings) = settings else { return MemoryUse { model_bytes, ..MemoryUse::default() } };
        let (n_ctx, n_part) = (u64::from(settings.n_ctx), n_part(settings) as u64);
        let n_rows = u64::from(settings.n_outputs_max).min(n_part).max(1);
        MemoryUse {
            model_bytes,
            context_bytes: self.directory.cache_bytes(n_ctx, n_part, settings.full_window_cache),
            compute_bytes: self.directory.compute_bytes(n_ctx, n_part, n_rows),
            buffers: Vec::new(),
        }
    }
}

/// Tokens that are computed at once.
pub(super) fn n_part(settings: &ContextSettings) -> usize {
    settings.n_ubatch.min(settings.n_batch) as usize
}

/// A model that is ready to compute.
pub(super) struct MlxModel {
    /// Only the worker's thread locks it, job by job.
    pub(super) decoder: Arc<Mutex<Decoder>>,
    pub(super) sizes: Sizes,
    pub(super) worker: Arc<Worker>,
}

impl MlxModel {
    pub(super) fn new(decoder: Decoder, sizes: Sizes, worker: Arc<Worker>) -> Self {
        Self { decoder: Arc::new(Mutex::new(decoder)), sizes, worker }
    }
}

impl Drop for MlxModel {
    /// Arrays go where they came from.
    fn drop(&mut self) {
        let decoder = Arc::clone(&self.decoder);
        drop(self.worker.begin(move || drop(decoder)));
    }
}

impl Model for MlxModel {
    fn n_vocab(&self) -> usize {
        self.sizes.n_vocab()
    }

    fn n_ctx_train(&self) -> u64 {
        self.sizes.directory.description.max_context
    }

    fn new_context(self: Arc<Self>, settings: &ContextSettings) -> Result<Box<dyn Context>, Error> {
        settings.check_one_sequence()?;
        Ok(Box::new(MlxContext::open(self, settings)?))
    }

    fn memory(&self) -> MemoryUse {
        self.sizes.memory(None)
    }
}

/// A model whose weights were not read.
pub(super) struct DryMlxModel {
    pub(super) sizes: Sizes,
}

impl DryModel for DryMlxModel {
    fn measure(&self, settings: &ContextSettings) -> Result<MemoryUse, Error> {
        settings.check_one_sequence()?;
        Ok(self.sizes.memory(Some(settings)))
    }
}
