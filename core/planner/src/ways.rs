//! The ways to run one variant: on the processor alone and with each device that serves it, each down its own ladder; the
//! fastest that keeps what was asked for wins. Must not compare variants.

use crate::ladder::{Fit, descend, descend_with_batches, model_of};
use crate::memory::Repack;
use crate::paging::{Stacks, with_reading};
use crate::speed::{Batches, Configuration, SpeedModel, USUAL_PROMPT_TOKENS};
use crate::{Backend, Candidate, Code, Reason, ReasonCode, Request, SpeedEstimate};
use hardware::Host;
use std::cmp::Reverse;

/// Tokens of a usual answer: what writing weighs against reading.
const USUAL_ANSWER_TOKENS: f64 = 256.0;
/// A backend that reads so many times faster than the chosen one is worth telling.
const MUCH_FASTER: f64 = 1.5;

/// A way that fits, and what to expect of it.
pub(crate) struct Judged {
    pub(crate) fit: Fit,
    pub(crate) speed: SpeedEstimate,
}

/// The best way to run `candidate` in `have` bytes; of those that do not fit, what the request's own devices take.
pub(crate) fn best_way(
    host: &Host,
    speeds: &SpeedModel,
    candidate: &Candidate,
    request: &Request,
    have: u64,
) -> Result<Judged, Box<Fit>> {
    let (model, repack) = (model_of(candidate), Repack::of(host));
    let whole = descend(&model, candidate, request, have, repack);
    let asked = request.gpu_layers.is_some() || request.devices.is_empty();
    let others = (!asked).then(|| subsets(request)).into_iter().flatten();
    let others = others.filter_map(|request| descend(&model, candidate, &request, have, repack).ok());
    let (mut fits, least) = match whole {
        Ok(fit) => (vec![fit], None),
        Err(least) => (Vec::new(), Some(least)),
    };
    let with_batches = (!asked).then(|| subsets(request)).into_iter().flatten().filter(copies_batches);
    let with_batches =
        with_batches.filter_map(|request| descend_with_batches(&model, candidate, &request, have).ok());
    let with_batches = with_batches.filter(|fit| fit.batches.is_some());
    for fit in others.chain(with_batches) {
        let kind = |one: &Fit| (one.backend, one.gpu_layers, one.batches);
        let known = |one: &Fit| kind(one) == kind(&fit);
        if !fits.iter().any(known) {
            fits.push(fit);
        }
    }
    let judged =
        fits.into_iter().map(|fit| Judged { speed: expect(host, speeds, candidate, request, &fit), fit });
    let mut judged: Vec<Judged> = judged.collect();
    let rank = |one: &Judged| (miss(&one.speed, request).is_some(), Reverse(one.fit.context_tokens));
    let best = judged.iter().enumerate().min_by(|(_, one), (_, other)| {
        rank(one).cmp(&rank(other)).then(expected(one).total_cmp(&expected(other)))
    });
    let Some((best, _)) = best else {
        return Err(least.expect("a way that does not fit is told by the request's own"));
    };
    let mut best = judged.remove(best);
    best.fit.concessions.extend(judged.iter().filter_map(|other| told(&best.speed, other)));
    Ok(best)
}

/// Backends that compute batches with weights in the host's memory, as far as the engine has them do it.
const COPYING: [Backend; 3] = [Backend::Vulkan, Backend::Cuda, Backend::Metal];

fn copies_batches(request: &Request) -> bool {
    request.devices.iter().any(|device| COPYING.contains(&device.backend))
}

/// Seconds that ways are compared by. How fast weights are copied is known least: a way that copies them must be faster
/// though it reads at its slow end.
fn expected(judged: &Judged) -> f64 {
    let speed = &judged.speed;
    match judged.fit.batches {
        None => seconds(speed),
        Some(_) => {
            let slowly = [speed.prefill_tokens_per_s[0]; 2];
            seconds(&SpeedEstimate { prefill_tokens_per_s: slowly, ..*speed })
        }
    }
}

/// The request with each of its devices alone, and with none.
fn subsets(request: &Request) -> impl Iterator<Item = Request> {
    let devices = request.devices.iter().map(|device| vec![device.clone()]).chain([Vec::new()]);
    devices.map(|devices| Request { devices, ..request.clone() })
}

fn expect(
    host: &Host,
    speeds: &SpeedModel,
    candidate: &Candidate,
    request: &Request,
    fit: &Fit,
) -> SpeedEstimate {
    let configuration = Configuration {
        backend: fit.backend,
        gpu_layers: fit.gpu_layers,
        batches: fit.batches.map(|backend| Batches { backend, n_ubatch: fit.n_ubatch, unified: fit.unified }),
        context_tokens: fit.context_tokens,
        prompt_tokens: request.prompt_tokens.unwrap_or(USUAL_PROMPT_TOKENS),
    };
    let speed = speeds.estimate(host, candidate, configuration);
    match fit.expert_memory_bytes.zip(Stacks::of(candidate)) {
        Some((cap, stacks)) => with_reading(speed, host, &stacks, cap, fit.n_ubatch),
        None => speed,
    }
}

/// What a speed misses of what was asked for, and what would help. The slow end of a range must reach it.
pub(crate) fn miss(speed: &SpeedEstimate, request: &Request) -> Option<(Code, String)> {
    let [slow, fast] = speed.decode_tokens_per_s;
    if let Some(wished) = request.min_decode_tokens_per_s.filter(|wished| slow < *wished) {
        let text = format!(
            "{slow:.1} to {fast:.1} tokens/s expected, {wished:.1} asked for: a smaller variant is faster"
        );
        return Some((Code::Speed, text));
    }
    let [soon, late] = speed.first_token_s;
    let wished = request.max_first_token_s.filter(|wished| late > *wished)?;
    let text = format!(
        "{soon:.1} to {late:.1} s to the first token of an answer to {} tokens expected, {wished:.1} asked for: \
         shorter prompts are read sooner",
        speed.prompt_tokens
    );
    Some((Code::Ttft, text))
}

/// Seconds that a usual prompt and answer take, in the middle of the ranges.
pub(crate) fn seconds(speed: &SpeedEstimate) -> f64 {
    let middle = |[low, high]: [f64; 2]| (low * high).sqrt().max(1e-9);
    f64::from(speed.prompt_tokens) / middle(speed.prefill_tokens_per_s)
        + USUAL_ANSWER_TOKENS / middle(speed.decode_tokens_per_s)
}

/// What is worth telling of a way that was not taken: that it reads much faster, though it takes longer altogether.
fn told(best: &SpeedEstimate, other: &Judged) -> Option<Reason> {
    let [slow, fast] = other.speed.prefill_tokens_per_s;
    let ratio = (slow * fast).sqrt() / best.prefill_tokens_per_s.iter().product::<f64>().sqrt().max(1e-9);
    let on = match other.fit.batches.unwrap_or(other.fit.backend) {
        Backend::Cpu => "the processor alone".to_string(),
        backend => backend.name().to_string(),
    };
    (ratio > MUCH_FASTER).then(|| {
        let text =
            format!("{on} would read prompts faster, {slow:.0} to {fast:.0} tokens/s, but write slower");
        ReasonCode::PromptBackend.because(text)
    })
}
