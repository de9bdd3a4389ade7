//! What a configuration takes, in bytes, before anything is loaded.
//! Knows shapes; must not know budgets.

use families::{Attention, Description, Reach};
use formats::gguf::GgmlType;
use serde::Serialize;

/// Graph, tokenizer, thread stacks and allocator, expected and at most: 48 MiB together cover small models; large
/// vocabularies lie in the uncertainty.
const OVERHEAD_BYTES: u64 = 32 << 20;
const OVERHEAD_UNCERTAINTY_BYTES: u64 = 16 << 20;
/// Groups of cells in which the engine sizes its caches.
const CACHE_GROUP: u64 = 256;

/// Memory by part, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct MemoryEstimate {
    /// Weights: mapped from the file, which the system can evict.
    pub weights_bytes: u64,
    /// Key-value cache: exact.
    pub kv_bytes: u64,
    /// Compute buffers, as expected.
    pub compute_bytes: u64,
    /// Everything else, as expected.
    pub overhead_bytes: u64,
    /// What may come on top: backends lay out their buffers differently. Admission counts all of it.
    pub uncertainty_bytes: u64,
    /// What of all this lies in a device's own memory instead of the host's.
    pub device_bytes: u64,
}

impl MemoryEstimate {
    /// All of it, the uncertainty included.
    pub fn total_bytes(&self) -> u64 {
        self.expected_bytes().saturating_add(self.uncertainty_bytes)
    }

    /// All of it, the uncertainty left out.
    pub fn expected_bytes(&self) -> u64 {
        [self.weights_bytes, self.kv_bytes, self.compute_bytes, self.overhead_bytes]
            .into_iter()
            .fold(0, u64::saturating_add)
    }

    /// What the host's memory must hold, the uncertainty included.
    pub fn host_bytes(&self) -> u64 {
        self.total_bytes().saturating_sub(self.device_bytes)
    }

    /// What of it cannot be evicted.
    pub fn hard_bytes(&self) -> u64 {
        self.total_bytes().saturating_sub(self.weights_bytes).min(self.host_bytes())
    }
}

/// Estimates a configuration that runs on the host alone. Compute buffers with flash attention are
/// `(n_vocab · n_outputs + n_embd · n_ubatch) · 4` bytes with one output row; the graph's temporaries are as wide as the
/// feed-forward and may be held twice, which is the uncertainty.
pub fn estimate(
    description: &Description,
    weights_bytes: u64,
    context_tokens: u64,
    kv_type: GgmlType,
    n_ubatch: u64,
) -> MemoryEstimate {
    let f32s =
        |width: u64| description.vocab_size.saturating_add(width.saturating_mul(n_ubatch)).saturating_mul(4);
    let compute = f32s(description.hidden_size);
    let most = f32s(description.hidden_size.max(description.ffn_size)).saturating_mul(2);
    MemoryEstimate {
        weights_bytes,
        // A cache that no type can lay out fits nowhere.
        kv_bytes: cache_bytes(description, context_tokens, kv_type, n_ubatch).unwrap_or(u64::MAX / 4),
        compute_bytes: compute,
        overhead_bytes: OVERHEAD_BYTES,
        uncertainty_bytes: most.saturating_sub(compute).saturating_add(OVERHEAD_UNCERTAINTY_BYTES),
        device_bytes: 0,
    }
}

/// The caches of all layers as the engine sizes them: whole groups of cells; a sliding window has room for one more
/// batch. `None` where a row does not divide into the type's blocks, or beyond 2^64.
fn cache_bytes(description: &Description, context_tokens: u64, ty: GgmlType, n_ubatch: u64) -> Option<u64> {
    let context = context_tokens.checked_next_multiple_of(CACHE_GROUP)?;
    let mut sized = description.clone();
    for layer in &mut sized.layers {
        if let Some(Attention { reach: Reach::Sliding { window }, .. }) = layer.attention_mut() {
            *window = window.checked_add(n_ubatch)?.checked_next_multiple_of(CACHE_GROUP)?;
        }
    }
    families::memory::kv_bytes(&sized, context, ty, ty)?.checked_add(families::memory::state_bytes(&sized))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn qwen3_8b() -> Description {
        let config = serde_json::json!({"model_type": "qwen3", "hidden_size": 4096, "intermediate_size": 12288,
            "num_hidden_layers": 36, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128,
            "vocab_size": 151936, "max_position_embeddings": 40960});
        families::detect_config(&config).expect("a whole configuration")
    }

    #[test]
    fn parts_follow_the_formulas() {
        let memory = estimate(&qwen3_8b(), 5_000_000_000, 4000, GgmlType::F16, 512);
        assert_eq!(memory.kv_bytes, 4096 * 147_456, "rounded up to whole groups of cells");
        assert_eq!(memory.compute_bytes, (151_936 + 4096 * 512) * 4);
        assert_eq!(memory.total_bytes(), memory.expected_bytes() + memory.uncertainty_bytes);
        assert_eq!(memory.hard_bytes(), memory.total_bytes() - 5_000_000_000);
    }

    #[test]
    fn a_sliding_window_has_room_for_one_batch() {
        let mut description = qwen3_8b();
        for layer in &mut description.layers {
            if let Some(attention) = layer.attention_mut() {
                attention.reach = Reach::Sliding { window: 1024 };
            }
        }
        let kv = |context, n_ubatch| estimate(&description, 0, context, GgmlType::F16, n_ubatch).kv_bytes;
        assert_eq!(kv(32768, 512), 1536 * 147_456);
        assert_eq!(kv(32768, 128), 1280 * 147_456);
        assert_eq!(kv(512, 512), 512 * 147_456);
    }

    #[test]
    fn a_row_that_does_not_divide_fits_nowhere() {
        let mut description = qwen3_8b();
        if let Some(attention) = description.layers[0].attention_mut() {
            (attention.key_dim, attention.n_kv_heads) = (20, 1);
        }
        assert!(estimate(&description, 0, 512, GgmlType::Q8_0, 512).total_bytes() > 1 << 60);
        assert!(estimate(&description, 0, u64::MAX, GgmlType::F16, 512).total_bytes() > 1 << 60);
    }
}
