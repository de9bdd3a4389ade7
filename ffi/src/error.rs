//! Statuses and error objects.
//!
//! Owns: the numbered statuses and the object that carries a message and its details. May know: the runtime's
//! errors. Must not know: which function failed.

#![allow(non_camel_case_types, reason = "the names are C's")]

use std::ffi::{CString, c_char};

use llama_pajamas::ErrorCode;
use serde_json::{Value, json};

use crate::guard::freeing;

/// What came of a call. Numbers never change their meaning; new ones may come.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum lp_status {
    /// Done.
    LP_OK = 0,
    /// An argument is NULL, freed, not UTF-8 or out of range.
    LP_INVALID_ARGUMENT = 1,
    /// A file or a variant is not there.
    LP_NOT_FOUND = 2,
    /// A file is there and is not what it should be: damaged or of an unknown kind.
    LP_INVALID_FILE = 3,
    /// No variant of the model fits this device; the message says what would.
    LP_DOES_NOT_FIT = 4,
    /// The prompt does not fit the context.
    LP_CONTEXT_FULL = 5,
    /// The caller cancelled. A cancelled answer is no error: it ends with LP_STOP_CANCELLED.
    LP_CANCELLED = 6,
    /// The engine failed.
    LP_ENGINE = 7,
    /// Anything else.
    LP_INTERNAL = 8,
    /// A defect of the library was caught: free the objects of the call.
    LP_PANIC = 9,
    /// No new work is taken at the moment: the device is hot or short of memory. Try again later.
    LP_BUSY = 10,
    /// Another call or a stream uses the object, or another process writes the bundle.
    LP_IN_USE = 11,
    /// This build of the library cannot do that; the message names the feature that it lacks.
    LP_UNSUPPORTED = 12,
    /// A download failed for good.
    LP_NETWORK = 13,
    /// A signature is missing, wrong, or by nobody who is trusted.
    LP_UNTRUSTED = 14,
    /// Too little room on the disk, or below the cap of a store.
    LP_DISK_FULL = 15,
}

impl From<ErrorCode> for lp_status {
    fn from(code: ErrorCode) -> Self {
        match code {
            ErrorCode::InvalidArgument => Self::LP_INVALID_ARGUMENT,
            ErrorCode::NotFound => Self::LP_NOT_FOUND,
            ErrorCode::InvalidFile => Self::LP_INVALID_FILE,
            ErrorCode::DoesNotFit => Self::LP_DOES_NOT_FIT,
            ErrorCode::ContextFull => Self::LP_CONTEXT_FULL,
            ErrorCode::Cancelled => Self::LP_CANCELLED,
            ErrorCode::Engine => Self::LP_ENGINE,
            ErrorCode::Panic => Self::LP_PANIC,
            ErrorCode::Busy => Self::LP_BUSY,
            ErrorCode::InUse => Self::LP_IN_USE,
            ErrorCode::Unsupported => Self::LP_UNSUPPORTED,
            ErrorCode::Network => Self::LP_NETWORK,
            ErrorCode::Untrusted => Self::LP_UNTRUSTED,
            ErrorCode::DiskFull => Self::LP_DISK_FULL,
            _ => Self::LP_INTERNAL,
        }
    }
}

/// An error on its way out: one pointer, because every function hands it on.
#[derive(Clone, Debug)]
pub(crate) struct Failure(Box<Problem>);

#[derive(Clone, Debug)]
struct Problem {
    code: ErrorCode,
    message: String,
    details: Value,
}

impl Failure {
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self::made(code, message.into())
    }

    fn made(code: ErrorCode, message: String) -> Self {
        Self(Box::new(Problem { code, message, details: json!({"code": code.name()}) }))
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::InvalidArgument, message)
    }

    #[allow(dead_code, reason = "a build that has everything refuses nothing")]
    pub(crate) fn unsupported(what: &'static str, feature: &'static str) -> Self {
        llama_pajamas::Error::Unsupported { what, feature }.into()
    }

    pub(crate) fn status(&self) -> lp_status {
        self.0.code.into()
    }

    #[cfg(test)]
    pub(crate) fn message(&self) -> &str {
        &self.0.message
    }

    /// Code, one line, and details as JSON.
    #[cfg(feature = "uniffi")]
    pub(crate) fn told(&self) -> (ErrorCode, String, String) {
        let Problem { code, message, details } = &*self.0;
        (*code, message.replace('\n', " "), details.to_string())
    }
}

/// Why a call failed. Belongs to the caller, who frees it with lp_error_free.
#[derive(Debug)]
pub struct lp_error {
    status: lp_status,
    message: CString,
    details: CString,
}

impl lp_error {
    pub(crate) fn new(failure: &Failure) -> Self {
        let text =
            |text: String| CString::new(text.replace('\0', "\u{fffd}")).expect("NUL was replaced just now");
        let Problem { message, details, .. } = &*failure.0;
        let message = text(message.replace('\n', " "));
        Self { status: failure.status(), message, details: text(details.to_string()) }
    }

    #[cfg(test)]
    pub(crate) fn message(&self) -> std::borrow::Cow<'_, str> {
        self.message.to_string_lossy()
    }
}

/// The status that the failed call returned; LP_OK for NULL.
///
/// # Safety
/// `error` is null or a live error object.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lp_error_status(error: *const lp_error) -> lp_status {
    // SAFETY: by this function's contract.
    unsafe { error.as_ref() }.map_or(lp_status::LP_OK, |error| error.status)
}

/// What went wrong, one line of UTF-8 for developers, in English. Valid until the object is freed; the empty text for NULL.
///
/// # Safety
/// `error` is null or a live error object.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lp_error_message(error: *const lp_error) -> *const c_char {
    // SAFETY: by this function's contract.
    unsafe { error.as_ref() }.map_or(c"".as_ptr(), |error| error.message.as_ptr())
}

/// The same for programs: a JSON object that always has "code", the status' name in small letters ("does_not_fit"), and, where
/// they apply, "path", "what", "expected", "got", "need_bytes", "have_bytes", "variant", "nearest". Further fields may come. Valid
/// until the object is freed; "{}" for NULL.
///
/// # Safety
/// `error` is null or a live error object.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lp_error_details(error: *const lp_error) -> *const c_char {
    // SAFETY: by this function's contract.
    unsafe { error.as_ref() }.map_or(c"{}".as_ptr(), |error| error.details.as_ptr())
}

/// Frees an error object. NULL is ignored. Error objects are memory of their own: freeing one twice is a defect of the caller.
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
        Self(Box::new(Problem { code: error.code(), message: error.to_string(), details: error.details() }))
    }
}

impl From<llama_pajamas::bundle::Error> for Failure {
    fn from(error: llama_pajamas::bundle::Error) -> Self {
        llama_pajamas::Error::Bundle(error).into()
    }
}

#[cfg(feature = "quantize")]
impl From<llama_pajamas::requantize::Error> for Failure {
    fn from(error: llama_pajamas::requantize::Error) -> Self {
        Self(Box::new(Problem { code: error.code(), message: error.to_string(), details: error.details() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_the_numbers_of_codes() {
        for code in ErrorCode::ALL {
            assert_eq!(lp_status::from(code) as i32, code.number(), "{code:?}");
        }
    }
}
