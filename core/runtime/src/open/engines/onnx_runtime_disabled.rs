//! Stands for ONNX Runtime's engine in builds without it.

use engine::Engine;
use hardware::Host;
use std::path::PathBuf;
use std::sync::Arc;

/// `main` alone, and why.
pub(super) fn beside(
    main: Arc<dyn Engine>,
    _places: &[PathBuf],
    _host: &Host,
) -> (Arc<dyn Engine>, Option<String>) {
    (main, Some("this build has no engine for onnx (feature `onnx`)".into()))
}
