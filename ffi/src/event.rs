//! Events on their way to a callback or a stream.
//!
//! Owns: the event struct and the translation. May know: the runtime's events. Must not know: how
//! they come about.

#![allow(non_camel_case_types, reason = "the names are C's")]

use std::ffi::{c_char, c_int, c_void};
use std::ops::ControlFlow;

use llama_pajamas::{Change, Event, StopReason, Usage, bundle};
use serde::Serialize;
use serde_json::{Value, json};

/// Why an answer ended.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum lp_stop_reason {
    /// The model ended its turn, or the text is all that a schema or grammar allows.
    LP_STOP_END_OF_TURN = 0,
    /// One of the stop texts came.
    LP_STOP_TEXT = 1,
    /// As many tokens as asked for.
    LP_STOP_MAX_TOKENS = 2,
    /// The context is full.
    LP_STOP_CONTEXT = 3,
    /// The cancel token was raised, the callback asked to stop, or the stream was cancelled.
    LP_STOP_CANCELLED = 4,
}

/// What an event tells. New kinds may come: skip those that you do not know.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum lp_event_kind {
    /// The prompt is computed: prompt_tokens, reused_tokens.
    LP_EVENT_PROMPT = 0,
    /// A token was chosen: token_id. Its text comes as LP_EVENT_TEXT, at once or with a later token.
    LP_EVENT_TOKEN = 1,
    /// Text that is sure to belong to the answer: text, text_bytes. Whole characters, no part of a stop text.
    LP_EVENT_TEXT = 2,
    /// The answer is over: stop_reason, prompt_tokens, reused_tokens, completion_tokens. The last event of a generation.
    LP_EVENT_DONE = 3,
    /// A part of the prompt is computed and more is to come: computed_tokens of prompt_tokens, without those that were
    /// remembered; fraction.
    LP_EVENT_PROGRESS = 4,
    /// How the model is run changed, what it says does not: text is a JSON object,
    /// {"governed":{"threads":{"from":4,"to":3,"because":"heat"}}} or {"paced":{"from":4,"to":2,"because":"too_late"}}.
    LP_EVENT_CHANGE = 5,
    /// A tuning went on: text is a JSON object with "knob", "elapsed_s", "budget_s", "values" and their "tokens_per_s"; fraction of
    /// the budget.
    LP_EVENT_TUNING = 6,
    /// A part of a model is loaded: fraction.
    LP_EVENT_LOADING = 7,
    /// A part of a bundle is checked or fetched: text is a JSON object with "file", "done_bytes", "total_bytes", "eta_s"; fraction.
    LP_EVENT_TRANSFER = 8,
    /// A variant is being made: text is a JSON object with "stage", "done", "total", "eta_s", "paused"; fraction of the stage.
    LP_EVENT_REQUANTIZING = 9,
    /// How likely the next token was, where top_logprobs asked for it: text is a JSON object with "chosen" and "top", of which
    /// each has "token" and "logprob".
    LP_EVENT_LOGPROBS = 10,
    /// The context was full and tokens were dropped, or it is longer now: text is a JSON object, {"dropped":{"before":…,"after":…}}
    /// or {"grown":{…}}.
    LP_EVENT_CONTEXT = 11,
    /// lp_stream_next: nothing has come within the time.
    LP_EVENT_NONE = 12,
    /// A part of a bundle is being made: text is a JSON object with "label", "done_bytes", "total_bytes", "eta_s"; fraction of that
    /// part.
    LP_EVENT_QUANTIZING = 13,
}

/// One step of a long call. Only the fields that its kind names have a meaning.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct lp_event {
    /// What it tells.
    pub kind: lp_event_kind,
    /// The id of a token in the model's vocabulary.
    pub token_id: i32,
    /// UTF-8, not NUL-terminated.
    pub text: *const c_char,
    /// Length of `text` in bytes.
    pub text_bytes: usize,
    /// Why the answer ended.
    pub stop_reason: lp_stop_reason,
    /// Always 0.
    pub reserved: u32,
    /// Tokens of the prompt.
    pub prompt_tokens: u64,
    /// Of these, remembered from the session's last call.
    pub reused_tokens: u64,
    /// Tokens of the answer.
    pub completion_tokens: u64,
    /// Tokens of the prompt that are computed so far.
    pub computed_tokens: u64,
    /// How far the call is, 0 to 1.
    pub fraction: f64,
}

/// Receives events during a call, on the thread of that call; the event is valid until the callback returns. Return 0 to go on,
/// anything else to stop the call; what is returned for LP_EVENT_DONE does not matter. It must return: no longjmp, no C++ exception.
pub type lp_event_fn = Option<unsafe extern "C" fn(user_data: *mut c_void, event: *const lp_event) -> c_int>;

/// A callback and its data.
pub(crate) struct Listener {
    on_event: lp_event_fn,
    user_data: *mut c_void,
}

impl Listener {
    /// # Safety
    /// `on_event` accepts `user_data` as long as the listener lives.
    pub(crate) unsafe fn new(on_event: lp_event_fn, user_data: *mut c_void) -> Self {
        Self { on_event, user_data }
    }

    /// Tells a step.
    pub(crate) fn hear(&self, event: &Event<'_>) -> ControlFlow<()> {
        let (told, json) = lp_event::of(event);
        match json {
            Some(json) => self.call(&told.with_text(&json)),
            None => self.call(&told),
        }
    }

    /// Tells a change of how the model is run.
    pub(crate) fn change(&self, change: &Change) -> ControlFlow<()> {
        self.hear(&Event::Change(*change))
    }

