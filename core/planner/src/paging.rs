//! Experts that stay in their file: what a cap must be at least, and what reading them as they are chosen costs.
//! Knows stacks of experts and kinds of disks; must not know which experts are chosen, nor decide whether to page.

use crate::choose::bytes;
use crate::{Candidate, Reason, ReasonCode, SpeedEstimate};
use families::role_of;
use formats::gguf::layer_of;
use hardware::{DiskKind, Host};
use std::collections::BTreeMap;

/// Of what an even choice of experts would read, the least that is expected: models choose some of them often. A trained model of
/// 16 experts by 6 layers read 0.30 to 0.44 of it, with 37 to 78 % of them in memory (`tests/tests/interop_paging.rs`).
const FAVOURED: f64 = 0.3;
/// Caps are whole so many bytes.
const STEP_BYTES: u64 = 1 << 20;

/// A variant's stacks of experts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Stacks {
    /// All of them, in bytes.
    pub(crate) bytes: u64,
    /// Those of the layer that has most: a batch may want all at once.
    widest_layer_bytes: u64,
    /// The share of a layer's experts that one token uses.
    active: f64,
}

impl Stacks {
    /// `None` for a variant without stacks, or one that is known as a sum alone.
    pub(crate) fn of(candidate: &Candidate) -> Option<Self> {
        let moe = candidate.description.moe?;
        let mut layers = BTreeMap::<_, u64>::new();
        for tensor in candidate.tensors.iter().filter(|tensor| tensor.dims.len() == 3) {
            let Some(layer) =
                layer_of::<u32>(&tensor.name).filter(|_| role_of(&tensor.name).is_routed_expert())
            else {
                continue;
            };
            let rows = tensor.dims[1].saturating_mul(tensor.dims[2]);
            let bytes = tensor.ty.row_bytes(tensor.dims[0])?.saturating_mul(rows);
            let sum = layers.entry(layer).or_default();
            *sum = sum.saturating_add(bytes);
        }
        Some(Self {
            bytes: layers.values().copied().fold(0, u64::saturating_add),
            widest_layer_bytes: layers.values().copied().max()?,
            active: (f64::from(moe.n_active) / f64::from(moe.n_experts.max(1))).min(1.0),
        })
    }

    /// What of `room_bytes` the experts may take; `None` where one layer's do not fit. At most all of them.
    pub(crate) fn cap_bytes(&self, room_bytes: u64) -> Option<u64> {
        let cap = room_bytes.min(self.bytes) / STEP_BYTES * STEP_BYTES;
        (cap >= self.widest_layer_bytes).then_some(cap)
    }

    /// Bytes that a token reads with `cap_bytes` of experts in memory: low and high.
    fn read_by_token(&self, cap_bytes: u64) -> [f64; 2] {
        let missing = self.bytes.saturating_sub(cap_bytes) as f64;
        [missing * self.active * FAVOURED, missing * self.active]
    }
}

/// Seconds for reading so many bytes, the low from the low and the high from the high, on the host's disk.
fn reading_s(host: &Host, bytes: [f64; 2]) -> [f64; 2] {
    let [slow, fast] = host.disk.kind.unwrap_or(DiskKind::Virtual).read_gbs();
    [bytes[0] / (fast * 1e9), bytes[1] / (slow * 1e9)]
}

/// The speed with what is read for every token, and for every batch of `n_ubatch` tokens of a prompt, on top.
pub(crate) fn with_reading(
    speed: SpeedEstimate,
    host: &Host,
    stacks: &Stacks,
    cap_bytes: u64,
    n_ubatch: u32,
) -> SpeedEstimate {
    let by_token = reading_s(host, stacks.read_by_token(cap_bytes));
    let slower = |[slow, fast]: [f64; 2], [low_s, high_s]: [f64; 2]| {
        [1.0 / (1.0 / slow.max(1e-9) + high_s), 1.0 / (1.0 / fast.max(1e-9) + low_s)]
    };
    // A batch wants nearly all experts of every layer.
    let missing = stacks.bytes.saturating_sub(cap_bytes) as f64;
    let by_batch = reading_s(host, [missing, missing]);
    let batches = f64::from(speed.prompt_tokens.div_ceil(n_ubatch.max(1)));
    let by_prompt = by_batch.map(|seconds| seconds * batches);
    let by_prompt_token = by_prompt.map(|seconds| seconds / f64::from(speed.prompt_tokens.max(1)));
    let later = |[low, high]: [f64; 2]| [low + by_prompt[0], high + by_prompt[1]];
    SpeedEstimate {
        decode_tokens_per_s: slower(speed.decode_tokens_per_s, by_token),
        sustained_tokens_per_s: slower(speed.sustained_tokens_per_s, by_token),
        prefill_tokens_per_s: slower(speed.prefill_tokens_per_s, by_prompt_token),
        first_token_s: later(speed.first_token_s),
        first_token_cold_s: speed.first_token_cold_s.map(later),
        ..speed
    }
}

/// Why the weights take less than they are.
pub(crate) fn told(stacks: &Stacks, cap_bytes: u64) -> Reason {
    let [_, most] = stacks.read_by_token(cap_bytes);
    ReasonCode::ExpertsPaged.because(format!(
        "experts stay in the file and are read as they are chosen: {} of {} in memory, up to {} read for a token",
        bytes(cap_bytes),
        bytes(stacks.bytes),
        bytes(most as u64)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STACKS: Stacks = Stacks { bytes: 100 << 20, widest_layer_bytes: 10 << 20, active: 0.25 };

    #[test]
    fn a_cap_is_whole_and_holds_a_layer() {
        assert_eq!(STACKS.cap_bytes((40 << 20) + 5), Some(40 << 20));
        assert_eq!(STACKS.cap_bytes(u64::MAX), Some(100 << 20));
        assert_eq!(STACKS.cap_bytes((10 << 20) - 1), None);
    }

    #[test]
    fn less_memory_is_slower() {
        let speed = SpeedEstimate {
            decode_tokens_per_s: [10.0, 20.0],
            sustained_tokens_per_s: [8.0, 16.0],
            prefill_tokens_per_s: [50.0, 100.0],
            first_token_s: [5.0, 10.0],
            first_token_cold_s: None,
            prompt_tokens: 512,
            evidence: crate::Evidence::Guess,
        };
        let host = Host::default();
        let at = |cap: u64| with_reading(speed, &host, &STACKS, cap, 512);
        assert_eq!(at(100 << 20), speed);
        // 15 MiB are missing of 25 that a token uses: at 0.1 GB/s that is 157 ms on top of 100.
        let paged = at(40 << 20);
        let slow = 1.0 / (0.1 + 15.0 * f64::from(1 << 20) / 1e8);
        assert!((paged.decode_tokens_per_s[0] - slow).abs() < 1e-9, "{paged:?}");
        assert!(at(20 << 20).decode_tokens_per_s[1] < paged.decode_tokens_per_s[1]);
        assert!(paged.first_token_s[1] > 10.0 && paged.prefill_tokens_per_s[0] < 50.0);
    }
}
