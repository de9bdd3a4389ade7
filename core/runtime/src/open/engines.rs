//! The engines of this build: llama.cpp's, and ONNX Runtime's where its library is there.
//! Knows features; must not load models.

use crate::{Result, RuntimeSettings};
use engine::Engine;
use hardware::Host;
use std::sync::Arc;

#[cfg(feature = "onnx")]
#[path = "engines/onnx_runtime.rs"]
mod onnx_runtime;
#[cfg(not(feature = "onnx"))]
#[path = "engines/onnx_runtime_disabled.rs"]
mod onnx_runtime;

/// What computes, and why no graphs of ONNX are computed, where that is so.
pub(super) struct Engines {
    pub(super) engine: Arc<dyn Engine>,
    pub(super) no_onnx: Option<String>,
}

impl Engines {
    /// The app's own engine, or those that are built in; ONNX Runtime's where there are graphs to compute, on the host that is
    /// handed in then.
    pub(super) fn of(settings: &mut RuntimeSettings, of_graphs: Option<&Host>) -> Result<Self> {
        if let Some(engine) = settings.engine.take() {
            let loads_graphs = engine.loads(std::path::Path::new("model.onnx"));
            let no_onnx = (!loads_graphs).then(|| format!("the engine {} computes no graphs", engine.name()));
            return Ok(Self { engine, no_onnx });
        }
        let main = built_in(settings.cpu_variant.take())?;
        let Some(host) = of_graphs else {
            return Ok(Self { engine: main, no_onnx: None });
        };
        let (engine, no_onnx) = onnx_runtime::beside(main, &settings.onnx_libraries, host);
        Ok(Self { engine, no_onnx })
    }
}

#[cfg(feature = "gguf")]
fn built_in(cpu_variant: Option<String>) -> Result<Arc<dyn Engine>> {
    let options = engine::gguf::EngineOptions { cpu_variant, ..Default::default() };
    Ok(Arc::new(engine::gguf::GgufEngine::start(options)?))
}

#[cfg(not(feature = "gguf"))]
fn built_in(_cpu_variant: Option<String>) -> Result<Arc<dyn Engine>> {
    Err(crate::Error::Request {
        what: "engine",
        expected: "one, or the feature `gguf`".into(),
        got: "neither".into(),
    })
}
