//! Sessions: answers told to a callback, and what a session holds as bytes.
//!
//! Owns: the session's handle and its lock. May know: models, events, cancel tokens. Must not know:
//! how answers come about.

#![allow(non_camel_case_types, reason = "the names are C's")]

#[cfg(feature = "states")]
#[path = "session/states.rs"]
pub(crate) mod states;
#[cfg(not(feature = "states"))]
#[path = "session/states_disabled.rs"]
pub(crate) mod states;

use std::ffi::{c_char, c_void};
use std::sync::{Mutex, PoisonError, TryLockError};
use std::time::Duration;

use llama_pajamas::{
    CancelToken, ErrorCode, GenerateSettings, LoadedModel, Session, SessionSettings, StopReason, Usage,
    WhenFull,
};
use serde::Serialize;

use crate::arguments::{Number, Options, Place, init_options, items, text, text_of};
use crate::cancel::{lp_cancel, token};
use crate::error::{Failure, lp_error, lp_status};
use crate::event::{Listener, lp_event_fn};
use crate::generate::{conversation, lp_generate_options, lp_message};
use crate::guard::{freeing, guarded};
use crate::handles::{self, Handle};
use crate::model::lp_model;
use crate::sink;

/// One text in progress, with a context of its own. One call at a time: a second one gets LP_IN_USE.
pub struct lp_session {
    _handle: [u8; 0],
}

impl Handle for lp_session {
    type Object = SessionCell;
    const NAME: &'static str = "session";
}

/// A session that one call uses at a time; gone while a stream has it.
pub(crate) struct SessionCell(Mutex<Option<Session>>);

impl SessionCell {
    pub(crate) fn new(session: Session) -> Self {
        Self(Mutex::new(Some(session)))
    }

    /// Takes the session for a stream.
    pub(crate) fn take(&self) -> Result<Session, Failure> {
        self.lock()?.take().ok_or_else(taken)
    }

    /// Gives it back.
    pub(crate) fn put(&self, session: Session) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(session);
    }

    pub(crate) fn with<R>(
        &self,
        body: impl FnOnce(&mut Session) -> Result<R, Failure>,
    ) -> Result<R, Failure> {
        body(self.lock()?.as_mut().ok_or_else(taken)?)
    }

    fn lock(&self) -> Result<std::sync::MutexGuard<'_, Option<Session>>, Failure> {
        match self.0.try_lock() {
            Ok(session) => Ok(session),
            // A panic ended a call; what is held may be half-done, and the next prompt begins anew where it differs.
            Err(TryLockError::Poisoned(session)) => Ok(session.into_inner()),
            Err(TryLockError::WouldBlock) => {
                Err(Failure::new(ErrorCode::InUse, "the session is in use by another call"))
            }
        }
    }
}

fn taken() -> Failure {
    Failure::new(ErrorCode::InUse, "the session is in use by a stream: free that first")
}

/// What becomes of an answer, and of a prompt, for which the context has no room.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum lp_when_full {
    /// The answer ends with LP_STOP_CONTEXT, a prompt is refused with LP_CONTEXT_FULL.
    LP_WHEN_FULL_REFUSE = 0,
    /// The first keep_tokens stay, and the newer half of the rest.
    LP_WHEN_FULL_SHIFT = 1,
    /// The context becomes longer, up to most_context_tokens, as long as there is memory; then as LP_WHEN_FULL_SHIFT.
    LP_WHEN_FULL_GROW = 2,
}

/// How to open a session.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lp_session_options {
    /// Size of the struct in bytes.
    pub struct_size: usize,
    /// Tokens that the context holds; 0, the default: as planned.
    pub context_tokens: u32,
    /// Not 0: guess tokens by what stood there before and compute them together, as long as that is faster. The same tokens are
    /// chosen. Default 0.
    pub speculate: u32,
    /// One of lp_when_full. Default LP_WHEN_FULL_REFUSE.
    pub when_full: u32,
    /// Longest context to grow to, in tokens. Default 0.
    pub most_context_tokens: u32,
    /// Tokens at the beginning that stay when others are dropped. Default 0.
    pub keep_tokens: u64,
    /// No step of a prompt computes for longer than this, in microseconds: a game's budget in a frame. LP_EVENT_PROGRESS comes
    /// between the steps, and a callback that waits holds the answer up. 0, the default: no limit.
    pub max_step_us: u64,
}

