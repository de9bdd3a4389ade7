//! The engine itself: which library computes, and loading.
//!
//! Owns: [`OnnxEngine`]. May know: crate `onnx`. Must not know: where an app keeps libraries; it is handed one.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use formats::onnx::{ModelProto, read_model};
use onnx::{Library, Options, Session};

use super::model::{DryOnnxModel, OnnxModel, Weight};
use super::ports::Ports;
use crate::{DeviceInfo, DryModel, Engine, Error, LoadSettings, Model};

/// How to start.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// What computes.
    pub library: Library,
    /// Threads of a session, which are started with it and stay as many; 0 counts as 1.
    pub threads: usize,
}

/// Loads decoders that are graphs of ONNX.
#[derive(Debug)]
pub struct OnnxEngine {
    options: EngineOptions,
}

impl OnnxEngine {
    /// An engine that computes with a library.
    #[must_use]
    pub fn start(options: EngineOptions) -> Self {
        Self { options }
    }

    fn read(path: &Path) -> Result<(ModelProto, Weight), Error> {
        let read = |source| Error::Read { path: path.to_owned(), source };
        let bytes = std::fs::read(path).map_err(read)?;
        let graph_bytes = bytes.len() as u64;
        let invalid = |error: formats::onnx::Error| Error::InvalidFile {
            path: path.to_owned(),
            reason: error.to_string(),
        };
        let model = read_model(bytes).map_err(invalid)?;
        let mut files: Vec<String> = Vec::new();
        for tensor in model.graph.iter().flat_map(|graph| &graph.initializer) {
            if tensor.is_external() {
                let file = formats::onnx::Location::of(tensor).map_err(invalid)?.file;
                if !files.contains(&file) {
                    files.push(file);
                }
            }
        }
        let mut beside_bytes = 0;
        for file in files {
            let beside = path.parent().unwrap_or(Path::new("")).join(&file);
            let length =
                std::fs::metadata(&beside).map_err(|source| Error::Read { path: beside.clone(), source })?;
            beside_bytes += length.len();
        }
        Ok((model, Weight { bytes: graph_bytes + beside_bytes }))
    }
}

impl Engine for OnnxEngine {
    fn name(&self) -> &'static str {
        "onnx"
    }

    fn loads(&self, path: &Path) -> bool {
        path.extension().is_some_and(|kind| kind == "onnx")
    }

    fn build(&self) -> String {
        format!("onnxruntime {}", self.options.library.version())
    }

    fn devices(&self) -> Vec<DeviceInfo> {
        Vec::new()
    }

    fn load(
        &self,
        path: &Path,
        _settings: &LoadSettings,
        progress: &mut dyn FnMut(f32) -> ControlFlow<()>,
    ) -> Result<Arc<dyn Model>, Error> {
        let (model, weight) = Self::read(path)?;
        let ports = Ports::of(&model, path)?;
        drop(model);
        if progress(0.0).is_break() {
            return Err(Error::Cancelled);
        }
        let options = Options { threads: self.options.threads.max(1), ..Options::default() };
        let session = Session::open(&self.options.library, path, &options)
            .map_err(|error| Error::Load { path: path.to_owned(), reason: error.to_string() })?;
        if progress(1.0).is_break() {
            return Err(Error::Cancelled);
        }
        Ok(Arc::new(OnnxModel::new(session, ports, weight)))
    }

    fn has_dry_run(&self) -> bool {
        true
    }

    fn dry_load(&self, path: &Path, _settings: &LoadSettings) -> Result<Arc<dyn DryModel>, Error> {
        let (model, weight) = Self::read(path)?;
        let ports = Ports::of(&model, path)?;
        Ok(Arc::new(DryOnnxModel { ports, weight }))
    }
}
