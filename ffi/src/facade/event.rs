//! Events for other languages.
//!
//! Owns: the events, who listens to them, and how answers end. May know: C's events, of which these are made. Must not know: how they
//! come about.

use std::ops::ControlFlow;
use std::sync::Arc;

use serde::Serialize;

use crate::event::{lp_event, lp_event_kind, lp_stop_reason, text_of, transferred};

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Enum)]
#[repr(u8)]
pub enum StopReason {
    /// The model ended its turn, or the text is all that a schema or grammar allows.
    EndOfTurn = 0,
    /// One of the stop texts came.
    StopText = 1,
    /// As many tokens as asked for.
    MaxTokens = 2,
    /// The context is full.
    Context = 3,
    /// The cancel token was raised, the listener asked to stop, or the stream was cancelled.
    Cancelled = 4,
}

/// How an answer ended and what it used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Record)]
pub struct Usage {
    /// Why it ended.
    pub stop_reason: StopReason,
    /// Tokens of the prompt.
    pub prompt_tokens: u64,
    /// Of these, remembered from the session's last call.
    pub reused_tokens: u64,
    /// Tokens of the answer.
    pub completion_tokens: u64,
}

/// One step of a long call. New kinds may come: skip those that you do not know.
#[derive(Clone, Debug, PartialEq, uniffi::Enum)]
pub enum Event {
    /// The prompt is computed.
    Prompt {
        /// Tokens of the prompt.
        tokens: u64,
        /// Of these, remembered from the session's last call.
        reused: u64,
    },
    /// A part of the prompt is computed and more is to come.
    Progress {
        /// Tokens computed so far, without those that were remembered.
        computed: u64,
        /// Of so many.
        total: u64,
    },
    /// A token was chosen. Its text comes as [`Event::Text`], at once or with a later token.
    Token {
        /// Its id in the model's vocabulary.
        id: i32,
    },
    /// Text that is sure to belong to the answer: whole characters, no part of a stop text.
    Text {
        /// The text.
        text: String,
    },
    /// The answer is over: the last event.
    Done {
        /// How it ended.
        usage: Usage,
    },
    /// How likely the next token was, where it was asked for.
    Logprobs {
        /// An object with "chosen" and "top", of which each has "token" and "logprob".
        json: String,
    },
    /// How the model is run changed, what it says does not.
    Change {
        /// As C's LP_EVENT_CHANGE tells it.
        json: String,
    },
    /// The context was full and tokens were dropped, or it is longer now.
    Context {
        /// {"dropped":{"before":…,"after":…}} or {"grown":{…}}.
        json: String,
    },
    /// A part of a model is loaded.
    Loading {
        /// 0 to 1.
        fraction: f64,
    },
    /// A part of a bundle is checked or fetched.
    Transfer {
        /// 0 to 1.
        fraction: f64,
        /// An object with "file", "done_bytes", "total_bytes", "eta_s".
        json: String,
    },
    /// A tuning went on.
    Tuning {
        /// Of the budget, 0 to 1.
        fraction: f64,
        /// An object with "knob", "elapsed_s", "budget_s", "values" and their "tokens_per_s".
        json: String,
    },
    /// A variant is being made.
    Requantizing {
        /// Of the stage, 0 to 1.
        fraction: f64,
        /// An object with "stage", "done", "total", "eta_s", "paused".
        json: String,
    },
    /// A part of a bundle is being made.
    Quantizing {
        /// Of that part, 0 to 1.
        fraction: f64,
        /// An object with "label", "done_bytes", "total_bytes", "eta_s".
        json: String,
    },
}

/// Receives events during a call, on the thread of that call.
#[uniffi::export(with_foreign)]
pub trait Listener: Send + Sync {
    /// Returns whether to go on. Must not throw.
    fn on_event(&self, event: Event) -> bool;
}

impl Event {
    /// The runtime's event, by the same translation that C has.
    pub(crate) fn of(event: &llama_pajamas::Event<'_>) -> Self {
        use lp_event_kind as Kind;
        let (told, json) = lp_event::of(event);
        let json = json.unwrap_or_default();
        match (told.kind, event) {
            (Kind::LP_EVENT_PROMPT, _) => {
                Self::Prompt { tokens: told.prompt_tokens, reused: told.reused_tokens }
            }
            (Kind::LP_EVENT_PROGRESS, _) => {
                Self::Progress { computed: told.computed_tokens, total: told.prompt_tokens }
            }
            (Kind::LP_EVENT_TOKEN, _) => Self::Token { id: told.token_id },
            (_, llama_pajamas::Event::Text(text)) => Self::Text { text: (*text).to_owned() },
            (Kind::LP_EVENT_LOGPROBS, _) => Self::Logprobs { json },
            (Kind::LP_EVENT_CONTEXT, _) => Self::Context { json },
            _ => Self::Change { json },
        }
    }

    /// The end.
    pub(crate) fn done(usage: &llama_pajamas::Usage) -> Self {
        Self::Done { usage: Usage::of(usage) }
    }
}

impl Usage {
    pub(crate) fn of(usage: &llama_pajamas::Usage) -> Self {
        let told = lp_event::done(usage);
        let stop_reason = match told.stop_reason {
            lp_stop_reason::LP_STOP_END_OF_TURN => StopReason::EndOfTurn,
            lp_stop_reason::LP_STOP_TEXT => StopReason::StopText,
            lp_stop_reason::LP_STOP_MAX_TOKENS => StopReason::MaxTokens,
            lp_stop_reason::LP_STOP_CONTEXT => StopReason::Context,
            lp_stop_reason::LP_STOP_CANCELLED => StopReason::Cancelled,
        };
        Self {
            stop_reason,
            prompt_tokens: told.prompt_tokens,
            reused_tokens: told.reused_tokens,
            completion_tokens: told.completion_tokens,
        }
    }
}

/// Tells events to a listener, where there is one.
#[derive(Clone)]
pub(crate) struct Ear(pub(crate) Option<Arc<dyn Listener>>);

impl Ear {
    /// Makes the event and tells it, where somebody listens.
    pub(crate) fn hear(&self, make: impl FnOnce() -> Event) -> ControlFlow<()> {
        match &self.0 {
            Some(listener) if !listener.on_event(make()) => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    }

    pub(crate) fn loading(&self, fraction: f32) -> ControlFlow<()> {
        self.hear(|| Event::Loading { fraction: fraction.into() })
    }

    /// Progress of a check or a download, until the listener or the token says stop.
    pub(crate) fn transfer(
        self,
        cancel: llama_pajamas::CancelToken,
    ) -> impl FnMut(llama_pajamas::bundle::Progress<'_>) -> ControlFlow<()> {
        move |progress| {
            self.hear(|| {
                let (fraction, value) = transferred(&progress);
                Event::Transfer { fraction, json: text_of(&value) }
            })?;
            if cancel.is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        }
    }

    pub(crate) fn tuning(&self, fraction: f64, value: &impl Serialize) -> ControlFlow<()> {
        self.hear(|| Event::Tuning { fraction, json: text_of(value) })
    }
}
