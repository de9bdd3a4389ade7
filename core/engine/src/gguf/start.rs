//! Starting the engine, once per process.
//!
//! Owns: [`GgufEngine`] and the process-wide start. May know: the other parts of this module. Must
//! not know: files' contents.

use std::fmt;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use llama_cpp_sys_2::llama_backend_init;

use super::cpu::{self, CpuVariants};
use super::dry_run::GgufDryModel;
use super::log::{self, LogSink};
use super::model::{GgufModel, Weights};
use super::threads::PoolFunctions;
use super::{devices, validate};
use crate::{DeviceInfo, DryModel, Engine, Error, LoadSettings, Model};

/// How to start the engine.
#[derive(Clone, Default)]
pub struct EngineOptions {
    /// The CPU variant to use; `None`: the best that this processor has. See
    /// [`GgufEngine::cpu_variants`] for the names.
    pub cpu_variant: Option<String>,
    /// Where the engine's log goes; `None`: to `tracing`, target `llama_pajamas::engine`.
    /// It never goes to standard error.
    pub log: Option<LogSink>,
}

impl fmt::Debug for EngineOptions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("EngineOptions")
            .field("cpu_variant", &self.cpu_variant)
            .field("log", &self.log.as_ref().map(|_| ".."))
            .finish()
    }
}

/// The engine for GGUF files. Holding one proves that the engine has started; clones are free.
#[derive(Clone, Debug)]
pub struct GgufEngine {
    variant: &'static str,
    pool_functions: PoolFunctions,
}

/// The engine of this process. Devices register once and for good, so does the CPU variant.
static STARTED: Mutex<Option<GgufEngine>> = Mutex::new(None);

impl GgufEngine {
    /// Starts the engine, or returns the one that this process has started already, whose log then
    /// goes to the new sink if there is one.
    ///
    /// # Errors
    /// [`Error::UnknownCpuVariant`] and [`Error::UnsupportedCpuVariant`] for a variant that cannot be
    /// had; [`Error::Start`] when the engine runs with another variant than the one asked for, or
    /// has no CPU backend.
    pub fn start(options: EngineOptions) -> Result<Self, Error> {
        let variant = cpu::choose(options.cpu_variant.as_deref())?;
        let mut started = STARTED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(engine) = started.as_ref() {
            if options.cpu_variant.is_some() && variant.name() != engine.variant {
                let running = engine.variant;
                let reason = format!("it runs with CPU variant `{running}` already, which cannot be changed");
                return Err(Error::Start { reason });
            }
            log::set_sink(options.log);
            return Ok(engine.clone());
        }
        log::set_sink(options.log);
        log::install();
        cpu::register(variant)?;
        super::shim::ask_for_huge_pages();
        super::paging::prepare();
        // SAFETY: called once, under the lock; it only fills tables.
        unsafe { llama_backend_init() };
        let engine = Self { variant: variant.name(), pool_functions: PoolFunctions::find()? };
        *started = Some(engine.clone());
        Ok(engine)
    }

    /// The CPU variants in this library: which there are, which would run here, which is the best.
    /// Allowed before [`GgufEngine::start`].
    #[must_use]
    pub fn cpu_variants() -> CpuVariants {
        cpu::list()
    }

    /// The CPU variant in use.
    #[must_use]
    pub fn cpu_variant(&self) -> &'static str {
        self.variant
    }

    /// The version of llama.cpp in this library. States are valid for one version only.
    #[must_use]
    pub fn version() -> &'static str {
        super::shim::version()
    }

    /// Loads the model at `path`, like [`Engine::load`], as its own type.
    ///
    /// # Errors
    /// As [`Engine::load`].
    pub fn load_model(
        &self,
        path: &Path,
        settings: &LoadSettings,
        progress: &mut dyn FnMut(f32) -> ControlFlow<()>,
    ) -> Result<Arc<GgufModel>, Error> {
        let file = validate::read(path)?;
        let model = GgufModel::load(&file, settings, Weights::Loaded, self.pool_functions, progress)?;
        Ok(Arc::new(model))
    }
}

impl Engine for GgufEngine {
    fn name(&self) -> &'static str {
        "gguf"
    }

    fn build(&self) -> String {
        format!("gguf llama.cpp {} {}", Self::version(), self.variant)
    }

    fn devices(&self) -> Vec<DeviceInfo> {
        devices::list()
    }

    fn load(
        &self,
        path: &Path,
        settings: &LoadSettings,
        progress: &mut dyn FnMut(f32) -> ControlFlow<()>,
    ) -> Result<Arc<dyn Model>, Error> {
        Ok(self.load_model(path, settings, progress)?)
    }

    fn has_dry_run(&self) -> bool {
        true
    }

    fn dry_load(&self, path: &Path, settings: &LoadSettings) -> Result<Arc<dyn DryModel>, Error> {
        let file = validate::read(path)?;
        let mut no_progress = |_| ControlFlow::Continue(());
        let model =
            GgufModel::load(&file, settings, Weights::LaidOut, self.pool_functions, &mut no_progress)?;
        Ok(Arc::new(GgufDryModel::new(model)))
    }
}
