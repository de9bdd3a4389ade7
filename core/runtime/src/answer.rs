//! The writing of one answer: from logits to a token, to text, to the reason for its end.
//!
//! Owns what every way of computing shares: sampler, constraint, stop texts, the stream of text, logarithms of
//! probabilities. Must not know what computes.

use crate::constrain::{self, Constraint, Held};
use crate::events::{Event, Logprob, StopReason, TokenLogprobs};
use crate::media::PromptMedia;
use crate::sampler::Sampler;
use crate::sampling::Sampling;
use crate::stop::StopTexts;
use crate::tokenizer::{TextStream, Tokenizer};
use crate::{Error, Result};
use engine::{Applied, Token};
use std::ops::ControlFlow;
use std::sync::Arc;

/// Most alternatives whose probabilities are told.
pub const MAX_TOP_LOGPROBS: u32 = 64;

/// How to generate.
#[derive(Debug, Clone, PartialEq)]
pub struct GenerateSettings {
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Most tokens of the answer. Default 512.
    pub max_tokens: u32,
    /// Texts that end the answer; not part of it.
    pub stop: Vec<String>,
    /// Tokens that end the answer beside those that end the model's turn; not part of its text.
    pub stop_tokens: Vec<Token>,
    /// Go on when the model ends its turn. Default false.
    pub ignore_end_of_turn: bool,
    /// Tell of every token how likely it was, and of so many others at its place ([`Event::Logprobs`]); at most
    /// [`MAX_TOP_LOGPROBS`]. The probabilities are the model's own, before any sampling step. Default `None`.
    pub top_logprobs: Option<u32>,
    /// What the answer must be. Default `None`.
    pub constraint: Option<Constraint>,
    /// Control tokens that are part of the text, which leaves control tokens out otherwise: the marks of calls and
    /// channels in some models' answers.
    pub shown: Vec<Token>,
    /// Adapters of the model that the answer is computed with, and no others. What was held with others is computed anew.
    /// Default none.
    pub adapters: Vec<Applied>,
    /// Pictures and sound of the prompt. Default none.
    pub media: PromptMedia,
}

impl Default for GenerateSettings {
    fn default() -> Self {
        Self {
            sampling: Sampling::default(),
            max_tokens: 512,
            stop: Vec::new(),
            stop_tokens: Vec::new(),
            ignore_end_of_turn: false,
            top_logprobs: None,
            constraint: None,
            shown: Vec::new(),
            adapters: Vec::new(),
            media: PromptMedia::default(),
        }
    }
}

impl GenerateSettings {
    /// Every value in its range.
    ///
    /// # Errors
    /// [`Error::Request`] with the first that is not.
    pub fn check(&self) -> Result<()> {
        self.sampling.check()?;
        match self.top_logprobs {
            Some(count) if count > MAX_TOP_LOGPROBS => Err(Error::Request {
                what: "top_logprobs",
                expected: format!("0 to {MAX_TOP_LOGPROBS}"),
                got: count.to_string(),
            }),
            _ => Ok(()),
        }
    }
}

/// What comes after a token was chosen.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Next {
    /// It is to be computed.
    Compute(Token),
    /// The answer is over.
    End(StopReason),
}

/// An answer that is being written.
pub(crate) struct Answer {
    tokenizer: Arc<Tokenizer>,
    sampler: Sampler,
    stream: TextStream,
    stops: StopTexts,
    held: Option<Box<dyn Held>>,
    masked: Vec<f32>,
    stop_tokens: Vec<Token>,
    ignore_end_of_turn: bool,
    top_logprobs: Option<u32>,
    max_tokens: usize,
    n_tokens: usize,
}

impl Answer {
    /// An answer to the tokens of `prompt`.
    ///
    /// # Errors
    /// Settings out of range, a constraint that cannot be understood.
    pub(crate) fn new(
        settings: &GenerateSettings,
        tokenizer: &Arc<Tokenizer>,
        prompt: &[Token],
    ) -> Result<Self> {
        settings.check()?;
        let mut sampler = Sampler::new(settings.sampling.clone(), tokenizer)?;
        let text: Vec<Token> = prompt.iter().copied().filter(|token| *token >= 0).collect();
        sampler.remember(&text);
        let held = settings.constraint.as_ref().map(|constraint| constrain::hold(constraint, tokenizer));
        Ok(Self {
            tokenizer: Arc::clone(tokenizer),
            sampler,
            stream: TextStream::new(Arc::clone(tokenizer)).showing(&settings.shown),
            stops: StopTexts::new(&settings.stop),
            held: held.transpose()?,
            masked: Vec::new(),
            stop_tokens: settings.stop_tokens.clone(),
            ignore_end_of_turn: settings.ignore_end_of_turn,
            top_logprobs: settings.top_logprobs,
            max_tokens: settings.max_tokens as usize,
            n_tokens: 0,
        })
    }

