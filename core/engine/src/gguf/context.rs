//! Contexts: one sequence each.
//!
//! Owns: [`GgufContext`]: decoding in chunks, logits, going back. May know: its model, its thread
//! pool. Must not know: states' layout (see `state`), sampling.

use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Duration;

use llama_cpp_sys_2::{
    llama_attach_threadpool, llama_context, llama_free, llama_get_logits_ith, llama_get_memory,
    llama_init_from_model, llama_memory_clear, llama_memory_seq_pos_min, llama_memory_seq_rm, llama_n_batch,
    llama_n_ctx_seq, llama_set_n_threads,
};

use super::abort::Abort;
use super::evaluation::Evaluation;
use super::model::GgufModel;
use super::predictions::Predictions;
use super::spans::Spans;
use super::threads::{MAX_THREADS, PoolFunctions, ThreadPools};
use super::{adapter, log, parameters, recurrent, shim, state};
use crate::{
    Applied, CancelToken, Context, ContextSettings, Error, Logits, Media, MemoryUse, Model as _, Purpose,
    RecurrentLayer, Token, Vectors, Watch,
};

/// llama.cpp's code for an aborted decode.
pub(super) const ABORTED: i32 = 2;

/// A context of a GGUF model. Keeps its model alive.
pub struct GgufContext {
    context: NonNull<llama_context>,
    /// The model's prediction layers, which read along.
    pub(super) predictions: Option<Predictions>,
    pools: ThreadPools,
    pub(super) abort: Box<Abort>,
    evaluation: Option<Box<Evaluation>>,
    time_limit: Option<Duration>,
    settings: ContextSettings,
    pub(super) n_ctx: usize,
    pub(super) n_past: usize,
    /// Rows of logits that the last decode kept, as indices into its last chunk.
    pub(super) kept: Kept,
    /// Whether the encoder in front of the decoder has read something.
    pub(super) has_read: bool,
    /// What is applied lives as long as it is.
    applied: Vec<Applied>,
    /// Pictures and sound that are held.
    pub(super) spans: Spans,
    model: Arc<GgufModel>,
}

/// Which rows of logits are there.
#[derive(Clone, Copy)]
pub(super) enum Kept {
    None,
    /// Row 0, after the token at this index of the last chunk.
    One(usize),
    /// As many rows, from index 0 of the last chunk.
    All(usize),
}

// SAFETY: llama.cpp binds a context to no thread; the pointer is used by whoever owns this value.
unsafe impl Send for GgufContext {}

impl GgufContext {
    pub(super) fn open(
        model: Arc<GgufModel>,
        settings: &ContextSettings,
        watch: Option<Box<dyn Watch>>,
        pool_functions: PoolFunctions,
    ) -> Result<Self, Error> {
        parameters::check(settings, model.shape())?;
        let abort = Box::<Abort>::default();
        let abort_data = std::ptr::from_ref(&*abort).cast_mut().cast();
        let mut parameters = parameters::native(settings, Some(Abort::is_raised), abort_data);
        let mut evaluation = Evaluation::of(watch, model.expert_pages().cloned());
        if let Some(evaluation) = &mut evaluation {
            parameters.cb_eval = Some(Evaluation::receive);
            parameters.cb_eval_user_data = std::ptr::from_mut(&mut **evaluation).cast();
        }
        let (context, reason) = log::capture(|| {
            // SAFETY: the model is live, and the settings were checked against it.
            unsafe { llama_init_from_model(model.as_ptr(), parameters) }
        });
        let context = NonNull::new(context).ok_or(Error::Context { reason })?;
        let mut context = Self {
            context,
            predictions: None,
            pools: ThreadPools::new(pool_functions, settings.poll_percent),
            abort,
            evaluation,
            time_limit: None,
            // A context that is shorter than a batch takes no more tokens at a time than it was asked to hold.
            // SAFETY: the context is live.
            settings: unsafe {
                let n_batch = settings.n_batch.min(llama_n_batch(context.as_ptr()));
                ContextSettings { n_batch, ..settings.clone() }
            },
            // SAFETY: the context is live.
            n_ctx: unsafe { llama_n_ctx_seq(context.as_ptr()) } as usize,
            n_past: 0,
            kept: Kept::None,
            has_read: false,
            applied: Vec::new(),
            spans: Spans::default(),
            model,
        };
        // SAFETY: the context is live.
        let keeps_nothing = unsafe { llama_get_memory(context.as_ptr()) }.is_null();
        if keeps_nothing && settings.purpose == Purpose::Logits {
            let reason = "the model keeps no sequence: it reads texts and gives vectors".to_owned();
            return Err(Error::Context { reason });
        }
        if settings.prediction_layers && context.model.shape().predicts && settings.purpose == Purpose::Logits
        {
            let widths = (context.model.n_vocab(), context.model.shape().n_embd_out);
            // SAFETY: the model is live, has such layers that are known, and is kept by the context; so is what aborts.
            let opened =
                unsafe { Predictions::open(context.model.as_ptr(), context.as_ptr(), parameters, widths) };
            context.predictions = Some(opened?);
        }
        context.attach(settings.n_threads, settings.n_threads_batch)?;
        Ok(context)
    }