    /// Tells how far something is, in words of its own.
    pub(crate) fn json(&self, kind: lp_event_kind, fraction: f64, value: &impl Serialize) -> ControlFlow<()> {
        let text = text_of(value);
        self.call(&lp_event { fraction, ..lp_event::blank(kind) }.with_text(&text))
    }

    /// Tells how far a check or a download is.
    pub(crate) fn transfer(&self, progress: &bundle::Progress<'_>) -> ControlFlow<()> {
        let (fraction, value) = transferred(progress);
        self.json(lp_event_kind::LP_EVENT_TRANSFER, fraction, &value)
    }

    /// Tells how much is loaded.
    pub(crate) fn loading(&self, fraction: f32) -> ControlFlow<()> {
        let fraction = f64::from(fraction);
        self.call(&lp_event { fraction, ..lp_event::blank(lp_event_kind::LP_EVENT_LOADING) })
    }

    /// Tells the end.
    pub(crate) fn done(&self, usage: &Usage) {
        // There is nothing left to stop.
        let _ = self.call(&lp_event::done(usage));
    }

    fn call(&self, event: &lp_event) -> ControlFlow<()> {
        let Some(on_event) = self.on_event else { return ControlFlow::Continue(()) };
        // SAFETY: `new` promised that the callback accepts the data.
        match unsafe { on_event(self.user_data, event) } {
            0 => ControlFlow::Continue(()),
            _ => ControlFlow::Break(()),
        }
    }
}

/// How far a check or a download is, and what is told of it.
pub(crate) fn transferred(progress: &bundle::Progress<'_>) -> (f64, Value) {
    let bundle::Progress { file, done_bytes, total_bytes, eta } = progress;
    let value = json!({
        "file": file, "done_bytes": done_bytes, "total_bytes": total_bytes, "eta_s": eta.map(|eta| eta.as_secs_f64()),
    });
    (share(*done_bytes, *total_bytes), value)
}

pub(crate) fn text_of(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("names and numbers become JSON")
}

fn resized(how: &str, before: usize, after: usize) -> (lp_event, Option<String>) {
    let text = format!(r#"{{"{how}":{{"before":{before},"after":{after}}}}}"#);
    (lp_event::blank(lp_event_kind::LP_EVENT_CONTEXT), Some(text))
}

/// `done` of `total`, 0 where nothing is known.
pub(crate) fn share(done: u64, total: u64) -> f64 {
    if total == 0 { 0.0 } else { done as f64 / total as f64 }
}

impl lp_event {
    pub(crate) fn blank(kind: lp_event_kind) -> Self {
        Self {
            kind,
            token_id: -1,
            text: std::ptr::null(),
            text_bytes: 0,
            stop_reason: lp_stop_reason::LP_STOP_END_OF_TURN,
            reserved: 0,
            prompt_tokens: 0,
            reused_tokens: 0,
            completion_tokens: 0,
            computed_tokens: 0,
            fraction: 0.0,
        }
    }

    /// An event, whose text the caller keeps alive: the event's own, or the JSON that is returned beside it and not linked yet.
    pub(crate) fn of(event: &Event<'_>) -> (Self, Option<String>) {
        use lp_event_kind::*;
        fn json(kind: lp_event_kind, value: &impl Serialize) -> (lp_event, Option<String>) {
            (lp_event::blank(kind), Some(text_of(value)))
        }
        let told = match event {
            Event::Prompt { tokens, reused } => Self {
                prompt_tokens: *tokens as u64,
                reused_tokens: *reused as u64,
                ..Self::blank(LP_EVENT_PROMPT)
            },
            Event::Progress { computed, total } => Self {
                computed_tokens: *computed as u64,
                prompt_tokens: *total as u64,
                fraction: share(*computed as u64, *total as u64),
                ..Self::blank(LP_EVENT_PROGRESS)
            },
            Event::Token(token_id) => Self { token_id: *token_id, ..Self::blank(LP_EVENT_TOKEN) },
            Event::Text(text) => Self::blank(LP_EVENT_TEXT).with_text(text),
            Event::Change(change) => return json(LP_EVENT_CHANGE, change),
            Event::Logprobs(logprobs) => return json(LP_EVENT_LOGPROBS, *logprobs),
            Event::Dropped { before, after } => return resized("dropped", *before, *after),
            Event::Grown { before, after } => return resized("grown", *before, *after),
        };
        (told, None)
    }

    pub(crate) fn done(usage: &Usage) -> Self {
        Self {
            stop_reason: lp_stop_reason::of(&usage.stop_reason),
            prompt_tokens: usage.prompt_tokens as u64,
            reused_tokens: usage.reused_tokens as u64,
            completion_tokens: usage.completion_tokens as u64,
            ..Self::blank(lp_event_kind::LP_EVENT_DONE)
        }
    }

    pub(crate) fn with_text(self, text: &str) -> Self {
        Self { text: text.as_ptr().cast(), text_bytes: text.len(), ..self }
    }
}

impl lp_stop_reason {
    fn of(reason: &StopReason) -> Self {
        match reason {
            StopReason::EndOfTurn => Self::LP_STOP_END_OF_TURN,
            StopReason::StopText(_) => Self::LP_STOP_TEXT,
            StopReason::MaxTokens => Self::LP_STOP_MAX_TOKENS,
            StopReason::ContextFull => Self::LP_STOP_CONTEXT,
            StopReason::Cancelled => Self::LP_STOP_CANCELLED,
        }
    }
}
