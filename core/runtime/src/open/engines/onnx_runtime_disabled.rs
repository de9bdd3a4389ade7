//! Stands for ONNX Runtime's engine in builds without it.

use engine::Engine;
use hardware::Host;
use std::path::PathBuf;
use std::sync::Arc;

/// Why there is none.
pub(super) fn start(_places: &[PathBuf], _host: &Host) -> Result<Arc<dyn Engine>, String> {
    Err("this build has no engine for onnx (feature `onnx`)".into())
}
