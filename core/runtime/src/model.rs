//! A loaded model: weights, tokenizer and template, shared by its sessions.

use crate::govern::Steering;
use crate::open::{digest_of, read_header};
use crate::planned::{context_settings, load_settings, of_engine};
use crate::session::Session;
use crate::speculate::{Drafter, MAX_GUESS};
use crate::template::Template;
use crate::{EmbedSettings, Embedder, Error, Ranker, Result, Tokenizer};
use bundle::UseGuard;
use engine::{
    Adapter, CancelToken, Context, ContextSettings, Engine, Form, LoadSettings, MemoryUse, Model,
    PagingStats, Pooling, Projector, ProjectorSettings, Purpose, Token,
};
use planner::{Allowance, Choice, MemoryAudit, Part};
use std::fmt;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Arc, OnceLock};

/// How to open a session; what is `None` comes from the plan.
#[derive(Debug, Clone, Default)]
pub struct SessionSettings {
    /// Context in tokens.
    pub context_tokens: Option<u32>,
    /// Guess the next tokens from what stood there before, or by the model's own prediction layers where it has such and there
    /// is no [`Self::draft`], and compute them together, as long as that is faster. The same tokens are chosen; logits of some
    /// more tokens are kept meanwhile, and prediction layers have a cache of their own. Default false.
    pub speculate: bool,
    /// A small model of the same vocabulary that guesses where nothing stood there before; with [`Self::speculate`]. It gets a
    /// context of its own, as long as the session's ([`crate::PlanRequest::draft`] counts both). Default none.
    pub draft: Option<LoadedModel>,
}

/// A model in memory.
#[derive(Clone)]
pub struct LoadedModel {
    model: Arc<dyn Model>,
    tokenizer: Arc<Tokenizer>,
    template: Arc<Template>,
    rank_template: Option<String>,
    pooling: Option<Pooling>,
    choice: Choice,
    /// The memory that the plan was made for, and whether that is this machine's.
    allowance: (Allowance, bool),
    /// Layers on a device, which tuning may have found to be better than the choice's.
    gpu_layers: u32,
    steering: Arc<Steering>,
    architecture: String,
    /// What computes.
    engine_build: Arc<str>,
    path: Arc<Path>,
    digest: Arc<OnceLock<String>>,
    /// Reads pictures and sound, where they were planned for.
    projector: Option<Arc<dyn Projector>>,
    /// Mapped weights are read as long as the model lives: the bundle is in use until then.
    _hold: Option<Arc<UseGuard>>,
}

impl fmt::Debug for LoadedModel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("LoadedModel").field("path", &self.path).finish_non_exhaustive()
    }
}

