//! An engine that recites: after n tokens it expects the n-th token of a fixed text, whatever it was given.
//!
//! Owns: the engine's contract without a model, and a record of what was computed. Must not know: sessions.

use llama_pajamas::engine::{
    Adapter, AdapterKind, Applied, Context, ContextSettings, DeviceInfo, DryModel, Engine, Error, Form,
    LoadSettings, Logits, MemoryUse, Model, Vectors,
};
use llama_pajamas::{CancelToken, Token};
use std::any::Any;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What the engine does.
#[derive(Clone, Default)]
pub(crate) struct Fake {
    /// The text; behind its end comes `end`.
    pub(crate) recital: Vec<Token>,
    /// The token behind the end.
    pub(crate) end: Token,
    /// Number of token ids.
    pub(crate) n_vocab: usize,
    /// Whether its logits leave no doubt.
    pub(crate) is_sure: bool,
    /// Whether the memory can only be emptied, as recurrent models' can.
    pub(crate) only_anew: bool,
    /// Holding so many tokens, the next decode fails once.
    pub(crate) fails_at: Arc<Mutex<Option<usize>>>,
    /// Holding so many tokens, logits are not numbers.
    pub(crate) broken_at: Option<usize>,
    /// Tokens of every decode.
    pub(crate) computed: Arc<Mutex<Vec<usize>>>,
    /// Reads with an encoder and begins its answers with this token.
    pub(crate) start: Option<Token>,
    /// What the encoder read.
    pub(crate) read: Arc<Mutex<Vec<Vec<Token>>>>,
    /// With more threads than this, no time limit is kept to.
    pub(crate) collapses_above: Option<usize>,
    /// That begins when so many tokens are held.
    pub(crate) collapses_from: usize,
    /// Threads of every decode that was finished, for single tokens and for prompts, and of those that were broken off.
    pub(crate) threads: Arc<Mutex<Vec<(usize, usize)>>>,
    pub(crate) broken_off: Arc<Mutex<Vec<(usize, usize)>>>,
    /// What computes.
    pub(crate) build: &'static str,
    /// Time that single tokens take, by the count of threads.
    pub(crate) token_time: Option<fn(usize) -> Duration>,
    /// Under a time limit, prompts of more tokens than this are broken off.
    pub(crate) most_in_time: Option<usize>,
    /// What its contexts say that they take.
    pub(crate) memory: MemoryUse,
    /// Devices beside the processor.
    pub(crate) devices: Vec<DeviceInfo>,
    /// Time that single tokens take more, by the layers on a device.
    pub(crate) layer_time: Option<fn(u32) -> Duration>,
    /// Layers on a device, as it was loaded.
    pub(crate) gpu_layers: u32,
    /// The same of every load.
    pub(crate) loads: Arc<Mutex<Vec<u32>>>,
    /// It has prediction layers, and they expect this text.
    pub(crate) expected: Option<Vec<Token>>,
    /// What asking them takes.
    pub(crate) prediction_time: Duration,
    /// How often they were asked.
    pub(crate) predicted: Arc<Mutex<usize>>,
    /// What a dry run says of the computation's buffers.
    pub(crate) dry_run: Option<fn(&ContextSettings) -> u64>,
}

impl Engine for Fake {
    fn name(&self) -> &'static str {
        "fake"
    }

    fn build(&self) -> String {
        self.build.into()
    }

    fn devices(&self) -> Vec<DeviceInfo> {
        self.devices.clone()
    }

    fn has_dry_run(&self) -> bool {
        self.dry_run.is_some()
    }

    fn dry_load(&self, _path: &Path, _settings: &LoadSettings) -> Result<Arc<dyn DryModel>, Error> {
        Ok(Arc::new(FakeDry(self.dry_run.expect("asked only where there is one"))))
    }

    fn load(
        &self,
        _path: &Path,
        settings: &LoadSettings,
        progress: &mut dyn FnMut(f32) -> ControlFlow<()>,
    ) -> Result<Arc<dyn Model>, Error> {
        match progress(0.5) {
            ControlFlow::Continue(()) => {
                self.loads.lock().expect("not poisoned").push(settings.gpu_layers);
                Ok(Arc::new(Self { gpu_layers: settings.gpu_layers, ..self.clone() }))
            }
            ControlFlow::Break(()) => Err(Error::Cancelled),
        }
    }
}

