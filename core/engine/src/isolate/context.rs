//! A context in another process: what it held last is known here.
//!
//! Owns: [`IsolatedContext`]. May know: the wire. Must not know: how a process is started.

use std::any::Any;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use super::model::IsolatedAdapter;
use super::process::Process;
use super::start::unexpected;
use super::wire::{Answer, Ask, How, from_raw};
use crate::{Applied, CancelToken, Context, ContextSettings, Error, Logits, MemoryUse, Token, Vectors};

pub(super) struct IsolatedContext {
    process: Arc<Process>,
    id: u64,
    n_vocab: usize,
    n_ctx: usize,
    n_past: usize,
    keeps_after_breaking_off: bool,
    has_predictions: bool,
    memory: MemoryUse,
    how: How,
    /// Rows that the last decode kept.
    logits: Vec<f32>,
}

impl IsolatedContext {
    pub(super) fn open(
        process: Arc<Process>,
        n_vocab: usize,
        settings: &ContextSettings,
    ) -> Result<Self, Error> {
        let ask = Ask::Open { settings: settings.clone() };
        match process.ask(&ask, &[], None, &mut |_| ControlFlow::Continue(()))?.0 {
            Answer::Opened { context: id, n_ctx, keeps_after_breaking_off, has_predictions, memory } => {
                let (n_past, how, logits) = (0, How::default(), Vec::new());
                Ok(Self {
                    process,
                    id,
                    n_vocab,
                    n_ctx,
                    n_past,
                    keeps_after_breaking_off,
                    has_predictions,
                    memory,
                    how,
                    logits,
                })
            }
            other => Err(unexpected(other)),
        }
    }

    /// Asks and notes how many tokens are held afterwards; the raw part and the width of what it holds.
    fn ask(
        &mut self,
        ask: &Ask,
        raw: &[u8],
        cancel: Option<&CancelToken>,
    ) -> Result<(usize, Vec<u8>), Error> {
        let (answer, raw) = self.process.ask(ask, raw, cancel, &mut |_| ControlFlow::Continue(()))?;
        match answer {
            Answer::Done { n_past, width } => {
                self.n_past = n_past;
                Ok((width, raw))
            }
            Answer::Failed { fault, n_past } => {
                self.n_past = n_past;
                Err(fault.into())
            }
            other => Err(unexpected(other)),
        }
    }
}

impl Context for IsolatedContext {
    fn decode(&mut self, tokens: &[Token], want: Logits, cancel: &CancelToken) -> Result<(), Error> {
        self.logits.clear();
        let ask = Ask::Decode { context: self.id, tokens: tokens.to_vec(), want, how: self.how };
        let (_, raw) = self.ask(&ask, &[], Some(cancel))?;
        self.logits = from_raw(&raw);
        Ok(())
    }

    fn embed(&mut self, tokens: &[Token], cancel: &CancelToken) -> Result<Vectors, Error> {
        self.logits.clear();
        let ask = Ask::Embed { context: self.id, tokens: tokens.to_vec(), how: self.how };
        let (width, raw) = self.ask(&ask, &[], Some(cancel))?;
        Ok(Vectors { width, values: from_raw(&raw) })
    }

    fn encode(&mut self, tokens: &[Token], cancel: &CancelToken) -> Result<(), Error> {
        self.logits.clear();
        let ask = Ask::Encode { context: self.id, tokens: tokens.to_vec(), how: self.how };
        self.ask(&ask, &[], Some(cancel)).map(|_| ())
    }

    fn logits(&self, i: usize) -> Result<&[f32], Error> {
        let kept = self.logits.len() / self.n_vocab.max(1);
        let row = self.logits.chunks_exact(self.n_vocab.max(1)).nth(i);
        row.ok_or(Error::NoLogits { row: i, kept })
    }

    fn n_past(&self) -> usize {
        self.n_past
    }

    fn n_ctx(&self) -> usize {
        self.n_ctx
    }

    fn truncate(&mut self, n_past: usize) -> Result<(), Error> {
        self.logits.clear();
        self.ask(&Ask::Truncate { context: self.id, to: n_past }, &[], None).map(|_| ())
    }

    fn state(&self) -> Result<Vec<u8>, Error> {
        let ask = Ask::State { context: self.id };
        match self.process.ask(&ask, &[], None, &mut |_| ControlFlow::Continue(()))? {
            (Answer::Done { .. }, state) => Ok(state),
            (other, _) => Err(unexpected(other)),
        }
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), Error> {
        self.logits.clear();
        self.ask(&Ask::Restore { context: self.id }, state, None).map(|_| ())
    }

    fn set_threads(&mut self, decode: usize, batch: usize) {
        self.how.threads = Some((decode, batch));
    }

    fn set_time_limit(&mut self, limit: Option<Duration>) {
        self.how.limit = limit;
    }

    fn keeps_after_breaking_off(&self) -> bool {
        self.keeps_after_breaking_off
    }

    fn has_predictions(&self) -> bool {
        self.has_predictions
    }

    fn predict(
        &mut self,
        next: Token,
        most: usize,
        least_probability: f32,
        cancel: &CancelToken,
    ) -> Result<Vec<Token>, Error> {
        let ask = Ask::Predict { context: self.id, next, most, least_probability, how: self.how };
        let (_, raw) = self.ask(&ask, &[], Some(cancel))?;
        Ok(raw.as_chunks::<4>().0.iter().map(|bytes| Token::from_le_bytes(*bytes)).collect())
    }

    fn adapt(&mut self, adapters: &[Applied]) -> Result<(), Error> {
        let path = |applied: &Applied| {
            let adapter: &dyn Any = &*applied.adapter;
            let adapter = adapter.downcast_ref::<IsolatedAdapter>();
            let expected = "one of a model in a process of its own";
            let adapter = adapter.ok_or_else(|| Error::Adapter { expected, got: "another's".into() })?;
            Ok((adapter.path.clone(), applied.scale))
        };
        let adapters = adapters.iter().map(path).collect::<Result<Vec<_>, Error>>()?;
        self.logits.clear();
        self.ask(&Ask::Adapt { context: self.id, adapters }, &[], None).map(|_| ())
    }

    fn memory(&self) -> MemoryUse {
        self.memory.clone()
    }
}

impl Drop for IsolatedContext {
    fn drop(&mut self) {
        // Of a process that has ended there is nothing to close.
        let _ =
            self.process.ask(&Ask::Close { context: self.id }, &[], None, &mut |_| ControlFlow::Continue(()));
    }
}