impl LoadedModel {
    pub(crate) fn load(
        engine: &dyn Engine,
        (path, projector): (&Path, Option<&Path>),
        choice: Choice,
        placed: Option<(LoadSettings, u32)>,
        hold: Option<UseGuard>,
        progress: &mut dyn FnMut(f32),
        cancel: &CancelToken,
    ) -> Result<Self> {
        let header = read_header(path)?;
        let planned = || (load_settings(&choice), choice.gpu_layers);
        let (settings, gpu_layers) = placed.unwrap_or_else(planned);
        let settings = LoadSettings { vocabulary: projector.is_some(), ..settings };
        let mut watch = |share| {
            progress(share);
            if cancel.is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let model = engine.load(path, &settings, &mut watch).map_err(cancelled)?;
        let reading = ProjectorSettings { n_threads: choice.n_threads_batch as usize, gpu: gpu_layers > 0 };
        let open = |path: &Path| Arc::clone(&model).open_projector(path, &reading);
        let projector = projector.map(open).transpose()?;
        let tokenizer = Tokenizer::from_metadata(&header.metadata).map_err(|error| of_file(path, error))?;
        let template = Template::from_metadata(&header.metadata, &tokenizer);
        let family = |source| Error::Family { path: path.into(), source };
        let pooling = families::stated_pooling(&header.metadata).map_err(family)?;
        Ok(Self {
            model,
            tokenizer: Arc::new(tokenizer),
            template: Arc::new(template),
            rank_template: header.metadata.str("tokenizer.chat_template.rerank").map(str::to_string),
            pooling: pooling.map(of_engine),
            steering: Arc::new(Steering::new(&choice)),
            choice,
            allowance: (Allowance::default(), false),
            gpu_layers,
            engine_build: engine.build().into(),
            path: path.into(),
            digest: Arc::default(),
            architecture: header.metadata.str("general.architecture").unwrap_or_default().to_string(),
            projector,
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

    /// What paging of experts has done so far; `None` where the plan pages none.
    pub fn paging(&self) -> Option<PagingStats> {
        self.model.paging()
    }

    /// What the weights occupy.
    pub fn memory(&self) -> MemoryUse {
        self.model.memory()
    }

    /// The engine's model below, for what opens contexts of its own.
    pub fn engine_model(&self) -> &Arc<dyn Model> {
        &self.model
    }

    /// Contexts may grow within this.
    pub(crate) fn allow(&mut self, allowance: Allowance, is_here: bool) {
        self.allowance = (allowance, is_here);
    }

    /// Whether a context of so many tokens can be opened while `held` is there. By the plan's bytes of cache for a token, and
    /// what the plan was allowed; of this machine, what it can spare now.
    pub(crate) fn has_room_for(&self, context_tokens: u32, held: &MemoryUse) -> bool {
        let (allowance, is_here) = &self.allowance;
        let planned = self.choice.context_tokens.max(1);
        let cache = self.choice.memory.kv_bytes.saturating_mul(context_tokens.into()) / planned;
        let more = cache.saturating_add(self.choice.memory.compute_bytes);
        let all = held.total_bytes().saturating_add(self.choice.memory.overhead_bytes).saturating_add(more);
        let most = if allowance.asked { Some(allowance.host_bytes) } else { allowance.cap_bytes };
        let spare = is_here.then(|| hardware::conditions().memory.budget_bytes).filter(|_| !allowance.asked);
        most.is_none_or(|most| all <= most) && spare.is_none_or(|spare| more <= spare)
    }

    /// Opens a session with a context of its own.
    ///
    /// # Errors
    /// What the engine refuses.
    pub fn session(&self, settings: &SessionSettings) -> Result<Session> {
        self.steering.admit()?;
        let n_ctx = settings.context_tokens.unwrap_or_else(|| self.planned_tokens());
        let form = self.model.form();
        let n_ubatch = match form {
            Form::Decoder => self.setting().0.n_ubatch,
            // An encoder reads at once.
            Form::Encoder | Form::EncoderDecoder { .. } => n_ctx,
        };
        let n_outputs_max = if settings.speculate { 1 + MAX_GUESS as u32 } else { 1 };
        let small = settings.draft.as_ref().filter(|_| settings.speculate);
        let prediction_layers = settings.speculate && small.is_none();
        let writing = self.writing_settings(n_ctx, n_ubatch);
        let asked = ContextSettings { n_outputs_max, prediction_layers, ..writing };
        let context = Arc::clone(&self.model).new_context(&asked)?;
        let drafter = small.map(|small| Drafter::open(small, self, n_ctx)).transpose()?;
        // Another context or placement than the planned one says nothing about the plan.
        let planned = n_ctx == self.planned_tokens()
            && n_outputs_max == 1
            && n_ubatch == self.choice.n_ubatch
            && self.gpu_layers == self.choice.gpu_layers
            && !self.choice.copies_weights;
        let audit = planned.then(|| self.audit(&context.memory()));
        if let Some(audit) = &audit {
            self.steering.learning.audited(&self.choice, audit);
        }
        Ok(Session::new((context, drafter), self, settings, audit))
    }

    /// Settings of a context for writing: the planned types of cache and the threads in force.
    pub(crate) fn writing_settings(&self, n_ctx: u32, n_ubatch: u32) -> ContextSettings {
        let (setting, _) = self.setting();
        ContextSettings {
            n_threads: setting.n_threads,
            n_threads_batch: setting.n_threads_batch,
            max_threads: self.steering.max_threads(),
            ..context_settings(&self.choice, n_ctx, n_ubatch)
        }
    }

    /// Loads an adapter of this model: a GGUF file with low-rank factors (LoRA) or a control vector. Answers that name it in
    /// [`crate::GenerateSettings::adapters`] are computed with it, each for itself. It lies beside the weights until nobody
    /// holds it any more, and the plan does not count it.
    ///
    /// # Errors
    /// A file that cannot be read, is none or is of another model; what the engine refuses.
    pub fn load_adapter(&self, path: &Path) -> Result<Arc<dyn Adapter>> {
        Ok(Arc::clone(&self.model).load_adapter(path)?)
    }

    /// Gives the weights back, unless a session, an embedder, a pool or another copy of this value still uses them.
    ///
    /// # Errors
    /// The model itself, when it is in use: it stays loaded.
    pub fn unload(self) -> std::result::Result<(), Box<Self>> {
        match Arc::strong_count(&self.model) {
            1 => Ok(()),
            _ => Err(Box::new(self)),
        }
    }

    /// Whether it writes from what it was given alone, without an encoder: what a [`crate::Pool`] needs.
    pub fn is_decoder(&self) -> bool {
        self.form() == Form::Decoder
    }

    /// What computes: name, version and kernels.
    pub fn engine_build(&self) -> &str {
        &self.engine_build
    }

    /// A digest that tells this model from others: of the file's header and of parts of every tensor.
    ///
    /// # Errors
    /// A file that is gone or changed its length.
    pub fn digest(&self) -> Result<String> {
        if let Some(digest) = self.digest.get() {
            return Ok(digest.clone());
        }
        let digest = digest_of(&self.path)?;
        Ok(self.digest.get_or_init(|| digest).clone())
    }

    /// Tokens of a rendered prompt; templates write their own beginning of sequence where they want one.
    pub(crate) fn encode_prompt(&self, prompt: &str) -> Result<Vec<Token>> {
        self.tokenizer.encode(prompt, !self.template.writes_bos(&self.tokenizer))
    }

    /// A context for writing, of the planned types of cache and the threads in force.
    pub(crate) fn writing_context(
        &self,
        n_ctx: u32,
        n_ubatch: u32,
        max_threads: u32,
    ) -> Result<Box<dyn Context>> {
        let settings = ContextSettings { max_threads, ..self.writing_settings(n_ctx, n_ubatch) };
        Ok(Arc::clone(&self.model).new_context(&settings)?)
    }

    /// The plan's memory beside the engine's.
    fn audit(&self, actual: &MemoryUse) -> MemoryAudit {
        let planned = &self.choice.memory;
        let part = |predicted_bytes, actual_bytes| Part { predicted_bytes, actual_bytes };
        // What was rearranged lies in the mapped file too.
        let twice = if planned.mapped_bytes > 0 { planned.repacked_bytes } else { 0 };
        // The engine does not count where it keeps logits.
        let logits = self.model.n_vocab() as u64 * 4;
        MemoryAudit {
            backend: self.choice.backend,
            architecture: self.architecture.clone(),
            weights: part(planned.weights_bytes.saturating_add(twice), actual.model_bytes),
            kv: part(planned.kv_bytes, actual.context_bytes),
            compute: part(planned.compute_bytes, actual.compute_bytes.saturating_add(logits)),
            formula_compute_bytes: planned.formula_compute_bytes,
            resident: None,
        }
    }

    /// Opens what turns texts into vectors.
    ///
    /// # Errors
    /// What the engine refuses.
    pub fn embedder(&self, settings: &EmbedSettings) -> Result<Embedder> {
        Embedder::open(self, settings)
    }

    /// Opens what scores documents for a query, of a model with a classifier. The pooling of `settings` does not count.
    ///
    /// # Errors
    /// What the engine refuses.
    pub fn ranker(&self, settings: &EmbedSettings) -> Result<Ranker> {
        Ranker::open(self, settings)
    }

    /// How the vectors of a text's tokens become one, where the file says so.
    pub fn pooling(&self) -> Option<Pooling> {
        self.pooling
    }

    pub(crate) fn projector(&self) -> Option<&Arc<dyn Projector>> {
        self.projector.as_ref()
    }

    /// Layers on a device.
    pub(crate) fn gpu_layers(&self) -> u32 {
        self.gpu_layers
    }

    /// The same model with its weights loaded once more, in other places.
    pub(crate) fn loaded_again(
        &self,
        engine: &dyn Engine,
        path: &Path,
        settings: &LoadSettings,
    ) -> Result<Self> {
        let model = engine.load(path, settings, &mut |_| ControlFlow::Continue(()))?;
        Ok(Self { model, gpu_layers: settings.gpu_layers, projector: None, ..self.clone() })
    }

    /// What its sessions share.
    pub(crate) fn steering(&self) -> &Steering {
        &self.steering
    }

    pub(crate) fn shared_steering(&self) -> &Arc<Steering> {
        &self.steering
    }

    pub(crate) fn form(&self) -> Form {
        self.model.form()
    }

    pub(crate) fn n_vocab(&self) -> usize {
        self.model.n_vocab()
    }

    /// The text around a query and a document, where the file has one.
    pub(crate) fn rank_template(&self) -> Option<&str> {
        self.rank_template.as_deref()
    }

    pub(crate) fn shared_tokenizer(&self) -> &Arc<Tokenizer> {
        &self.tokenizer
    }

    /// A context that reads texts at once, and the most tokens of one.
    pub(crate) fn reading_context(
        &self,
        purpose: Purpose,
        max_tokens: Option<u32>,
    ) -> Result<(Box<dyn Context>, usize)> {
        let trained = u32::try_from(self.model.n_ctx_train()).unwrap_or(u32::MAX).max(1);
        let n_ctx = max_tokens.unwrap_or_else(|| self.planned_tokens()).min(trained);
        let settings = ContextSettings {
            purpose,
            n_ctx,
            n_batch: n_ctx,
            n_ubatch: n_ctx,
            n_threads: self.setting().0.n_threads,
            n_threads_batch: self.setting().0.n_threads_batch,
            ..ContextSettings::default()
        };
        Ok((Arc::clone(&self.model).new_context(&settings)?, n_ctx as usize))
    }

    pub(crate) fn planned_tokens(&self) -> u32 {
        u32::try_from(self.choice.context_tokens).unwrap_or(u32::MAX)
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
