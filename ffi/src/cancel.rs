//! Cancel tokens.
//!
//! Owns: the object around the runtime's token. May know: nothing else. Must not know: what is
//! cancelled. Not in the table of handles: a raise takes no lock, so that a signal handler may do it.

#![allow(non_camel_case_types, reason = "the names are C's")]

use llama_pajamas::CancelToken;

use crate::guard::freeing;

/// A flag that stops calls. Any thread may use it.
pub struct lp_cancel(CancelToken);

/// The token behind `cancel`, one that is never raised for null. A clone: the caller may free theirs meanwhile.
///
/// # Safety
/// `cancel` is null or live.
pub(crate) unsafe fn token(cancel: *const lp_cancel) -> CancelToken {
    // SAFETY: by this function's contract.
    unsafe { cancel.as_ref() }.map(|cancel| cancel.0.clone()).unwrap_or_default()
}

/// A lowered flag. Never NULL. Free it with lp_cancel_free.
#[unsafe(no_mangle)]
pub extern "C" fn lp_cancel_new() -> *mut lp_cancel {
    Box::into_raw(Box::new(lp_cancel(CancelToken::new())))
}

/// Raises the flag: every call that was given it ends, a generation within the work of one layer and with LP_STOP_CANCELLED, other
/// calls with LP_CANCELLED. It stays raised until lowered. Allowed from any thread, in callbacks and in signal handlers. NULL is
/// ignored.
///
/// # Safety
/// `cancel` is null or live.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lp_cancel_raise(cancel: *const lp_cancel) {
    // SAFETY: by this function's contract.
    if let Some(cancel) = unsafe { cancel.as_ref() } {
        cancel.0.cancel();
    }
}

/// Lowers the flag, so that the token can serve the next call. NULL is ignored.
///
/// # Safety
/// `cancel` is null or live.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lp_cancel_lower(cancel: *const lp_cancel) {
    // SAFETY: by this function's contract.
    if let Some(cancel) = unsafe { cancel.as_ref() } {
        cancel.0.reset();
    }
}

/// Frees a token, also while calls use it: they keep what they need. NULL is ignored. Tokens are memory of their own: freeing one
/// twice, or raising a freed one, is a defect of the caller.
///
/// # Safety
/// `cancel` is null or came from [`lp_cancel_new`] and is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lp_cancel_free(cancel: *mut lp_cancel) {
    if !cancel.is_null() {
        // SAFETY: by this function's contract.
        freeing(|| drop(unsafe { Box::from_raw(cancel) }));
    }
}
