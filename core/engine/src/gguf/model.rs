//! Loaded models.
//!
//! Owns: [`GgufModel`] and loading with progress and cancellation. May know: checked files,
//! devices. Must not know: contexts beyond opening one.

use std::collections::BTreeMap;
use std::ffi::c_char;
use std::ops::ControlFlow;
use std::panic::resume_unwind;
use std::path::Path;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use llama_cpp_sys_2::{
    llama_model, llama_model_decoder_start_token, llama_model_free, llama_model_get_vocab,
    llama_model_has_decoder, llama_model_has_encoder, llama_model_is_hybrid, llama_model_is_recurrent,
    llama_model_load_from_splits, llama_model_n_cls_out, llama_model_n_ctx_train, llama_model_n_embd,
    llama_model_n_embd_out, llama_model_n_layer, llama_model_n_params, llama_model_n_swa, llama_model_size,
    llama_vocab_n_tokens,
};

use super::adapter::GgufAdapter;
use super::context::GgufContext;
use super::loading::{Report, native_path, offload_devices, override_int, parameters, without_vocabulary};
use super::paging::{self, ExpertPages, Mapped};
use super::sequences::GgufSequences;
use super::threads::PoolFunctions;
use super::validate::ModelFile;
use super::{log, projector};
use crate::{
    Adapter, Context, ContextSettings, Error, Form, LoadSettings, MemoryUse, Model, PagingStats, Projector,
    ProjectorSettings, Sequences, Watch,
};

/// A GGUF model in memory.
#[derive(Debug)]
pub struct GgufModel {
    model: NonNull<llama_model>,
    shape: Shape,
    pool_functions: PoolFunctions,
    architecture: String,
    /// Shapes of its weights, by name.
    shapes: BTreeMap<String, Vec<u64>>,
    #[cfg_attr(not(feature = "multimodal"), allow(dead_code, reason = "projectors ask"))]
    has_vocabulary: bool,
    /// llama.cpp does not promise that contexts of one model can be opened at the same time.
    opening: Mutex<()>,
    /// Its experts, where they are paged.
    expert_pages: Option<Arc<ExpertPages>>,
}

/// What a load does with the weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weights {
    /// They are there when it ends.
    Loaded,
    /// They are laid out, and neither read nor given memory.
    LaidOut,
}

/// What contexts need to know of their model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Shape {
    pub(super) n_vocab: usize,
    pub(super) n_ctx_train: u64,
    pub(super) n_layer: i32,
    pub(super) n_embd: i32,
    pub(super) n_params: u64,
    pub(super) weight_bytes: u64,
    /// Width of the sliding window, 0 without one.
    pub(super) n_window: usize,
    /// Numbers of a vector.
    pub(super) n_embd_out: usize,
    /// Scores of a classifier.
    pub(super) n_classes: usize,
    /// What it makes of tokens.
    pub(super) form: Form,
    /// Whether it reads with an encoder, alone or in front of a decoder.
    pub(super) has_encoder: bool,
    /// Whether some layers keep only their latest state.
    pub(super) is_recurrent: bool,
    /// Whether pictures are added behind the last layer, where only tokens whose logits are wanted are left.
    pub(super) adds_behind_last: bool,
    /// Whether it has prediction layers that can be asked.
    pub(super) predicts: bool,
}

// SAFETY: after the load nothing changes the model: contexts read it, and opening them is serialised.
unsafe impl Send for GgufModel {}
// SAFETY: as above.
unsafe impl Sync for GgufModel {}