// SAFETY: `repr(C)`, the size first, numbers.
unsafe impl Options for lp_session_options {
    fn defaults() -> Self {
        Self {
            struct_size: size_of::<Self>(),
            context_tokens: 0,
            speculate: 0,
            when_full: lp_when_full::LP_WHEN_FULL_REFUSE as u32,
            most_context_tokens: 0,
            keep_tokens: 0,
            max_step_us: 0,
        }
    }
}

impl lp_session_options {
    pub(crate) fn open(&self, model: &LoadedModel) -> Result<Session, Failure> {
        let keep_tokens = usize::try_from(self.keep_tokens).unwrap_or(usize::MAX);
        let shift = WhenFull::Shift { keep_tokens };
        let when_full = match self.when_full {
            0 => WhenFull::Refuse,
            1 => shift,
            2 => WhenFull::Grow { most_tokens: self.most_context_tokens, then: Box::new(shift) },
            other => return Err(Failure::invalid(format!("when_full is {other}, expected 0 to 2"))),
        };
        let mut session = model.session(&SessionSettings {
            context_tokens: (self.context_tokens != 0).then_some(self.context_tokens),
            speculate: self.speculate != 0,
            draft: None,
        })?;
        session.set_when_full(when_full);
        session.set_max_step((self.max_step_us != 0).then_some(Duration::from_micros(self.max_step_us)));
        Ok(session)
    }
}

/// Fills `options` with defaults.
///
/// # Safety
/// `options` is null or valid for writes of `struct_size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lp_session_options_init(options: *mut lp_session_options, struct_size: usize) {
    // SAFETY: by this function's contract.
    unsafe { init_options(options, struct_size) };
}

/// Opens a session with an empty text and a context of its own. `options` is optional.
///
/// # Safety
/// Options are null or carry their size, `out` and `error` are valid for writes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lp_session_open(
    model: *const lp_model,
    options: *const lp_session_options,
    out: *mut *mut lp_session,
    error: *mut *mut lp_error,
) -> lp_status {
    // SAFETY: by this function's contract.
    unsafe {
        guarded(error, || {
            let place = Place::new(out, "out")?;
            let model = handles::get(model)?;
            place.fill_object(SessionCell::new(crate::arguments::options(options)?.open(&model)?));
            Ok(())
        })
    }
}

/// Answers `prompt`, which is the whole text: what it has in common with the session's text so far is not computed again. Returns
/// when the answer has ended; an answer that was stopped is no error. Tells LP_EVENT_PROMPT, PROGRESS, TOKEN, TEXT, CHANGE, LOGPROBS,
/// CONTEXT and, last, DONE. `options`, `cancel`, `on_event` and `user_data` are optional.
///
/// # Safety
/// `prompt` ends in NUL, options are null or carry their size, `cancel` is null or live, `on_event`
/// accepts `user_data`, `error` is valid for writes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lp_session_generate(
    session: *mut lp_session,
    prompt: *const c_char,
    options: *const lp_generate_options,
    cancel: *const lp_cancel,
    on_event: lp_event_fn,
    user_data: *mut c_void,
    error: *mut *mut lp_error,
) -> lp_status {
    // SAFETY: by this function's contract.
    unsafe {
        guarded(error, || {
            let session = handles::get(session)?;
            let prompt = text(prompt, "prompt")?;
            let settings = crate::arguments::options(options)?.settings()?;
            let listener = Listener::new(on_event, user_data);
            answer(&session, &settings, &token(cancel), &listener, |session, settings, cancel| {
                session.generate(prompt, settings, cancel, &mut |event| listener.hear(&event))
            })
        })
    }
}

/// Answers a conversation through the model's chat template, else as lp_session_generate. `messages` is the whole conversation.
///
/// # Safety
/// As [`lp_session_generate`]; `messages` points to `n_messages` messages whose texts end in NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lp_session_chat(
    session: *mut lp_session,
    messages: *const lp_message,
    n_messages: usize,
    options: *const lp_generate_options,
    cancel: *const lp_cancel,
    on_event: lp_event_fn,
    user_data: *mut c_void,
    error: *mut *mut lp_error,
) -> lp_status {
    // SAFETY: by this function's contract.
    unsafe {
        guarded(error, || {
            let session = handles::get(session)?;
            let messages = conversation(messages, n_messages)?;
            let settings = crate::arguments::options(options)?.settings()?;
            let listener = Listener::new(on_event, user_data);
            answer(&session, &settings, &token(cancel), &listener, |session, settings, cancel| {
                session.chat(&messages, settings, cancel, &mut |event| listener.hear(&event))
            })
        })
    }
}

