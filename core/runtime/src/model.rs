//! A loaded model: weights, tokenizer and template, shared by its sessions.

use crate::open::read_header;
use crate::session::Session;
use crate::template::Template;
use crate::{Error, Result, Tokenizer};
use bundle::UseGuard;
use engine::{CancelToken, ContextSettings, Engine, KvType, LoadSettings, MemoryUse, Model};
use planner::Choice;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

/// How to open a session; what is `None` comes from the plan.
#[derive(Debug, Clone, Default)]
pub struct SessionSettings {
    /// Context in tokens.
    pub context_tokens: Option<u32>,
}

/// A model in memory.
#[derive(Clone)]
pub struct LoadedModel {
    model: Arc<dyn Model>,
    tokenizer: Arc<Tokenizer>,
    template: Arc<Template>,
    choice: Choice,
    /// Mapped weights are read as long as the model lives: the bundle is in use until then.
    _hold: Option<Arc<UseGuard>>,
}

impl LoadedModel {
    pub(crate) fn load(
        engine: &dyn Engine,
        path: &Path,
        choice: Choice,
        hold: Option<UseGuard>,
        progress: &mut dyn FnMut(f32),
        cancel: &CancelToken,
    ) -> Result<Self> {
        let header = read_header(path)?;
        let settings = LoadSettings { gpu_layers: choice.gpu_layers, ..LoadSettings::default() };
        let mut watch = |share| {
            progress(share);
            if cancel.is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let model = engine.load(path, &settings, &mut watch).map_err(cancelled)?;
        let tokenizer = Tokenizer::from_metadata(&header.metadata).map_err(|error| of_file(path, error))?;
        let template = Template::from_metadata(&header.metadata, &tokenizer);
        Ok(Self {
            model,
            tokenizer: Arc::new(tokenizer),
            template: Arc::new(template),
            choice,
            _hold: hold.map(Arc::new),
        })
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The chat template.
    pub fn template(&self) -> &Template {
        &self.template
    }

    /// What was loaded and how.
    pub fn choice(&self) -> &Choice {
        &self.choice
    }

    /// What the weights occupy.
    pub fn memory(&self) -> MemoryUse {
        self.model.memory()
    }

    /// Opens a session with a context of its own.
    ///
    /// # Errors
    /// What the engine refuses.
    pub fn session(&self, settings: &SessionSettings) -> Result<Session> {
        let kv_type = match self.choice.kv_type {
            "Q8_0" => KvType::Q8_0,
            _ => KvType::F16,
        };
        let planned = u32::try_from(self.choice.context_tokens).unwrap_or(u32::MAX);
        let settings = ContextSettings {
            n_ctx: settings.context_tokens.unwrap_or(planned),
            n_batch: 512.max(self.choice.n_ubatch),
            n_ubatch: self.choice.n_ubatch,
            n_threads: self.choice.n_threads,
            n_threads_batch: self.choice.n_threads_batch,
            type_k: kv_type,
            type_v: kv_type,
            ..ContextSettings::default()
        };
        let context = Arc::clone(&self.model).new_context(&settings)?;
        Ok(Session::new(context, Arc::clone(&self.tokenizer), Arc::clone(&self.template)))
    }
}

/// Names the file whose metadata make no tokenizer.
fn of_file(path: &Path, error: Error) -> Error {
    match error {
        Error::Tokenizer(problem) => Error::Tokenizer(format!("{}: {problem}", path.display())),
        other => other,
    }
}

/// The engine's cancellation is the runtime's.
pub(crate) fn cancelled(error: engine::Error) -> Error {
    match error {
        engine::Error::Cancelled => Error::Cancelled,
        other => Error::Engine(other),
    }
}
