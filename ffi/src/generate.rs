//! How to generate: what is answered, and by which settings.
//!
//! Owns: the options and messages. May know: adapters. Must not know: sessions, streams, sampling beyond its settings.

#![allow(non_camel_case_types, reason = "the names are C's")]

use std::ffi::c_char;

use llama_pajamas::engine::Applied;
use llama_pajamas::{Constraint, GenerateSettings, Message, Sampling};

use crate::arguments::{Options, init_options, items, optional_text, text};
use crate::error::Failure;
use crate::handles;
use crate::model::lp_adapter;

/// An adapter and how strongly it works.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lp_adapter_use {
    /// The adapter, of the session's model.
    pub adapter: *const lp_adapter,
    /// 1 as it was trained, 0 not at all, below 0 against it. Finite.
    pub scale: f32,
    /// Always 0.
    pub reserved: u32,
}

/// How to generate.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lp_generate_options {
    /// Size of the struct in bytes.
    pub struct_size: usize,
    /// Most tokens of the answer. Default 512.
    pub max_tokens: u32,
    /// Sample from at most this many of the likeliest tokens; 0: from all. Default 40.
    pub top_k: u32,
    /// 0: always the likeliest token; the higher, the more varied. Default 0.8.
    pub temperature: f32,
    /// Sample from the likeliest tokens that make up this probability. Default 0.95.
    pub top_p: f32,
    /// Leave out tokens below this share of the likeliest one's probability. Default 0.05.
    pub min_p: f32,
    /// Above 1: make tokens that appeared lately less likely. Default 1.
    pub repeat_penalty: f32,
    /// The same seed gives the same answer; 0, the default: another answer each time.
    pub seed: u64,
    /// Texts that end the answer and are not part of it. Default none.
    pub stop_texts: *const *const c_char,
    /// How many.
    pub n_stop_texts: usize,
    /// Taken from a token's score for every time that it appeared lately. Default 0.
    pub frequency_penalty: f32,
    /// Taken once from the score of tokens that appeared lately. Default 0.
    pub presence_penalty: f32,
    /// The answer is JSON that this JSON schema accepts; NULL, the default: any text. At most one of json_schema, regex and grammar.
    /// Needs a library with the feature `constrain`, else LP_UNSUPPORTED.
    pub json_schema: *const c_char,
    /// The answer is text that this regular expression matches from beginning to end.
    pub regex: *const c_char,
    /// The answer is text of this grammar, in llguidance's variant of Lark.
    pub grammar: *const c_char,
    /// Adapters that the answer is computed with, and no others. Default none.
    pub adapters: *const lp_adapter_use,
    /// How many.
    pub n_adapters: usize,
    /// Not 0: go on when the model ends its turn. Default 0.
    pub ignore_end_of_turn: u32,
    /// Tell of every token how likely it was, and of so many others at its place, at most 64 (LP_EVENT_LOGPROBS); below 0, the
    /// default: tell nothing.
    pub top_logprobs: i32,
}

// SAFETY: `repr(C)`, the size first, numbers and pointers.
unsafe impl Options for lp_generate_options {
    fn defaults() -> Self {
        let GenerateSettings { sampling, max_tokens, .. } = GenerateSettings::default();
        Self {
            struct_size: size_of::<Self>(),
            max_tokens,
            top_k: sampling.top_k,
            temperature: sampling.temperature,
            top_p: sampling.top_p,
            min_p: sampling.min_p,
            repeat_penalty: sampling.repeat_penalty,
            seed: 0,
            stop_texts: std::ptr::null(),
            n_stop_texts: 0,
            frequency_penalty: sampling.frequency_penalty,
            presence_penalty: sampling.presence_penalty,
            json_schema: std::ptr::null(),
            regex: std::ptr::null(),
            grammar: std::ptr::null(),
            adapters: std::ptr::null(),
            n_adapters: 0,
            ignore_end_of_turn: 0,
            top_logprobs: -1,
        }
    }
}

/// A message of a conversation.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lp_message {
    /// "system", "user" or "assistant".
    pub role: *const c_char,
    /// Its text.
    pub content: *const c_char,
}