struct FakeDry(fn(&ContextSettings) -> u64);

impl DryModel for FakeDry {
    fn measure(&self, settings: &ContextSettings) -> Result<MemoryUse, Error> {
        Ok(MemoryUse { compute_bytes: (self.0)(settings), ..MemoryUse::default() })
    }
}

impl Model for Fake {
    fn n_vocab(&self) -> usize {
        self.n_vocab
    }

    fn n_ctx_train(&self) -> u64 {
        512
    }

    fn form(&self) -> Form {
        self.start.map_or(Form::Decoder, |start| Form::EncoderDecoder { start })
    }

    fn new_context(self: Arc<Self>, settings: &ContextSettings) -> Result<Box<dyn Context>, Error> {
        let fake = self.as_ref().clone();
        let threads = (settings.n_threads as usize, settings.n_threads_batch as usize);
        let n_ctx = settings.n_ctx as usize;
        let (logits, loud) = (Vec::new(), false);
        let predicts = settings.prediction_layers && fake.expected.is_some();
        Ok(Box::new(FakeContext { fake, n_ctx, held: 0, logits, threads, limit: None, loud, predicts }))
    }

    fn load_adapter(self: Arc<Self>, path: &Path) -> Result<Arc<dyn Adapter>, Error> {
        Ok(Arc::new(FakeAdapter { loud: path.to_string_lossy().contains("loud") }))
    }

    fn memory(&self) -> MemoryUse {
        MemoryUse::default()
    }
}

/// A loud one has small letters recited as capitals.
#[derive(Debug)]
struct FakeAdapter {
    loud: bool,
}

impl Adapter for FakeAdapter {
    fn kind(&self) -> AdapterKind {
        AdapterKind::LowRank
    }

    fn bytes(&self) -> u64 {
        0
    }
}

struct FakeContext {
    fake: Fake,
    n_ctx: usize,
    held: usize,
    /// Of the last decode, the rows that it kept.
    logits: Vec<Vec<f32>>,
    threads: (usize, usize),
    limit: Option<Duration>,
    loud: bool,
    predicts: bool,
}

impl Context for FakeContext {
    /// One vector for a text: how many tokens it has, and the last of them.
    fn embed(&mut self, tokens: &[Token], cancel: &CancelToken) -> Result<Vectors, Error> {
        if cancel.is_cancelled() {
            return Err(Error::Cancelled);
        }
        let last = *tokens.last().ok_or(Error::EmptyBatch)?;
        Ok(Vectors { width: 2, values: vec![tokens.len() as f32, last as f32] })
    }

    fn encode(&mut self, tokens: &[Token], cancel: &CancelToken) -> Result<(), Error> {
        if cancel.is_cancelled() {
            return Err(Error::Cancelled);
        }
        self.held = 0;
        self.fake.read.lock().expect("not poisoned").push(tokens.to_vec());
        Ok(())
    }

