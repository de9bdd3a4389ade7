//! The ladder of concessions: for one variant, the first configuration that fits, and what it gives up.
//! A context that was not asked for is bounded by the usual one; then the cache's types give way, then the batch, and only then
//! the context further; layers on a device wherever they fit. Must not compare variants.

use crate::choose::bytes;
use crate::kv_precision::{KvStep, steps_of};
use crate::memory::{CacheTypes, MemoryModel, Repack, Setup, Weights};
use crate::paging::{self, Stacks};
use crate::{Backend, BackendDevice, Candidate, MemoryEstimate, Reason, ReasonCode, Request};
use families::Form;

/// Context that is offered when none is asked for, in tokens.
pub(crate) const USUAL_CONTEXT: u64 = 4096;
/// Shortest context that is offered, in tokens.
pub(crate) const SHORTEST_CONTEXT: u64 = 512;
const UBATCHES: [u32; 2] = [512, 128];
/// Share of a device's free memory that is used: others draw on it too, and drivers fragment it.
const DEVICE_SHARE: f64 = 0.9;

/// A configuration of one variant.
#[derive(Debug, Clone)]
pub(crate) struct Fit {
    pub(crate) memory: MemoryEstimate,
    pub(crate) backend: Backend,
    pub(crate) gpu_layers: u32,
    pub(crate) context_tokens: u64,
    pub(crate) cache: CacheTypes,
    pub(crate) n_ubatch: u32,
    pub(crate) concessions: Vec<Reason>,
    /// The device that holds layers or computes batches.
    pub(crate) device: Option<String>,
    /// Its backend, where it computes batches with weights that it does not hold.
    pub(crate) batches: Option<Backend>,
    /// Whether what lies on the device lies in the host's memory too.
    pub(crate) unified: bool,
    /// Bytes of experts that are held, where the others stay in the file.
    pub(crate) expert_memory_bytes: Option<u64>,
}

impl Fit {
    /// What the host must hold, in bytes.
    pub(crate) fn host_bytes(&self) -> u64 {
        if self.unified { self.memory.total_bytes() } else { self.memory.host_bytes() }
    }
}

/// What the memory of a variant is figured from.
pub(crate) fn model_of(candidate: &Candidate) -> MemoryModel<'_> {
    let weights = Weights { bytes: candidate.weights_bytes, tensors: &candidate.tensors };
    MemoryModel::new(&candidate.description, weights)
}

/// The first rung that fits `have` bytes, or the rung that takes least.
pub(crate) fn descend(
    model: &MemoryModel<'_>,
    candidate: &Candidate,
    request: &Request,
    have: u64,
    repack: Repack,
) -> Result<Fit, Box<Fit>> {
    descend_with(model, candidate, request, have, (repack, false))
}

/// The same with prompts computed on a device, whose weights are copied there as they lie in the file.
pub(crate) fn descend_with_batches(
    model: &MemoryModel<'_>,
    candidate: &Candidate,
    request: &Request,
    have: u64,
) -> Result<Fit, Box<Fit>> {
    descend_with(model, candidate, request, have, (Repack::Never, true))
}

/// One rung: a context, a batch and types of the cache.
pub(crate) struct Rung {
    context_tokens: u64,
    n_ubatch: u32,
    step: KvStep,
}

/// The context that is wished for, in tokens.
fn wished_context(candidate: &Candidate, request: &Request) -> u64 {
    let longest = candidate.description.max_context.max(1);
    request.context_tokens.unwrap_or(USUAL_CONTEXT).clamp(1, longest)
}

/// The rungs from the top.
pub(crate) fn rungs(candidate: &Candidate, request: &Request) -> Vec<Rung> {
    let wished = wished_context(candidate, request);
    let shortest = request.context_tokens.map_or(SHORTEST_CONTEXT.min(wished), |_| wished);
    let mut rungs = Vec::new();
    for context_tokens in contexts(wished, shortest) {
        for n_ubatch in ubatches(candidate) {
            for step in steps_of(candidate, wished) {
                let n_ubatch = n_ubatch.unwrap_or(u32::try_from(context_tokens).unwrap_or(u32::MAX));
                rungs.push(Rung { context_tokens, n_ubatch, step });
            }
        }
    }
    rungs
}

