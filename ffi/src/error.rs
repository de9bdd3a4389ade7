//! Statuses and error objects.
//!
//! Owns: the numbered statuses and the object that carries a message. May know: the runtime's
//! errors. Must not know: which function failed.

#![allow(non_camel_case_types, reason = "the names are C's")]

use std::ffi::{CString, c_char};

use crate::guard::freeing;

/// What came of a call. Numbers never change their meaning; new ones may come.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum lp_status {
    /// Done.
    LP_OK = 0,
    /// An argument is null, not UTF-8 or out of range.
    LP_INVALID_ARGUMENT = 1,
    /// A file or a variant is not there.
    LP_NOT_FOUND = 2,
    /// A file is there and is not what it should be: damaged, forged, of an unknown kind.
    LP_INVALID_FILE = 3,
    /// No variant of the model fits this device; the message says by how much.
    LP_DOES_NOT_FIT = 4,
    /// The prompt and the answer do not fit the context.
    LP_CONTEXT_FULL = 5,
    /// The caller cancelled.
    LP_CANCELLED = 6,
    /// The engine failed.
    LP_ENGINE = 7,
    /// Anything else.
    LP_INTERNAL = 8,
    /// A defect of the library was caught. Free the objects of the call and go on without them.
    LP_PANIC = 9,
    /// No new work is taken at the moment.
    LP_BUSY = 10,
}

/// An error on its way out.
#[derive(Debug)]
pub(crate) struct Failure {
    status: lp_status,
    message: String,
}

impl Failure {
    pub(crate) fn new(status: lp_status, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(lp_status::LP_INVALID_ARGUMENT, message)
    }

    pub(crate) fn status(&self) -> lp_status {
        self.status
    }
}

/// An error object. Owned by the caller, freed with [`lp_error_free`].
#[derive(Debug)]
pub struct lp_error {
    status: lp_status,
    message: CString,
}

impl lp_error {
    pub(crate) fn new(failure: Failure) -> Self {
        let text = failure.message.replace('\0', "\u{fffd}");
        Self { status: failure.status, message: CString::new(text).expect("NUL was replaced") }
    }

    #[cfg(test)]
    pub(crate) fn message(&self) -> std::borrow::Cow<'_, str> {
        self.message.to_string_lossy()
    }
}

/// The status that the failed call returned, or `LP_OK` for null.
///
/// # Safety
/// `error` is null or a live error object.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lp_error_status(error: *const lp_error) -> lp_status {
    // SAFETY: by this function's contract.
    unsafe { error.as_ref() }.map_or(lp_status::LP_OK, |error| error.status)
}

/// The message, one line of UTF-8, valid until the object is freed. The empty text for null.
///
/// # Safety
/// `error` is null or a live error object.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lp_error_message(error: *const lp_error) -> *const c_char {
    // SAFETY: by this function's contract.
    unsafe { error.as_ref() }.map_or(c"".as_ptr(), |error| error.message.as_ptr())
}

/// Frees an error object. Null is ignored.
///
/// # Safety
/// `error` is null or an error object that is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lp_error_free(error: *mut lp_error) {
    if !error.is_null() {
        // SAFETY: error objects come from a box, and this one is not used again.
        freeing(|| drop(unsafe { Box::from_raw(error) }));
    }
}

impl From<llama_pajamas::Error> for Failure {
    fn from(error: llama_pajamas::Error) -> Self {
        Self::new(status_of(&error), error.to_string())
    }
}

fn status_of(error: &llama_pajamas::Error) -> lp_status {
    use llama_pajamas::Error as E;
    match error {
        E::Io { source, .. } => io_status(source),
        E::Gguf { .. } | E::Family { .. } | E::Tokenizer(_) | E::Template(_) => lp_status::LP_INVALID_FILE,
        E::Bundle(error) => bundle_status(error),
        E::Engine(error) => engine_status(error),
        E::NothingFits(_) | E::NoRoom { .. } => lp_status::LP_DOES_NOT_FIT,
        E::Request { what: "prompt", .. } => lp_status::LP_CONTEXT_FULL,
        E::Request { .. } => lp_status::LP_INVALID_ARGUMENT,
        E::Cancelled => lp_status::LP_CANCELLED,
        E::Refused { .. } => lp_status::LP_BUSY,
        _ => lp_status::LP_INTERNAL,
    }
}

fn bundle_status(error: &llama_pajamas::bundle::Error) -> lp_status {
    use llama_pajamas::bundle::Error as E;
    match error {
        E::Io { source, .. } => io_status(source),
        E::MissingFile { .. } | E::UnknownVariant { .. } => lp_status::LP_NOT_FOUND,
        _ => lp_status::LP_INVALID_FILE,
    }
}

fn engine_status(error: &llama_pajamas::engine::Error) -> lp_status {
    use llama_pajamas::engine::Error as E;
    match error {
        E::Read { source, .. } => io_status(source),
        E::InvalidFile { .. } => lp_status::LP_INVALID_FILE,
        E::UnknownCpuVariant { .. } | E::UnsupportedCpuVariant { .. } | E::Setting { .. } => {
            lp_status::LP_INVALID_ARGUMENT
        }
        E::ContextFull { .. } => lp_status::LP_CONTEXT_FULL,
        E::Cancelled => lp_status::LP_CANCELLED,
        _ => lp_status::LP_ENGINE,
    }
}

fn io_status(error: &std::io::Error) -> lp_status {
    match error.kind() {
        std::io::ErrorKind::NotFound => lp_status::LP_NOT_FOUND,
        _ => lp_status::LP_INTERNAL,
    }
}