    /// Tokens that were chosen.
    pub(crate) fn n_tokens(&self) -> usize {
        self.n_tokens
    }

    /// Chooses a token from `logits` and tells what comes of it. After the end nothing more may be chosen.
    ///
    /// # Errors
    /// Logits that no token can be chosen from, a constraint that fails.
    pub(crate) fn choose(
        &mut self,
        logits: &[f32],
        on_event: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> Result<Next> {
        if self.max_tokens == 0 {
            return Ok(Next::End(StopReason::MaxTokens));
        }
        let token = match &mut self.held {
            None => self.sampler.choose(logits)?,
            Some(held) => {
                self.masked.clear();
                self.masked.extend_from_slice(logits);
                held.mask(&mut self.masked)?;
                self.sampler.choose(&self.masked)?
            }
        };
        self.n_tokens += 1;
        let ends = self.tokenizer.ends_turn(token) && !self.ignore_end_of_turn;
        if ends || self.stop_tokens.contains(&token) {
            return Ok(Next::End(StopReason::EndOfTurn));
        }
        if let Some(count) = self.top_logprobs {
            let logprobs = logprobs(logits, token, count as usize);
            if on_event(Event::Logprobs(&logprobs)).is_break() {
                return Ok(Next::End(StopReason::Cancelled));
            }
        }
        if on_event(Event::Token(token)).is_break() {
            return Ok(Next::End(StopReason::Cancelled));
        }
        let is_whole = match &mut self.held {
            Some(held) => held.accept(token)?,
            None => false,
        };
        let (sure, stopped) = self.stops.push(&self.stream.push(token));
        if !sure.is_empty() && on_event(Event::Text(&sure)).is_break() {
            return Ok(Next::End(StopReason::Cancelled));
        }
        if let Some(text) = stopped {
            return Ok(Next::End(StopReason::StopText(text)));
        }
        if is_whole {
            return Ok(Next::End(StopReason::EndOfTurn));
        }
        // The last token is not computed: nothing is chosen after it.
        if self.n_tokens >= self.max_tokens {
            return Ok(Next::End(StopReason::MaxTokens));
        }
        Ok(Next::Compute(token))
    }

    /// Tells the text that was held back, when the answer ended for `reason`.
    pub(crate) fn finish(
        &mut self,
        reason: &StopReason,
        on_event: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
    ) {
        if matches!(reason, StopReason::StopText(_)) {
            return;
        }
        let (sure, _) = self.stops.push(&self.stream.finish());
        let rest = sure + &self.stops.take();
        if !rest.is_empty() {
            let _ = on_event(Event::Text(&rest)); // the generation is over: there is nothing left to stop
        }
    }
}

/// How likely `chosen` was, and the `count` likeliest.
fn logprobs(logits: &[f32], chosen: Token, count: usize) -> TokenLogprobs {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|logit| f64::from(logit - most).exp()).sum();
    let of = |token: usize| Logprob {
        token: token as Token,
        logprob: (f64::from(logits[token] - most) - sum.ln()) as f32,
    };
    let mut order: Vec<usize> = (0..logits.len()).collect();
    let by_logit = |a: &usize, b: &usize| logits[*b].total_cmp(&logits[*a]).then(a.cmp(b));
    let count = count.min(order.len());
    if (1..order.len()).contains(&count) {
        order.select_nth_unstable_by(count - 1, by_logit);
    }
    order.truncate(count);
    order.sort_unstable_by(by_logit);
    TokenLogprobs { chosen: of(chosen as usize), top: order.into_iter().map(of).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logprobs_are_logarithms_of_shares() {
        let told = logprobs(&[0.0, f32::ln(2.0), f32::ln(5.0), f32::NEG_INFINITY], 0, 2);
        let near = |a: f32, b: f32| (a - b).abs() < 1e-6;
        assert_eq!((told.chosen.token, told.top[0].token, told.top[1].token), (0, 2, 1));
        assert!(near(told.chosen.logprob, f32::ln(1.0 / 8.0)), "{told:?}");
        assert!(near(told.top[0].logprob, f32::ln(5.0 / 8.0)) && told.top.len() == 2, "{told:?}");
        assert_eq!(logprobs(&[0.0], 0, 0).top, []);
    }
}