/// The configuration of a rung, whether it fits or not.
pub(crate) fn at_rung(
    model: &MemoryModel<'_>,
    candidate: &Candidate,
    request: &Request,
    rung: &Rung,
    repack: Repack,
) -> Fit {
    let setup = Setup { repack, ..Setup::new(rung.context_tokens, rung.step.types, rung.n_ubatch.into()) };
    configuration(model, candidate, request, setup, false)
}

fn descend_with(
    model: &MemoryModel<'_>,
    candidate: &Candidate,
    request: &Request,
    have: u64,
    (repack, batches): (Repack, bool),
) -> Result<Fit, Box<Fit>> {
    let wished = wished_context(candidate, request);
    let paged = request.page_experts.then(|| Stacks::of(candidate)).flatten().filter(|_| !batches);
    let repack = if paged.is_some() { Repack::Never } else { repack };
    let mut least: Option<Fit> = None;
    for Rung { context_tokens, n_ubatch, step } in rungs(candidate, request) {
        let setup = Setup { repack, ..Setup::new(context_tokens, step.types, n_ubatch.into()) };
        let mut fit = configuration(model, candidate, request, setup, batches);
        if let Some(stacks) = &paged {
            page(&mut fit, stacks, have);
        }
        if runs(candidate, &fit) && fit.host_bytes() <= have {
            fit.concessions = concessions(&fit, candidate, request, wished, &step);
            return Ok(fit);
        }
        if least.as_ref().is_none_or(|least| fit.host_bytes() < least.host_bytes()) {
            least = Some(fit);
        }
    }
    Err(Box::new(least.expect("the ladder has rungs")))
}

/// Tokens computed at a time, from the best; `None`: a whole text, as encoders read.
fn ubatches(candidate: &Candidate) -> Vec<Option<u32>> {
    match candidate.description.form {
        Form::Decoder => UBATCHES.map(Some).to_vec(),
        Form::Encoder | Form::EncoderDecoder => vec![None],
    }
}

