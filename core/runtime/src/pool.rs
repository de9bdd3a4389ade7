//! Many answers at once from one loaded model: sequences that are computed together, and the queue in front of them.
//!
//! Owns what an app touches: [`Pool`], [`Request`]. Who is computed when is in `scheduler`. Must not know who asks.

mod scheduler;
mod sequence;
mod steps;

use crate::answer::GenerateSettings;
use crate::events::{Event, Usage};
use crate::model::LoadedModel;
use crate::speculate::{Drafter, MAX_GUESS};
use crate::{Error, Result};
use engine::{CancelToken, ContextSettings, Form, MemoryUse, Token};
use scheduler::Scheduler;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// How to open a [`Pool`].
#[derive(Debug, Clone)]
pub struct PoolSettings {
    /// Answers that are computed at the same time, 1 to 256. Default 4.
    pub n_sequences: u32,
    /// Context of each in tokens; `None`: as many as the plan has for one session.
    pub context_tokens: Option<u32>,
    /// Requests that may wait for a sequence; more are refused. Default 256.
    pub max_waiting: usize,
    /// Time that a step aims at: parts of long prompts are cut so that others' next tokens wait no longer. Default 60 ms.
    pub step_aim: Duration,
    /// As [`crate::SessionSettings::speculate`]; while several answers are written nothing is guessed. Default false.
    pub speculate: bool,
    /// As [`crate::SessionSettings::draft`]. Default none.
    pub draft: Option<LoadedModel>,
}

impl Default for PoolSettings {
    fn default() -> Self {
        Self {
            n_sequences: 4,
            context_tokens: None,
            max_waiting: 256,
            step_aim: Duration::from_millis(60),
            speculate: false,
            draft: None,
        }
    }
}

impl PoolSettings {
    /// Settings of the sequences, from those of a context for one.
    pub(crate) fn of_context(&self, one: ContextSettings) -> ContextSettings {
        let n_outputs_max = if self.speculate { 1 + MAX_GUESS as u32 } else { 1 };
        // No more at a time than all of them can hold: the engine takes no more either.
        let held = one.n_ctx.saturating_mul(self.n_sequences);
        let n_batch = one.n_batch.min(held).max(self.n_sequences.saturating_mul(n_outputs_max));
        let n_ubatch = one.n_ubatch.min(n_batch);
        let prediction_layers = self.speculate && self.draft.is_none();
        ContextSettings {
            n_sequences: self.n_sequences,
            n_outputs_max,
            n_batch,
            n_ubatch,
            prediction_layers,
            ..one
        }
    }
}

/// Hears what an answer tells, on the pool's thread: it should not take long there. `Break` ends the answer.
pub type Listener = Box<dyn FnMut(Event<'_>) -> ControlFlow<()> + Send>;

/// Hears how an answer ended, once.
pub type Done = Box<dyn FnOnce(Result<Usage>) + Send>;

/// A prompt that waits for its answer.
pub struct Request {
    /// The prompt.
    pub prompt: Vec<Token>,
    /// How to answer.
    pub settings: GenerateSettings,
    /// Ends it within one step, wherever it is; that is no error ([`crate::StopReason::Cancelled`]).
    pub cancel: CancelToken,
    /// Hears it.
    pub on_event: Listener,
    /// Hears its end, whatever that is.
    pub on_done: Done,
}

/// How busy a pool is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Occupation {
    /// Sequences there are.
    pub n_sequences: usize,
    /// Of these, at work.
    pub n_busy: usize,
    /// Requests that wait for one.
    pub n_waiting: usize,
}

/// What the thread and its callers share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    n_busy: AtomicUsize,
    n_waiting: AtomicUsize,
    /// Nothing new is taken.
    is_closing: AtomicBool,
    /// What is there ends within one step.
    breaks_off: AtomicBool,
    stop: CancelToken,
}

/// Sequences of one model that are computed together, by a thread of its own. Shared by any number of threads.
///
/// Prompts that begin like what a sequence holds cost only their rest, whoever asked before. Requests are taken in the
/// order in which they came; those at work each get a token per step, and prompts are computed in parts between.
pub struct Pool {
    sender: Mutex<Option<Sender<Request>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    shared: Arc<Shared>,
    model: LoadedModel,
    n_sequences: usize,
    n_ctx: usize,
    max_waiting: usize,
    memory: MemoryUse,
}

