//! An answer that is fetched step by step instead of being told to a listener.
//!
//! Owns the thread that computes ahead and the short queue between it and the caller, who is woken once for a token and what is told
//! with it. Must not know what else the steps mean.

use crate::answer::GenerateSettings;
use crate::events::{Event, TokenLogprobs, Usage};
use crate::govern::Change;
use crate::session::Session;
use crate::template::Message;
use crate::{Error, Result};
use engine::{CancelToken, Token};
use std::ops::ControlFlow;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// Tokens, and what is told with each, that are computed ahead of who fetches them.
const MOST_AHEAD: usize = 32;

/// What a stream answers.
#[derive(Debug, Clone, PartialEq)]
pub enum Prompt {
    /// A text to go on with ([`Session::generate`]).
    Text(String),
    /// A conversation ([`Session::chat`]).
    Messages(Vec<Message>),
    /// Tokens to go on with ([`Session::generate_tokens`]).
    Tokens(Vec<Token>),
}

/// An [`Event`] that owns what it tells, or the end.
#[derive(Debug, Clone, PartialEq)]
pub enum StreamEvent {
    /// [`Event::Prompt`].
    Prompt {
        /// Tokens of the prompt.
        tokens: usize,
        /// Of these, not computed again.
        reused: usize,
    },
    /// [`Event::Progress`].
    Progress {
        /// Tokens computed so far, of those that were not remembered.
        computed: usize,
        /// Of so many.
        total: usize,
    },
    /// [`Event::Dropped`].
    Dropped {
        /// Tokens that were held before.
        before: usize,
        /// Tokens that are held now.
        after: usize,
    },
    /// [`Event::Grown`].
    Grown {
        /// Tokens that the context could hold before.
        before: usize,
        /// Tokens that it can hold now.
        after: usize,
    },
    /// [`Event::Change`].
    Change(Change),
    /// [`Event::Logprobs`].
    Logprobs(TokenLogprobs),
    /// [`Event::Token`].
    Token(Token),
    /// [`Event::Text`].
    Text(String),
    /// The answer is over; nothing follows.
    Done(Usage),
}

impl From<Event<'_>> for StreamEvent {
    fn from(event: Event<'_>) -> Self {
        match event {
            Event::Prompt { tokens, reused } => Self::Prompt { tokens, reused },
            Event::Progress { computed, total } => Self::Progress { computed, total },
            Event::Dropped { before, after } => Self::Dropped { before, after },
            Event::Grown { before, after } => Self::Grown { before, after },
            Event::Change(change) => Self::Change(change),
            Event::Logprobs(logprobs) => Self::Logprobs(logprobs.clone()),
            Event::Token(token) => Self::Token(token),
            Event::Text(text) => Self::Text(text.to_owned()),
        }
    }
}

impl StreamEvent {
    /// The event that it owns; `None` for the end.
    pub fn borrowed(&self) -> Option<Event<'_>> {
        Some(match self {
            Self::Prompt { tokens, reused } => Event::Prompt { tokens: *tokens, reused: *reused },
            Self::Progress { computed, total } => Event::Progress { computed: *computed, total: *total },
            Self::Dropped { before, after } => Event::Dropped { before: *before, after: *after },
            Self::Grown { before, after } => Event::Grown { before: *before, after: *after },
            Self::Change(change) => Event::Change(*change),
            Self::Logprobs(logprobs) => Event::Logprobs(logprobs),
            Self::Token(token) => Event::Token(*token),
            Self::Text(text) => Event::Text(text),
            Self::Done(_) => return None,
        })
    }
}

type Step = Result<StreamEvent>;

/// An answer under way on a thread of its own, which computes a few steps ahead and then waits. Dropped, it ends within one
/// token's work, and the session goes with it; [`Stream::finish`] gives the session back.
pub struct Stream {
    batches: Receiver<Vec<Step>>,
    /// What came and was not fetched yet.
    ready: std::vec::IntoIter<Step>,
    cancel: CancelToken,
    thread: Option<JoinHandle<Session>>,
    /// What the thread gave back.
    session: Option<Session>,
}

impl Session {
    /// Answers `prompt` on a thread of its own. `cancel` ends the answer, and the stream raises it when it is given up early: it
    /// should serve this stream alone.
    ///
    /// # Errors
    /// No thread. What [`Session::generate`] reports is the stream's last step.
    pub fn stream(self, prompt: Prompt, settings: GenerateSettings, cancel: CancelToken) -> Result<Stream> {
        let (sender, batches) = sync_channel(MOST_AHEAD);
        let token = cancel.clone();
        let work = move || {
            let mut session = self;
            session.tell_all(&prompt, &settings, &token, Teller { sender, held: Vec::new() });
            session
        };
        let thread = std::thread::Builder::new().name("llama-pajamas-stream".into()).spawn(work);
        let thread = thread.map_err(|source| Error::Io { path: "a new thread".into(), source })?;
        Ok(Stream { batches, ready: Vec::new().into_iter(), cancel, thread: Some(thread), session: None })
    }

