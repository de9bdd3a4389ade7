//! ONNX Runtime's engine, with the library that settings name or the first folder of theirs has.

use engine::onnx::{EngineOptions, OnnxEngine};
use engine::{Engine, Several};
use hardware::Host;
use onnx::Library;
use std::path::PathBuf;
use std::sync::Arc;

/// `main` with the engine beside it, or alone and why.
pub(super) fn beside(
    main: Arc<dyn Engine>,
    places: &[PathBuf],
    host: &Host,
) -> (Arc<dyn Engine>, Option<String>) {
    match start(places, host) {
        Ok(graphs) => (Arc::new(Several::new(main, vec![graphs])), None),
        Err(reason) => (main, Some(reason)),
    }
}

/// The engine, or why there is none.
fn start(places: &[PathBuf], host: &Host) -> Result<Arc<dyn Engine>, String> {
    let named = places.iter().find(|place| place.is_file());
    let folders: Vec<PathBuf> = places.iter().filter(|place| !place.is_file()).cloned().collect();
    let path = named.map_or_else(|| Library::find(&folders), |path| Ok(path.clone()));
    let library = path.and_then(|path| Library::open(&path)).map_err(|error| error.to_string())?;
    let threads = planner::prior_threads(host)[0] as usize;
    Ok(Arc::new(OnnxEngine::start(EngineOptions { library, threads })))
}
