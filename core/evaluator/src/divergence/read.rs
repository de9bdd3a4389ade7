//! A model reads windows and hands over the logits of their second halves, row by row.
//! Owns the context's settings for that; must not know what becomes of the logits.

use crate::routing::chosen::Chosen;
use crate::text::Pass;
use crate::{Error, Result};
use engine::{CancelToken, Context, ContextSettings, Form, Logits, Model, Token};
use std::sync::Arc;

/// Memory that logits may take at a time.
const LOGITS_BYTES: usize = 64 << 20;
/// Most tokens that are computed at a time.
const MAX_BATCH: usize = 512;

/// How to compute. The cache is of 16-bit floats, attention fused where the device can.
#[derive(Debug, Clone, PartialEq)]
pub struct Computing {
    /// Threads. Default 2.
    pub n_threads: u32,
}

impl Default for Computing {
    fn default() -> Self {
        Self { n_threads: 2 }
    }
}

impl Computing {
    /// Settings of a context of `n_ctx` tokens that gives logits of as many tokens at a time as fit the memory for them.
    pub(crate) fn settings(&self, n_vocab: usize, n_ctx: usize) -> Result<(ContextSettings, usize)> {
        let rows = (LOGITS_BYTES / (4 * n_vocab.max(1))).clamp(1, MAX_BATCH).min(n_ctx);
        let small = |n: usize| u32::try_from(n).map_err(|_| Error::request("context", "fewer tokens", n));
        let settings = ContextSettings {
            n_ctx: small(n_ctx)?,
            n_batch: small(rows)?,
            n_ubatch: small(rows)?,
            n_outputs_max: small(rows)?,
            n_threads: self.n_threads,
            n_threads_batch: self.n_threads,
            ..ContextSettings::default()
        };
        Ok((settings, rows))
    }

    /// Opens a context that reads windows; with `chosen` it sees the experts of the positions that are scored.
    pub(crate) fn open(
        &self,
        model: &Arc<dyn Model>,
        n_ctx: usize,
        chosen: Option<&Chosen>,
    ) -> Result<WindowReader> {
        if model.form() != Form::Decoder {
            return Err(Error::request("model", "a decoder", format!("{:?}", model.form())));
        }
        let (settings, rows) = self.settings(model.n_vocab(), n_ctx)?;
        let model = Arc::clone(model);
        let context = match chosen {
            Some(chosen) => model.new_watched_context(&settings, Box::new(chosen.clone()))?,
            None => model.new_context(&settings)?,
        };
        Ok(WindowReader { context, rows, chosen: chosen.cloned() })
    }
}

pub(crate) struct WindowReader {
    context: Box<dyn Context>,
    rows: usize,
    chosen: Option<Chosen>,
}

impl WindowReader {
    /// Reads a window and hands over each scored position with the logits after it.
    pub(crate) fn read(
        &mut self,
        tokens: &[Token],
        cancel: &CancelToken,
        each: &mut dyn FnMut(usize, &[f32]) -> Result<()>,
    ) -> Result<()> {
        let first = Pass::first_scored(tokens.len());
        self.context.truncate(0)?;
        self.watch(false);
        self.context.decode(&tokens[..first], Logits::None, cancel)?;
        self.watch(true);
        let last = tokens.len() - 1;
        let mut position = first;
        while position < last {
            let end = (position + self.rows).min(last);
            self.context.decode(&tokens[position..end], Logits::All, cancel)?;
            for row in 0..end - position {
                each(position + row, self.context.logits(row)?)?;
            }
            position = end;
        }
        Ok(())
    }

    fn watch(&self, is_on: bool) {
        if let Some(chosen) = &self.chosen {
            chosen.turn(is_on);
        }
    }
}
