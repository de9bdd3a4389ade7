//! Contexts: one sequence each.
//!
//! Owns: [`MlxContext`]: decoding in parts, logits, going back. May know: its model. Must not know: sampling.

use std::cell::RefCell;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use ::mlx::{Rows, Sequence};

use super::model::{MlxModel, n_part};
use crate::{CancelToken, Context, ContextSettings, Error, Logits, MemoryUse, Token, check_ids, check_room};

/// A context of a model. Keeps the model alive.
pub(super) struct MlxContext {
    model: Arc<MlxModel>,
    settings: ContextSettings,
    /// `None` while MLX's thread has it, and after a panic there.
    sequence: RefCell<Option<Sequence>>,
    time_limit: Option<Duration>,
    /// Rows that the last decode kept.
    logits: Vec<f32>,
}

impl MlxContext {
    pub(super) fn open(model: Arc<MlxModel>, settings: &ContextSettings) -> Result<Self, Error> {
        let (settings, sequence) = (settings.clone(), RefCell::new(None));
        let context = Self { model, settings, sequence, time_limit: None, logits: Vec::new() };
        context.sequence.replace(Some(context.empty()?));
        Ok(context)
    }

    fn empty(&self) -> Result<Sequence, Error> {
        let (decoder, keeps_all) = (Arc::clone(&self.model.decoder), self.settings.full_window_cache);
        let made = self
            .model
            .worker
            .run(move || decoder.lock().unwrap_or_else(PoisonError::into_inner).sequence(keeps_all));
        made.ok_or_else(|| Error::Context { reason: "MLX's thread panicked".into() })
    }

    /// What `job` does with the sequence on MLX's thread.
    fn with<R: Send + 'static>(
        &self,
        job: impl FnOnce(&::mlx::Decoder, &mut Sequence) -> R + Send + 'static,
    ) -> Result<R, Error> {
        let held = self.sequence.take();
        let sequence = held.map_or_else(|| self.empty(), Ok)?;
        let decoder = Arc::clone(&self.model.decoder);
        let done = self.model.worker.run(move || {
            let mut sequence = sequence;
            let made = job(&decoder.lock().unwrap_or_else(PoisonError::into_inner), &mut sequence);
            (sequence, made)
        });
        let (sequence, made) = done.ok_or_else(|| Error::Decode {
            n_past: 0,
            code: 0,
            reason: "MLX's thread panicked: the sequence is lost".into(),
        })?;
        self.sequence.replace(Some(sequence));
        Ok(made)
    }

    /// Computes `tokens` at once.
    fn part(
        &mut self,
        tokens: &[Token],
        rows: Rows,
        cancel: &CancelToken,
        end: Option<Instant>,
    ) -> Result<(), Error> {
        let (tokens, flag) = (tokens.to_vec(), cancel.clone());
        let late = move || end.is_some_and(|end| Instant::now() >= end);
        let made = self.with(move |decoder, sequence| {
            decoder.append(sequence, &tokens, rows, &mut || flag.is_cancelled() || late())
        })?;
        let n_past = self.n_past();
        match (made, self.time_limit) {
            (Ok(logits), _) => {
                self.logits.extend(logits);
                Ok(())
            }
            (Err(::mlx::Error::Cancelled), Some(limit)) if !cancel.is_cancelled() => {
                Err(Error::TimeLimit { n_past, limit })
            }
            (Err(::mlx::Error::Cancelled), _) => Err(Error::Cancelled),
            (Err(error), _) => Err(Error::Decode { n_past, code: 0, reason: error.to_string() }),
        }
    }
}

impl Drop for MlxContext {
    /// Arrays go where they came from.
    fn drop(&mut self) {
        if let Some(sequence) = self.sequence.take() {
            drop(self.model.worker.begin(move || drop(sequence)));
        }
    }
}

impl Context for MlxContext {
    fn decode(&mut self, tokens: &[Token], want: Logits, cancel: &CancelToken) -> Result<(), Error> {
        check_ids(tokens, self.model.sizes.n_vocab())?;
        check_room(
            tokens.len(),
            want,
            self.n_past(),
            self.n_ctx(),
            self.settings.n_outputs_max.max(1) as usize,
        )?;
        self.logits.clear();
        let end = self.time_limit.map(|limit| Instant::now() + limit);
        let n_part = n_part(&self.settings);
        let n_parts = tokens.len().div_ceil(n_part);
        let outcome = tokens.chunks(n_part).enumerate().try_for_each(|(at, part)| {
            let rows = match want {
                Logits::All => Rows::All,
                Logits::Last if at + 1 == n_parts => Rows::Last,
                Logits::Last | Logits::None => Rows::None,
            };
            self.part(part, rows, cancel, end)
        });
        if outcome.is_err() {
            self.logits.clear();
        }
        outcome
    }

    fn logits(&self, i: usize) -> Result<&[f32], Error> {
        let n_vocab = self.model.sizes.n_vocab();
        let kept = self.logits.len() / n_vocab;
        self.logits.chunks_exact(n_vocab).nth(i).ok_or(Error::NoLogits { row: i, kept })
    }

    fn n_past(&self) -> usize {
        self.sequence.borrow().as_ref().map_or(0, Sequence::n_past)
    }

    fn n_ctx(&self) -> usize {
        self.settings.n_ctx as usize
    }

    fn truncate(&mut self, n_past: usize) -> Result<(), Error> {
        let held = self.n_past();
        if n_past > held {
            return Err(Error::Truncate { to: n_past, n_past: held, reason: "fewer are held" });
        }
        if !self.with(move |_, sequence| sequence.truncate(n_past))? {
            let reason = "a sliding window has moved on (full_window_cache keeps all)";
            return Err(Error::Truncate { to: n_past, n_past: held, reason });
        }
        self.logits.clear();
        Ok(())
    }

    fn state(&self) -> Result<Vec<u8>, Error> {
        self.with(|_, sequence| sequence.state())?.map_err(state_error)
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), Error> {
        let (state, n_ctx) = (state.to_vec(), self.n_ctx());
        let outcome = self.with(move |decoder, sequence| decoder.restore(sequence, &state, n_ctx))?;
        self.logits.clear();
        outcome.map_err(state_error)
    }

    /// MLX has no threads to choose.
    fn set_threads(&mut self, _decode: usize, _batch: usize) {}

    fn set_time_limit(&mut self, limit: Option<Duration>) {
        self.time_limit = limit;
    }

    fn memory(&self) -> MemoryUse {
        self.model.sizes.memory(Some(&self.settings))
    }
}

fn state_error(error: ::mlx::Error) -> Error {
    match error {
        ::mlx::Error::State { reason } => Error::State { reason },
        other => Error::State { reason: other.to_string() },
    }
}
