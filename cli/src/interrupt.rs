//! Ctrl-C as a wish to stop: the work in hand ends cleanly; a second Ctrl-C ends the program.

use llama_pajamas::CancelToken;
use std::sync::OnceLock;

/// The token that Ctrl-C raises. The first call installs the handler.
pub(crate) fn token() -> CancelToken {
    static TOKEN: OnceLock<CancelToken> = OnceLock::new();
    let install = || {
        let token = CancelToken::new();
        let raised = token.clone();
        let handler = move || {
            if raised.is_cancelled() {
                std::process::exit(130);
            }
            raised.cancel();
        };
        if let Err(error) = ctrlc::set_handler(handler) {
            tracing::warn!("Ctrl-C ends the program at once: {error}");
        }
        token
    };
    TOKEN.get_or_init(install).clone()
}
