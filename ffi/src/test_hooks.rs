//! What tests of the interface need and no library that is shipped has.
//!
//! Owns: a function that panics. May know: the guard. Must not know: anything else.

use crate::error::{lp_error, lp_status};
use crate::guard::guarded;

/// Panics inside the guard.
///
/// # Safety
/// `error` is valid for writes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lp_test_panic(error: *mut *mut lp_error) -> lp_status {
    // SAFETY: by this function's contract.
    unsafe { guarded(error, || panic!("on purpose")) }
}
