//! Several sequences of tokens that are computed together.
//!
//! Owns: the [`Sequences`] trait, and a set of contexts in its place where an engine computes one sequence at a time. May
//! know: contexts. Must not know: whose sequence is computed when (crate `llama-pajamas`, `pool`).

use std::time::Duration;

use crate::{Applied, CancelToken, Context, Error, Logits, Media, MemoryUse, Token};

/// What one sequence takes part in a computation with.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    /// Its number, `0 .. n_sequences`; each at most once per computation.
    pub sequence: usize,
    /// Tokens that are appended to it.
    pub tokens: &'a [Token],
    /// Which logits are kept.
    pub want: Logits,
}

/// Several sequences, each of which remembers its own tokens. May move between threads; used by one at a time.
pub trait Sequences: Send {
    /// How many there are.
    fn n_sequences(&self) -> usize;

    /// How many tokens each can hold.
    fn n_ctx(&self) -> usize;

    /// How many tokens `sequence` holds.
    ///
    /// # Panics
    /// For a number that no sequence has; so do the other functions that take one.
    fn n_past(&self, sequence: usize) -> usize;

    /// Appends the tokens of every part to its sequence, all of them at once. Together at most
    /// [`crate::ContextSettings::n_batch`] tokens.
    ///
    /// After [`Error::Cancelled`], [`Error::TimeLimit`] or [`Error::Decode`] the sequences are usable:
    /// [`Sequences::n_past`] tells what each kept, and no logits are available.
    ///
    /// # Errors
    /// As [`Context::decode`]; [`Error::Setting`] for a sequence that is named twice or too many tokens.
    fn decode(&mut self, parts: &[Part<'_>], cancel: &CancelToken) -> Result<(), Error>;

    /// Appends what a projector read to `sequence`, as [`Context::decode_media`].
    ///
    /// # Errors
    /// As there.
    fn decode_media(&mut self, sequence: usize, media: &dyn Media, cancel: &CancelToken)
    -> Result<(), Error>;

    /// Row `row` of the logits that part number `part` of the last computation kept.
    ///
    /// # Errors
    /// [`Error::NoLogits`] when it kept no such row.
    fn logits(&self, part: usize, row: usize) -> Result<&[f32], Error>;

    /// Forgets every token of `sequence` from position `n_past` on.
    ///
    /// # Errors
    /// As [`Context::truncate`].
    fn truncate(&mut self, sequence: usize, n_past: usize) -> Result<(), Error>;

    /// Lets `to` hold what `from` holds; what it held is forgotten. Both go on by themselves.
    ///
    /// # Errors
    /// [`Error::State`] when the engine cannot.
    fn copy(&mut self, from: usize, to: usize) -> Result<(), Error>;

    /// A snapshot of `sequence`, as [`Context::state`].
    ///
    /// # Errors
    /// [`Error::State`] when the engine cannot write it.
    fn state(&self, sequence: usize) -> Result<Vec<u8>, Error>;

    /// Replaces `sequence` by a snapshot, as [`Context::restore`].
    ///
    /// # Errors
    /// As [`Context::restore`].
    fn restore(&mut self, sequence: usize, state: &[u8]) -> Result<(), Error>;

    /// Threads from the next computation on, as [`Context::set_threads`].
    fn set_threads(&mut self, decode: usize, batch: usize);

    /// A limit for each later computation, as [`Context::set_time_limit`].
    fn set_time_limit(&mut self, limit: Option<Duration>);

    /// As [`Context::keeps_after_breaking_off`].
    fn keeps_after_breaking_off(&self) -> bool;

    /// As [`Context::has_predictions`].
    fn has_predictions(&self) -> bool {
        false
    }

    /// What prediction layers expect behind what `sequence` holds and `next`, as [`Context::predict`].
    ///
    /// # Errors
    /// As there.
    fn predict(
        &mut self,
        sequence: usize,
        next: Token,
        most: usize,
        least_probability: f32,
        cancel: &CancelToken,
    ) -> Result<Vec<Token>, Error> {
        let _ = (sequence, next, most, least_probability, cancel);
        Ok(Vec::new())
    }

    /// Applies adapters to all sequences, as [`Context::adapt`].
    ///
    /// # Errors
    /// As there.
    fn adapt(&mut self, adapters: &[Applied]) -> Result<(), Error>;

    /// What the model and all sequences occupy.
    fn memory(&self) -> MemoryUse;
}

/// A context for every sequence, computed one after the other: what any engine can do.
pub struct Separate {
    contexts: Vec<Box<dyn Context>>,
    /// Which context the parts of the last computation were of.
    parts: Vec<usize>,
}

impl Separate {
    /// These contexts as sequences; at least one.
    #[must_use]
    pub fn new(contexts: Vec<Box<dyn Context>>) -> Self {
        assert!(!contexts.is_empty(), "expected at least one context");
        Self { contexts, parts: Vec::new() }
    }
}

impl Sequences for Separate {
    fn n_sequences(&self) -> usize {
        self.contexts.len()
    }

    fn n_ctx(&self) -> usize {
        self.contexts[0].n_ctx()
    }

    fn n_past(&self, sequence: usize) -> usize {
        self.contexts[sequence].n_past()
    }

    fn decode(&mut self, parts: &[Part<'_>], cancel: &CancelToken) -> Result<(), Error> {
        self.parts.clear();
        check_parts(parts, self.contexts.len())?;
        for part in parts {
            self.contexts[part.sequence].decode(part.tokens, part.want, cancel)?;
        }
        self.parts = parts.iter().map(|part| part.sequence).collect();
        Ok(())
    }

    fn decode_media(
        &mut self,
        sequence: usize,
        media: &dyn Media,
        cancel: &CancelToken,
    ) -> Result<(), Error> {
        self.parts.clear();
        self.contexts[sequence].decode_media(media, cancel)
    }

    fn logits(&self, part: usize, row: usize) -> Result<&[f32], Error> {
        let sequence = self.parts.get(part).ok_or(Error::NoLogits { row, kept: 0 })?;
        self.contexts[*sequence].logits(row)
    }

    fn truncate(&mut self, sequence: usize, n_past: usize) -> Result<(), Error> {
        self.contexts[sequence].truncate(n_past)
    }

    fn copy(&mut self, from: usize, to: usize) -> Result<(), Error> {
        if from == to {
            return Ok(());
        }
        let state = self.contexts[from].state()?;
        self.contexts[to].restore(&state)
    }

    fn state(&self, sequence: usize) -> Result<Vec<u8>, Error> {
        self.contexts[sequence].state()
    }

    fn restore(&mut self, sequence: usize, state: &[u8]) -> Result<(), Error> {
        self.contexts[sequence].restore(state)
    }

    fn set_threads(&mut self, decode: usize, batch: usize) {
        self.contexts.iter_mut().for_each(|context| context.set_threads(decode, batch));
    }

    fn set_time_limit(&mut self, limit: Option<Duration>) {
        self.contexts.iter_mut().for_each(|context| context.set_time_limit(limit));
    }

    fn keeps_after_breaking_off(&self) -> bool {
        self.contexts[0].keeps_after_breaking_off()
    }

    fn has_predictions(&self) -> bool {
        self.contexts[0].has_predictions()
    }

    fn predict(
        &mut self,
        sequence: usize,
        next: Token,
        most: usize,
        least_probability: f32,
        cancel: &CancelToken,
    ) -> Result<Vec<Token>, Error> {
        self.contexts[sequence].predict(next, most, least_probability, cancel)
    }

    fn adapt(&mut self, adapters: &[Applied]) -> Result<(), Error> {
        self.contexts.iter_mut().try_for_each(|context| context.adapt(adapters))
    }

    fn memory(&self) -> MemoryUse {
        let mut all = self.contexts[0].memory();
        for context in &self.contexts[1..] {
            let memory = context.memory();
            all.context_bytes = all.context_bytes.saturating_add(memory.context_bytes);
            all.compute_bytes = all.compute_bytes.saturating_add(memory.compute_bytes);
        }
        all
    }
}

/// At least one part, and every sequence there is named at most once.
pub(crate) fn check_parts(parts: &[Part<'_>], n_sequences: usize) -> Result<(), Error> {
    if parts.is_empty() {
        return Err(Error::EmptyBatch);
    }
    let mut named = vec![false; n_sequences];
    for part in parts {
        match named.get_mut(part.sequence) {
            Some(named) if !*named => *named = true,
            _ => {
                let expected = format!("each of 0 .. {n_sequences} at most once");
                return Err(Error::setting("sequence", part.sequence, expected));
            }
        }
    }
    Ok(())
}