impl GgufModel {
    pub(super) fn load(
        file: &ModelFile,
        settings: &LoadSettings,
        weights: Weights,
        pool_functions: PoolFunctions,
        progress: &mut dyn FnMut(f32) -> ControlFlow<()>,
    ) -> Result<Self, Error> {
        let first = file.parts.first().expect("a checked file has at least one part");
        let names = file.parts.iter().map(|part| native_path(part)).collect::<Result<Vec<_>, _>>()?;
        let mut name_pointers: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
        let mut devices = offload_devices(settings)?;
        let paged = settings.expert_memory_bytes.filter(|_| weights == Weights::Loaded);
        if paged.is_some() {
            paging::check(settings)?;
        }
        let mut read_later = |_| ControlFlow::Continue(());
        let progress_of_load: &mut dyn FnMut(f32) -> ControlFlow<()> =
            if paged.is_some() { &mut read_later } else { &mut *progress };
        let mut report = Report { progress: progress_of_load, panic: None, cancelled: false };
        let keeps = settings.vocabulary && weights == Weights::Loaded;
        let overrides = if keeps { vec![override_int("", 0)] } else { without_vocabulary(file).to_vec() };
        let parameters = parameters(settings, weights, file.predicts, &mut devices, &overrides, &mut report);
        let mut load = || {
            // SAFETY: the names, the device list, the overrides and the report outlive the call; the
            // files were checked.
            unsafe {
                llama_model_load_from_splits(name_pointers.as_mut_ptr(), name_pointers.len(), parameters)
            }
        };
        let (model, reason) = log::capture(|| match paged {
            Some(_) => paging::mapped_sparsely(load),
            None => load(),
        });
        let model = NonNull::new(model);
        if let Some(panic) = report.panic {
            model.into_iter().for_each(Self::free);
            resume_unwind(panic);
        }
        if report.cancelled {
            model.into_iter().for_each(Self::free);
            return Err(Error::Cancelled);
        }
        let model = model.ok_or_else(|| Error::Load { path: first.clone(), reason })?;
        let (adds_behind_last, predicts) = (file.adds_behind_last, file.predicts);
        let shape = Shape { adds_behind_last, predicts, ..Shape::of(model, file.reads_only) };
        let (architecture, shapes) = (file.architecture.clone(), file.shapes.clone());
        let has_vocabulary = keeps;
        let mut loaded = Self {
            model,
            shape,
            pool_functions,
            architecture,
            shapes,
            has_vocabulary,
            opening: Mutex::new(()),
            expert_pages: None,
        };
        if let Some(cap_bytes) = paged {
            // SAFETY: the model is live.
            let mapped = unsafe { Mapped::of(loaded.model) };
            mapped.read_dense(progress)?;
            loaded.expert_pages = mapped.into_pages(cap_bytes)?.map(Arc::new);
        }
        Ok(loaded)
    }

    /// Its experts, where they are paged. What they are mapped from goes with the model.
    pub(super) fn expert_pages(&self) -> Option<&Arc<ExpertPages>> {
        self.expert_pages.as_ref()
    }

    fn free(model: NonNull<llama_model>) {
        // SAFETY: the model came from a load and nothing else holds it.
        unsafe { llama_model_free(model.as_ptr()) };
    }

    pub(super) fn as_ptr(&self) -> *mut llama_model {
        self.model.as_ptr()
    }

    /// Whether texts can be given to llama.cpp.
    #[cfg(feature = "multimodal")]
    pub(super) fn has_vocabulary(&self) -> bool {
        self.has_vocabulary
    }

    /// Numbers that stand for a token of a picture.
    #[cfg(feature = "multimodal")]
    pub(super) fn input_width(&self) -> usize {
        // SAFETY: the model is live; this reads a parameter.
        let width = unsafe { llama_cpp_sys_2::llama_model_n_embd_inp(self.as_ptr()) };
        usize::try_from(width).unwrap_or(0)
    }

    pub(super) fn architecture(&self) -> &str {
        &self.architecture
    }

    /// The shape of a weight.
    pub(super) fn shape_of(&self, name: &str) -> Option<&[u64]> {
        self.shapes.get(name).map(Vec::as_slice)
    }

    /// Kept as long as a context is being opened, or adapters come, go or are applied.
    pub(super) fn one_at_a_time(&self) -> MutexGuard<'_, ()> {
        self.opening.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Opens a context, like [`Model::new_context`], as its own type.
    ///
    /// # Errors
    /// As [`Model::new_context`].
    pub fn open_context(self: &Arc<Self>, settings: &ContextSettings) -> Result<GgufContext, Error> {
        let _one_at_a_time = self.one_at_a_time();
        GgufContext::open(Arc::clone(self), settings, None, self.pool_functions)
    }

