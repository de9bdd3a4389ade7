//! The other half: an engine that answers on a pipe.
//!
//! Owns: [`serve`] and the contexts that are open. May know: the wire. Must not know: who asks.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::wire::{Answer, Ask, Facts, Fault, Frame, How, receive, send, to_raw};
use crate::{Adapter, Applied, CancelToken, Context, Engine, Error, Logits, Model};

/// Answers what comes from `input` on `output` until `input` ends, as the child of an [`super::IsolatedEngine`]: nothing else may
/// write to `output`.
///
/// # Errors
/// A pipe that is closed, or says what it should not.
pub fn serve(
    engine: &dyn Engine,
    mut input: impl Read + Send + 'static,
    mut output: impl Write,
) -> io::Result<()> {
    let stopping = Arc::new(Mutex::new(Stopping::default()));
    let (tell, asks) = channel();
    let hears = Arc::clone(&stopping);
    // Asks are numbered in the order in which they come, on both sides.
    std::thread::Builder::new().name("llama-pajamas-serve".into()).spawn(move || {
        let mut number = 0;
        while let Ok(Some((ask, raw))) = receive::<Ask>(&mut input) {
            if let Ask::Cancel { number } = ask {
                lock(&hears).cancel(number);
                continue;
            }
            number += 1;
            if tell.send((number, ask, raw)).is_err() {
                return;
            }
        }
    })?;
    let mut served =
        Served { engine, model: None, adapters: BTreeMap::new(), contexts: BTreeMap::new(), opened: 0 };
    for (number, ask, raw) in asks {
        let cancel = lock(&stopping).begin(number);
        let (answer, raw) = served.answer(ask, &raw, &cancel, &mut output)?;
        send(&mut output, &answer, &raw)?;
    }
    Ok(())
}

fn lock(stopping: &Mutex<Stopping>) -> MutexGuard<'_, Stopping> {
    stopping.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Which ask runs, and which is to be stopped; it may not have begun.
#[derive(Default)]
struct Stopping {
    running: u64,
    stopped: u64,
    cancel: CancelToken,
}

impl Stopping {
    fn begin(&mut self, number: u64) -> CancelToken {
        (self.running, self.cancel) = (number, CancelToken::new());
        if self.stopped == number {
            self.cancel.cancel();
        }
        self.cancel.clone()
    }

    fn cancel(&mut self, number: u64) {
        self.stopped = number;
        if self.running == number {
            self.cancel.cancel();
        }
    }
}

struct Served<'a> {
    engine: &'a dyn Engine,
    model: Option<Arc<dyn Model>>,
    /// Of the model, by file; they stay as long as it does.
    adapters: BTreeMap<PathBuf, Arc<dyn Adapter>>,
    contexts: BTreeMap<u64, Box<dyn Context>>,
    opened: u64,
}

