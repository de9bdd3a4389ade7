//! The context trait: one sequence of tokens and what the model remembers of it.
//!
//! Owns: [`Context`] and [`Logits`]. May know: tokens, errors, cancellation. Must not know: how
//! the next token is chosen.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Applied, CancelToken, Error, Media, MemoryUse, Token};

/// Which logits a decode keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Logits {
    /// None: the tokens are only remembered.
    None,
    /// Those after the last token, as row 0.
    Last,
    /// Those after every token of the call, row `i` after token `i`. The call may then hold at most
    /// [`crate::ContextSettings::n_outputs_max`] tokens.
    All,
}

/// Vectors of a text.
#[derive(Clone, Debug, PartialEq)]
pub struct Vectors {
    /// Length of one: the model's width, or the number of scores of its classifier.
    pub width: usize,
    /// One after the other: as many as tokens where nothing is pooled, else one.
    pub values: Vec<f32>,
}

impl Vectors {
    /// They, in the order of the tokens.
    pub fn rows(&self) -> impl Iterator<Item = &[f32]> {
        self.values.chunks_exact(self.width.max(1))
    }
}

/// What a recurrent layer holds of a sequence.
#[derive(Clone, Debug, PartialEq)]
pub struct RecurrentLayer {
    /// The latest inputs of its short convolution.
    pub convolution: Vec<f32>,
    /// Its state.
    pub state: Vec<f32>,
}

/// One sequence of tokens. May move between threads; used by one at a time.
pub trait Context: Send {
    /// Appends `tokens` at [`Context::n_past`], in chunks of `n_batch`.
    ///
    /// Raising `cancel` from any thread stops the call early. After [`Error::Cancelled`] or
    /// [`Error::Decode`] the context is usable: [`Context::n_past`] tells how many tokens were kept,
    /// which is a whole number of chunks' parts, and no logits are available.
    ///
    /// # Errors
    /// [`Error::EmptyBatch`], [`Error::TokenOutOfRange`], [`Error::ContextFull`] and
    /// [`Error::TooManyLogits`] before anything is computed; [`Error::Cancelled`];
    /// [`Error::Decode`] when the engine fails.
    fn decode(&mut self, tokens: &[Token], want: Logits, cancel: &CancelToken) -> Result<(), Error>;

    /// Reads `tokens`, a whole text of at most [`crate::ContextSettings::n_ubatch`] tokens, and gives its vectors, as
    /// they are: not of unit length. Whatever the context held is forgotten.
    ///
    /// # Errors
    /// [`Error::Purpose`] where the context was not opened for vectors; else as [`Context::decode`].
    fn embed(&mut self, tokens: &[Token], cancel: &CancelToken) -> Result<Vectors, Error> {
        let _ = (tokens, cancel);
        Err(Error::Purpose { asked: "vectors", purpose: "logits" })
    }

    /// Lets the encoder of an [`crate::Form::EncoderDecoder`] read `tokens`, at most
    /// [`crate::ContextSettings::n_ubatch`] of them. The sequence is empty afterwards, and what is decoded from then on
    /// follows this text, until another is read. A state does not hold it.
    ///
    /// # Errors
    /// [`Error::Purpose`] where the model has no encoder in front of a decoder; else as [`Context::decode`].
    fn encode(&mut self, tokens: &[Token], cancel: &CancelToken) -> Result<(), Error> {
        let _ = (tokens, cancel);
        Err(Error::Purpose { asked: "an encoder's reading", purpose: "what a decoder alone does" })
    }

    /// Appends what a projector read; it takes [`Media::n_tokens`] of the context. No logits are available after.
    ///
    /// # Errors
    /// [`Error::Media`] where it was read for another model; [`Error::TextTooLong`] where it has more tokens than are
    /// computed at a time, and must be computed at once; else as [`Context::decode`].
    fn decode_media(&mut self, media: &dyn Media, cancel: &CancelToken) -> Result<(), Error> {
        let _ = (media, cancel);
        Err(Error::Purpose { asked: "a picture or sound", purpose: "tokens alone" })
    }

    /// Row `i` of the logits that the last decode kept: `n_vocab` values, unnormalised.
    ///
    /// # Errors
    /// [`Error::NoLogits`] when the last decode kept no such row.
    fn logits(&self, i: usize) -> Result<&[f32], Error>;

    /// How many tokens the context holds.
    fn n_past(&self) -> usize;

    /// How many tokens the context can hold.
    fn n_ctx(&self) -> usize;

    /// Forgets every token from position `n_past` on. Logits are gone afterwards.
    ///
    /// # Errors
    /// [`Error::Truncate`] when `n_past` is beyond the held tokens, or when the model's memory
    /// cannot go back (recurrent models keep only the latest state, sliding windows only the
    /// window), or where a picture would be cut: the context is then unchanged.
    fn truncate(&mut self, n_past: usize) -> Result<(), Error>;

    /// A snapshot of the sequence. It fits only the same engine build and model, in a context of
    /// equal cache types.
    ///
    /// # Errors
    /// [`Error::State`] when the engine cannot write it, and where pictures or sound are held.
    fn state(&self) -> Result<Vec<u8>, Error>;

