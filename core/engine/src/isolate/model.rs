//! A model in a process of its own, which is started again when it has ended.
//!
//! Owns: [`IsolatedModel`]. May know: the wire. Must not know: what its contexts compute.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::context::IsolatedContext;
use super::process::Process;
use super::start::{Launch, unexpected};
use super::wire::{Answer, Ask, Facts};
use crate::{Adapter, AdapterKind, Context, ContextSettings, Error, Form, LoadSettings, MemoryUse, Model};

pub(super) struct IsolatedModel {
    launch: Launch,
    path: PathBuf,
    settings: LoadSettings,
    process: Mutex<Arc<Process>>,
    facts: Facts,
}

impl IsolatedModel {
    pub(super) fn load(
        launch: Launch,
        path: &Path,
        settings: &LoadSettings,
        progress: &mut dyn FnMut(f32) -> ControlFlow<()>,
    ) -> Result<Self, Error> {
        let (process, facts) = loaded(&launch, path, settings, progress)?;
        let (path, settings) = (path.to_owned(), settings.clone());
        Ok(Self { launch, path, settings, process: Mutex::new(process), facts })
    }

    /// Its process; where that has ended, a new one that has loaded the same file.
    fn process(&self) -> Result<Arc<Process>, Error> {
        let mut process = self.process.lock().unwrap_or_else(PoisonError::into_inner);
        if process.has_ended() {
            let mut quiet = |_| ControlFlow::Continue(());
            *process = loaded(&self.launch, &self.path, &self.settings, &mut quiet)?.0;
        }
        Ok(Arc::clone(&process))
    }
}

fn loaded(
    launch: &Launch,
    path: &Path,
    settings: &LoadSettings,
    progress: &mut dyn FnMut(f32) -> ControlFlow<()>,
) -> Result<(Arc<Process>, Facts), Error> {
    let process = Process::start(launch)?;
    let ask = Ask::Load { path: path.to_owned(), settings: settings.clone() };
    match process.ask(&ask, &[], None, progress)?.0 {
        Answer::Loaded(facts) => {
            tracing::debug!(target: "llama_pajamas::engine", process = process.id(), "a model is in its own process");
            Ok((Arc::new(process), facts))
        }
        other => Err(unexpected(other)),
    }
}

/// An adapter that the model's process reads, again where that was started again. It stays there as long as the model.
#[derive(Debug)]
pub(super) struct IsolatedAdapter {
    kind: AdapterKind,
    bytes: u64,
    pub(super) path: PathBuf,
}

impl Adapter for IsolatedAdapter {
    fn kind(&self) -> AdapterKind {
        self.kind
    }

    fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Model for IsolatedModel {
    fn n_vocab(&self) -> usize {
        self.facts.n_vocab
    }

    fn n_ctx_train(&self) -> u64 {
        self.facts.n_ctx_train
    }

    fn form(&self) -> Form {
        self.facts.form
    }

    fn new_context(self: Arc<Self>, settings: &ContextSettings) -> Result<Box<dyn Context>, Error> {
        let process = self.process()?;
        Ok(Box::new(IsolatedContext::open(process, self.facts.n_vocab, settings)?))
    }

    fn load_adapter(self: Arc<Self>, path: &Path) -> Result<Arc<dyn Adapter>, Error> {
        let ask = Ask::LoadAdapter { path: path.to_owned() };
        match self.process()?.ask(&ask, &[], None, &mut |_| ControlFlow::Continue(()))?.0 {
            Answer::Adapter { kind, bytes } => {
                Ok(Arc::new(IsolatedAdapter { kind, bytes, path: path.to_owned() }))
            }
            other => Err(unexpected(other)),
        }
    }

    fn memory(&self) -> MemoryUse {
        self.facts.memory.clone()
    }
}
