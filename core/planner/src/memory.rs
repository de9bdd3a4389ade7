//! What a configuration takes, in bytes, before anything is loaded.

use families::Description;
use formats::gguf::GgmlType;
use serde::Serialize;

/// Graph, tokenizer, thread stacks and allocator: measured between 12 and 40 MiB on small models.
const OVERHEAD_BYTES: u64 = 48 << 20;

/// Memory by part, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct MemoryEstimate {
    /// Weights: mapped from the file, which the system can evict.
    pub weights_bytes: u64,
    /// Key-value cache.
    pub kv_bytes: u64,
    /// Compute buffers.
    pub compute_bytes: u64,
    /// Everything else.
    pub overhead_bytes: u64,
}

impl MemoryEstimate {
    /// All of it.
    pub fn total_bytes(&self) -> u64 {
        [self.weights_bytes, self.kv_bytes, self.compute_bytes, self.overhead_bytes]
            .into_iter()
            .fold(0, u64::saturating_add)
    }

    /// What cannot be evicted.
    pub fn hard_bytes(&self) -> u64 {
        self.total_bytes() - self.weights_bytes
    }
}

/// Estimates a configuration. Compute buffers with flash attention are
/// `(n_vocab · n_outputs + n_embd · n_ubatch) · 4` bytes, with one output row, doubled for the graph's temporaries.
pub fn estimate(
    description: &Description,
    weights_bytes: u64,
    context_tokens: u64,
    kv_type: GgmlType,
    n_ubatch: u64,
) -> MemoryEstimate {
    let widest = description.hidden_size.max(description.ffn_size);
    let compute = description.vocab_size.saturating_add(widest.saturating_mul(n_ubatch)).saturating_mul(8);
    // The engine rounds contexts up to whole groups of 256.
    let context = context_tokens.next_multiple_of(256);
    MemoryEstimate {
        weights_bytes,
        kv_bytes: families::memory::kv_bytes(description, context, kv_type, kv_type).unwrap_or(u64::MAX / 4),
        compute_bytes: compute,
        overhead_bytes: OVERHEAD_BYTES,
    }
}