/// The longest context below the asked one with which the variant fits, in tokens.
pub(crate) fn shorter_context(
    candidate: &Candidate,
    request: &Request,
    have: u64,
    repack: Repack,
) -> Option<u64> {
    let asked = request.context_tokens?.min(candidate.description.max_context);
    let model = model_of(candidate);
    contexts(asked, SHORTEST_CONTEXT.min(asked)).skip(1).find(|context| {
        let request = Request { context_tokens: Some(*context), ..request.clone() };
        descend(&model, candidate, &request, have, repack).is_ok()
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
    model: &MemoryModel<'_>,
    candidate: &Candidate,
    request: &Request,
    setup: Setup,
    batches: bool,
) -> Fit {
    // The output counts as a layer of its own.
    let layers = candidate.description.n_layers.saturating_add(1);
    let device = device(candidate, request);
    let at = |gpu_layers: u32| {
        let backend = device.filter(|_| gpu_layers > 0).map_or(Backend::Cpu, |device| device.backend);
        // What was learned was learned without batches elsewhere.
        let residual =
            request.residuals.of(backend, &candidate.description.architecture).filter(|_| !batches);
        let setup = Setup { gpu_layers, ..setup };
        let mut memory = model.estimate(&setup, residual);
        if let Some(cache) = candidate.cache {
            cache.replace(&mut memory, setup.context_tokens);
        }
        memory.accompany(candidate, request, &setup);
        if batches && gpu_layers < layers {
            model.add_batches(&mut memory, &setup, largest_matrix_bytes(candidate));
        }
        (backend, memory)
    };
    let gpu_layers = match (device, request.gpu_layers) {
        (None, _) => 0,
        (Some(_), Some(asked)) => asked.min(layers),
        (Some(device), None) => {
            most(layers, |gpu_layers| at(gpu_layers).1.device_bytes <= device_room(device))
        }
    };
    let (backend, memory) = at(gpu_layers);
    let (context_tokens, n_ubatch) = (setup.context_tokens, setup.n_ubatch as u32);
    let (cache, unified) = (setup.cache, device.is_some_and(|device| device.unified));
    let has_room = |device: &&BackendDevice| memory.device_bytes <= device_room(device);
    let batches = device.filter(|_| batches && gpu_layers < layers).filter(has_room);
    let batches = batches.map(|device| device.backend);
    let device = device.filter(|_| gpu_layers > 0 || batches.is_some()).map(|device| device.name.clone());
    Fit {
        memory,
        backend,
        gpu_layers,
        context_tokens,
        cache,
        n_ubatch,
        concessions: Vec::new(),
        device,
        batches,
        unified,
        expert_memory_bytes: None,
    }
}

/// What of a device's memory is used, in bytes.
pub(crate) fn device_room(device: &BackendDevice) -> u64 {
    (device.free_bytes as f64 * DEVICE_SHARE) as u64
}

/// Bytes of the variant's largest matrix; of one that is known as a sum alone, those of a layer.
fn largest_matrix_bytes(candidate: &Candidate) -> u64 {
    let known = candidate.work.as_ref().map(|work| work.largest_matrix_bytes).filter(|bytes| *bytes > 0);
    known.unwrap_or(candidate.weights_bytes / u64::from(candidate.description.n_layers.max(1)))
}

/// The largest number up to `top` that fits, where fewer fit whenever more do, and none always does.
fn most(top: u32, fits: impl Fn(u32) -> bool) -> u32 {
    if fits(top) {
        return top;
    }
    let (mut low, mut high) = (0, top);
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if fits(middle) { low = middle } else { high = middle }
    }
    low
}

/// Leaves in the file what of the experts has no room beside everything else; nothing where layers lie on a device, or where one
/// layer's experts have no room.
fn page(fit: &mut Fit, stacks: &Stacks, have: u64) {
    let beside = fit.host_bytes().saturating_sub(stacks.bytes);
    let cap = stacks.cap_bytes(have.saturating_sub(beside)).filter(|_| fit.gpu_layers == 0);
    if let Some(cap) = cap {
        fit.memory.page(stacks.bytes - cap);
        fit.expert_memory_bytes = Some(cap);
    }
}

fn concessions(
    fit: &Fit,
    candidate: &Candidate,
    request: &Request,
    wished: u64,
    step: &KvStep,
) -> Vec<Reason> {
    let mut told = Vec::new();
    if let Some(asked) = request.context_tokens.filter(|asked| *asked > wished) {
        let text = format!("context bounded to {wished} tokens: the model was not made for {asked}");
        told.push(ReasonCode::ContextBounded.because(text));
    }
    if fit.context_tokens < wished {
        let text = format!("context shortened from {wished} to {} tokens to fit", fit.context_tokens);
        told.push(ReasonCode::ContextShortened.because(text));
    }
    if fit.cache != CacheTypes::F16 && candidate.cache.is_none() {
        told.push(ReasonCode::KvPrecision.because(format!(
            "key-value cache in {} instead of F16 to fit: {}",
            fit.cache.text(),
            step.text()
        )));
    }
    if fit.n_ubatch < UBATCHES[0] && candidate.description.form == Form::Decoder {
        told.push(ReasonCode::Ubatch.because(format!(
            "prompts computed {} tokens at a time instead of {} to fit",
            fit.n_ubatch, UBATCHES[0]
        )));
    }
    let stacks = fit.expert_memory_bytes.zip(Stacks::of(candidate));
    told.extend(stacks.map(|(cap, stacks)| paging::told(&stacks, cap)));
    let layers = candidate.description.n_layers.saturating_add(1);
    if let Some(device) = device(candidate, request).filter(|_| fit.gpu_layers < layers) {
        let free = bytes(device.free_bytes);
        told.push(ReasonCode::Offload.because(match (fit.gpu_layers, request.gpu_layers) {
            (0, None) => format!("no layer on {}: {free} free", device.name),
            (n, None) => format!("{n} of {layers} layers on {}: {free} free", device.name),
            (n, Some(_)) => format!("{n} of {layers} layers on {}, as asked", device.name),
        }));
    }
    told
}
