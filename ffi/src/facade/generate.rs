//! How to generate: what is answered, and by which settings.
//!
//! Owns: the options, messages and adapters. Must not know: sessions, streams, sampling beyond its settings.

use std::sync::Arc;

use llama_pajamas::{GenerateSettings, Sampling};

use super::owned::Owned;
use crate::error::Failure;
use crate::generate::{applied, constraint};
use crate::model::lp_adapter;

/// An adapter in memory: low-rank factors (LoRA) or a control vector, beside the weights of one model.
#[derive(uniffi::Object)]
pub struct Adapter(pub(crate) Owned<lp_adapter>);

#[uniffi::export]
impl Adapter {
    /// Frees it now; sessions whose last answer had it keep it until their next. May be called again.
    pub fn release(&self) {
        self.0.close();
    }
}

/// An adapter and how strongly it works.
#[derive(Clone, uniffi::Record)]
pub struct AdapterUse {
    /// The adapter, of the session's model.
    pub adapter: Arc<Adapter>,
    /// 1 as it was trained, 0 not at all, below 0 against it. Finite.
    #[uniffi(default = 1.0)]
    pub scale: f32,
}

/// A message of a conversation.
#[derive(Clone, Debug, uniffi::Record)]
pub struct Message {
    /// "system", "user" or "assistant".
    pub role: String,
    /// Its text.
    pub content: String,
}

/// How to generate.
#[derive(Clone, uniffi::Record)]
pub struct GenerateOptions {
    /// Most tokens of the answer; none: 512.
    #[uniffi(default)]
    pub max_tokens: Option<u32>,
    /// 0: always the likeliest token; the higher, the more varied; none: 0.8.
    #[uniffi(default)]
    pub temperature: Option<f32>,
    /// Sample from at most this many of the likeliest tokens; 0: from all; none: 40.
    #[uniffi(default)]
    pub top_k: Option<u32>,
    /// Sample from the likeliest tokens that make up this probability; none: 0.95.
    #[uniffi(default)]
    pub top_p: Option<f32>,
    /// Leave out tokens below this share of the likeliest one's probability; none: 0.05.
    #[uniffi(default)]
    pub min_p: Option<f32>,
    /// Above 1: make tokens that appeared lately less likely; none: 1.
    #[uniffi(default)]
    pub repeat_penalty: Option<f32>,
    /// Taken from a token's score for every time that it appeared lately; none: 0.
    #[uniffi(default)]
    pub frequency_penalty: Option<f32>,
    /// Taken once from the score of tokens that appeared lately; none: 0.
    #[uniffi(default)]
    pub presence_penalty: Option<f32>,
    /// The same seed gives the same answer; none: another answer each time.
    #[uniffi(default)]
    pub seed: Option<u64>,
    /// Texts that end the answer and are not part of it.
    #[uniffi(default)]
    pub stop: Vec<String>,
    /// The answer is JSON that this JSON schema accepts. At most one of json_schema, regex and grammar.
    #[uniffi(default)]
    pub json_schema: Option<String>,
    /// The answer is text that this regular expression matches from beginning to end.
    #[uniffi(default)]
    pub regex: Option<String>,
    /// The answer is text of this grammar, in llguidance's variant of Lark.
    #[uniffi(default)]
    pub grammar: Option<String>,
    /// Adapters that the answer is computed with, and no others.
    #[uniffi(default)]
    pub adapters: Vec<AdapterUse>,
    /// Go on when the model ends its turn.
    #[uniffi(default)]
    pub ignore_end_of_turn: bool,
    /// Tell of every token how likely it was, and of so many others at its place, at most 64; none: tell nothing.
    #[uniffi(default)]
    pub top_logprobs: Option<u32>,
}

impl GenerateOptions {
    pub(crate) fn settings(&self) -> Result<GenerateSettings, Failure> {
        let plain = GenerateSettings::default();
        let sampling = plain.sampling.clone();
        Ok(GenerateSettings {
            sampling: Sampling {
                temperature: self.temperature.unwrap_or(sampling.temperature),
                top_k: self.top_k.unwrap_or(sampling.top_k),
                top_p: self.top_p.unwrap_or(sampling.top_p),
                min_p: self.min_p.unwrap_or(sampling.min_p),
                repeat_penalty: self.repeat_penalty.unwrap_or(sampling.repeat_penalty),
                frequency_penalty: self.frequency_penalty.unwrap_or(sampling.frequency_penalty),
                presence_penalty: self.presence_penalty.unwrap_or(sampling.presence_penalty),
                seed: self.seed,
                ..sampling
            },
            max_tokens: self.max_tokens.unwrap_or(plain.max_tokens),
            stop: self.stop.clone(),
            ignore_end_of_turn: self.ignore_end_of_turn,
            top_logprobs: self.top_logprobs,
            constraint: constraint([&self.json_schema, &self.regex, &self.grammar].map(Option::as_deref))?,
            adapters: self
                .adapters
                .iter()
                .map(|wish| applied(wish.adapter.0.handle(), wish.scale))
                .collect::<Result<_, _>>()?,
            ..plain
        })
    }
}

/// A conversation as the runtime has it.
pub(crate) fn conversation(messages: Vec<Message>) -> Vec<llama_pajamas::Message> {
    messages.into_iter().map(|message| llama_pajamas::Message::new(message.role, message.content)).collect()
}
