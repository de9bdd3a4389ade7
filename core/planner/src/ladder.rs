//! The ladder of concessions: for one variant, the first configuration that fits, and what it gives up.
//! Context first, then the cache's type, then the batch; layers on a device wherever they fit. Must not compare variants.

use crate::choose::bytes;
use crate::{Backend, BackendDevice, Candidate, MemoryEstimate, Request, estimate};
use formats::gguf::GgmlType;

/// Context that is offered when none is asked for, in tokens.
const USUAL_CONTEXT: u64 = 4096;
/// Shortest context that is offered, in tokens.
pub(crate) const SHORTEST_CONTEXT: u64 = 512;
const UBATCHES: [u32; 2] = [512, 128];
const KV_TYPES: [GgmlType; 2] = [GgmlType::F16, GgmlType::Q8_0];
/// Share of a device's free memory that is used: others draw on it too, and drivers fragment it.
const DEVICE_SHARE: f64 = 0.9;

/// A configuration of one variant.
#[derive(Debug, Clone)]
pub(crate) struct Fit {
    pub(crate) memory: MemoryEstimate,
    pub(crate) backend: Backend,
    pub(crate) gpu_layers: u32,
    pub(crate) context_tokens: u64,
    pub(crate) kv_type: GgmlType,
    pub(crate) n_ubatch: u32,
    pub(crate) concessions: Vec<String>,
    /// Whether what lies on the device lies in the host's memory too.
    pub(crate) unified: bool,
}

impl Fit {
    /// What the host must hold, in bytes.
    pub(crate) fn host_bytes(&self) -> u64 {
        if self.unified { self.memory.total_bytes() } else { self.memory.host_bytes() }
    }
}

/// The first rung that fits `have` bytes, or the last rung, which takes least.
pub(crate) fn descend(candidate: &Candidate, request: &Request, have: u64) -> Result<Fit, Box<Fit>> {
    let longest = candidate.description.max_context.max(1);
    let wished = request.context_tokens.unwrap_or(USUAL_CONTEXT).clamp(1, longest);
    let shortest = request.context_tokens.map_or(SHORTEST_CONTEXT.min(wished), |_| wished);
    let mut least: Option<Fit> = None;
    for n_ubatch in UBATCHES {
        for kv_type in KV_TYPES {
            for context_tokens in contexts(wished, shortest) {
                let mut fit = configuration(candidate, request, context_tokens, kv_type, n_ubatch);
                if runs(candidate, &fit) && fit.host_bytes() <= have {
                    fit.concessions = concessions(&fit, candidate, request, wished);
                    return Ok(fit);
                }
                if least.as_ref().is_none_or(|least| fit.host_bytes() < least.host_bytes()) {
                    least = Some(fit);
                }
            }
        }
    }
    Err(Box::new(least.expect("the ladder has rungs")))
}

/// The longest context below the asked one with which the variant fits, in tokens.
pub(crate) fn shorter_context(candidate: &Candidate, request: &Request, have: u64) -> Option<u64> {
    let asked = request.context_tokens?.min(candidate.description.max_context);
    contexts(asked, SHORTEST_CONTEXT.min(asked)).skip(1).find(|context| {
        let request = Request { context_tokens: Some(*context), ..request.clone() };
        descend(candidate, &request, have).is_ok()
    })
}

/// `wished`, halved until `shortest`.
fn contexts(wished: u64, shortest: u64) -> impl Iterator<Item = u64> {
    std::iter::successors(Some(wished), move |context| {
        (*context > shortest).then(|| (context / 2).max(shortest))
    })
}

/// The device with most free memory that the variant runs on.
pub(crate) fn device<'a>(candidate: &Candidate, request: &'a Request) -> Option<&'a BackendDevice> {
    let serves = |device: &&BackendDevice| {
        device.backend != Backend::Cpu
            && candidate.compatible_backends.iter().any(|name| name == device.backend.name())
    };
    // The first of equals, so that the engine's order decides.
    request.devices.iter().rev().filter(serves).max_by_key(|device| device.free_bytes)
}

/// A variant that does not run on the processor needs every layer on a device.
fn runs(candidate: &Candidate, fit: &Fit) -> bool {
    let cpu = candidate.compatible_backends.iter().any(|name| name == Backend::Cpu.name());
    cpu || fit.gpu_layers > candidate.description.n_layers
}

fn configuration(
    candidate: &Candidate,
    request: &Request,
    context_tokens: u64,
    kv_type: GgmlType,
    n_ubatch: u32,
) -> Fit {
    let description = &candidate.description;
    let mut memory = estimate(description, candidate.weights_bytes, context_tokens, kv_type, n_ubatch.into());
    // The output counts as a layer of its own.
    let layers = description.n_layers.saturating_add(1);
    let movable = memory.weights_bytes.saturating_add(memory.kv_bytes);
    let per_layer = (movable / u64::from(layers)).max(1);
    let mut gpu_layers = 0;
    let device = device(candidate, request);
    if let Some(device) = device {
        let buffers = memory.compute_bytes.saturating_add(memory.uncertainty_bytes);
        let room = ((device.free_bytes as f64 * DEVICE_SHARE) as u64).saturating_sub(buffers);
        let fitting = (room / per_layer).min(layers.into()) as u32;
        gpu_layers = request.gpu_layers.unwrap_or(fitting).min(layers);
        memory.device_bytes = per_layer.saturating_mul(gpu_layers.into()).min(movable);
    }
    let backend = device.filter(|_| gpu_layers > 0).map_or(Backend::Cpu, |device| device.backend);
    let unified = device.is_some_and(|device| device.unified);
    Fit { memory, backend, gpu_layers, context_tokens, kv_type, n_ubatch, concessions: Vec::new(), unified }
}

fn concessions(fit: &Fit, candidate: &Candidate, request: &Request, wished: u64) -> Vec<String> {
    let mut told = Vec::new();
    if let Some(asked) = request.context_tokens.filter(|asked| *asked > wished) {
        told.push(format!("context bounded to {wished} tokens: the model was not made for {asked}"));
    }
    if fit.context_tokens < wished {
        told.push(format!("context shortened from {wished} to {} tokens to fit", fit.context_tokens));
    }
    if fit.kv_type != KV_TYPES[0] {
        told.push(format!("key-value cache in {} instead of F16 to fit", fit.kv_type.name()));
    }
    if fit.n_ubatch != UBATCHES[0] {
        told.push(format!(
            "prompts computed {} tokens at a time instead of {} to fit",
            fit.n_ubatch, UBATCHES[0]
        ));
    }
    let layers = candidate.description.n_layers.saturating_add(1);
    if let Some(device) = device(candidate, request).filter(|_| fit.gpu_layers < layers) {
        let free = bytes(device.free_bytes);
        told.push(match (fit.gpu_layers, request.gpu_layers) {
            (0, None) => format!("no layer on {}: {free} free", device.name),
            (n, None) => format!("{n} of {layers} layers on {}: {free} free", device.name),
            (n, Some(_)) => format!("{n} of {layers} layers on {}, as asked", device.name),
        });
    }
    told
}
