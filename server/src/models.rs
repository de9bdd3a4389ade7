//! The models that are served: loaded when first asked for, given back when others need the memory.
//!
//! Owns which are loaded. Plans and memory are the runtime's affair. Must not know protocols.

use crate::error::{ApiError, ApiResult};
use crate::fields::{Scale, finite, no_adapter};
use axum::http::StatusCode;
use llama_pajamas::{
    Applied, CancelToken, EmbedSettings, Embedder, Error, LoadedModel, Occupation, PlanRequest, Pool,
    PoolSettings, Ranker, Runtime,
};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A model to serve.
pub struct ModelSettings {
    /// What clients call it.
    pub name: String,
    /// The opened bundle or file.
    pub runtime: Runtime,
    /// What is wished of its plan; the context is that of one answer.
    pub request: PlanRequest,
    /// How it answers.
    pub pool: PoolSettings,
    /// Adapters of it, which requests name by their place in this list, from 0 on.
    pub adapters: Vec<AdapterSettings>,
}

/// An adapter to answer with.
#[derive(Debug, Clone, PartialEq)]
pub struct AdapterSettings {
    /// A GGUF file with low-rank factors (LoRA) or a control vector.
    pub path: PathBuf,
    /// How strongly it works where a request does not say; 0: not at all.
    pub scale: f32,
}

/// A model in memory.
pub(crate) struct Loaded {
    pub(crate) name: String,
    model: LoadedModel,
    adapters: Vec<Applied>,
    scales: Arc<Scales>,
    pool: Option<Pool>,
    embedder: Mutex<Option<Embedder>>,
    ranker: Mutex<Option<Ranker>>,
    _watch: llama_pajamas::Watch,
}

/// How strongly each adapter of a model works where a request does not say; kept while the model is unloaded.
struct Scales(Mutex<Vec<f32>>);

struct Entry {
    settings: ModelSettings,
    scales: Arc<Scales>,
    loaded: Mutex<Option<Arc<Loaded>>>,
    /// When it was asked for last, by a count.
    used: AtomicU64,
}

/// All models of a server.
pub struct Models {
    entries: Vec<Entry>,
    clock: AtomicU64,
    /// One load at a time: each counts the memory that is there.
    loading: Mutex<()>,
    stop: CancelToken,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Loaded {
    fn load(Entry { settings, scales, .. }: &Entry, stop: &CancelToken) -> Result<Self, Error> {
        let runtime = &settings.runtime;
        runtime.pool_has_room(&runtime.plan(&settings.request), &settings.pool)?;
        let (_, model) = runtime.plan_and_load(&settings.request, &mut |_| {}, stop)?;
        let applied = |adapter: &AdapterSettings| {
            Ok(Applied { adapter: model.load_adapter(&adapter.path)?, scale: adapter.scale })
        };
        let adapters = settings.adapters.iter().map(applied).collect::<Result<Vec<_>, Error>>()?;
        let pool = match model.is_decoder() {
            true => Some(model.pool(&settings.pool)?),
            false => None,
        };
        let watch = model.watch(Duration::from_secs(2), |_| {});
        tracing::info!(model = settings.name, variant = model.choice().id, "loaded");
        let name = settings.name.clone();
        let (embedder, ranker) = (Mutex::default(), Mutex::default());
        let scales = Arc::clone(scales);
        Ok(Self { name, model, adapters, scales, pool, embedder, ranker, _watch: watch })
    }

    pub(crate) fn model(&self) -> &LoadedModel {
        &self.model
    }

    /// Its adapters, with their scales where a request does not say.
    pub(crate) fn adapters(&self) -> Vec<Applied> {
        let scales = lock(&self.scales.0);
        let scaled = |(adapter, scale): (&Applied, &f32)| Applied { scale: *scale, ..adapter.clone() };
        self.adapters.iter().zip(scales.iter()).map(scaled).collect()
    }

    /// What answers.
    ///
    /// # Errors
    /// A model that only reads.
    pub(crate) fn pool(&self) -> ApiResult<&Pool> {
        self.pool.as_ref().ok_or_else(|| {
            let message = format!("model: expected one that writes, got {}, which reads", self.name);
            ApiError::new(StatusCode::BAD_REQUEST, "unsupported", message)
        })
    }

    /// Calls `work` with what makes vectors, opened when first needed. Blocks as long as another does.
    pub(crate) fn embed<T>(&self, work: impl FnOnce(&mut Embedder) -> Result<T, Error>) -> Result<T, Error> {
        let mut embedder = lock(&self.embedder);
        if embedder.is_none() {
            *embedder = Some(self.model.embedder(&EmbedSettings::default())?);
        }
        match embedder.as_mut() {
            Some(embedder) => work(embedder),
            None => Err(Error::Closed),
        }
    }

    /// The same with what scores.
    pub(crate) fn rank<T>(&self, work: impl FnOnce(&mut Ranker) -> Result<T, Error>) -> Result<T, Error> {
        let mut ranker = lock(&self.ranker);
        if ranker.is_none() {
            *ranker = Some(self.model.ranker(&EmbedSettings::default())?);
        }
        match ranker.as_mut() {
            Some(ranker) => work(ranker),
            None => Err(Error::Closed),
        }
    }
}

impl Models {
    /// These models, none of them loaded yet; at least one, with names of their own.
    pub fn new(settings: Vec<ModelSettings>) -> Self {
        let entry = |settings: ModelSettings| {
            let scales = settings.adapters.iter().map(|adapter| adapter.scale).collect();
            let scales = Arc::new(Scales(Mutex::new(scales)));
            Entry { settings, scales, loaded: Mutex::default(), used: AtomicU64::default() }
        };
        Self {
            entries: settings.into_iter().map(entry).collect(),
            clock: AtomicU64::default(),
            loading: Mutex::default(),
            stop: CancelToken::new(),
        }
    }

