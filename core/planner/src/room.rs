//! What a machine leaves for a model's weights: the first rung of the ladder on which enough of them fit, with what lies there
//! beside them.
//! Owns that count; must not know which types weights could have.

use crate::ladder::{Fit, Rung, at_rung, device, device_room, model_of, rungs};
use crate::memory::Repack;
use crate::{Backend, Candidate, MemoryEstimate, Request};
use hardware::Host;
use serde::Serialize;

/// Room for weights, and all that was counted beside them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Room {
    /// Most bytes of weights in a file, if they are split between device and host, copied and left out as the candidate's are.
    pub weights_bytes: u64,
    /// Memory of the host that may be used, in bytes.
    pub host_bytes: u64,
    /// Memory of the device that may be used, in bytes, where layers lie on one.
    pub device_bytes: Option<u64>,
    /// What computes.
    pub backend: Backend,
    /// Name of the device that holds layers.
    pub device: Option<String>,
    /// Layers on it; the output is one.
    pub gpu_layers: u32,
    /// Whether what lies on it lies in the host's memory.
    pub unified: bool,
    /// Context in tokens.
    pub context_tokens: u64,
    /// Type of cached keys, as ggml names it.
    pub type_k: &'static str,
    /// Type of cached values, as ggml names it.
    pub type_v: &'static str,
    /// Tokens computed at a time.
    pub n_ubatch: u32,
    /// Memory by part with the candidate's weights.
    pub memory: MemoryEstimate,
}

/// The room that `host` leaves for weights like `candidate`'s, of which `enough_bytes` are wished for. Where a device takes
/// layers, all of them on it are tried before some; then a context, a batch and types of the cache are given up in the
/// ladder's order. Where there is nowhere enough, the roomiest rung counts, the earlier one of equals.
///
/// Beside [`crate::plan`]: weights of the candidate that take no more than [`Room::weights_bytes`] have a plan.
pub fn room_for_weights(host: &Host, candidate: &Candidate, request: &Request, enough_bytes: u64) -> Room {
    let request = request.with_capped_devices();
    let layers = candidate.description.n_layers.saturating_add(1);
    let mut ways = vec![request.clone()];
    if device(candidate, &request).is_some() && request.gpu_layers.is_none() {
        ways.insert(0, Request { gpu_layers: Some(layers), ..request.clone() });
        ways.push(Request { devices: Vec::new(), ..request });
    }
    let mut roomiest: Option<Room> = None;
    for request in &ways {
        for rung in rungs(candidate, request) {
            let room = at(host, candidate, request, &rung);
            if room.weights_bytes >= enough_bytes {
                return room;
            }
            if roomiest.as_ref().is_none_or(|best| room.weights_bytes > best.weights_bytes) {
                roomiest = Some(room);
            }
        }
    }
    roomiest.expect("the ladder has rungs")
}

fn at(host: &Host, candidate: &Candidate, request: &Request, rung: &Rung) -> Room {
    let fit = at_rung(&model_of(candidate), candidate, request, rung, Repack::of(host));
    let have = request.memory_bytes(host);
    let on_device = device(candidate, request).filter(|_| fit.gpu_layers > 0).map(device_room);
    Room {
        weights_bytes: (candidate.weights_bytes as f64 * growth(&fit, have, on_device)) as u64,
        host_bytes: have,
        device_bytes: on_device,
        backend: fit.backend,
        gpu_layers: fit.gpu_layers,
        unified: fit.unified && fit.gpu_layers > 0,
        context_tokens: fit.context_tokens,
        type_k: fit.cache.k.name(),
        type_v: fit.cache.v.name(),
        n_ubatch: fit.n_ubatch,
        memory: fit.memory,
        device: fit.device,
    }
}

/// How many times as large the weights may be: they grow in both places alike until one is full.
fn growth(fit: &Fit, have: u64, on_device: Option<u64>) -> f64 {
    let memory = &fit.memory;
    let of_host = match fit.unified {
        true => memory.weights_bytes,
        false => memory.weights_bytes.saturating_sub(memory.device_weights_bytes),
    };
    let share = |have: u64, all: u64, weights: u64| match have.checked_sub(all.saturating_sub(weights)) {
        None => 0.0,
        Some(_) if weights == 0 => f64::INFINITY,
        Some(left) => left as f64 / weights as f64,
    };
    let mut times = share(have, fit.host_bytes(), of_host);
    if let Some(room) = on_device {
        times = times.min(share(room, memory.device_bytes, memory.device_weights_bytes));
    }
    if times.is_finite() { times } else { 1.0 }
}
