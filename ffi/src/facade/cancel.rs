//! Cancel tokens.

use std::sync::Arc;

/// A flag that stops calls: every call that was given it ends, a generation within the work of one layer. Any thread may use it.
#[derive(Default, uniffi::Object)]
pub struct CancelToken(llama_pajamas::CancelToken);

#[uniffi::export]
impl CancelToken {
    /// A lowered flag.
    #[uniffi::constructor]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Raises the flag; it stays raised until [`CancelToken::reset`].
    pub fn cancel(&self) {
        self.0.cancel();
    }

    /// Lowers the flag, so that the token can serve the next call.
    pub fn reset(&self) {
        self.0.reset();
    }

    /// Whether it is raised.
    pub fn is_cancelled(&self) -> bool {
        self.0.is_cancelled()
    }
}

/// The runtime's token, one that is never raised for none.
pub(crate) fn token(cancel: Option<Arc<CancelToken>>) -> llama_pajamas::CancelToken {
    cancel.map(|cancel| cancel.0.clone()).unwrap_or_default()
}
