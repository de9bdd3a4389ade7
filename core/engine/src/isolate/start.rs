//! The app's half: an engine whose models live in processes of their own.
//!
//! Owns: [`IsolatedEngine`] and how its children are started. May know: the wire. Must not know: contexts.

use std::ffi::OsString;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::model::IsolatedModel;
use super::process::Process;
use super::wire::{Answer, Ask};
use crate::{ContextSettings, DeviceInfo, DryModel, Engine, Error, LoadSettings, MemoryUse, Model};

/// The program that [`crate::isolate::serve`]s, with its arguments.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The program, usually the app's own binary.
    pub program: PathBuf,
    /// What tells it to serve.
    pub arguments: Vec<OsString>,
}

/// An engine in other processes: one for questions, and one for each loaded model.
pub struct IsolatedEngine {
    launch: Launch,
    build: String,
    /// Answers questions; replaced when it has ended.
    scout: Arc<Scout>,
}

struct Scout {
    launch: Launch,
    process: Mutex<Arc<Process>>,
}

impl Scout {
    /// The process that answers questions, a new one where the last has ended.
    fn process(&self) -> Result<Arc<Process>, Error> {
        let mut process = self.process.lock().unwrap_or_else(PoisonError::into_inner);
        if process.has_ended() {
            *process = Arc::new(Process::start(&self.launch)?);
        }
        Ok(Arc::clone(&process))
    }

    fn ask(&self, ask: &Ask) -> Result<Answer, Error> {
        Ok(self.process()?.ask(ask, &[], None, &mut |_| ControlFlow::Continue(()))?.0)
    }
}

impl IsolatedEngine {
    /// Starts a first process and asks what computes there.
    ///
    /// # Errors
    /// [`Error::Process`] for a program that cannot be started or does not serve.
    pub fn start(launch: Launch) -> Result<Self, Error> {
        let process = Mutex::new(Arc::new(Process::start(&launch)?));
        let scout = Arc::new(Scout { launch: launch.clone(), process });
        match scout.ask(&Ask::Build)? {
            Answer::Build(build) => Ok(Self { launch, build, scout }),
            other => Err(unexpected(other)),
        }
    }
}

impl Engine for IsolatedEngine {
    fn name(&self) -> &'static str {
        "isolated"
    }

    fn build(&self) -> String {
        self.build.clone()
    }

    fn devices(&self) -> Vec<DeviceInfo> {
        match self.scout.ask(&Ask::Devices) {
            Ok(Answer::Devices(devices)) => devices,
            // A process that ends when it is asked has none that are of use.
            _ => Vec::new(),
        }
    }

    fn load(
        &self,
        path: &Path,
        settings: &LoadSettings,
        progress: &mut dyn FnMut(f32) -> ControlFlow<()>,
    ) -> Result<Arc<dyn Model>, Error> {
        Ok(Arc::new(IsolatedModel::load(self.launch.clone(), path, settings, progress)?))
    }

    fn has_dry_run(&self) -> bool {
        true
    }

    fn dry_load(&self, path: &Path, settings: &LoadSettings) -> Result<Arc<dyn DryModel>, Error> {
        let (scout, path, settings) = (Arc::clone(&self.scout), path.to_owned(), settings.clone());
        Ok(Arc::new(IsolatedDryModel { scout, path, settings }))
    }
}

/// A file that is laid out whenever it is asked about.
struct IsolatedDryModel {
    scout: Arc<Scout>,
    path: PathBuf,
    settings: LoadSettings,
}

impl DryModel for IsolatedDryModel {
    fn measure(&self, settings: &ContextSettings) -> Result<MemoryUse, Error> {
        let (path, load, context) = (self.path.clone(), self.settings.clone(), settings.clone());
        match self.scout.ask(&Ask::Measure { path, load, context })? {
            Answer::Measured(memory) => Ok(memory),
            other => Err(unexpected(other)),
        }
    }
}

/// The error that an answer is, or that it is another than was asked for.
pub(super) fn unexpected(answer: Answer) -> Error {
    match answer {
        Answer::Failed { fault, .. } => fault.into(),
        other => Error::Process { reason: format!("it answered something else: {other:?}") },
    }
}
