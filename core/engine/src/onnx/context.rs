//! Contexts: one sequence each.
//!
//! Owns: [`OnnxContext`]: decoding in chunks, logits, going back. May know: its model. Must not know: sampling.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use onnx::Value;

use super::cache::Cache;
use super::model::{MOST_AT_ONCE, OnnxModel};
use super::ports::{LOGITS, MASK, TOKENS};
use super::stop::{Stopped, watched};
use crate::{CancelToken, Context, ContextSettings, Error, Logits, MemoryUse, Token, check_ids, check_room};

/// A context of a graph. Keeps its model alive.
pub(super) struct OnnxContext {
    model: Arc<OnnxModel>,
    cache: Cache,
    names: Vec<[String; 2]>,
    n_past: usize,
    n_ctx: usize,
    n_chunk: usize,
    n_outputs_max: usize,
    time_limit: Option<Duration>,
    /// Rows that the last decode kept.
    logits: Vec<f32>,
}

impl OnnxContext {
    pub(super) fn open(model: Arc<OnnxModel>, settings: &ContextSettings) -> Result<Self, Error> {
        let cache = Cache::empty(&model.ports)?;
        let names = model.ports.names();
        Ok(Self {
            cache,
            names,
            n_past: 0,
            n_ctx: settings.n_ctx as usize,
            n_chunk: (settings.n_ubatch.min(settings.n_batch) as usize).min(MOST_AT_ONCE),
            n_outputs_max: settings.n_outputs_max.max(1) as usize,
            time_limit: None,
            logits: Vec::new(),
            model,
        })
    }

    /// Lets the cache be as long as what is held, where it is longer and the graph would not read it so: before a run to
    /// `total` tokens.
    fn cut(&mut self, total: usize) -> Result<(), Error> {
        let (ports, held) = (&self.model.ports, self.cache.n_held());
        if held > self.n_past && (!ports.reads_by_mask || total > held) {
            self.cache = self.cache.first(ports, self.n_past)?;
        }
        Ok(())
    }

    /// Computes `tokens` at once.
    fn run(
        &mut self,
        tokens: &[Token],
        want: Logits,
        cancel: &CancelToken,
        end: Option<Instant>,
    ) -> Result<(), Error> {
        let n_past = self.n_past;
        let failed = |error: onnx::Error| Error::Decode { n_past, code: 0, reason: error.to_string() };
        if cancel.is_cancelled() {
            return Err(Error::Cancelled);
        }
        let total = n_past + tokens.len();
        self.cut(total)?;
        let ids: Vec<i64> = tokens.iter().map(|token| i64::from(*token)).collect();
        let ids = Value::integers(&[1, tokens.len() as i64], ids).map_err(failed)?;
        let mask = Value::integers(&[1, total as i64], vec![1; total]).map_err(failed)?;
        let mut session = self.model.session.lock().unwrap_or_else(PoisonError::into_inner);
        let mut inputs: Vec<(&str, &Value)> = vec![(TOKENS, &ids), (MASK, &mask)];
        inputs.extend(self.names.iter().map(|[past, _]| past.as_str()).zip(&self.cache.values));
        let stopping = session.cancel();
        let left = end.map(|end| end.saturating_duration_since(Instant::now()));
        let (outputs, stopped) = watched(cancel, left, || stopping.cancel(), || session.run(&inputs));
        if stopped.is_some() {
            session.cancel().reset();
        }
        let order: Vec<String> = session.outputs().iter().map(|port| port.name.clone()).collect();
        drop(session);
        let outputs = match (outputs, stopped, self.time_limit) {
            // What came before it was stopped has come.
            (Ok(outputs), ..) => outputs,
            (Err(_), Some(Stopped::Late), Some(limit)) => return Err(Error::TimeLimit { n_past, limit }),
            (Err(_), Some(_), _) => return Err(Error::Cancelled),
            (Err(error), ..) => return Err(failed(error)),
        };
        let mut named: Vec<(String, Option<Value>)> =
            order.into_iter().zip(outputs.into_iter().map(Some)).collect();
        let mut take = |name: &str| {
            let found = named.iter_mut().find(|(known, _)| known == name);
            found.and_then(|(_, value)| value.take()).ok_or_else(|| Error::Decode {
                n_past,
                code: 0,
                reason: format!("the graph gave no `{name}`"),
            })
        };
        let logits = take(LOGITS)?;
        let values = self.names.iter().map(|[_, present]| take(present)).collect::<Result<_, _>>()?;
        let rows = logits.as_floats().map_err(failed)?;
        let n_vocab = self.model.ports.n_vocab;
        match want {
            Logits::None => {}
            Logits::Last => self.logits = rows[rows.len().saturating_sub(n_vocab)..].to_vec(),
            Logits::All => self.logits.extend_from_slice(rows),
        }
        self.cache = Cache { values };
        self.n_past = total;
        Ok(())
    }
}

impl Context for OnnxContext {
    fn decode(&mut self, tokens: &[Token], want: Logits, cancel: &CancelToken) -> Result<(), Error> {
        check_ids(tokens, self.model.ports.n_vocab)?;
        check_room(tokens.len(), want, self.n_past, self.n_ctx, self.n_outputs_max)?;
        self.logits.clear();
        let end = self.time_limit.map(|limit| Instant::now() + limit);
        let n_chunks = tokens.len().div_ceil(self.n_chunk);
        let outcome = tokens.chunks(self.n_chunk).enumerate().try_for_each(|(at, chunk)| {
            let of_chunk = if want == Logits::Last && at + 1 < n_chunks { Logits::None } else { want };
            self.run(chunk, of_chunk, cancel, end)
        });
        if outcome.is_err() {
            self.logits.clear();
        }
        outcome
    }

    fn logits(&self, i: usize) -> Result<&[f32], Error> {
        let n_vocab = self.model.ports.n_vocab;
        let kept = self.logits.len() / n_vocab;
        self.logits.chunks_exact(n_vocab).nth(i).ok_or(Error::NoLogits { row: i, kept })
    }

    fn n_past(&self) -> usize {
        self.n_past
    }

    fn n_ctx(&self) -> usize {
        self.n_ctx
    }

    fn truncate(&mut self, n_past: usize) -> Result<(), Error> {
        if n_past > self.n_past {
            return Err(Error::Truncate { to: n_past, n_past: self.n_past, reason: "fewer are held" });
        }
        if n_past == 0 {
            self.cache = Cache::empty(&self.model.ports)?;
        }
        self.n_past = n_past;
        self.logits.clear();
        Ok(())
    }

    fn state(&self) -> Result<Vec<u8>, Error> {
        self.cache.write(&self.model.ports, self.n_past)
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), Error> {
        let (cache, n_past) = Cache::read(state, &self.model.ports, self.n_ctx)?;
        self.cache = cache;
        self.n_past = n_past;
        self.logits.clear();
        Ok(())
    }

    /// A session keeps the threads that it was made with.
    fn set_threads(&mut self, _decode: usize, _batch: usize) {}

    fn set_time_limit(&mut self, limit: Option<Duration>) {
        self.time_limit = limit;
    }

    fn memory(&self) -> MemoryUse {
        self.model.memory_with(self.n_ctx)
    }
}