/// What both ways of answering share.
fn answer(
    session: &SessionCell,
    settings: &GenerateSettings,
    cancel: &CancelToken,
    listener: &Listener,
    generate: impl FnOnce(&mut Session, &GenerateSettings, &CancelToken) -> llama_pajamas::Result<Usage>,
) -> Result<(), Failure> {
    let usage = session.with(|session| Ok(generate(session, settings, cancel)?))?;
    told(&usage);
    // The session is free by now: what the callback does with it is its own business.
    listener.done(&usage);
    Ok(())
}

/// Tells the sink what an answer used.
pub(crate) fn told(usage: &Usage) {
    sink::metrics(|| {
        text_of(&Figures {
            kind: "generate",
            prompt_tokens: usage.prompt_tokens,
            reused_tokens: usage.reused_tokens,
            completion_tokens: usage.completion_tokens,
            prompt_s: usage.timings.prompt.as_secs_f64(),
            decode_s: usage.timings.decode.as_secs_f64(),
            stop_reason: &usage.stop_reason,
        })
    });
}

#[derive(Serialize)]
struct Figures<'a> {
    kind: &'static str,
    prompt_tokens: usize,
    reused_tokens: usize,
    completion_tokens: usize,
    prompt_s: f64,
    decode_s: f64,
    stop_reason: &'a StopReason,
}

/// What the session holds, as bytes: lp_session_restore goes on from there in any process with the same build of the library and
/// the same model. Not of a session whose last answer had adapters. Free the bytes
/// with lp_bytes_free. Needs a library with the feature `states`, else LP_UNSUPPORTED.
///
/// # Safety
/// `out`, `n_bytes` and `error` are valid for writes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lp_session_save(
    session: *const lp_session,
    out: *mut *mut u8,
    n_bytes: *mut usize,
    error: *mut *mut lp_error,
) -> lp_status {
    // SAFETY: by this function's contract.
    unsafe {
        guarded(error, || {
            let (place, count) = (Place::new(out, "out")?, Number::new(n_bytes, "n_bytes")?);
            let bytes = handles::get(session)?.with(states::save)?.into_boxed_slice();
            count.fill(bytes.len());
            place.fill(Box::into_raw(bytes).cast());
            Ok(())
        })
    }
}

/// Makes the session hold what lp_session_save wrote: a prompt that begins with the same tokens costs only its rest. Bytes of another
/// build or model, and damaged ones, are refused with LP_INVALID_ARGUMENT.
///
/// # Safety
/// `bytes` points to `n_bytes` bytes, `error` is valid for writes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lp_session_restore(
    session: *mut lp_session,
    bytes: *const u8,
    n_bytes: usize,
    error: *mut *mut lp_error,
) -> lp_status {
    // SAFETY: by this function's contract.
    unsafe {
        guarded(error, || {
            let session = handles::get(session)?;
            let bytes = items(bytes, n_bytes, "bytes")?;
            session.with(|session| states::restore(session, bytes))
        })
    }
}

/// Opens another session that holds the same and goes on by itself.
///
/// # Safety
/// `out` and `error` are valid for writes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lp_session_fork(
    session: *const lp_session,
    out: *mut *mut lp_session,
    error: *mut *mut lp_error,
) -> lp_status {
    // SAFETY: by this function's contract.
    unsafe {
        guarded(error, || {
            let place = Place::new(out, "out")?;
            place.fill_object(SessionCell::new(handles::get(session)?.with(states::fork)?));
            Ok(())
        })
    }
}

/// Frees a session; a call or stream that uses it keeps it until it ends. NULL and freed ones are ignored.
#[unsafe(no_mangle)]
pub extern "C" fn lp_session_free(session: *mut lp_session) {
    freeing(|| drop(handles::remove(session)));
}