    /// Opens a context whose products with weights `watch` sees. Where none is wanted it computes as any other; each
    /// that is wanted ends a run of operations, and is waited for.
    ///
    /// # Errors
    /// As [`Model::new_context`].
    pub fn open_watched_context(
        self: &Arc<Self>,
        settings: &ContextSettings,
        watch: Box<dyn Watch>,
    ) -> Result<GgufContext, Error> {
        let _one_at_a_time = self.one_at_a_time();
        GgufContext::open(Arc::clone(self), settings, Some(watch), self.pool_functions)
    }
}

impl Drop for GgufModel {
    fn drop(&mut self) {
        Self::free(self.model);
    }
}

impl Model for GgufModel {
    fn n_vocab(&self) -> usize {
        self.shape.n_vocab
    }

    fn n_ctx_train(&self) -> u64 {
        self.shape.n_ctx_train
    }

    fn form(&self) -> Form {
        self.shape.form
    }

    fn new_context(self: Arc<Self>, settings: &ContextSettings) -> Result<Box<dyn Context>, Error> {
        if settings.n_sequences != 1 {
            return Err(Error::setting("n_sequences", settings.n_sequences, "1 of a context"));
        }
        Ok(Box::new(self.open_context(settings)?))
    }

    fn new_sequences(self: Arc<Self>, settings: &ContextSettings) -> Result<Box<dyn Sequences>, Error> {
        Ok(Box::new(GgufSequences::open(&self, settings)?))
    }

    fn new_watched_context(
        self: Arc<Self>,
        settings: &ContextSettings,
        watch: Box<dyn Watch>,
    ) -> Result<Box<dyn Context>, Error> {
        Ok(Box::new(self.open_watched_context(settings, watch)?))
    }

    fn load_adapter(self: Arc<Self>, path: &Path) -> Result<Arc<dyn Adapter>, Error> {
        Ok(Arc::new(GgufAdapter::load(self, path)?))
    }

    fn open_projector(
        self: Arc<Self>,
        path: &Path,
        settings: &ProjectorSettings,
    ) -> Result<Arc<dyn Projector>, Error> {
        projector::open(self, path, settings)
    }

    fn paging(&self) -> Option<PagingStats> {
        self.expert_pages.as_ref().map(|pages| pages.stats())
    }

    fn memory(&self) -> MemoryUse {
        MemoryUse { model_bytes: self.shape.weight_bytes, ..MemoryUse::default() }
    }
}

impl Shape {
    fn of(model: NonNull<llama_model>, reads_only: bool) -> Self {
        let model = model.as_ptr();
        // SAFETY: the model is live; these functions read its parameters.
        let (encodes, decodes, start) = unsafe {
            let start = llama_model_decoder_start_token(model);
            (llama_model_has_encoder(model), llama_model_has_decoder(model), start)
        };
        let form = match (encodes, decodes && !reads_only) {
            (_, false) => Form::Encoder,
            (true, true) => Form::EncoderDecoder { start },
            (false, true) => Form::Decoder,
        };
        // SAFETY: the model is live; these functions read its parameters.
        unsafe {
            Self {
                n_vocab: usize::try_from(llama_vocab_n_tokens(llama_model_get_vocab(model))).unwrap_or(0),
                n_ctx_train: u64::try_from(llama_model_n_ctx_train(model)).unwrap_or(0),
                n_layer: llama_model_n_layer(model),
                n_embd: llama_model_n_embd(model),
                n_params: llama_model_n_params(model),
                weight_bytes: llama_model_size(model),
                n_window: usize::try_from(llama_model_n_swa(model)).unwrap_or(0),
                n_embd_out: usize::try_from(llama_model_n_embd_out(model)).unwrap_or(0),
                n_classes: llama_model_n_cls_out(model) as usize,
                form,
                has_encoder: encodes,
                is_recurrent: llama_model_is_recurrent(model) || llama_model_is_hybrid(model),
                adds_behind_last: false,
                predicts: false,
            }
        }
    }
}
