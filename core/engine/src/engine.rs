//! The engine trait.
//!
//! Owns: [`Engine`]. May know: models, devices, settings. Must not know: which engines exist.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use crate::{ContextSettings, DeviceInfo, DryModel, Error, LoadSettings, MemoryUse, Model};

/// Loads models of one kind of file.
pub trait Engine: Send + Sync {
    /// The engine's stable name: `gguf`.
    fn name(&self) -> &'static str;

    /// Whether it loads files of the kind that `path`'s name says; asked where there are several engines.
    fn loads(&self, path: &Path) -> bool {
        path.extension().is_none_or(|kind| kind != "onnx" && kind != "safetensors")
    }

    /// What computes: name, version and the kernels in use. Measurements hold for one build only.
    fn build(&self) -> String {
        self.name().to_owned()
    }

    /// The devices that this engine can compute on, in its own order of preference.
    fn devices(&self) -> Vec<DeviceInfo>;

    /// Loads the model at `path`.
    ///
    /// `progress` gets the loaded fraction, `0.0 ..= 1.0`, and is called on the calling thread;
    /// [`ControlFlow::Break`] stops the load with [`Error::Cancelled`] and frees what was loaded.
    ///
    /// # Errors
    /// [`Error::Read`] and [`Error::InvalidFile`] for a file that cannot be read or is not valid,
    /// [`Error::Load`] for one that the engine refuses, [`Error::Cancelled`].
    fn load(
        &self,
        path: &Path,
        settings: &LoadSettings,
        progress: &mut dyn FnMut(f32) -> ControlFlow<()>,
    ) -> Result<Arc<dyn Model>, Error>;

    /// Whether it has a dry run, [`Engine::dry_load`].
    fn has_dry_run(&self) -> bool {
        false
    }

    /// Lays out the model at `path` as [`Engine::load`] would, from the file's header alone: no weight is read, and no
    /// memory is taken for it. Takes milliseconds; the result serves any number of settings of contexts.
    ///
    /// # Errors
    /// As [`Engine::load`]; [`Error::Load`] where an engine cannot tell.
    fn dry_load(&self, path: &Path, settings: &LoadSettings) -> Result<Arc<dyn DryModel>, Error> {
        let _ = settings;
        Err(Error::Load {
            path: path.to_owned(),
            reason: format!("the engine {} has no dry run", self.name()),
        })
    }

    /// What the model at `path` and one context of it would occupy: [`Engine::dry_load`], then
    /// [`DryModel::measure`].
    ///
    /// # Errors
    /// As those two.
    fn measure(
        &self,
        path: &Path,
        load: &LoadSettings,
        context: &ContextSettings,
    ) -> Result<MemoryUse, Error> {
        self.dry_load(path, load)?.measure(context)
    }
}
