//! Stands for ONNX Runtime's engine in builds without it.

use crate::RuntimeSettings;
use engine::Engine;
use std::sync::Arc;

/// Why there is none.
pub(super) fn start(_settings: &RuntimeSettings) -> Result<Arc<dyn Engine>, String> {
    Err("this build has no engine for onnx (feature `onnx`)".into())
}
