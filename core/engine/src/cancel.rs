//! The cancel flag shared between whoever waits and whoever computes.
//!
//! Owns: [`CancelToken`]. May know: nothing else. Must not know: what is being cancelled.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A flag that any thread may raise to stop work in progress.
///
/// Clones share the flag. Raising it stops a decode within one layer's work and a load within one
/// progress step; the stopped call returns [`crate::Error::Cancelled`]. The flag stays raised until
/// [`CancelToken::reset`].
#[derive(Clone, Debug, Default)]
pub struct CancelToken(Arc<AtomicBool>);

impl CancelToken {
    /// A lowered flag.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Raises the flag. Allowed from any thread, and from a signal handler.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether the flag is raised.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// The flag itself, for native code to ask. Valid as long as the token is borrowed.
    #[cfg(feature = "gguf")]
    pub(crate) fn flag_ptr(&self) -> *mut AtomicBool {
        Arc::as_ptr(&self.0).cast_mut()
    }

    /// Lowers the flag, so that the token can serve the next call.
    pub fn reset(&self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::CancelToken;

    #[test]
    fn clones_share_the_flag() {
        let token = CancelToken::new();
        let other = token.clone();
        assert!(!token.is_cancelled());
        other.cancel();
        assert!(token.is_cancelled());
        token.reset();
        assert!(!other.is_cancelled());
    }
}
