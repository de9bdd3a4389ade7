//! The engine itself, and loading.
//!
//! Owns: [`MlxEngine`]. May know: crate `mlx`. Must not know: bundles.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::channel;

use ::mlx::{Decoder, Model as Directory};

use super::load_error;
use super::model::{DryMlxModel, MlxModel, Sizes};
use super::worker::Worker;
use crate::{DeviceInfo, DryModel, Engine, Error, LoadSettings, Model};

/// Loads decoders in MLX's format.
#[derive(Debug)]
pub struct MlxEngine {
    worker: Arc<Worker>,
}

impl MlxEngine {
    /// Starts the thread that computes.
    ///
    /// # Errors
    /// [`Error::Start`] where the system gives no thread.
    pub fn start() -> Result<Self, Error> {
        Ok(Self { worker: Arc::new(Worker::start()?) })
    }

    /// The directory that a file of weights lies in.
    fn open(path: &Path) -> Result<Directory, Error> {
        let folder = if path.is_dir() { path } else { path.parent().unwrap_or(Path::new("")) };
        Directory::open(folder).map_err(|error| load_error(path, error))
    }
}

impl Engine for MlxEngine {
    fn name(&self) -> &'static str {
        "mlx"
    }

    fn loads(&self, path: &Path) -> bool {
        path.extension().is_some_and(|kind| kind == "safetensors")
    }

    fn build(&self) -> String {
        format!("mlx {}", ::mlx::version())
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
        let directory = Self::open(path)?;
        let sizes = Sizes::of(&directory);
        let (tell, told) = channel::<f32>();
        let (answer, answers) = channel::<bool>();
        let loaded = self.worker.begin(move || {
            Decoder::load(directory, &mut |fraction| {
                let asked = tell.send(fraction).is_ok();
                match answers.recv() {
                    Ok(true) if asked => ControlFlow::Continue(()),
                    _ => ControlFlow::Break(()),
                }
            })
        });
        while let Ok(fraction) = told.recv() {
            let _ = answer.send(progress(fraction).is_continue()); // the load may have ended
        }
        let refused = || Error::Load { path: path.to_owned(), reason: "MLX's thread panicked".into() };
        let decoder = loaded.recv().map_err(|_| refused())?.map_err(|error| load_error(path, error))?;
        Ok(Arc::new(MlxModel::new(decoder, sizes, Arc::clone(&self.worker))))
    }

    fn has_dry_run(&self) -> bool {
        true
    }

    fn dry_load(&self, path: &Path, _settings: &LoadSettings) -> Result<Arc<dyn DryModel>, Error> {
        Ok(Arc::new(DryMlxModel { sizes: Sizes::of(&Self::open(path)?) }))
    }
}
