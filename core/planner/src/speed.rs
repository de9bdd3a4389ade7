//! The speed to expect, from bytes that a token reads and a guess at the host's bandwidth.
//! Owns the bandwidth priors; must not know quality or budgets.

use crate::{Candidate, Evidence, MemoryEstimate, SpeedEstimate};

/// Memory bandwidth that one busy core draws, and that all draw together, in GB/s: middling dual-channel machines. A
/// class default until a profile or a measurement replaces it.
const BANDWIDTH_PER_CORE_GBS: f64 = 8.0;
const BANDWIDTH_CAP_GBS: f64 = 48.0;
/// Bandwidth of a device's own memory, in GB/s: middling discrete ones.
const DEVICE_BANDWIDTH_GBS: f64 = 250.0;
/// Time that a layer costs whatever its size, in seconds: dispatch and barriers.
const LAYER_SECONDS: f64 = 20e-6;
/// The range of a figure that nothing has calibrated: the ratio of real to predicted speeds on unknown devices.
const UNCALIBRATED: [f64; 2] = [0.63, 1.45];

/// Decode reads the active weights and the filled cache once per token:
/// t = layers · ℓ + (active bytes + cache bytes) / bandwidth, the cache taken as half full.
pub(crate) fn decode(candidate: &Candidate, memory: &MemoryEstimate, n_threads: u32) -> SpeedEstimate {
    let read = candidate.active_weights_bytes as f64 + memory.kv_bytes as f64 / 2.0;
    let on_device = memory.device_bytes as f64 / memory.total_bytes().max(1) as f64;
    let host_gbs = (BANDWIDTH_PER_CORE_GBS * f64::from(n_threads)).min(BANDWIDTH_CAP_GBS);
    let seconds_per_gb = (1.0 - on_device) / host_gbs + on_device / DEVICE_BANDWIDTH_GBS;
    let seconds = f64::from(candidate.description.n_layers) * LAYER_SECONDS + read / 1e9 * seconds_per_gb;
    let middle = 1.0 / seconds.max(1e-9);
    SpeedEstimate { decode_tokens_per_s: UNCALIBRATED.map(|ratio| middle * ratio), evidence: Evidence::Guess }
}