impl LoadedModel {
    /// Opens sequences that are computed together.
    ///
    /// # Errors
    /// A model that reads with an encoder, what the engine refuses.
    pub fn pool(&self, settings: &PoolSettings) -> Result<Pool> {
        self.steering().admit()?;
        if self.form() != Form::Decoder {
            let (expected, got) = ("a decoder".to_owned(), "one that reads with an encoder".to_owned());
            return Err(Error::Request { what: "model", expected, got });
        }
        let n_ctx = settings.context_tokens.unwrap_or_else(|| self.planned_tokens());
        let n_ubatch = self.setting().0.n_ubatch;
        let asked = settings.of_context(self.writing_settings(n_ctx, n_ubatch));
        let sequences = Arc::clone(self.engine_model()).new_sequences(&asked)?;
        let small = settings.draft.as_ref().filter(|_| settings.speculate);
        let drafter = small.map(|small| Drafter::open(small, self, n_ctx)).transpose()?;
        let (n_sequences, n_ctx, memory) = (sequences.n_sequences(), sequences.n_ctx(), sequences.memory());
        let (sender, receiver) = channel();
        let shared = Arc::<Shared>::default();
        let mut scheduler =
            Scheduler::new((sequences, drafter), self, settings, &asked, receiver, Arc::clone(&shared));
        let thread = std::thread::Builder::new()
            .name("llama-pajamas-pool".into())
            .spawn(move || scheduler.run())
            .map_err(|source| Error::Io { path: "a new thread".into(), source })?;
        Ok(Pool {
            sender: Mutex::new(Some(sender)),
            thread: Mutex::new(Some(thread)),
            shared,
            model: self.clone(),
            n_sequences,
            n_ctx,
            max_waiting: settings.max_waiting,
            memory,
        })
    }
}

impl Pool {
    /// The model.
    pub fn model(&self) -> &LoadedModel {
        &self.model
    }

    /// Tokens that each sequence can hold.
    pub fn n_ctx(&self) -> usize {
        self.n_ctx
    }

    /// What the model and all sequences occupy, as the engine counts it.
    pub fn memory(&self) -> &MemoryUse {
        &self.memory
    }

    /// How busy it is.
    pub fn occupation(&self) -> Occupation {
        Occupation {
            n_sequences: self.n_sequences,
            n_busy: self.shared.n_busy.load(Ordering::Relaxed),
            n_waiting: self.shared.n_waiting.load(Ordering::Relaxed),
        }
    }

    /// Hands in a request and returns; what comes of it is told to the request's listeners, on the pool's thread.
    ///
    /// # Errors
    /// A prompt that does not fit, settings out of range, [`Error::Busy`] when too many wait, [`Error::Refused`] while no
    /// new work is taken, [`Error::Closed`]. The request is then gone, and none of its listeners was called.
    pub fn submit(&self, request: Request) -> Result<()> {
        request.settings.check()?;
        if request.prompt.is_empty() || request.prompt.len() > self.n_ctx {
            let (expected, got) = (format!("1 to {} tokens", self.n_ctx), request.prompt.len().to_string());
            return Err(Error::Request { what: "prompt", expected, got });
        }
        let n_vocab = self.model.n_vocab();
        request.settings.media.check(&request.prompt)?;
        let outside = |token: &&Token| usize::try_from(**token).is_ok_and(|id| id >= n_vocab);
        if let Some(token) = request.prompt.iter().find(outside) {
            let expected = format!("ids below {n_vocab}");
            return Err(Error::Request { what: "token", expected, got: token.to_string() });
        }
        self.model.steering().admit()?;
        let sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(sender) = sender.as_ref().filter(|_| !self.shared.is_closing.load(Ordering::Relaxed)) else {
            return Err(Error::Closed);
        };
        let waiting = self.shared.n_waiting.fetch_add(1, Ordering::Relaxed);
        // Those for which a sequence is free do not wait.
        let free = self.n_sequences.saturating_sub(self.shared.n_busy.load(Ordering::Relaxed));
        if waiting >= self.max_waiting.saturating_add(free) || sender.send(request).is_err() {
            self.shared.n_waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(Error::Busy { waiting });
        }
        Ok(())
    }

    /// Answers `prompt` and returns when that is done, as [`crate::Session::generate_tokens`].
    ///
    /// # Errors
    /// As [`Pool::submit`] and [`crate::Session::generate_tokens`].
    pub fn generate_tokens(
        &self,
        prompt: &[Token],
        settings: &GenerateSettings,
        cancel: &CancelToken,
        on_event: impl FnMut(Event<'_>) -> ControlFlow<()> + Send + 'static,
    ) -> Result<Usage> {
        let (sender, receiver) = channel();
        self.submit(Request {
            prompt: prompt.to_vec(),
            settings: settings.clone(),
            cancel: cancel.clone(),
            on_event: Box::new(on_event),
            on_done: Box::new(move |outcome| {
                let _ = sender.send(outcome); // who asked may be gone
            }),
        })?;
        receiver.recv().unwrap_or(Err(Error::Closed))
    }

    /// Takes nothing new. What is there is answered to its end, at most `patience` long, then ended as if it were
    /// cancelled; returns when the thread and its sequences are gone.
    pub fn close(&self, patience: Duration) {
        self.shared.is_closing.store(true, Ordering::Relaxed);
        drop(self.sender.lock().unwrap_or_else(PoisonError::into_inner).take());
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(thread) = thread else { return };
        let begin = std::time::Instant::now();
        while !thread.is_finished() && begin.elapsed() < patience {
            std::thread::sleep(Duration::from_millis(5).min(patience));
        }
        self.shared.breaks_off.store(true, Ordering::Relaxed);
        self.shared.stop.cancel();
        // It catches what listeners do wrong; were it to end otherwise, there is nothing left to tell.
        let _ = thread.join();
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.close(Duration::ZERO);
    }
}
