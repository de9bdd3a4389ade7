//! Answers that are fetched event by event.
//!
//! Owns: the stream's handle, and the event and text that were fetched last. May know: sessions. Must not know: how answers come
//! about.

#![allow(non_camel_case_types, reason = "the names are C's")]

use std::ffi::c_char;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use llama_pajamas::{CancelToken, Prompt, Stream, StreamEvent, TimedOut};

use crate::arguments::{Place, text};
use crate::error::{Failure, lp_error, lp_status};
use crate::event::{lp_event, lp_event_kind};
use crate::generate::{conversation, lp_generate_options, lp_message};
use crate::guard::{freeing, guarded};
use crate::handles::{self, Handle};
use crate::session::{SessionCell, lp_session, told};

/// An answer under way on a thread of the library, which computes a few tokens ahead and then waits to be asked.
pub struct lp_stream {
    _handle: [u8; 0],
}

impl Handle for lp_stream {
    type Object = StreamCell;
    const NAME: &'static str = "stream";
}

/// A stream, and where its session belongs.
pub(crate) struct StreamCell {
    state: Mutex<State>,
    cancel: CancelToken,
    home: Arc<SessionCell>,
}

struct State {
    stream: Option<Stream>,
    event: lp_event,
    /// What the event's text points to.
    text: String,
    end: Option<Result<lp_event, Failure>>,
}

// SAFETY: the event's pointer leads to `text` beside it, or nowhere.
unsafe impl Send for State {}

/// Milliseconds to wait, below 0 as long as it takes.
pub(crate) fn patience(timeout_ms: i64) -> Duration {
    u64::try_from(timeout_ms).map_or(Duration::MAX, Duration::from_millis)
}

impl StreamCell {
    fn open(
        home: Arc<SessionCell>,
        prompt: Prompt,
        options: *const lp_generate_options,
    ) -> Result<Self, Failure> {
        // SAFETY: by the contract of both callers.
        let settings = unsafe { crate::arguments::options(options)?.settings() }?;
        let cancel = CancelToken::new();
        let stream = home.take()?.stream(prompt, settings, cancel.clone())?;
        let (event, text) = (lp_event::blank(lp_event_kind::LP_EVENT_NONE), String::new());
        Ok(Self { state: Mutex::new(State { stream: Some(stream), event, text, end: None }), cancel, home })
    }

    fn next(&self, timeout_ms: i64) -> Result<*const lp_event, Failure> {
        let mut guard = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let state = &mut *guard;
        state.event = match (&state.end, &mut state.stream) {
            (Some(end), _) => end.clone()?,
            (None, None) => return Err(Failure::invalid("stream is no live object: it was freed")),
            (None, Some(stream)) => match stream.next_within(patience(timeout_ms)) {
                Err(TimedOut) => lp_event::blank(lp_event_kind::LP_EVENT_NONE),
                Ok(Some(Ok(StreamEvent::Done(usage)))) => {
                    told(&usage);
                    state.end.insert(Ok(lp_event::done(&usage))).clone()?
                }
                Ok(Some(Ok(event))) => {
                    let event = event.borrowed().expect("only the end has no counterpart");
                    let (told, json) = lp_event::of(&event);
                    match (json, event) {
                        (Some(json), _) => state.text = json,
                        (None, llama_pajamas::Event::Text(text)) => {
                            state.text.clear();
                            state.text.push_str(text);
                        }
                        (None, _) => state.text.clear(),
                    }
                    if state.text.is_empty() { told } else { told.with_text(&state.text) }
                }
                Ok(Some(Err(error))) => state.end.insert(Err(error.into())).clone()?,
                Ok(None) => unreachable!("the end was kept when it came"),
            },
        };
        Ok(&raw const state.event)
    }

    fn close(&self) {
        self.cancel.cancel();
        let stream = self.state.lock().unwrap_or_else(PoisonError::into_inner).stream.take();
        if let Some(stream) = stream {
            self.home.put(stream.finish());
        }
    }
}

/// Begins to answer `prompt` as lp_session_generate does, and returns at once. The session belongs to the stream until that is freed:
/// other calls get LP_IN_USE. `options` is optional.
///
/// # Safety
/// `prompt` ends in NUL, options are null or carry their size, `out` and `error` are valid for writes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lp_stream_generate(
    session: *mut lp_session,
    prompt: *const c_char,
    options: *const lp_generate_options,
    out: *mut *mut lp_stream,
    error: *mut *mut lp_error,
) -> lp_status {
    // SAFETY: by this function's contract.
    unsafe {
        guarded(error, || {
            let place = Place::new(out, "out")?;
            let session = handles::get(session)?;
            let prompt = Prompt::Text(text(prompt, "prompt")?.to_owned());
            place.fill_object(StreamCell::open(session, prompt, options)?);
            Ok(())
        })
    }
}

/// The same for a conversation, as lp_session_chat answers it.
///
/// # Safety
/// As [`lp_stream_generate`]; `messages` points to `n_messages` messages whose texts end in NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lp_stream_chat(
    session: *mut lp_session,
    messages: *const lp_message,
    n_messages: usize,
    options: *const lp_generate_options,
    out: *mut *mut lp_stream,
    error: *mut *mut lp_error,
) -> lp_status {
    // SAFETY: by this function's contract.
    unsafe {
        guarded(error, || {
            let place = Place::new(out, "out")?;
            let session = handles::get(session)?;
            let prompt = Prompt::Messages(conversation(messages, n_messages)?);
            place.fill_object(StreamCell::open(session, prompt, options)?);
            Ok(())
        })
    }
}

/// Fetches the next event: `*event` points to it, and it and its text are valid until the next call with this stream or its freeing.
/// Waits for it at most `timeout_ms` milliseconds, 0 looks without waiting, below 0 waits as long as it takes; LP_EVENT_NONE when
/// nothing has come. LP_EVENT_DONE is the last event, and comes again when asked again. What lp_session_generate would return as its
/// status is returned here, `*event` is then NULL. One thread at a time.
///
/// # Safety
/// `event` and `error` are valid for writes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lp_stream_next(
    stream: *mut lp_stream,
    timeout_ms: i64,
    event: *mut *const lp_event,
    error: *mut *mut lp_error,
) -> lp_status {
    // SAFETY: by this function's contract.
    unsafe {
        guarded(error, || {
            let place = Place::new(event.cast::<*mut lp_event>(), "event")?;
            place.fill(handles::get(stream)?.next(timeout_ms)?.cast_mut());
            Ok(())
        })
    }
}

/// Ends the answer within the work of one layer, as a cancel token would; what it has told so far can still be fetched, LP_EVENT_DONE
/// at last. Allowed from any thread, also while another one waits in lp_stream_next. NULL and freed ones are ignored.
#[unsafe(no_mangle)]
pub extern "C" fn lp_stream_cancel(stream: *const lp_stream) {
    freeing(|| {
        if let Ok(stream) = handles::get(stream) {
            stream.cancel.cancel();
        }
    });
}

/// Frees a stream and gives the session back. An answer that is not over is cancelled and waited for. NULL and freed ones are ignored.
#[unsafe(no_mangle)]
pub extern "C" fn lp_stream_free(stream: *mut lp_stream) {
    freeing(|| {
        if let Some(stream) = handles::remove(stream) {
            stream.close();
        }
    });
}