    /// Loads the first one. Blocks.
    ///
    /// # Errors
    /// What the runtime refuses.
    pub fn load_first(&self) -> Result<(), Error> {
        match self.entries.first() {
            Some(entry) => self.load(entry).map(|_| ()),
            None => Ok(()),
        }
    }

    /// Names, and whether each is loaded.
    pub(crate) fn list(&self) -> Vec<(&str, Option<Arc<Loaded>>)> {
        let of = |entry: &Entry| lock(&entry.loaded).clone();
        self.entries.iter().map(|entry| (entry.settings.name.as_str(), of(entry))).collect()
    }

    /// How busy those are that are loaded and write.
    pub(crate) fn occupations(&self) -> Vec<(String, Occupation)> {
        let loaded = self.list().into_iter().filter_map(|(_, loaded)| loaded);
        loaded.filter_map(|loaded| Some((loaded.name.clone(), loaded.pool.as_ref()?.occupation()))).collect()
    }

    /// A model's adapters, loaded or not, with the scales that hold now.
    ///
    /// # Errors
    /// No such model.
    pub(crate) fn adapters(&self, name: Option<&str>) -> ApiResult<Vec<AdapterSettings>> {
        let entry = self.entry(name)?;
        let scales = lock(&entry.scales.0);
        let scaled =
            |(adapter, scale): (&AdapterSettings, &f32)| AdapterSettings { scale: *scale, ..adapter.clone() };
        Ok(entry.settings.adapters.iter().zip(scales.iter()).map(scaled).collect())
    }

    /// From the next answer on a model's adapters work so strongly where a request does not say; those that are not named do
    /// not work at all.
    ///
    /// # Errors
    /// No such model, no such adapter, a scale that is no number; then nothing is changed.
    pub(crate) fn set_scales(&self, name: Option<&str>, wished: &[Scale]) -> ApiResult<()> {
        let entry = self.entry(name)?;
        let mut scales = vec![0.0; entry.settings.adapters.len()];
        for (at, Scale { id, scale }) in wished.iter().enumerate() {
            let n_adapters = scales.len();
            let place = scales.get_mut(*id).ok_or_else(|| no_adapter(&format!("[{at}]"), n_adapters, *id))?;
            *place = finite(&format!("[{at}]"), *scale)?;
        }
        *lock(&entry.scales.0) = scales;
        Ok(())
    }