/// Fills `options` with defaults.
///
/// # Safety
/// `options` is null or valid for writes of `struct_size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lp_generate_options_init(options: *mut lp_generate_options, struct_size: usize) {
    // SAFETY: by this function's contract.
    unsafe { init_options(options, struct_size) };
}

impl lp_generate_options {
    /// # Safety
    /// Texts and arrays are live.
    pub(crate) unsafe fn settings(&self) -> Result<GenerateSettings, Failure> {
        // SAFETY: by this function's contract.
        let stop = unsafe { items(self.stop_texts, self.n_stop_texts, "stop_texts") }?
            .iter()
            // SAFETY: as above.
            .map(|stop| unsafe { text(*stop, "a stop text") }.map(str::to_owned))
            .collect::<Result<Vec<_>, _>>()?;
        let sampling = Sampling {
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            repeat_penalty: self.repeat_penalty,
            frequency_penalty: self.frequency_penalty,
            presence_penalty: self.presence_penalty,
            seed: (self.seed != 0).then_some(self.seed),
            ..Sampling::default()
        };
        Ok(GenerateSettings {
            sampling,
            max_tokens: self.max_tokens,
            stop,
            ignore_end_of_turn: self.ignore_end_of_turn != 0,
            top_logprobs: u32::try_from(self.top_logprobs).ok(),
            // SAFETY: by this function's contract.
            constraint: unsafe { self.constraint() }?,
            // SAFETY: by this function's contract.
            adapters: unsafe { self.applied() }?,
            ..Default::default()
        })
    }

    /// # Safety
    /// The texts are null or live.
    unsafe fn constraint(&self) -> Result<Option<Constraint>, Failure> {
        // SAFETY: by this function's contract.
        let texts = unsafe {
            [
                optional_text(self.json_schema, "json_schema")?,
                optional_text(self.regex, "regex")?,
                optional_text(self.grammar, "grammar")?,
            ]
        };
        constraint(texts)
    }

    /// # Safety
    /// The adapters are live.
    unsafe fn applied(&self) -> Result<Vec<Applied>, Failure> {
        // SAFETY: by this function's contract.
        let uses = unsafe { items(self.adapters, self.n_adapters, "adapters") }?;
        uses.iter().map(|wish| applied(wish.adapter, wish.scale)).collect()
    }
}

/// The form of an answer, out of JSON schema, regular expression and grammar.
pub(crate) fn constraint(texts: [Option<&str>; 3]) -> Result<Option<Constraint>, Failure> {
    match texts {
        [None, None, None] => Ok(None),
        [Some(schema), None, None] => {
            let schema = serde_json::from_str(schema)
                .map_err(|error| Failure::invalid(format!("json_schema is no JSON: {error}")))?;
            Ok(Some(Constraint::JsonSchema(schema)))
        }
        [None, Some(regex), None] => Ok(Some(Constraint::Regex(regex.to_owned()))),
        [None, None, Some(grammar)] => Ok(Some(Constraint::Lark(grammar.to_owned()))),
        _ => Err(Failure::invalid("expected at most one of json_schema, regex and grammar")),
    }
}

/// An adapter as strong as it is wanted.
pub(crate) fn applied(adapter: *const lp_adapter, scale: f32) -> Result<Applied, Failure> {
    if !scale.is_finite() {
        return Err(Failure::invalid(format!("the scale of an adapter is {scale}, expected a number")));
    }
    Ok(Applied { adapter: (*handles::get(adapter)?).clone(), scale })
}

/// A conversation as the caller has it.
///
/// # Safety
/// `messages` points to `n_messages` messages whose texts end in NUL.
pub(crate) unsafe fn conversation(
    messages: *const lp_message,
    n_messages: usize,
) -> Result<Vec<Message>, Failure> {
    // SAFETY: by this function's contract.
    unsafe { items(messages, n_messages, "messages") }?
        .iter()
        .map(|message| {
            // SAFETY: by this function's contract.
            let (role, content) = unsafe { (text(message.role, "role")?, text(message.content, "content")?) };
            Ok(Message::new(role, content))
        })
        .collect()
}
