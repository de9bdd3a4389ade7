//! Several sequences in one native context.
//!
//! Owns: [`GgufSequences`]: one batch of tokens of many sequences, their logits, going back in one of them. May know:
//! contexts. Must not know: which sequence is whose.

use std::sync::Arc;
use std::time::Duration;

use llama_cpp_sys_2::{llama_get_memory, llama_memory_seq_pos_max, llama_memory_seq_rm};

use super::context::{ABORTED, GgufContext};
use super::decode::{Stretch, positions};
use super::model::GgufModel;
use super::spans::Spans;
use super::{log, projector, shim, state};
use crate::sequences::check_parts;
use crate::{
    Applied, CancelToken, Context as _, ContextSettings, Error, Form, Logits, Media, MemoryUse, Model as _,
    Part, Purpose, Sequences, Token, check_room,
};

/// Sequences of a GGUF model. Keeps its model alive.
pub struct GgufSequences {
    context: GgufContext,
    n_past: Vec<usize>,
    /// Pictures and sound that each holds.
    spans: Vec<Spans>,
    /// Of every part of the last computation: the index of its first row in the batch, and how many it kept.
    kept: Vec<(usize, usize)>,
}

impl GgufSequences {
    pub(super) fn open(model: &Arc<GgufModel>, settings: &ContextSettings) -> Result<Self, Error> {
        if settings.purpose != Purpose::Logits {
            return Err(Error::Purpose { asked: "several sequences", purpose: "vectors" });
        }
        if model.form() != Form::Decoder {
            let asked = "several sequences";
            return Err(Error::Purpose { asked, purpose: "what reads with an encoder" });
        }
        let context = model.open_context(settings)?;
        let n = settings.n_sequences as usize;
        Ok(Self { context, n_past: vec![0; n], spans: vec![Spans::default(); n], kept: Vec::new() })
    }

