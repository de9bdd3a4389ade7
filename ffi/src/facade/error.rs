//! Errors for other languages.
//!
//! Owns: the numbered codes and the one error. May know: failures. Must not know: which call failed.

use crate::error::Failure;
use crate::guard::caught;

/// What kind of error it was. Numbers are those of C's lp_status and never change their meaning; new ones may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Enum)]
#[repr(u8)]
pub enum ErrorCode {
    /// An argument is missing, malformed or out of range, or an object is closed.
    InvalidArgument = 1,
    /// A file or a variant is not there.
    NotFound = 2,
    /// A file is there and is not what it should be: damaged or of an unknown kind.
    InvalidFile = 3,
    /// No variant of the model fits this device; the message says what would.
    DoesNotFit = 4,
    /// The prompt does not fit the context.
    ContextFull = 5,
    /// The caller cancelled. A cancelled answer is no error.
    Cancelled = 6,
    /// The engine failed.
    Engine = 7,
    /// Anything else.
    Internal = 8,
    /// A defect was caught: close the objects of the call.
    Panic = 9,
    /// No new work is taken at the moment: the device is hot or short of memory. Try again later.
    Busy = 10,
    /// Another call or a stream uses the object, or another process writes the bundle.
    InUse = 11,
    /// This build of the library cannot do that; the message names the feature that it lacks.
    Unsupported = 12,
    /// A download failed for good.
    Network = 13,
    /// A signature is missing, wrong, or by nobody who is trusted.
    Untrusted = 14,
    /// Too little room on the disk, or below the cap of a store.
    DiskFull = 15,
}

impl From<llama_pajamas::ErrorCode> for ErrorCode {
    fn from(code: llama_pajamas::ErrorCode) -> Self {
        const ALL: [ErrorCode; 15] = [
            ErrorCode::InvalidArgument,
            ErrorCode::NotFound,
            ErrorCode::InvalidFile,
            ErrorCode::DoesNotFit,
            ErrorCode::ContextFull,
            ErrorCode::Cancelled,
            ErrorCode::Engine,
            ErrorCode::Internal,
            ErrorCode::Panic,
            ErrorCode::Busy,
            ErrorCode::InUse,
            ErrorCode::Unsupported,
            ErrorCode::Network,
            ErrorCode::Untrusted,
            ErrorCode::DiskFull,
        ];
        let place = usize::try_from(code.number() - 1).ok();
        place.and_then(|place| ALL.get(place)).copied().unwrap_or(Self::Internal)
    }
}

/// Why a call failed.
#[derive(Clone, Debug, uniffi::Error)]
pub enum LlamaPajamasError {
    /// It failed.
    Failed {
        /// What kind of error it was.
        code: ErrorCode,
        /// One line for developers, in English.
        reason: String,
        /// The same for programs: a JSON object that always has "code", the code's name in small letters, and, where they apply,
        /// "path", "what", "expected", "got", "need_bytes", "have_bytes", "variant", "nearest". Further fields may come.
        details: String,
    },
}

impl std::fmt::Display for LlamaPajamasError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self::Failed { reason, .. } = self;
        formatter.write_str(reason)
    }
}

impl std::error::Error for LlamaPajamasError {}

impl From<Failure> for LlamaPajamasError {
    fn from(failure: Failure) -> Self {
        let (code, reason, details) = failure.told();
        Self::Failed { code: code.into(), reason, details }
    }
}

/// What calls return.
pub(crate) type Told<T> = Result<T, LlamaPajamasError>;

/// Runs a call: its failures and panics become errors.
pub(crate) fn call<T>(body: impl FnOnce() -> Result<T, Failure>) -> Told<T> {
    Ok(caught(body)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_the_numbers_of_the_runtime() {
        for code in llama_pajamas::ErrorCode::ALL {
            assert_eq!(ErrorCode::from(code) as i32, code.number(), "{code:?}");
        }
    }

    #[test]
    fn a_panic_becomes_an_error_with_its_message() {
        let Err(LlamaPajamasError::Failed { code, reason, details }) = call::<()>(|| panic!("number {}", 7))
        else {
            panic!("no error");
        };
        assert_eq!((code, reason.as_str()), (ErrorCode::Panic, "panic: number 7"));
        assert_eq!(details, r#"{"code":"panic"}"#);
    }
}