    /// Whether what a token at position `n_past` of `sequence` attends to is still held.
    pub(super) fn window_is_held(&self, sequence: i32, n_past: usize) -> bool {
        let window = self.model.shape().n_window;
        if window == 0 || self.settings.full_window_cache {
            return true;
        }
        // SAFETY: the context is live.
        let first = unsafe { llama_memory_seq_pos_min(llama_get_memory(self.as_ptr()), sequence) };
        usize::try_from(first).is_ok_and(|first| first <= n_past.saturating_sub(window))
    }

    /// Row of the logits of the last computation, after the token at `index` of its batch.
    pub(super) fn row(&self, index: i32) -> Option<&[f32]> {
        // SAFETY: the context is live; the call may finish pending work, which no other thread can be
        // doing because a context is not shared between threads.
        let row = unsafe { llama_get_logits_ith(self.as_ptr(), index) };
        let row = NonNull::new(row)?;
        // SAFETY: the row has `n_vocab` values and stays until the context is next changed, which
        // needs `&mut self`.
        Some(unsafe { std::slice::from_raw_parts(row.as_ptr(), self.model.n_vocab()) })
    }

    /// Computes with pools of exactly so many threads from now on.
    fn attach(&mut self, decode: u32, batch: u32) -> Result<(), Error> {
        let (pool, pool_batch) = (self.pools.of(decode)?, self.pools.of(batch)?);
        let count = |n: u32| i32::try_from(n).expect("at most MAX_THREADS");
        for context in
            std::iter::once(self.as_ptr()).chain(self.predictions.as_ref().map(Predictions::as_ptr))
        {
            // SAFETY: the contexts are live and borrowed mutably; pools are dropped after them (see `drop`).
            unsafe {
                llama_attach_threadpool(context, pool, pool_batch);
                llama_set_n_threads(context, count(decode), count(batch));
            }
        }
        Ok(())
    }

    pub(super) fn as_ptr(&self) -> *mut llama_context {
        self.context.as_ptr()
    }

    /// Tokens that the vocabulary has, at least one.
    pub(super) fn check_ids(&self, tokens: &[Token]) -> Result<(), Error> {
        crate::check_ids(tokens, self.model.n_vocab())
    }

    /// What `call` returns; raising `cancel` stops what it computes, and so does the end of the time limit.
    pub(super) fn cancellable<R>(&mut self, cancel: &CancelToken, call: impl FnOnce(&mut Self) -> R) -> R {
        self.abort.arm(cancel, self.time_limit);
        let result = call(self);
        self.abort.disarm();
        if let Some(evaluation) = &mut self.evaluation {
            evaluation.resume();
        }
        result
    }