    fn decode(&mut self, tokens: &[Token], want: Logits, cancel: &CancelToken) -> Result<(), Error> {
        let (n_past, n_tokens, n_ctx, n_vocab) = (self.held, tokens.len(), self.n_ctx, self.fake.n_vocab);
        if tokens.is_empty() {
            return Err(Error::EmptyBatch);
        }
        if let Some(index) = tokens.iter().position(|token| !(0..n_vocab as Token).contains(token)) {
            return Err(Error::TokenOutOfRange { index, token: tokens[index], n_vocab });
        }
        if n_past + n_tokens > n_ctx {
            return Err(Error::ContextFull { n_past, n_tokens, n_ctx });
        }
        self.logits.clear();
        if cancel.is_cancelled() {
            return Err(Error::Cancelled);
        }
        let mut fails_at = self.fake.fails_at.lock().expect("not poisoned");
        if fails_at.is_some_and(|at| self.held >= at) {
            *fails_at = None;
            return Err(Error::Decode { n_past, code: -3, reason: "out of luck".into() });
        }
        if let Some(limit) = self.limit {
            let threads = if n_tokens == 1 { self.threads.0 } else { self.threads.1 };
            let collapses = self.fake.collapses_above.is_some_and(|most| threads > most)
                && n_past >= self.fake.collapses_from;
            if collapses || self.fake.most_in_time.is_some_and(|most| n_tokens > most) {
                self.fake.broken_off.lock().expect("not poisoned").push(self.threads);
                return Err(Error::TimeLimit { n_past, limit });
            }
        }
        if let Some(time) = self.fake.token_time.filter(|_| n_tokens == 1) {
            std::thread::sleep(time(self.threads.0));
        }
        if let Some(time) = self.fake.layer_time.filter(|_| n_tokens == 1) {
            std::thread::sleep(time(self.fake.gpu_layers));
        }
        self.fake.threads.lock().expect("not poisoned").push(self.threads);
        self.fake.computed.lock().expect("not poisoned").push(n_tokens);
        let first = if want == Logits::All { self.held + 1 } else { self.held + n_tokens };
        self.held += n_tokens;
        for held in first..=self.held {
            let mut logits = vec![0.0; n_vocab];
            let mut token = self.fake.recital.get(held).copied().unwrap_or(self.fake.end) as usize;
            let small = 3 + usize::from(b'a')..=3 + usize::from(b'z');
            if self.loud && small.contains(&token) {
                token -= 32;
            }
            logits[token] = if self.fake.is_sure { 20.0 } else { 1.0 };
            if self.fake.broken_at.is_some_and(|at| held >= at) {
                logits[7] = f32::NAN;
            }
            self.logits.push(logits);
        }
        Ok(())
    }

    fn adapt(&mut self, adapters: &[Applied]) -> Result<(), Error> {
        let loud = |applied: &Applied| {
            let any: &dyn Any = &*applied.adapter;
            any.downcast_ref::<FakeAdapter>().is_some_and(|adapter| adapter.loud)
        };
        self.loud = adapters.iter().any(loud);
        Ok(())
    }

    fn logits(&self, row: usize) -> Result<&[f32], Error> {
        self.logits.get(row).map(Vec::as_slice).ok_or(Error::NoLogits { row, kept: self.logits.len() })
    }

    fn n_past(&self) -> usize {
        self.held
    }

    fn n_ctx(&self) -> usize {
        self.n_ctx
    }

    fn truncate(&mut self, to: usize) -> Result<(), Error> {
        if to > self.held || (self.fake.only_anew && to > 0 && to < self.held) {
            return Err(Error::Truncate { to, n_past: self.held, reason: "the fake cannot" });
        }
        self.held = to;
        self.logits.clear();
        Ok(())
    }

    fn state(&self) -> Result<Vec<u8>, Error> {
        Ok(self.held.to_le_bytes().to_vec())
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), Error> {
        let bytes = state.try_into().map_err(|_| Error::State { reason: "not eight bytes".into() })?;
        self.held = usize::from_le_bytes(bytes);
        self.logits.clear();
        Ok(())
    }

    fn keeps_after_breaking_off(&self) -> bool {
        !self.fake.only_anew
    }

    fn has_predictions(&self) -> bool {
        self.predicts
    }

    fn predict(
        &mut self,
        _next: Token,
        most: usize,
        _least_probability: f32,
        _cancel: &CancelToken,
    ) -> Result<Vec<Token>, Error> {
        assert!(self.predicts, "asked of a context without prediction layers");
        *self.fake.predicted.lock().expect("not poisoned") += 1;
        std::thread::sleep(self.fake.prediction_time);
        let text = self.fake.expected.as_deref().unwrap_or_default();
        Ok(text.iter().skip(self.held + 1).take(most).copied().collect())
    }

    fn set_threads(&mut self, decode: usize, batch: usize) {
        self.threads = (decode, batch);
    }

    fn set_time_limit(&mut self, limit: Option<Duration>) {
        self.limit = limit;
    }

    fn memory(&self) -> MemoryUse {
        self.fake.memory.clone()
    }
}
