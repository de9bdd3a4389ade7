//! The engines of this build: llama.cpp's, ONNX Runtime's where its library is there, and MLX's on Apple's systems.
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

#[cfg(all(feature = "mlx", any(target_vendor = "apple", llama_pajamas_mlx)))]
#[path = "engines/mlx.rs"]
mod mlx;
#[cfg(not(all(feature = "mlx", any(target_vendor = "apple", llama_pajamas_mlx))))]
#[path = "engines/mlx_disabled.rs"]
mod mlx;

/// What computes, and what is not computed here.
pub(super) struct Engines {
    pub(super) engine: Arc<dyn Engine>,
    pub(super) missing: Missing,
}

/// Why variants of a format are not computed, where that is so.
#[derive(Default)]
pub(super) struct Missing {
    pub(super) onnx: Option<String>,
    pub(super) mlx: Option<String>,
}

impl Missing {
    /// What this build can compute nowhere; whether a library is here is not asked.
    pub(super) fn of_build() -> Self {
        Self { onnx: None, mlx: mlx::missing() }
    }
}

/// What a bundle has to compute beside GGUF files.
#[derive(Clone, Copy)]
pub(super) struct Wanted {
    pub(super) onnx: bool,
    pub(super) mlx: bool,
}

impl Engines {
    /// The app's own engine, or those that are built in; others beside GGUF's where they are wanted, on `host`.
    pub(super) fn of(settings: &mut RuntimeSettings, wanted: Wanted, host: &Host) -> Result<Self> {
        if let Some(engine) = settings.engine.take() {
            let lacks = |file: &str, what: &str| {
                let loads = engine.loads(std::path::Path::new(file));
                (!loads).then(|| format!("the engine {} computes no {what}", engine.name()))
            };
            let missing = Missing {
                onnx: lacks("model.onnx", "graphs"),
                mlx: lacks("model.safetensors", "weights of MLX"),
            };
            return Ok(Self { engine, missing });
        }
        let (mut engine, mut missing) = (built_in(settings.cpu_variant.take())?, Missing::default());
        if wanted.onnx {
            (engine, missing.onnx) = onnx_runtime::beside(engine, &settings.onnx_libraries, host);
        }
        if wanted.mlx {
            (engine, missing.mlx) = mlx::beside(engine);
        }
        Ok(Self { engine, missing })
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