    /// Why a computation under [`GgufContext::cancellable`] was broken off.
    pub(super) fn stopped(&self) -> Error {
        match self.time_limit {
            Some(limit) if self.abort.is_late() => Error::TimeLimit { n_past: self.n_past, limit },
            _ => Error::Cancelled,
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        // SAFETY: the context is live and borrowed mutably.
        unsafe { llama_memory_clear(llama_get_memory(self.as_ptr()), false) };
        self.forget_predictions(0, 0);
        self.spans.truncate(0);
        self.n_past = 0;
        self.kept = Kept::None;
    }

    /// Prediction layers forget what lies from `position` of a sequence on.
    pub(super) fn forget_predictions(&mut self, sequence: usize, position: usize) {
        if let Some(predictions) = &mut self.predictions {
            predictions.truncate(sequence, position);
        }
    }

    /// What prediction layers expect behind `n_past` tokens of a sequence, which end at `position`, and `next`.
    pub(super) fn expect(
        &mut self,
        (sequence, n_past, position): (usize, usize, usize),
        next: Token,
        (most, least_probability): (usize, f32),
        cancel: &CancelToken,
    ) -> Result<Vec<Token>, Error> {
        self.check_ids(&[next])?;
        let most = most.min(self.n_ctx.saturating_sub(n_past));
        let expected = self.cancellable(cancel, |context| match &mut context.predictions {
            Some(predictions) => predictions.expect((sequence, position), next, most, least_probability),
            None => Ok(Vec::new()),
        });
        expected.map_err(|code| match code {
            ABORTED => self.stopped(),
            code => Error::Decode { n_past, code, reason: "prediction layers".to_owned() },
        })
    }

    pub(super) fn settings(&self) -> &ContextSettings {
        &self.settings
    }

    pub(super) fn model(&self) -> &GgufModel {
        &self.model
    }

    pub(super) fn set_n_past(&mut self, n_past: usize) {
        self.n_past = n_past;
        self.kept = Kept::None;
    }
}

impl Drop for GgufContext {
    fn drop(&mut self) {
        // SAFETY: nothing else holds the context. The pool, the flag and the evaluation are fields, dropped after, and after
        // the context of prediction layers, which is a field in front of them.
        unsafe { llama_free(self.context.as_ptr()) };
    }
}

impl Context for GgufContext {
    fn embed(&mut self, tokens: &[Token], cancel: &CancelToken) -> Result<Vectors, Error> {
        super::vectors::embed(self, tokens, cancel)
    }

    fn encode(&mut self, tokens: &[Token], cancel: &CancelToken) -> Result<(), Error> {
        super::vectors::encode(self, tokens, cancel)
    }

    fn decode(&mut self, tokens: &[Token], want: Logits, cancel: &CancelToken) -> Result<(), Error> {
        self.check_tokens(tokens, want)?;
        self.kept = Kept::None;
        let outcome = self.cancellable(cancel, |context| context.decode_chunks(tokens, want, cancel));
        if outcome.is_err() {
            self.kept = Kept::None;
        }
        outcome
    }

    fn decode_media(&mut self, media: &dyn Media, cancel: &CancelToken) -> Result<(), Error> {
        self.append_media(media, cancel)
    }

    fn logits(&self, i: usize) -> Result<&[f32], Error> {
        let (index, kept) = match self.kept {
            Kept::None => (None, 0),
            Kept::One(last) => ((i == 0).then_some(last), 1),
            Kept::All(rows) => ((i < rows).then_some(i), rows),
        };
        let missing = Error::NoLogits { row: i, kept };
        let Some(index) = index.and_then(|index| i32::try_from(index).ok()) else {
            return Err(missing);
        };
        self.row(index).ok_or(missing)
    }