    /// The entry that `name` means; none, or a name where there is only one model, is the first.
    fn entry(&self, name: Option<&str>) -> ApiResult<&Entry> {
        let found = match name {
            None => self.entries.first(),
            Some(name) => self.entries.iter().find(|entry| entry.settings.name == name),
        };
        found.ok_or_else(|| {
            let names: Vec<&str> = self.entries.iter().map(|entry| entry.settings.name.as_str()).collect();
            let got = name.unwrap_or("none");
            let message = format!("model: expected one of {}, got {got}", names.join(", "));
            let param = Some("model".to_owned());
            ApiError { param, ..ApiError::new(StatusCode::NOT_FOUND, "model_not_found", message) }
        })
    }

    /// The model of that name, loaded.
    ///
    /// # Errors
    /// No such model, what the runtime refuses.
    pub(crate) async fn get(self: &Arc<Self>, name: Option<&str>) -> ApiResult<Arc<Loaded>> {
        let entry = self.entry(name)?;
        if let Some(loaded) = lock(&entry.loaded).clone() {
            self.touch(entry);
            return Ok(loaded);
        }
        let (models, name) = (Arc::clone(self), name.map(str::to_owned));
        let loading = tokio::task::spawn_blocking(move || {
            let entry = models.entry(name.as_deref())?;
            models.load(entry).map_err(ApiError::from)
        });
        loading.await.unwrap_or_else(|_| {
            Err(ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the load was broken off"))
        })
    }

    fn touch(&self, entry: &Entry) {
        entry.used.store(self.clock.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    fn load(&self, entry: &Entry) -> Result<Arc<Loaded>, Error> {
        let _one_at_a_time = lock(&self.loading);
        self.touch(entry);
        if let Some(loaded) = lock(&entry.loaded).clone() {
            return Ok(loaded);
        }
        loop {
            match Loaded::load(entry, &self.stop) {
                Ok(loaded) => {
                    let loaded = Arc::new(loaded);
                    *lock(&entry.loaded) = Some(Arc::clone(&loaded));
                    return Ok(loaded);
                }
                Err(Error::NothingFits(_) | Error::NoRoom { .. }) if self.give_one_back() => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Unloads the idle model that was not used longest; false where there is none.
    fn give_one_back(&self) -> bool {
        let mut idle: Vec<&Entry> =
            self.entries.iter().filter(|entry| lock(&entry.loaded).is_some()).collect();
        idle.sort_by_key(|entry| entry.used.load(Ordering::Relaxed));
        idle.into_iter().any(|entry| unload(entry).unwrap_or(false))
    }

    /// Gives a model's memory back.
    ///
    /// # Errors
    /// No such model, one that is answering at the moment.
    pub(crate) fn unload(&self, name: &str) -> ApiResult<bool> {
        unload(self.entry(Some(name))?)
    }

    /// Breaks off loads, and lets the answers of all models end.
    pub(crate) fn close(&self, patience: Duration) {
        self.stop.cancel();
        for (_, loaded) in self.list() {
            if let Some(pool) = loaded.as_ref().and_then(|loaded| loaded.pool.as_ref()) {
                pool.close(patience);
            }
        }
    }
}

/// Whether there was something to give back.
fn unload(entry: &Entry) -> ApiResult<bool> {
    let mut place = lock(&entry.loaded);
    let Some(loaded) = place.take() else { return Ok(false) };
    // Answers hold their model: whoever has the only handle has an idle one.
    match Arc::try_unwrap(loaded) {
        Ok(idle) => {
            drop(place);
            drop(idle);
            tracing::info!(model = entry.settings.name, "unloaded");
            Ok(true)
        }
        Err(busy) => {
            *place = Some(busy);
            let message =
                format!("model: expected an idle one, got {}, which is answering", entry.settings.name);
            Err(ApiError::new(StatusCode::CONFLICT, "model_busy", message))
        }
    }
}