    fn tell_all(
        &mut self,
        prompt: &Prompt,
        settings: &GenerateSettings,
        cancel: &CancelToken,
        mut teller: Teller,
    ) {
        let mut tell = |event: Event<'_>| teller.tell(event);
        let outcome = match prompt {
            Prompt::Text(text) => self.generate(text, settings, cancel, &mut tell),
            Prompt::Messages(messages) => self.chat(messages, settings, cancel, &mut tell),
            Prompt::Tokens(tokens) => self.generate_tokens(tokens, settings, cancel, &mut tell),
        };
        teller.held.push(outcome.map(StreamEvent::Done));
        // Nobody may be there to hear the end.
        let _ = teller.send();
    }
}

/// Sends steps to who fetches them.
struct Teller {
    sender: SyncSender<Vec<Step>>,
    /// A token whose text is still to come: to be woken for each of them costs more than either.
    held: Vec<Step>,
}

impl Teller {
    fn tell(&mut self, event: Event<'_>) -> ControlFlow<()> {
        let is_token = matches!(event, Event::Token(_));
        let waits = is_token || matches!(event, Event::Logprobs(_));
        if is_token && !self.held.is_empty() {
            // The text of the last token is held back: it may be part of a stop text or of a character.
            self.send()?;
        }
        self.held.push(Ok(event.into()));
        if waits { ControlFlow::Continue(()) } else { self.send() }
    }

    /// Breaks off where nobody fetches any more.
    fn send(&mut self) -> ControlFlow<()> {
        match self.sender.send(std::mem::take(&mut self.held)) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    }
}

impl Stream {
    /// The next step, when it is there; `None` after the last one, which is [`StreamEvent::Done`] or an error.
    pub fn next_step(&mut self) -> Option<Step> {
        self.next_within(Duration::MAX).expect("that never passes")
    }

    /// The next step if it comes within `patience`; `Ok(None)` after the last one.
    ///
    /// # Errors
    /// [`TimedOut`]: it is not there yet.
    pub fn next_within(&mut self, patience: Duration) -> std::result::Result<Option<Step>, TimedOut> {
        loop {
            if let Some(step) = self.ready.next() {
                return Ok(Some(step));
            }
            match self.batches.recv_timeout(patience) {
                Ok(batch) => self.ready = batch.into_iter(),
                Err(RecvTimeoutError::Timeout) => return Err(TimedOut),
                Err(RecvTimeoutError::Disconnected) => {
                    // A thread that sends nothing more has the session ready, or panicked.
                    self.join();
                    return Ok(None);
                }
            }
        }
    }

    /// Ends the answer within one token's work; its last steps can still be fetched.
    pub fn cancel(&self) {
        self.cancel.cancel();
    }

    /// Ends the answer, unless it is over, and gives the session back.
    ///
    /// # Panics
    /// Where the thread did: the session is lost.
    pub fn finish(mut self) -> Session {
        self.give_up();
        self.join();
        self.session.take().expect("the thread gave it back, and nobody else takes it")
    }

    fn join(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.session = Some(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
    }

    fn give_up(&mut self) {
        self.cancel.cancel();
        // A sender that waits for room in the queue fails from here on.
        self.batches = sync_channel(0).1;
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.give_up();
            // A panic has been reported by its own thread.
            let _ = thread.join();
        }
    }
}

impl Iterator for Stream {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        self.next_step()
    }
}

/// The next step of a stream is not there yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the next step is not there yet")]
pub struct TimedOut;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_comes_with_its_text_and_alone_where_that_is_held_back() {
        let (sender, batches) = sync_channel(8);
        let mut teller = Teller { sender, held: Vec::new() };
        let events = [
            Event::Prompt { tokens: 3, reused: 0 },
            Event::Token(1),
            Event::Text("one"),
            Event::Token(2),
            Event::Token(3),
            Event::Text("two three"),
            Event::Token(4),
        ];
        for event in events {
            assert_eq!(teller.tell(event), ControlFlow::Continue(()));
        }
        assert_eq!(teller.send(), ControlFlow::Continue(()));
        let told: Vec<usize> = batches.try_iter().map(|batch| batch.len()).collect();
        assert_eq!(told, [1, 2, 1, 2, 1]);
        drop(batches);
        assert_eq!(teller.tell(Event::Text("unheard")), ControlFlow::Break(()));
    }
}