    fn computes_in_caller(&self) -> bool {
        true
    }

    fn n_past(&self) -> usize {
        self.n_past
    }

    fn n_ctx(&self) -> usize {
        self.n_ctx
    }

    fn truncate(&mut self, n_past: usize) -> Result<(), Error> {
        let refuse = |reason| Error::Truncate { to: n_past, n_past: self.n_past, reason };
        if n_past > self.n_past {
            return Err(refuse("fewer are held"));
        }
        if n_past == self.n_past {
            self.kept = Kept::None;
            return Ok(());
        }
        if n_past == 0 {
            self.clear();
            return Ok(());
        }
        if !self.spans.ends_at(n_past) {
            return Err(refuse("a picture or sound would be cut"));
        }
        let position = self.spans.position(n_past);
        if !self.window_is_held(0, position) {
            return Err(refuse("the sliding window before that position is no longer held"));
        }
        let position = i32::try_from(position).expect("below n_ctx, which is an i32");
        // SAFETY: the context is live and borrowed mutably.
        let removed = unsafe { llama_memory_seq_rm(llama_get_memory(self.as_ptr()), 0, position, -1) };
        if !removed {
            return Err(refuse("the model's recurrent layers keep only their latest state"));
        }
        self.forget_predictions(0, self.spans.position(n_past));
        self.spans.truncate(n_past);
        self.set_n_past(n_past);
        Ok(())
    }

    fn state(&self) -> Result<Vec<u8>, Error> {
        if !self.spans.is_empty() {
            return Err(Error::State { reason: "pictures or sound are held".into() });
        }
        state::save(self, 0, self.n_past)
    }

    fn recurrent_state(&self) -> Result<Option<Vec<RecurrentLayer>>, Error> {
        recurrent::read(self)
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), Error> {
        let n_past = state::restore(self, 0, state, |context, _| context.clear())?;
        self.set_n_past(n_past);
        Ok(())
    }

    fn set_threads(&mut self, decode: usize, batch: usize) {
        let settings = &self.settings;
        let most =
            settings.max_threads.max(settings.n_threads).max(settings.n_threads_batch).min(MAX_THREADS);
        let clamp = |count: usize| u32::try_from(count).unwrap_or(u32::MAX).clamp(1, most);
        // Where no pool can be had, the threads stay as they are.
        let _ = self.attach(clamp(decode), clamp(batch));
    }

    fn set_time_limit(&mut self, limit: Option<Duration>) {
        self.time_limit = limit;
    }

    fn keeps_after_breaking_off(&self) -> bool {
        !self.model.shape().is_recurrent
    }

    fn has_predictions(&self) -> bool {
        self.predictions.is_some()
    }

    fn predict(
        &mut self,
        next: Token,
        most: usize,
        least_probability: f32,
        cancel: &CancelToken,
    ) -> Result<Vec<Token>, Error> {
        let place = (0, self.n_past, self.spans.position(self.n_past));
        self.expect(place, next, (most, least_probability), cancel)
    }

    fn adapt(&mut self, adapters: &[Applied]) -> Result<(), Error> {
        if self.applied != adapters {
            self.kept = Kept::None;
            let outcome = adapter::apply(self, adapters);
            if let Err(Error::Context { .. }) = outcome {
                // Nothing may stay applied that is not held here.
                let _ = adapter::apply(self, &[]);
                self.applied.clear();
            }
            outcome?;
            self.applied = adapters.to_vec();
        }
        Ok(())
    }

    fn memory(&self) -> MemoryUse {
        // SAFETY: the context is live and not shared between threads.
        let memory = unsafe { shim::memory(self.as_ptr()) };
        let Some(predictions) = &self.predictions else { return memory };
        // SAFETY: as above.
        memory.and_context(unsafe { shim::memory(predictions.as_ptr()) })
    }
}

#[cfg(test)]
#[path = "context_tests.rs"]
mod tests;