impl Served<'_> {
    fn answer(
        &mut self,
        ask: Ask,
        raw: &[u8],
        cancel: &CancelToken,
        output: &mut impl Write,
    ) -> io::Result<Frame<Answer>> {
        let context = match ask {
            Ask::Decode { context, .. }
            | Ask::Embed { context, .. }
            | Ask::Encode { context, .. }
            | Ask::Adapt { context, .. }
            | Ask::Predict { context, .. }
            | Ask::Truncate { context, .. }
            | Ask::Restore { context } => Some(context),
            _ => None,
        };
        let mut broken = None;
        let outcome = self.compute(ask, raw, cancel, &mut |share| {
            // A pipe that is closed is told when the load has stopped.
            match send(output, &Answer::Progress(share), &[]) {
                Ok(()) if cancel.is_cancelled() => ControlFlow::Break(()),
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => {
                    broken = Some(error);
                    ControlFlow::Break(())
                }
            }
        });
        if let Some(error) = broken {
            return Err(error);
        }
        Ok(outcome.unwrap_or_else(|error| {
            let held = context.and_then(|id| self.contexts.get(&id)).map_or(0, |context| context.n_past());
            (Answer::Failed { fault: Fault::from(error), n_past: held }, Vec::new())
        }))
    }

    fn compute(
        &mut self,
        ask: Ask,
        raw: &[u8],
        cancel: &CancelToken,
        progress: &mut dyn FnMut(f32) -> ControlFlow<()>,
    ) -> Result<Frame<Answer>, Error> {
        let plain = |answer| Ok((answer, Vec::new()));
        match ask {
            Ask::Devices => plain(Answer::Devices(self.engine.devices())),
            Ask::Build => plain(Answer::Build(self.engine.build())),
            Ask::Load { path, settings } => {
                let model = self.engine.load(&path, &settings, progress)?;
                let facts = Facts {
                    n_vocab: model.n_vocab(),
                    n_ctx_train: model.n_ctx_train(),
                    form: model.form(),
                    memory: model.memory(),
                };
                self.adapters.clear();
                self.model = Some(model);
                plain(Answer::Loaded(facts))
            }
            Ask::Measure { path, load, context } => {
                plain(Answer::Measured(self.engine.measure(&path, &load, &context)?))
            }
            Ask::Open { settings } => {
                let model = self.model.clone().ok_or_else(|| nothing("a model"))?;
                let context = model.new_context(&settings)?;
                self.opened += 1;
                let answer = Answer::Opened {
                    context: self.opened,
                    n_ctx: context.n_ctx(),
                    keeps_after_breaking_off: context.keeps_after_breaking_off(),
                    has_predictions: context.has_predictions(),
                    memory: context.memory(),
                };
                self.contexts.insert(self.opened, context);
                plain(answer)
            }
            Ask::Decode { context, tokens, want, how } => {
                let context = self.context(context, how)?;
                context.decode(&tokens, want, cancel)?;
                let n_rows = match want {
                    Logits::None => 0,
                    Logits::Last => 1,
                    Logits::All => tokens.len(),
                };
                let mut raw = Vec::new();
                for row in 0..n_rows {
                    raw.extend(to_raw(context.logits(row)?));
                }
                Ok((Answer::Done { n_past: context.n_past(), width: 0 }, raw))
            }
            Ask::Embed { context, tokens, how } => {
                let context = self.context(context, how)?;
                let vectors = context.embed(&tokens, cancel)?;
                let answer = Answer::Done { n_past: context.n_past(), width: vectors.width };
                Ok((answer, to_raw(&vectors.values)))
            }
            Ask::Encode { context, tokens, how } => {
                let context = self.context(context, how)?;
                context.encode(&tokens, cancel)?;
                plain(Answer::Done { n_past: context.n_past(), width: 0 })
            }
            Ask::Predict { context, next, most, least_probability, how } => {
                let context = self.context(context, how)?;
                let expected = context.predict(next, most, least_probability, cancel)?;
                let raw = expected.iter().flat_map(|token| token.to_le_bytes()).collect();
                Ok((Answer::Done { n_past: context.n_past(), width: 0 }, raw))
            }
            Ask::Truncate { context, to } => {
                let context = self.held(context)?;
                context.truncate(to)?;
                plain(Answer::Done { n_past: context.n_past(), width: 0 })
            }
            Ask::State { context } => {
                let context = self.held(context)?;
                let state = context.state()?;
                Ok((Answer::Done { n_past: context.n_past(), width: 0 }, state))
            }
            Ask::Restore { context } => {
                let context = self.held(context)?;
                context.restore(raw)?;
                plain(Answer::Done { n_past: context.n_past(), width: 0 })
            }
            Ask::LoadAdapter { path } => {
                let adapter = self.adapter(&path)?;
                plain(Answer::Adapter { kind: adapter.kind(), bytes: adapter.bytes() })
            }
            Ask::Adapt { context, adapters } => {
                let applied = |(path, scale): &(PathBuf, f32)| {
                    Ok(Applied { adapter: self.adapter(path)?, scale: *scale })
                };
                let applied = adapters.iter().map(applied).collect::<Result<Vec<_>, Error>>()?;
                let context = self.held(context)?;
                context.adapt(&applied)?;
                plain(Answer::Done { n_past: context.n_past(), width: 0 })
            }
            Ask::Close { context } => {
                self.contexts.remove(&context);
                plain(Answer::Done { n_past: 0, width: 0 })
            }
            // Heard where it is read.
            Ask::Cancel { .. } => plain(Answer::Done { n_past: 0, width: 0 }),
        }
    }

    /// The adapter in a file, read when it is first asked for.
    fn adapter(&mut self, path: &Path) -> Result<Arc<dyn Adapter>, Error> {
        if let Some(adapter) = self.adapters.get(path) {
            return Ok(Arc::clone(adapter));
        }
        let model = self.model.clone().ok_or_else(|| nothing("a model"))?;
        let adapter = model.load_adapter(path)?;
        self.adapters.insert(path.to_owned(), Arc::clone(&adapter));
        Ok(adapter)
    }

    fn held(&mut self, id: u64) -> Result<&mut Box<dyn Context>, Error> {
        self.contexts.get_mut(&id).ok_or_else(|| nothing("that context"))
    }

    /// A context that computes so from now on.
    fn context(&mut self, id: u64, how: How) -> Result<&mut Box<dyn Context>, Error> {
        let context = self.held(id)?;
        if let Some((decode, batch)) = how.threads {
            context.set_threads(decode, batch);
        }
        context.set_time_limit(how.limit);
        Ok(context)
    }
}

fn nothing(what: &str) -> Error {
    Error::Process { reason: format!("{what} is not there") }
}
