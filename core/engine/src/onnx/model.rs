//! Loaded graphs.
//!
//! Owns: [`OnnxModel`], and what a graph and its caches occupy. May know: sessions. Must not know: decoding.

use std::sync::{Arc, Mutex};

use onnx::Session;

use super::context::OnnxContext;
use super::ports::Ports;
use crate::{Context, ContextSettings, DryModel, Error, MemoryUse, Model};

/// Most tokens whose logits one run computes: a graph gives those of all its tokens.
pub(super) const MOST_AT_ONCE: usize = 128;
/// Widths of the residual stream are not among a graph's ports; what flows between operators is counted by logits, beside
/// which it is small, and by this much.
const BESIDE_BYTES: u64 = 16 << 20;

/// What lies in files.
#[derive(Debug, Clone, Copy)]
pub(super) struct Weight {
    pub(super) bytes: u64,
}

/// A graph that is ready to compute.
pub(super) struct OnnxModel {
    /// A session computes for one caller at a time.
    pub(super) session: Mutex<Session>,
    pub(super) ports: Ports,
    weight: Weight,
}

impl OnnxModel {
    pub(super) fn new(session: Session, ports: Ports, weight: Weight) -> Self {
        Self { session: Mutex::new(session), ports, weight }
    }

    /// What it and a context of these settings occupy.
    pub(super) fn memory_with(&self, n_ctx: usize) -> MemoryUse {
        memory(&self.ports, self.weight, Some(n_ctx))
    }
}

impl Model for OnnxModel {
    fn n_vocab(&self) -> usize {
        self.ports.n_vocab
    }

    fn n_ctx_train(&self) -> u64 {
        self.ports.n_ctx_train
    }

    fn new_context(self: Arc<Self>, settings: &ContextSettings) -> Result<Box<dyn Context>, Error> {
        settings.check_one_sequence()?;
        Ok(Box::new(OnnxContext::open(self, settings)?))
    }

    fn memory(&self) -> MemoryUse {
        memory(&self.ports, self.weight, None)
    }
}

/// A graph that is not ready to compute.
pub(super) struct DryOnnxModel {
    pub(super) ports: Ports,
    pub(super) weight: Weight,
}

impl DryModel for DryOnnxModel {
    fn measure(&self, settings: &ContextSettings) -> Result<MemoryUse, Error> {
        settings.check_one_sequence()?;
        Ok(memory(&self.ports, self.weight, Some(settings.n_ctx as usize)))
    }
}

/// Weights lie in files and once more in the order in which they multiply; a run has the cache twice, before and after.
fn memory(ports: &Ports, weight: Weight, n_ctx: Option<usize>) -> MemoryUse {
    let n_ctx = n_ctx.map_or(0, |n| n as u64);
    let logits = (MOST_AT_ONCE * ports.n_vocab) as u64 * 4;
    MemoryUse {
        model_bytes: weight.bytes,
        context_bytes: ports.cache_bytes().saturating_mul(n_ctx).saturating_mul(2),
        compute_bytes: if n_ctx == 0 { 0 } else { logits + BESIDE_BYTES },
        buffers: Vec::new(),
    }
}
