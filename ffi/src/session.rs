//! Generating.
//!
//! Owns: the session's handle and options. May know: models, events, cancel tokens. Must not know:
//! sampling beyond its settings.

#![allow(non_camel_case_types, reason = "the names are C's")]

use std::ffi::{c_char, c_void};

use llama_pajamas::{CancelToken, GenerateSettings, Message, Sampling, Session, SessionSettings, Usage};

use crate::arguments::{Options, Place, init_options, items, object, options, text};
use crate::cancel::lp_cancel;
use crate::error::{Failure, lp_error, lp_status};
use crate::event::{Listener, lp_event_fn};
use crate::guard::{freeing, guarded};
use crate::model::lp_model;

/// One text in progress.
pub struct lp_session(Session);

/// How to generate.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lp_generate_options {
    /// Size of the struct in bytes.
    pub struct_size: usize,
    /// Most tokens of the answer.
    pub max_tokens: u32,
    /// Sample from at most this many tokens; 0: from all.
    pub top_k: u32,
    /// 0: always the likeliest token.
    pub temperature: f32,
    /// Sample from the likeliest tokens that make up this probability.
    pub top_p: f32,
    /// Leave out tokens below this share of the likeliest one's probability.
    pub min_p: f32,
    /// Above 1: make recent tokens less likely.
    pub repeat_penalty: f32,
    /// The same seed gives the same answer; 0: another each time.
    pub seed: u64,
    /// Texts that end the answer.
    pub stop_texts: *const *const c_char,
    /// How many.
    pub n_stop_texts: usize,
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
        }
    }
}

impl lp_generate_options {
    /// # Safety
    /// The stop texts are live.
    unsafe fn settings(&self) -> Result<GenerateSettings, Failure> {
        let numbers = [
            ("temperature", self.temperature, 0.0..=f32::MAX),
            ("top_p", self.top_p, 0.0..=1.0),
            ("min_p", self.min_p, 0.0..=1.0),
            ("repeat_penalty", self.repeat_penalty, f32::MIN_POSITIVE..=f32::MAX),
        ];
        for (name, number, range) in numbers {
            if !range.contains(&number) {
                return Err(Failure::invalid(format!("{name} is {number}, expected {range:?}")));
            }
        }
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
            seed: (self.seed != 0).then_some(self.seed),
            ..Sampling::default()
        };
        Ok(GenerateSettings { sampling, max_tokens: self.max_tokens, stop, ..Default::default() })
    }
}

/// A message of a conversation.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lp_message {
    /// `system`, `user` or `assistant`.
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

/// Opens a session.
///
/// # Safety
/// `model` is live, `out` and `error` are valid for writes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lp_session_open(
    model: *const lp_model,
    out: *mut *mut lp_session,
    error: *mut *mut lp_error,
) -> lp_status {
    // SAFETY: by this function's contract.
    unsafe {
        guarded(error, || {
            let place = Place::new(out, "out")?;
            let session = object(model, "model")?.0.session(&SessionSettings::default())?;
            place.fill(Box::into_raw(Box::new(lp_session(session))));
            Ok(())
        })
    }
}

/// Frees a session. Null is ignored.
///
/// # Safety
/// `session` is null or came from [`lp_session_open`] and is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lp_session_free(session: *mut lp_session) {
    if !session.is_null() {
        // SAFETY: by this function's contract.
        freeing(|| drop(unsafe { Box::from_raw(session) }));
    }
}

/// Answers a prompt.
///
/// # Safety
/// `session` is live and used by no other thread, `prompt` ends in NUL, options are null or carry
/// their size, `cancel` is null or live, `on_event` accepts `user_data`, `error` is valid for writes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lp_session_generate(
    session: *mut lp_session,
    prompt: *const c_char,
    generate_options: *const lp_generate_options,
    cancel: *const lp_cancel,
    on_event: lp_event_fn,
    user_data: *mut c_void,
    error: *mut *mut lp_error,
) -> lp_status {
    // SAFETY: by this function's contract.
    unsafe {
        guarded(error, || {
            let prompt = text(prompt, "prompt")?;
            answer(
                session,
                generate_options,
                cancel,
                on_event,
                user_data,
                |session, settings, cancel, listener| {
                    session.generate(prompt, settings, cancel, &mut |event| listener.hear(&event))
                },
            )
        })
    }
}

/// Answers a conversation.
///
/// # Safety
/// As [`lp_session_generate`]; `messages` points to `n_messages` messages whose texts end in NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lp_session_chat(
    session: *mut lp_session,
    messages: *const lp_message,
    n_messages: usize,
    generate_options: *const lp_generate_options,
    cancel: *const lp_cancel,
    on_event: lp_event_fn,
    user_data: *mut c_void,
    error: *mut *mut lp_error,
) -> lp_status {
    // SAFETY: by this function's contract.
    unsafe {
        guarded(error, || {
            let messages = items(messages, n_messages, "messages")?
                .iter()
                .map(|message| {
                    Ok(Message::new(text(message.role, "role")?, text(message.content, "content")?))
                })
                .collect::<Result<Vec<_>, Failure>>()?;
            answer(
                session,
                generate_options,
                cancel,
                on_event,
                user_data,
                |session, settings, cancel, listener| {
                    session.chat(&messages, settings, cancel, &mut |event| listener.hear(&event))
                },
            )
        })
    }
}

/// What both ways of answering share.
///
/// # Safety
/// As [`lp_session_generate`].
unsafe fn answer(
    session: *mut lp_session,
    generate_options: *const lp_generate_options,
    cancel: *const lp_cancel,
    on_event: lp_event_fn,
    user_data: *mut c_void,
    generate: impl FnOnce(
        &mut Session,
        &GenerateSettings,
        &CancelToken,
        &Listener,
    ) -> llama_pajamas::Result<Usage>,
) -> Result<(), Failure> {
    // SAFETY: by this function's contract.
    unsafe {
        let session = session.as_mut().ok_or_else(|| Failure::invalid("session is null"))?;
        let settings = options(generate_options)?.settings()?;
        // A clone: the caller may free the token meanwhile.
        let cancel = cancel.as_ref().map(|cancel| cancel.0.clone()).unwrap_or_default();
        let listener = Listener::new(on_event, user_data);
        let usage = generate(&mut session.0, &settings, &cancel, &listener)?;
        listener.done(&usage);
        Ok(())
    }
}
