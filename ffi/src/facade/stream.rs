//! Answers that are fetched event by event.
//!
//! Owns: the stream's object and its end. May know: sessions. Must not know: how answers come about.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use llama_pajamas::{CancelToken, GenerateSettings, Prompt, Stream, StreamEvent, TimedOut};

use super::error::{Told, call};
use super::event::Event;
use super::owned::Owned;
use crate::error::Failure;
use crate::guard::freeing;
use crate::handles::Handle;
use crate::session::{SessionCell, told};
use crate::stream::patience;

/// Events that one call fetches at most.
const MOST_AT_ONCE: usize = 64;

/// An answer under way on a thread of the library, which computes a few tokens ahead and then waits to be asked.
#[derive(uniffi::Object)]
pub struct NativeStream(Owned<Answer>);

/// The handle of an answer.
enum Answer {}

impl Handle for Answer {
    type Object = Cell;
    const NAME: &'static str = "stream";
}

/// A stream, and where its session belongs.
struct Cell {
    state: Mutex<State>,
    cancel: CancelToken,
    home: Arc<SessionCell>,
}

struct State {
    stream: Option<Stream>,
    end: Option<Result<Event, Failure>>,
}

#[uniffi::export]
impl NativeStream {
    /// The next events: waits for one at most `timeout_ms` milliseconds, below 0 as long as it takes, and adds those that are there
    /// already. None: nothing has come. Done is the last event, and comes again when asked again. One thread at a time.
    pub fn next(&self, timeout_ms: i64) -> Told<Vec<Event>> {
        call(|| self.0.get()?.next(timeout_ms))
    }

    /// Ends the answer within the work of one layer; what it has told so far can still be fetched, Done at last. Allowed from any
    /// thread, also while another one waits in [`NativeStream::next`].
    pub fn cancel(&self) {
        freeing(|| {
            if let Ok(cell) = self.0.get() {
                cell.cancel.cancel();
            }
        });
    }

    /// Gives the session back. An answer that is not over is cancelled and waited for. May be called again.
    pub fn release(&self) {
        self.close();
    }
}

impl NativeStream {
    pub(crate) fn open(
        home: Arc<SessionCell>,
        prompt: Prompt,
        settings: GenerateSettings,
    ) -> Result<Arc<Self>, Failure> {
        let cancel = CancelToken::new();
        let stream = home.take()?.stream(prompt, settings, cancel.clone())?;
        let state = Mutex::new(State { stream: Some(stream), end: None });
        Ok(Arc::new(Self(Owned::new(Cell { state, cancel, home }))))
    }

    fn close(&self) {
        freeing(|| {
            if let Some(cell) = self.0.take() {
                cell.close();
            }
        });
    }
}

impl Drop for NativeStream {
    fn drop(&mut self) {
        self.close();
    }
}

impl Cell {
    fn next(&self, timeout_ms: i64) -> Result<Vec<Event>, Failure> {
        let mut guard = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let State { stream, end } = &mut *guard;
        if let Some(end) = end {
            return end.clone().map(|end| vec![end]);
        }
        let stream =
            stream.as_mut().ok_or_else(|| Failure::invalid("stream is no live object: it was freed"))?;
        let mut events = Vec::new();
        while events.len() < MOST_AT_ONCE {
            let patience = if events.is_empty() { patience(timeout_ms) } else { Duration::ZERO };
            match stream.next_within(patience) {
                Err(TimedOut) => break,
                Ok(Some(Ok(StreamEvent::Done(usage)))) => {
                    told(&usage);
                    events.push(end.insert(Ok(Event::done(&usage))).clone()?);
                    break;
                }
                Ok(Some(Ok(event))) => {
                    events.push(Event::of(&event.borrowed().expect("only the end has no counterpart")));
                }
                Ok(Some(Err(error))) => {
                    let failure = Failure::from(error);
                    *end = Some(Err(failure.clone()));
                    // What came before the error is told first, the error when asked again.
                    return if events.is_empty() { Err(failure) } else { Ok(events) };
                }
                Ok(None) => unreachable!("the end was kept when it came"),
            }
        }
        Ok(events)
    }

    fn close(&self) {
        self.cancel.cancel();
        let stream = self.state.lock().unwrap_or_else(PoisonError::into_inner).stream.take();
        if let Some(stream) = stream {
            self.home.put(stream.finish());
        }
    }
}
