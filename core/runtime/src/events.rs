//! What a generation tells while it runs.

use crate::govern::Change;
use engine::Token;
use serde::Serialize;
use std::time::Duration;

/// One step of a generation.
#[derive(Debug, Clone, PartialEq)]
pub enum Event<'a> {
    /// The prompt is computed: tokens in all, and those that were remembered from before.
    Prompt {
        /// Tokens of the prompt.
        tokens: usize,
        /// Of these, not computed again.
        reused: usize,
    },
    /// A part of the prompt is computed, or was broken off, and more is to come: the moment to let others have the device
    /// ([`crate::Session::set_max_step`]).
    Progress {
        /// Tokens computed so far, of those that were not remembered.
        computed: usize,
        /// Of so many.
        total: usize,
    },
    /// The context was full, and tokens were dropped to go on ([`crate::WhenFull`]).
    Dropped {
        /// Tokens that were held before.
        before: usize,
        /// Tokens that are held now.
        after: usize,
    },
    /// The context was full, and is longer now ([`crate::WhenFull::Grow`]).
    Grown {
        /// Tokens that it could hold before.
        before: usize,
        /// Tokens that it can hold now.
        after: usize,
    },
    /// How the model is run changed; what it says does not.
    Change(Change),
    /// How likely the token was that comes next, where that is asked for.
    Logprobs(&'a TokenLogprobs),
    /// A token was chosen.
    Token(Token),
    /// Text that is sure to belong to the answer: whole characters, no part of a stop text.
    Text(&'a str),
}

/// The logarithm of a token's probability, by the model alone.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Logprob {
    /// The token.
    pub token: Token,
    /// Natural logarithm; negative infinity where it is impossible.
    pub logprob: f32,
}

/// How likely a token was, and others at its place.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TokenLogprobs {
    /// The token that was chosen.
    pub chosen: Logprob,
    /// The likeliest ones, from the first on; the chosen one may be among them.
    pub top: Vec<Logprob>,
}

/// Why a generation ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// The model ended its turn.
    EndOfTurn,
    /// A stop text appeared; it is not part of the answer.
    StopText(String),
    /// As many tokens as were asked for.
    MaxTokens,
    /// The context is full.
    ContextFull,
    /// The caller stopped it, by cancelling or from the event callback.
    Cancelled,
}

/// What a generation used.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Of these, remembered from before.
    pub reused_tokens: usize,
    /// Tokens of the answer.
    pub completion_tokens: usize,
    /// Of these, guessed rightly before they were computed ([`crate::SessionSettings::speculate`]).
    pub guessed_tokens: usize,
    /// Why it ended.
    pub stop_reason: StopReason,
    /// How long it took.
    pub timings: Timings,
}

/// Durations of a generation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Timings {
    /// From the call to the end of the prompt.
    pub prompt: Duration,
    /// From there to the end.
    pub decode: Duration,
}

impl Usage {
    /// Tokens per second when writing; the first token belongs to the prompt.
    pub fn decode_tokens_per_s(&self) -> f64 {
        self.completion_tokens.saturating_sub(1) as f64 / self.timings.decode.as_secs_f64().max(1e-9)
    }

    /// Tokens per second when reading.
    pub fn prompt_tokens_per_s(&self) -> f64 {
        (self.prompt_tokens - self.reused_tokens) as f64 / self.timings.prompt.as_secs_f64().max(1e-9)
    }
}