    /// What the recurrent layers hold, first to last; `None` where the model has none or the engine does not show it.
    ///
    /// # Errors
    /// [`Error::State`] when the engine cannot tell it from what other layers hold.
    fn recurrent_state(&self) -> Result<Option<Vec<RecurrentLayer>>, Error> {
        Ok(None)
    }

    /// Replaces the sequence by a snapshot from [`Context::state`]. No logits are available after.
    ///
    /// # Errors
    /// [`Error::State`] for a snapshot that is damaged or of another build, model, cache type, or
    /// longer than this context; the context is then empty or unchanged, as [`Context::n_past`]
    /// tells.
    fn restore(&mut self, state: &[u8]) -> Result<(), Error>;

    /// Sets how many threads compute from the next decode on: `decode` for single tokens, `batch`
    /// for more. Values are clamped to `1 ..= ` [`crate::ContextSettings::max_threads`]. A count that is new to the context costs starting its threads.
    /// On the processor every count computes the same, bit by bit.
    fn set_threads(&mut self, decode: usize, batch: usize);

    /// Breaks off each later call that computes for longer than `limit`, with [`Error::TimeLimit`]; `None`, the default,
    /// lets them take their time. The processor is asked between operations; a GPU finishes what it was handed.
    fn set_time_limit(&mut self, limit: Option<Duration>) {
        let _ = limit;
    }

    /// Whether what one thread computes on no device is computed by the calling thread, whose processor time it then takes.
    fn computes_in_caller(&self) -> bool {
        false
    }

    /// Whether a decode that is broken off leaves what was held before. Recurrent models keep nothing then.
    fn keeps_after_breaking_off(&self) -> bool {
        true
    }

    /// Whether [`Context::predict`] may guess: the model has prediction layers, and the context was opened with them.
    fn has_predictions(&self) -> bool {
        false
    }

    /// What the model's prediction layers expect behind what is held and `next`: at most `most` tokens, up to the first that
    /// they give less than `least_probability` (0 to 1). Nothing where they have not read all that is held: after
    /// [`Context::restore`], a picture or a decode that was broken off. What is held and its logits stay.
    ///
    /// # Errors
    /// [`Error::Cancelled`], [`Error::Decode`].
    fn predict(
        &mut self,
        next: Token,
        most: usize,
        least_probability: f32,
        cancel: &CancelToken,
    ) -> Result<Vec<Token>, Error> {
        let _ = (next, most, least_probability, cancel);
        Ok(Vec::new())
    }

    /// Applies these adapters of its model, and no others, from the next call on. What is held stays as it was computed.
    ///
    /// # Errors
    /// [`Error::Adapter`] for an adapter of another model or a scale that is not finite: those before stay applied then;
    /// [`Error::Context`] where the engine has no memory for it: then none is.
    fn adapt(&mut self, adapters: &[Applied]) -> Result<(), Error> {
        match adapters {
            [] => Ok(()),
            _ => Err(Error::Adapter {
                expected: "none: this engine has no adapters",
                got: adapters.len().to_string(),
            }),
        }
    }

    /// What the model and this context occupy.
    fn memory(&self) -> MemoryUse;
}

/// For implementers of [`Context::decode`]: whether all of `tokens` are in the vocabulary.
///
/// # Errors
/// [`Error::EmptyBatch`], [`Error::TokenOutOfRange`].
pub fn check_ids(tokens: &[Token], n_vocab: usize) -> Result<(), Error> {
    if tokens.is_empty() {
        return Err(Error::EmptyBatch);
    }
    let outside = |token: &Token| usize::try_from(*token).map_or(true, |id| id >= n_vocab);
    match tokens.iter().position(outside) {
        Some(index) => Err(Error::TokenOutOfRange { index, token: tokens[index], n_vocab }),
        None => Ok(()),
    }
}

/// The same: whether a context of `n_ctx` tokens that holds `n_past` has room for `n_tokens` more, and for what is wanted of them
/// where it keeps at most `max` rows of logits.
///
/// # Errors
/// [`Error::ContextFull`], [`Error::TooManyLogits`].
pub fn check_room(
    n_tokens: usize,
    want: Logits,
    n_past: usize,
    n_ctx: usize,
    max: usize,
) -> Result<(), Error> {
    if n_tokens > n_ctx - n_past {
        return Err(Error::ContextFull { n_past, n_tokens, n_ctx });
    }
    if want == Logits::All && n_tokens > max {
        return Err(Error::TooManyLogits { wanted: n_tokens, max });
    }
    Ok(())
}

/// For implementers of [`Context::predict`] and whoever guesses beside an engine: the likeliest token, where it has at least that
/// probability.
#[must_use]
pub fn likeliest(logits: &[f32], least_probability: f32) -> Option<Token> {
    let (token, top) = logits.iter().copied().enumerate().max_by(|(_, a), (_, b)| a.total_cmp(b))?;
    let sum: f32 = logits.iter().map(|logit| (logit - top).exp()).sum();
    (top.is_finite() && 1.0 / sum >= least_probability).then(|| Token::try_from(token).ok()).flatten()
}
