//! Events on their way to a callback.
//!
//! Owns: the event struct and the translation. May know: the runtime's events. Must not know: how
//! they come about.

#![allow(non_camel_case_types, reason = "the names are C's")]

use std::ffi::{c_char, c_int, c_void};
use std::ops::ControlFlow;

use llama_pajamas::{Change, Event, StopReason, Usage};

/// Why an answer ended.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum lp_stop_reason {
    /// The model ended its turn.
    LP_STOP_END_OF_TURN = 0,
    /// One of the stop texts came.
    LP_STOP_TEXT = 1,
    /// As many tokens as asked for.
    LP_STOP_MAX_TOKENS = 2,
    /// The context is full.
    LP_STOP_CONTEXT = 3,
    /// The cancel token was raised or the callback asked to stop.
    LP_STOP_CANCELLED = 4,
}

/// What an event tells.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum lp_event_kind {
    /// The prompt is computed.
    LP_EVENT_PROMPT = 0,
    /// A token was chosen.
    LP_EVENT_TOKEN = 1,
    /// Text of the answer.
    LP_EVENT_TEXT = 2,
    /// The last event.
    LP_EVENT_DONE = 3,
    /// A part of the prompt is computed.
    LP_EVENT_PROGRESS = 4,
    /// How the model is run changed.
    LP_EVENT_CHANGE = 5,
    /// Tuning went on.
    LP_EVENT_TUNING = 6,
}

/// One step of a generation, valid during the callback.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct lp_event {
    /// Which fields have a meaning.
    pub kind: lp_event_kind,
    /// The token.
    pub token_id: i32,
    /// The text, not NUL-terminated.
    pub text: *const c_char,
    /// Its length in bytes.
    pub text_bytes: usize,
    /// Why it ended.
    pub stop_reason: lp_stop_reason,
    /// Tokens of the prompt.
    pub prompt_tokens: u64,
    /// Of these, remembered.
    pub reused_tokens: u64,
    /// Tokens of the answer.
    pub completion_tokens: u64,
    /// Tokens of the prompt that are computed so far.
    pub computed_tokens: u64,
}

/// Receives events; returns 0 to go on.
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
        let blank = lp_event::blank;
        self.call(&match *event {
            Event::Prompt { tokens, reused } => lp_event {
                prompt_tokens: tokens as u64,
                reused_tokens: reused as u64,
                ..blank(lp_event_kind::LP_EVENT_PROMPT)
            },
            Event::Progress { computed, total } => lp_event {
                computed_tokens: computed as u64,
                prompt_tokens: total as u64,
                ..blank(lp_event_kind::LP_EVENT_PROGRESS)
            },
            Event::Change(change) => return self.change(&change),
            // Nothing of the C interface asks for these.
            Event::Dropped { .. } | Event::Grown { .. } | Event::Logprobs(_) => {
                return ControlFlow::Continue(());
            }
            Event::Token(token_id) => lp_event { token_id, ..blank(lp_event_kind::LP_EVENT_TOKEN) },
            Event::Text(text) => lp_event {
                text: text.as_ptr().cast(),
                text_bytes: text.len(),
                ..blank(lp_event_kind::LP_EVENT_TEXT)
            },
        })
    }

    /// Tells a change of how the model is run.
    pub(crate) fn change(&self, change: &Change) -> ControlFlow<()> {
        self.json(lp_event_kind::LP_EVENT_CHANGE, change)
    }

    /// Tells how far a tuning is.
    pub(crate) fn tuning(&self, step: &serde_json::Value) -> ControlFlow<()> {
        self.json(lp_event_kind::LP_EVENT_TUNING, step)
    }

    fn json(&self, kind: lp_event_kind, value: &impl serde::Serialize) -> ControlFlow<()> {
        let text = serde_json::to_string(value).expect("names and numbers become JSON");
        self.call(&lp_event { text: text.as_ptr().cast(), text_bytes: text.len(), ..lp_event::blank(kind) })
    }

    /// Tells the end.
    pub(crate) fn done(&self, usage: &Usage) {
        let event = lp_event {
            stop_reason: lp_stop_reason::of(&usage.stop_reason),
            prompt_tokens: usage.prompt_tokens as u64,
            reused_tokens: usage.reused_tokens as u64,
            completion_tokens: usage.completion_tokens as u64,
            ..lp_event::blank(lp_event_kind::LP_EVENT_DONE)
        };
        // There is nothing left to stop.
        let _ = self.call(&event);
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

impl lp_event {
    fn blank(kind: lp_event_kind) -> Self {
        Self {
            kind,
            token_id: -1,
            text: std::ptr::null(),
            text_bytes: 0,
            stop_reason: lp_stop_reason::LP_STOP_END_OF_TURN,
            prompt_tokens: 0,
            reused_tokens: 0,
            completion_tokens: 0,
            computed_tokens: 0,
        }
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
