//! What a loaded model and its contexts occupy.
//!
//! Owns: [`MemoryUse`]. May know: nothing else. Must not know: budgets (crate `planner`).

use serde::{Deserialize, Serialize};

/// Bytes in use, in total and per buffer type.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryUse {
    /// Weights, in bytes. Memory-mapped weights are counted although the system may evict them.
    pub model_bytes: u64,
    /// Attention cache or recurrent state, in bytes.
    pub context_bytes: u64,
    /// Temporary buffers of the computation and logits, in bytes.
    pub compute_bytes: u64,
    /// The same three, split by buffer type; empty where the engine does not tell.
    pub buffers: Vec<BufferUse>,
}

/// The part of [`MemoryUse`] that lies in one type of buffer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BufferUse {
    /// The engine's name of the buffer type: `CPU`, `CPU_REPACK`, `Vulkan0`.
    pub name: String,
    /// Whether the memory is the host's.
    pub is_host: bool,
    /// Weights, in bytes.
    pub model_bytes: u64,
    /// Attention cache or recurrent state, in bytes.
    pub context_bytes: u64,
    /// Temporary buffers, in bytes.
    pub compute_bytes: u64,
}

impl MemoryUse {
    /// All of it, in bytes.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        sum([self.model_bytes, self.context_bytes, self.compute_bytes])
    }

    /// With another context of the same model, whose weights are there once.
    #[must_use]
    pub fn and_context(mut self, other: Self) -> Self {
        self.context_bytes = self.context_bytes.saturating_add(other.context_bytes);
        self.compute_bytes = self.compute_bytes.saturating_add(other.compute_bytes);
        for buffer in other.buffers {
            match self.buffers.iter_mut().find(|own| own.name == buffer.name) {
                Some(own) => {
                    own.context_bytes = own.context_bytes.saturating_add(buffer.context_bytes);
                    own.compute_bytes = own.compute_bytes.saturating_add(buffer.compute_bytes);
                }
                None => self.buffers.push(BufferUse { model_bytes: 0, ..buffer }),
            }
        }
        self
    }
}

impl BufferUse {
    /// All of it, in bytes.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        sum([self.model_bytes, self.context_bytes, self.compute_bytes])
    }
}

fn sum(parts: [u64; 3]) -> u64 {
    parts.into_iter().fold(0, u64::saturating_add)
}
