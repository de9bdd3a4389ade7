//! Guesses by a small model of the same vocabulary, or by the model's own prediction layers.
//!
//! Owns the small model's context and what it holds. After Leviathan and others 2023 (speculative decoding), of which only the
//! likeliest tokens are taken: whoever checks them chooses as if there were no guess. Must not know who checks.

use crate::model::LoadedModel;
use crate::{Error, Result};
use engine::{CancelToken, Context, ContextSettings, Form, Logits, Token};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A guess ends before a token that whoever guesses gives less than this probability.
const LEAST_PROBABILITY: f32 = 0.4;
/// Tokens that a guess may have to catch up with, beside its own.
const USUAL_LAG: usize = 16;

/// Whoever guesses what follows.
pub(crate) trait Drafts {
    /// At most `most` tokens that may follow `tokens` and `next`.
    fn draft(&mut self, tokens: &[Token], next: Token, most: usize) -> Drafted;
}

/// Who guesses: the small model where there is one, else the model's own layers where it has such.
pub(crate) fn whoever<'a>(
    small: Option<&'a mut Drafter>,
    own: Option<&'a mut dyn Drafts>,
) -> Option<&'a mut dyn Drafts> {
    small.map(|small| small as &mut dyn Drafts).or(own)
}

/// The prediction layers of the model itself: what they expect behind what is held and a token, at most so many tokens of at
/// least that probability.
pub(crate) struct OwnLayers<F>(pub(crate) F);

impl<F> Drafts for OwnLayers<F>
where
    F: FnMut(Token, usize, f32) -> std::result::Result<Vec<Token>, engine::Error>,
{
    fn draft(&mut self, _: &[Token], next: Token, most: usize) -> Drafted {
        let start = Instant::now();
        let tokens = (self.0)(next, most, LEAST_PROBABILITY).unwrap_or_else(|error| {
            // Whoever breaks off knows.
            if !matches!(error, engine::Error::Cancelled | engine::Error::TimeLimit { .. }) {
                tracing::warn!(target: "llama_pajamas::speculate", %error, "the prediction layers expect nothing");
            }
            Vec::new()
        });
        Drafted { tokens, took: start.elapsed() }
    }
}

/// A small model beside a large one.
pub(crate) struct Drafter {
    context: Box<dyn Context>,
    /// Tokens that it holds.
    held: Vec<Token>,
    /// It failed, and is not asked again.
    is_broken: bool,
}

/// What was guessed, and how long that took. Reading what stood before, a prompt above all, is not of that time.
#[derive(Debug, Default)]
pub(crate) struct Drafted {
    pub(crate) tokens: Vec<Token>,
    pub(crate) took: Duration,
}

impl Drafter {
    /// Opens a context of `small` as long as the one of `large` that it guesses for.
    ///
    /// # Errors
    /// Another vocabulary, a model that does not write or cannot go back, what the engine refuses.
    pub(crate) fn open(small: &LoadedModel, large: &LoadedModel, n_ctx: u32) -> Result<Self> {
        let wrong = |expected: &str, got: String| {
            Err(Error::Request { what: "draft model", expected: expected.to_owned(), got })
        };
        if small.form() != Form::Decoder {
            return wrong("one that writes", "one that reads with an encoder".to_owned());
        }
        let (ours, theirs) = (small.tokenizer(), large.tokenizer());
        if ours.n_vocab() != theirs.n_vocab() {
            return wrong(
                "the vocabulary of the model",
                format!("{} tokens instead of {}", ours.n_vocab(), theirs.n_vocab()),
            );
        }
        let n_vocab = Token::try_from(ours.n_vocab()).unwrap_or(Token::MAX);
        if let Some(token) = (0..n_vocab).find(|token| ours.token_text(*token) != theirs.token_text(*token)) {
            let got = format!("{:?} as token {token}", ours.token_text(token).unwrap_or_default());
            return wrong("the vocabulary of the model", got);
        }
        let settings: ContextSettings = small.writing_settings(n_ctx, small.setting().0.n_ubatch);
        let context = Arc::clone(small.engine_model()).new_context(&settings)?;
        if !context.keeps_after_breaking_off() {
            return wrong("one that can take tokens back", "one that keeps only its latest state".to_owned());
        }
        Ok(Self { context, held: Vec::new(), is_broken: false })
    }

    fn try_draft(
        &mut self,
        tokens: &[Token],
        next: Token,
        most: usize,
    ) -> std::result::Result<Drafted, engine::Error> {
        let cancel = CancelToken::new();
        let common = self.held.iter().zip(tokens).take_while(|(held, token)| held == token).count();
        if common < self.held.len() {
            self.context.truncate(common)?;
            self.held.truncate(common);
        }
        let start = Instant::now();
        let rest: Vec<Token> = tokens[common..].iter().copied().chain([next]).collect();
        let catches_up = rest.len() > USUAL_LAG;
        self.decode(&rest, &cancel)?;
        let start = if catches_up { Instant::now() } else { start };
        let mut drafted = Vec::new();
        while let Some(token) = likely(self.context.logits(0)?) {
            drafted.push(token);
            if drafted.len() == most {
                break;
            }
            self.decode(&[token], &cancel)?;
        }
        Ok(Drafted { tokens: drafted, took: start.elapsed() })
    }

    fn decode(&mut self, tokens: &[Token], cancel: &CancelToken) -> std::result::Result<(), engine::Error> {
        let outcome = self.context.decode(tokens, Logits::Last, cancel);
        if outcome.is_ok() {
            self.held.extend_from_slice(tokens);
        }
        outcome
    }
}

impl Drafts for Drafter {
    fn draft(&mut self, tokens: &[Token], next: Token, most: usize) -> Drafted {
        // Pictures are not read here.
        let has_media = tokens.iter().any(|token| *token < 0);
        if self.is_broken || has_media || tokens.len() + 1 + most > self.context.n_ctx() {
            return Drafted::default();
        }
        self.try_draft(tokens, next, most).unwrap_or_else(|error| {
            tracing::warn!(target: "llama_pajamas::speculate", %error, "the draft model is not asked again");
            self.is_broken = true;
            Drafted::default()
        })
    }
}

/// The likeliest token, where it is likely enough.
fn likely(logits: &[f32]) -> Option<Token> {
    engine::likeliest(logits, LEAST_PROBABILITY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_likely_is_guessed() {
        assert_eq!(likely(&[0.0, 3.0, 0.0]), Some(1));
        assert_eq!(likely(&[0.0, 0.1, 0.0]), None);
        assert_eq!(likely(&[f32::NAN, 1.0]), None);
        assert_eq!(likely(&[]), None);
    }
}
