//! Decoding: tokens in chunks, pictures as a whole, and what is left after a computation that stopped.
//!
//! Owns: how a context's one sequence grows. May know: contexts. Must not know: sampling.

use llama_cpp_sys_2::{llama_get_memory, llama_memory_seq_pos_max, llama_memory_seq_rm};

use super::context::{ABORTED, GgufContext, Kept};
use super::{log, projector, shim};
use crate::{CancelToken, Error, Form, Logits, Media, Model as _, Purpose, Token, check_room};

impl GgufContext {
    pub(super) fn check_tokens(&self, tokens: &[Token], want: Logits) -> Result<(), Error> {
        self.check_ids(tokens)?;
        if self.settings().purpose != Purpose::Logits {
            return Err(Error::Purpose { asked: "logits", purpose: "vectors" });
        }
        if matches!(self.model().form(), Form::EncoderDecoder { .. }) && !self.has_read {
            return Err(Error::NothingRead);
        }
        check_room(tokens.len(), want, self.n_past, self.n_ctx, self.settings().n_outputs_max as usize)
    }

    pub(super) fn decode_chunks(
        &mut self,
        tokens: &[Token],
        want: Logits,
        cancel: &CancelToken,
    ) -> Result<(), Error> {
        let n_batch = self.settings().n_batch as usize;
        let mut chunks = tokens.chunks(n_batch).peekable();
        while let Some(chunk) = chunks.next() {
            let n_outputs = match want {
                Logits::All => chunk.len(),
                Logits::Last if chunks.peek().is_none() => 1,
                Logits::Last | Logits::None => 0,
            };
            if cancel.is_cancelled() || self.abort.is_late() {
                return Err(self.stopped());
            }
            self.decode_chunk(chunk, n_outputs)?;
            self.kept = match want {
                Logits::None => Kept::None,
                Logits::Last => Kept::One(chunk.len() - 1),
                Logits::All => Kept::All(chunk.len()),
            };
        }
        Ok(())
    }

    /// Decodes at most `n_batch` tokens, with logits after the last `n_outputs` of them.
    pub(super) fn decode_chunk(&mut self, chunk: &[Token], n_outputs: usize) -> Result<(), Error> {
        let mut tokens = chunk.to_vec();
        let mut positions = positions(self.spans.position(self.n_past), chunk.len());
        let mut outputs = vec![0; chunk.len()];
        outputs[chunk.len() - n_outputs..].fill(1);
        let ((code, exception), reason) = log::capture(|| {
            // SAFETY: the context is live and borrowed mutably; a chunk has at most `n_batch` tokens.
            unsafe { shim::decode(self.as_ptr(), &mut tokens, &mut positions, &mut outputs) }
        });
        if code == 0 {
            let position = self.spans.position(self.n_past);
            self.read_along(&[Stretch { sequence: 0, position, tokens: chunk, row: 0 }]);
            self.n_past += chunk.len();
            return Ok(());
        }
        self.recover();
        if code == ABORTED {
            return Err(self.stopped());
        }
        Err(Error::Decode { n_past: self.n_past, code, reason: exception.unwrap_or(reason) })
    }

    /// Has prediction layers read what was just decoded as one batch, in these stretches.
    pub(super) fn read_along(&mut self, stretches: &[Stretch<'_>]) {
        let context = self.as_ptr();
        if let Some(predictions) = &mut self.predictions {
            // SAFETY: they were opened beside this context, whose last batch had these stretches.
            unsafe { predictions.read(context, stretches) };
        }
    }

    /// After a decode that stopped half-way: keeps what is whole and counts it.
    pub(super) fn recover(&mut self) {
        // SAFETY: the context is live and borrowed mutably.
        let position = unsafe { llama_memory_seq_pos_max(llama_get_memory(self.as_ptr()), 0) };
        let behind = usize::try_from(position + 1).unwrap_or(0);
        let more = behind.checked_sub(self.spans.position(self.n_past));
        let held = more.map_or(0, |more| self.n_past + more);
        if self.model().shape().is_recurrent || held < self.n_past || held > self.n_ctx {
            // The latest state is of an unknown position: nothing can be kept.
            self.clear();
        } else {
            self.n_past = held;
        }
    }

    /// Appends what a projector read.
    pub(super) fn append_media(&mut self, media: &dyn Media, cancel: &CancelToken) -> Result<(), Error> {
        if self.settings().purpose != Purpose::Logits {
            return Err(Error::Purpose { asked: "logits", purpose: "vectors" });
        }
        self.kept = Kept::None;
        let position = self.spans.position(self.n_past);
        let place = projector::Place { sequence: 0, position, room: self.n_ctx - self.n_past };
        match projector::decode(self, media, &place, cancel) {
            Ok(n_positions) => {
                self.spans.push(self.n_past, media.n_tokens(), n_positions);
                self.n_past += media.n_tokens();
                Ok(())
            }
            Err(error) => {
                // Part of it may be held.
                if self.truncate_to_position(position).is_err() {
                    self.clear();
                }
                Err(error)
            }
        }
    }

    /// Takes out what lies behind what is counted.
    fn truncate_to_position(&mut self, position: usize) -> Result<(), ()> {
        let position = i32::try_from(position).map_err(|_| ())?;
        // SAFETY: the context is live and borrowed mutably.
        let removed = unsafe { llama_memory_seq_rm(llama_get_memory(self.as_ptr()), 0, position, -1) };
        if removed { Ok(()) } else { Err(()) }
    }
}

/// Tokens of a sequence in a batch.
#[cfg_attr(not(feature = "predictions"), allow(dead_code, reason = "only prediction layers read them"))]
#[derive(Clone, Copy)]
pub(super) struct Stretch<'a> {
    pub(super) sequence: usize,
    /// Of the first of them.
    pub(super) position: usize,
    pub(super) tokens: &'a [Token],
    /// Index of the first of them in the batch.
    pub(super) row: usize,
}

/// So many positions from `first` on.
pub(super) fn positions(first: usize, count: usize) -> Vec<i32> {
    let at = |n: usize| i32::try_from(n).expect("below n_ctx, which is an i32");
    (at(first)..at(first + count)).collect()
}
