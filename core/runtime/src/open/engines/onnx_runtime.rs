//! ONNX Runtime's engine, with the library that settings name or the first folder of theirs has.

use engine::Engine;
use engine::onnx::{EngineOptions, OnnxEngine};
use hardware::Host;
use onnx::Library;
use std::path::PathBuf;
use std::sync::Arc;

/// The engine, or why there is none.
pub(super) fn start(places: &[PathBuf], host: &Host) -> Result<Arc<dyn Engine>, String> {
    let named = places.iter().find(|place| place.is_file());
    let folders: Vec<PathBuf> = places.iter().filter(|place| !place.is_file()).cloned().collect();
    let path = named.map_or_else(|| Library::find(&folders), |path| Ok(path.clone()));
    let library = path.and_then(|path| Library::open(&path)).map_err(|error| error.to_string())?;
    let threads = planner::prior_threads(host)[0] as usize;
    Ok(Arc::new(OnnxEngine::start(EngineOptions { library, threads })))
}