    fn check(&self, parts: &[Part<'_>]) -> Result<(), Error> {
        check_parts(parts, self.n_past.len())?;
        let n_ctx = self.context.n_ctx();
        let settings = self.context.settings();
        for part in parts {
            self.context.check_ids(part.tokens)?;
            let (n_past, max) = (self.n_past[part.sequence], settings.n_outputs_max as usize);
            check_room(part.tokens.len(), part.want, n_past, n_ctx, max)?;
        }
        let n_tokens: usize = parts.iter().map(|part| part.tokens.len()).sum();
        if n_tokens > settings.n_batch as usize {
            let expected = format!("at most n_batch = {}", settings.n_batch);
            return Err(Error::setting("tokens of all parts", n_tokens, expected));
        }
        Ok(())
    }

    fn empty(&mut self, sequence: usize) {
        clear(&mut self.context, native(sequence));
        self.context.forget_predictions(sequence, 0);
        self.spans[sequence].truncate(0);
        self.n_past[sequence] = 0;
    }

    /// After a computation that stopped half-way: keeps what is whole of each sequence and counts it.
    fn recover(&mut self, parts: &[Part<'_>]) {
        for part in parts {
            let id = native(part.sequence);
            // SAFETY: the context is live, borrowed mutably, and has the sequence.
            let last = unsafe { llama_memory_seq_pos_max(llama_get_memory(self.context.as_ptr()), id) };
            let before = self.n_past[part.sequence];
            let behind = usize::try_from(last + 1).unwrap_or(0);
            let more = behind.checked_sub(self.spans[part.sequence].position(before));
            let held = more.map_or(usize::MAX, |more| before.saturating_add(more));
            let possible = (before..=before + part.tokens.len()).contains(&held);
            if self.context.model().shape().is_recurrent || !possible {
                // The latest state is of an unknown position: nothing can be kept.
                self.empty(part.sequence);
            } else {
                self.n_past[part.sequence] = held;
            }
        }
    }
}

/// The number as llama.cpp has it.
pub(super) fn native(sequence: usize) -> i32 {
    i32::try_from(sequence).expect("at most MAX_SEQUENCES")
}

/// Empties one sequence.
fn clear(context: &mut GgufContext, sequence: i32) {
    // SAFETY: the context is live, borrowed mutably, and has the sequence; taking all of it out never fails.
    unsafe { llama_memory_seq_rm(llama_get_memory(context.as_ptr()), sequence, -1, -1) };
}

impl Sequences for GgufSequences {
    fn n_sequences(&self) -> usize {
        self.n_past.len()
    }

    fn n_ctx(&self) -> usize {
        self.context.n_ctx()
    }

    fn n_past(&self, sequence: usize) -> usize {
        self.n_past[sequence]
    }

    fn decode(&mut self, parts: &[Part<'_>], cancel: &CancelToken) -> Result<(), Error> {
        self.kept.clear();
        self.check(parts)?;
        if cancel.is_cancelled() {
            return Err(Error::Cancelled);
        }
        let n_tokens = parts.iter().map(|part| part.tokens.len()).sum();
        let mut tokens: Vec<Token> = Vec::with_capacity(n_tokens);
        let (mut sequences, mut outputs) = (Vec::with_capacity(n_tokens), Vec::with_capacity(n_tokens));
        let mut places = Vec::with_capacity(n_tokens);
        let mut kept = Vec::with_capacity(parts.len());
        // llama.cpp computes neighbours together.
        let mut order: Vec<usize> = (0..parts.len()).collect();
        order.sort_by_key(|index| parts[*index].sequence);
        kept.resize(parts.len(), (0, 0));
        let mut rows = vec![0; parts.len()];
        for index in order {
            let part = &parts[index];
            let n_rows = match part.want {
                Logits::None => 0,
                Logits::Last => 1,
                Logits::All => part.tokens.len(),
            };
            let first = self.spans[part.sequence].position(self.n_past[part.sequence]);
            places.extend(positions(first, part.tokens.len()));
            rows[index] = tokens.len();
            tokens.extend_from_slice(part.tokens);
            sequences.resize(tokens.len(), native(part.sequence));
            outputs.resize(tokens.len() - n_rows, 0);
            outputs.resize(tokens.len(), 1);
            kept[index] = (tokens.len() - n_rows, n_rows);
        }
        let ((code, exception), reason) = log::capture(|| {
            self.context.cancellable(cancel, |context| {
                // SAFETY: the context is live and borrowed mutably; the tokens were checked to be at most `n_batch`
                // and of sequences that it has.
                unsafe {
                    let (tokens, places) = (&mut tokens, &mut places);
                    shim::decode_sequences(context.as_ptr(), tokens, places, &mut sequences, &mut outputs)
                }
            })
        });
        if code == 0 {
            let mut stretches = Vec::with_capacity(parts.len());
            for (part, row) in parts.iter().zip(rows) {
                let position = self.spans[part.sequence].position(self.n_past[part.sequence]);
                stretches.push(Stretch { sequence: part.sequence, position, tokens: part.tokens, row });
            }
            self.context.read_along(&stretches);
            parts.iter().for_each(|part| self.n_past[part.sequence] += part.tokens.len());
            self.kept = kept;
            return Ok(());
        }
        self.recover(parts);
        let n_past = parts.iter().map(|part| self.n_past[part.sequence]).sum();
        match code {
            ABORTED => Err(self.context.stopped()),
            code => Err(Error::Decode { n_past, code, reason: exception.unwrap_or(reason) }),
        }
    }

    fn decode_media(
        &mut self,
        sequence: usize,
        media: &dyn Media,
        cancel: &CancelToken,
    ) -> Result<(), Error> {
        self.kept.clear();
        let n_past = self.n_past[sequence];
        let position = self.spans[sequence].position(n_past);
        let room = self.context.n_ctx() - n_past;
        let place = projector::Place { sequence: native(sequence), position, room };
        match projector::decode(&mut self.context, media, &place, cancel) {
            Ok(n_positions) => {
                self.spans[sequence].push(n_past, media.n_tokens(), n_positions);
                self.n_past[sequence] += media.n_tokens();
                Ok(())
            }
            Err(error) => {
                // Part of it may be held.
                let position = i32::try_from(position).expect("below n_ctx, which is an i32");
                let memory = |context: &GgufContext| {
                    // SAFETY: the context is live.
                    unsafe { llama_get_memory(context.as_ptr()) }
                };
                // SAFETY: the context is live, borrowed mutably, and has the sequence.
                if !unsafe { llama_memory_seq_rm(memory(&self.context), place.sequence, position, -1) } {
                    self.empty(sequence);
                }
                Err(error)
            }
        }
    }

    fn logits(&self, part: usize, row: usize) -> Result<&[f32], Error> {
        let (first, kept) = self.kept.get(part).copied().unwrap_or_default();
        let missing = Error::NoLogits { row, kept };
        let index = (row < kept).then(|| i32::try_from(first + row).ok()).flatten();
        index.and_then(|index| self.context.row(index)).ok_or(missing)
    }

    fn truncate(&mut self, sequence: usize, n_past: usize) -> Result<(), Error> {
        let held = self.n_past[sequence];
        let refuse = |reason| Error::Truncate { to: n_past, n_past: held, reason };
        if n_past > held {
            return Err(refuse("fewer are held"));
        }
        self.kept.clear();
        let id = native(sequence);
        match n_past {
            same if same == held => return Ok(()),
            0 => clear(&mut self.context, id),
            _ if !self.spans[sequence].ends_at(n_past) => {
                return Err(refuse("a picture or sound would be cut"));
            }
            _ if !self.context.window_is_held(id, self.spans[sequence].position(n_past)) => {
                return Err(refuse("the sliding window before that position is no longer held"));
            }
            _ => {
                let position = self.spans[sequence].position(n_past);
                let position = i32::try_from(position).expect("below n_ctx, which is an i32");
                // SAFETY: the context is live, borrowed mutably, and has the sequence.
                let removed =
                    unsafe { llama_memory_seq_rm(llama_get_memory(self.context.as_ptr()), id, position, -1) };
                if !removed {
                    return Err(refuse("the model's recurrent layers keep only their latest state"));
                }
            }
        }
        let position = self.spans[sequence].position(n_past);
        self.context.forget_predictions(sequence, position);
        self.spans[sequence].truncate(n_past);
        self.n_past[sequence] = n_past;
        Ok(())
    }

    fn copy(&mut self, from: usize, to: usize) -> Result<(), Error> {
        let n_past = self.n_past[from];
        if from == to {
            return Ok(());
        }
        self.kept.clear();
        self.empty(to);
        // SAFETY: the context is live, borrowed mutably, and has both sequences.
        unsafe { shim::copy_sequence(self.context.as_ptr(), native(from), native(to)) }
            .map_err(|reason| Error::State { reason })?;
        if let Some(predictions) = &mut self.context.predictions {
            predictions.copy(from, to);
        }
        self.n_past[to] = n_past;
        self.spans[to] = self.spans[from].clone();
        Ok(())
    }

    fn state(&self, sequence: usize) -> Result<Vec<u8>, Error> {
        if !self.spans[sequence].is_empty() {
            return Err(Error::State { reason: "pictures or sound are held".into() });
        }
        state::save(&self.context, native(sequence), self.n_past[sequence])
    }

    fn restore(&mut self, sequence: usize, snapshot: &[u8]) -> Result<(), Error> {
        self.kept.clear();
        let outcome = state::restore(&mut self.context, native(sequence), snapshot, clear);
        // SAFETY: the context is live and has the sequence.
        let last =
            unsafe { llama_memory_seq_pos_max(llama_get_memory(self.context.as_ptr()), native(sequence)) };
        match &outcome {
            Ok(n_past) => {
                self.context.forget_predictions(sequence, 0);
                self.spans[sequence].truncate(0);
                self.n_past[sequence] = *n_past;
            }
            // A snapshot that does not fit is refused before anything is changed.
            Err(_) if last < 0 => self.empty(sequence),
            Err(_) => {}
        }
        outcome.map(|_| ())
    }

    fn set_threads(&mut self, decode: usize, batch: usize) {
        self.context.set_threads(decode, batch);
    }

    fn set_time_limit(&mut self, limit: Option<Duration>) {
        self.context.set_time_limit(limit);
    }

    fn keeps_after_breaking_off(&self) -> bool {
        self.context.keeps_after_breaking_off()
    }

    fn has_predictions(&self) -> bool {
        self.context.predictions.is_some()
    }

    fn predict(
        &mut self,
        sequence: usize,
        next: Token,
        most: usize,
        least_probability: f32,
        cancel: &CancelToken,
    ) -> Result<Vec<Token>, Error> {
        let n_past = self.n_past[sequence];
        let place = (sequence, n_past, self.spans[sequence].position(n_past));
        self.context.expect(place, next, (most, least_probability), cancel)
    }

    fn adapt(&mut self, adapters: &[Applied]) -> Result<(), Error> {
        self.kept.clear();
        self.context.adapt(adapters)
    }

    fn memory(&self) -> MemoryUse {
        self.context.memory()
    }
}
