//! Cancel tokens.
//!
//! Owns: the handle around the runtime's token. May know: nothing else. Must not know: what is
//! cancelled.

#![allow(non_camel_case_types, reason = "the names are C's")]

use llama_pajamas::CancelToken;

use crate::guard::freeing;

/// A flag that stops work. Any thread may use it.
pub struct lp_cancel(pub(crate) CancelToken);

/// A lowered flag. Never null.
#[unsafe(no_mangle)]
pub extern "C" fn lp_cancel_new() -> *mut lp_cancel {
    Box::into_raw(Box::new(lp_cancel(CancelToken::new())))
}

/// Raises the flag. Null is ignored.
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

/// Lowers the flag. Null is ignored.
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

/// Frees a token, also one in use: calls keep a clone. Null is ignored.
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
