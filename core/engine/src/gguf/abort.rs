//! When llama.cpp is to stop computing: a flag that is raised, or a moment that has come.
//!
//! Owns: [`Abort`], which llama.cpp's CPU backend asks between operations. May know: cancel tokens. Must not know: what
//! is being computed.

use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::CancelToken;

/// No moment.
const NEVER: u64 = u64::MAX;

/// What llama.cpp asks between operations. Lives behind a pointer of the native context, so it never moves.
pub(super) struct Abort {
    cancel: AtomicPtr<AtomicBool>,
    origin: Instant,
    /// Nanoseconds after `origin`.
    deadline_ns: AtomicU64,
    is_late: AtomicBool,
}

impl Default for Abort {
    fn default() -> Self {
        Self {
            cancel: AtomicPtr::default(),
            origin: Instant::now(),
            deadline_ns: AtomicU64::new(NEVER),
            is_late: AtomicBool::new(false),
        }
    }
}

impl Abort {
    /// From here until [`Abort::disarm`], raising `cancel` stops what is computed, and so does the end of `limit`. The
    /// token must stay borrowed until then.
    pub(super) fn arm(&self, cancel: &CancelToken, limit: Option<Duration>) {
        self.is_late.store(false, Ordering::Relaxed);
        let deadline = limit.and_then(|limit| u64::try_from((self.origin.elapsed() + limit).as_nanos()).ok());
        self.deadline_ns.store(deadline.unwrap_or(NEVER), Ordering::Relaxed);
        self.cancel.store(cancel.flag_ptr(), Ordering::Release);
    }

    /// Nothing is asked any more.
    pub(super) fn disarm(&self) {
        self.cancel.store(std::ptr::null_mut(), Ordering::Release);
        self.deadline_ns.store(NEVER, Ordering::Relaxed);
    }

    /// Whether the limit ended before the computation did, until the next [`Abort::arm`].
    pub(super) fn is_late(&self) -> bool {
        let deadline = self.deadline_ns.load(Ordering::Relaxed);
        if deadline != NEVER && self.origin.elapsed().as_nanos() >= u128::from(deadline) {
            self.is_late.store(true, Ordering::Relaxed);
        }
        self.is_late.load(Ordering::Relaxed)
    }

    /// llama.cpp's question.
    pub(super) unsafe extern "C" fn is_raised(abort: *mut c_void) -> bool {
        // SAFETY: `open` passes the value of the context, which outlives the native context.
        let abort = unsafe { &*abort.cast::<Abort>() };
        let cancel = abort.cancel.load(Ordering::Acquire);
        // SAFETY: set for the time of a computation only, to a flag that its caller borrows.
        let cancelled = !cancel.is_null() && unsafe { &*cancel }.load(Ordering::Relaxed);
        cancelled || abort.is_late()
    }
}
