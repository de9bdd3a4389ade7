//! One sequence of a pool: the tokens that it holds or will hold, and the answer it is writing.
//!
//! Owns the state of a request from its admission to its end. Must not know the other sequences.

use super::{Done, Listener, Request};
use crate::answer::{Answer, Next};
use crate::events::{Event, StopReason, Timings, Usage};
use crate::media::PromptMedia;
use crate::speculate::Guesser;
use crate::{Error, Result};
use engine::{Applied, CancelToken, Token};
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

/// A request at work.
pub(super) struct Job {
    pub(super) cancel: CancelToken,
    pub(super) answer: Answer,
    pub(super) guesser: Guesser,
    /// Pictures and sound of its prompt.
    pub(super) media: PromptMedia,
    on_event: Listener,
    on_done: Done,
    pub(super) usage: Usage,
    start: Instant,
    /// When the prompt was computed.
    prompt_done: Option<Instant>,
}

/// A place in the pool.
#[derive(Default)]
pub(super) struct Sequence {
    /// Tokens that it holds, then those that are to be computed; as many as the engine has are held.
    pub(super) tokens: Vec<Token>,
    pub(super) job: Option<Job>,
    /// Its tokens were or will be computed with these.
    pub(super) adapters: Vec<Applied>,
    /// When it was last at work, to give the longest unused away first.
    pub(super) used: u64,
}

impl Job {
    /// A request that is admitted.
    pub(super) fn begin(request: Request, answer: Answer, speculates: bool, reused: usize) -> Self {
        Self {
            cancel: request.cancel,
            answer,
            guesser: Guesser::new(speculates),
            media: request.settings.media,
            on_event: request.on_event,
            on_done: request.on_done,
            usage: Usage {
                prompt_tokens: request.prompt.len(),
                reused_tokens: reused,
                completion_tokens: 0,
                guessed_tokens: 0,
                stop_reason: StopReason::Cancelled,
                timings: Timings::default(),
            },
            start: Instant::now(),
            prompt_done: None,
        }
    }

    /// Tells an event; a listener that panics hears nothing more.
    pub(super) fn tell(&mut self, event: Event<'_>) -> ControlFlow<()> {
        let told = catch_unwind(AssertUnwindSafe(|| (self.on_event)(event)));
        told.unwrap_or(ControlFlow::Break(()))
    }

    /// The prompt is computed.
    pub(super) fn prompt_is_done(&mut self) -> ControlFlow<()> {
        if self.prompt_done.is_some() {
            return ControlFlow::Continue(());
        }
        let now = Instant::now();
        self.prompt_done = Some(now);
        self.usage.timings.prompt = now - self.start;
        self.tell(Event::Prompt { tokens: self.usage.prompt_tokens, reused: self.usage.reused_tokens })
    }

    /// Whether tokens of the answer are being written.
    pub(super) fn writes(&self) -> bool {
        self.prompt_done.is_some()
    }

    /// Chooses after the tokens that `logits` follow.
    pub(super) fn choose(&mut self, logits: &[f32]) -> Result<Next> {
        let Self { answer, on_event, .. } = self;
        let mut tell = |event: Event<'_>| {
            let told = catch_unwind(AssertUnwindSafe(|| on_event(event)));
            told.unwrap_or(ControlFlow::Break(()))
        };
        answer.choose(logits, &mut tell)
    }

    /// The answer ended.
    pub(super) fn end(mut self, reason: StopReason) {
        let Self { answer, on_event, .. } = &mut self;
        let mut tell = |event: Event<'_>| {
            let told = catch_unwind(AssertUnwindSafe(|| on_event(event)));
            told.unwrap_or(ControlFlow::Break(()))
        };
        answer.finish(&reason, &mut tell);
        self.usage.stop_reason = reason;
        self.usage.completion_tokens = self.answer.n_tokens();
        self.usage.timings.decode = self.prompt_done.map_or_else(Default::default, |done| done.elapsed());
        done(self.on_done, Ok(self.usage));
    }

    /// It cannot go on.
    pub(super) fn fail(self, error: Error) {
        done(self.on_done, Err(error));
    }
}

/// Tells an end; what the listener does wrong is its own affair.
pub(super) fn done(on_done: Done, outcome: Result<Usage>) {
    let _ = catch_unwind(AssertUnwindSafe(|| on_done(outcome)));
}

/// The end of a request that was never begun.
pub(super) fn never_begun(request: Request) {
    let usage = Usage {
        prompt_tokens: request.prompt.len(),
        reused_tokens: 0,
        completion_tokens: 0,
        guessed_tokens: 0,
        stop_reason: StopReason::Cancelled,
        timings: Timings::default(),
    };
    done(request.on_done, Ok(usage));
}
