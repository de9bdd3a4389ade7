//! MLX's engine.

use engine::mlx::MlxEngine;
use engine::{Engine, Several};
use std::sync::Arc;

/// `main` with the engine beside it, or alone and why.
pub(super) fn beside(main: Arc<dyn Engine>) -> (Arc<dyn Engine>, Option<String>) {
    match MlxEngine::start() {
        Ok(mlx) => (Arc::new(Several::new(main, vec![Arc::new(mlx)])), None),
        Err(error) => (main, Some(error.to_string())),
    }
}

/// Why there is none: there is one.
pub(super) fn missing() -> Option<String> {
    None
}
