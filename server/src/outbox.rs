//! What an answer tells, on its way from a pool's thread to a connection.
//!
//! Owns the queue between both, bounded in bytes: a client that does not read ends its own answer. Must not know protocols.

use llama_pajamas::{Error, Event, TokenLogprobs, Usage};
use std::ops::ControlFlow;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Most bytes that wait for a client.
const MAX_BYTES: usize = 1 << 20;

/// What one answer of a request tells.
#[derive(Debug)]
pub(crate) enum Item {
    /// The prompt is computed.
    Prompt,
    /// Text.
    Text(String),
    /// How likely the next token was.
    Logprobs(TokenLogprobs),
    /// The end.
    Done(Result<Usage, Error>),
}

#[derive(Default)]
struct State {
    items: Vec<(usize, Item)>,
    n_bytes: usize,
    is_closed: bool,
}

/// The queue of all answers to one request.
#[derive(Default)]
pub(crate) struct Outbox {
    state: Mutex<State>,
    filled: Notify,
}

impl Outbox {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, choice: usize, item: Item, n_bytes: usize) -> ControlFlow<()> {
        let mut state = self.state();
        let is_end = matches!(item, Item::Done(_));
        if state.is_closed || (state.n_bytes + n_bytes > MAX_BYTES && !is_end) {
            return ControlFlow::Break(());
        }
        state.n_bytes += n_bytes;
        state.items.push((choice, item));
        drop(state);
        self.filled.notify_one();
        ControlFlow::Continue(())
    }

    /// Takes an event of the answer numbered `choice`.
    pub(crate) fn hear(&self, choice: usize, event: &Event<'_>) -> ControlFlow<()> {
        match event {
            Event::Prompt { .. } => self.push(choice, Item::Prompt, 1),
            Event::Text(text) => self.push(choice, Item::Text((*text).to_owned()), text.len()),
            Event::Logprobs(logprobs) => {
                self.push(choice, Item::Logprobs((*logprobs).clone()), 16 + 8 * logprobs.top.len())
            }
            _ if self.state().is_closed => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    }

    /// Takes the end of an answer.
    pub(crate) fn end(&self, choice: usize, outcome: Result<Usage, Error>) {
        let _ = self.push(choice, Item::Done(outcome), 0); // where nobody waits any more, nobody is told
    }

    /// Nobody waits any more.
    pub(crate) fn close(&self) {
        let mut state = self.state();
        state.is_closed = true;
        state.items.clear();
    }

    /// Everything that was told since the last time, at least one item.
    pub(crate) async fn next(&self) -> Vec<(usize, Item)> {
        loop {
            let filled = self.filled.notified();
            {
                let mut state = self.state();
                if !state.items.is_empty() {
                    state.n_bytes = 0;
                    return std::mem::take(&mut state.items);
                }
            }
            filled.await;
        }
    }
}
