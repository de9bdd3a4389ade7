//! The one place where panics and errors become statuses.
//!
//! Owns: [`guarded`], through which every fallible function of the C ABI runs. May know: statuses
//! and error objects. Must not know: what the functions do.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

use llama_pajamas::ErrorCode;

use crate::error::{Failure, lp_error, lp_status};

/// Runs `body`; on failure stores an owned error object in `error` unless that is null.
///
/// A panic becomes [`lp_status::LP_PANIC`] with the panic's message. Objects that the call used stay
/// valid to free; using them otherwise is allowed, but what they hold may be half-done.
///
/// # Safety
/// `error` is null or valid for a write.
pub(crate) unsafe fn guarded(
    error: *mut *mut lp_error,
    body: impl FnOnce() -> Result<(), Failure>,
) -> lp_status {
    let mut body = Some(body);
    // SAFETY: by this function's contract.
    unsafe { guard(error, &mut || body.take().map_or(Ok(()), |body| body())) }
}

/// The same, once for all functions: it would be most of each of them.
///
/// # Safety
/// As [`guarded`].
#[inline(never)]
unsafe fn guard(error: *mut *mut lp_error, body: &mut dyn FnMut() -> Result<(), Failure>) -> lp_status {
    if !error.is_null() {
        // SAFETY: by this function's contract.
        unsafe { error.write(std::ptr::null_mut()) };
    }
    let mut outcome = Ok(());
    let failure = match (quietly(&mut || outcome = body()), outcome) {
        (Ok(()), Ok(())) => return lp_status::LP_OK,
        (Ok(()), Err(failure)) => failure,
        (Err(panic), _) => Failure::new(ErrorCode::Panic, format!("panic: {}", message(&*panic))),
    };
    let status = failure.status();
    if !error.is_null() {
        // SAFETY: by this function's contract.
        unsafe { error.write(Box::into_raw(Box::new(lp_error::new(&failure)))) };
    }
    status
}

/// Runs `body`, which cannot fail, and swallows a panic: for functions that free.
pub(crate) fn freeing(body: impl FnOnce()) {
    // Nothing can be told: the object is gone either way.
    let mut body = Some(body);
    let _ = quietly(&mut || {
        if let Some(body) = body.take() {
            body();
        }
    });
}

/// Runs `body` for callers of other languages; a panic becomes [`ErrorCode::Panic`] with its message.
#[cfg(feature = "uniffi")]
pub(crate) fn caught<T>(body: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    let (mut body, mut outcome) = (Some(body), None);
    match quietly(&mut || outcome = body.take().map(|body| body())) {
        Ok(()) => outcome.expect("the body ran to its end"),
        Err(panic) => Err(Failure::new(ErrorCode::Panic, format!("panic: {}", message(&*panic)))),
    }
}

thread_local! {
    /// Calls of this thread that are under way, each in the callback of another.
    static INSIDE: Cell<usize> = const { Cell::new(0) };
}

/// Runs `body` and catches a panic, about which nothing is written to standard error.
#[inline(never)]
fn quietly(body: &mut dyn FnMut()) -> std::thread::Result<()> {
    static SILENCE: Once = Once::new();
    SILENCE.call_once(|| {
        let otherwise = take_hook();
        set_hook(Box::new(move |panic| match INSIDE.try_with(Cell::get) {
            Ok(0) | Err(_) => otherwise(panic),
            Ok(_) => tracing::error!(target: "llama_pajamas::ffi", %panic, "a defect was caught"),
        }));
    });
    INSIDE.set(INSIDE.get() + 1);
    let outcome = catch_unwind(AssertUnwindSafe(body));
    INSIDE.set(INSIDE.get() - 1);
    outcome
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panics_and_failures_become_statuses_with_a_message() {
        let check = |body: fn() -> Result<(), Failure>, status, part: &str| {
            let mut error = std::ptr::null_mut();
            // SAFETY: the place is a local.
            assert_eq!(unsafe { guarded(&raw mut error, body) }, status);
            // SAFETY: a failure stores an error object.
            let error = unsafe { Box::from_raw(error) };
            assert!(error.message().contains(part), "{}", error.message());
        };
        check(|| panic!("number {}", 7), lp_status::LP_PANIC, "panic: number 7");
        check(|| panic!("plain"), lp_status::LP_PANIC, "panic: plain");
        let refuse = || Err(Failure::invalid("prompt is null"));
        check(refuse, lp_status::LP_INVALID_ARGUMENT, "prompt is null");
    }

    #[test]
    fn success_clears_the_place_and_a_null_place_is_allowed() {
        let mut error = std::ptr::dangling_mut();
        // SAFETY: the place is a local.
        assert_eq!(unsafe { guarded(&raw mut error, || Ok(())) }, lp_status::LP_OK);
        assert!(error.is_null());
        // SAFETY: null is allowed.
        let status = unsafe { guarded(std::ptr::null_mut(), || panic!("unheard")) };
        assert_eq!(status, lp_status::LP_PANIC);
        freeing(|| panic!("unheard"));
    }
}
