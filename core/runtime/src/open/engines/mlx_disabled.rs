//! Stands for MLX's engine in builds without it, and on systems that are not Apple's.

use engine::Engine;
use std::sync::Arc;

/// `main` alone, and why.
pub(super) fn beside(main: Arc<dyn Engine>) -> (Arc<dyn Engine>, Option<String>) {
    (main, missing())
}

/// Why there is none.
pub(super) fn missing() -> Option<String> {
    Some("no engine for mlx here: it is for Apple's systems (feature `mlx`)".into())
}
