//! The choice: every variant is tried down a ladder of concessions; the best quality that fits wins.

use crate::*;
use formats::gguf::GgmlType;
use hardware::Host;

/// Context that is offered when none is asked for, in tokens.
const USUAL_CONTEXT: u64 = 4096;
/// Shortest context that is offered when none is asked for.
const SHORTEST_CONTEXT: u64 = 512;
const UBATCHES: [u32; 2] = [512, 128];
/// Memory bandwidth of a processor that nothing is known of, low and high, in GB/s per fast core and as a whole.
const BANDWIDTH_PER_CORE_GBS: [f64; 2] = [4.0, 14.0];
const BANDWIDTH_CAP_GBS: f64 = 90.0;
/// Time that a layer costs whatever its size, in seconds: dispatch and barriers.
const LAYER_SECONDS: [f64; 2] = [8e-6, 40e-6];

/// A configuration on the way.
#[derive(Clone)]
struct Fit {
    memory: MemoryEstimate,
    context_tokens: u64,
    kv_type: GgmlType,
    n_ubatch: u32,
    concessions: Vec<String>,
}

/// Makes a plan.
pub fn plan(host: &Host, candidates: &[Candidate], request: &Request) -> Plan {
    let have = request.memory_budget_bytes.unwrap_or(host.memory.budget_bytes);
    let mut rejected = Vec::new();
    let mut fitting: Vec<(&Candidate, QualityEstimate, Fit)> = Vec::new();
    for candidate in candidates {
        if let Some((code, fix)) = refusal(candidate, request) {
            rejected.push(plain_rejection(&candidate.id, code, fix));
            continue;
        }
        match fit(candidate, request, have) {
            Ok(fit) => {
                let quality =
                    candidate.quality.unwrap_or_else(|| QualityEstimate::guess(&candidate.precision));
                fitting.push((candidate, quality, fit));
            }
            Err(least) => rejected.push(memory_rejection(candidate, &least, have)),
        }
    }
    let best =
        fitting.iter().enumerate().reduce(|best, other| if better(other.1, best.1) { other } else { best });
    let best = best.map(|(index, _)| index);
    let budget = match request.memory_budget_bytes {
        Some(_) => "the memory budget that was asked for".to_string(),
        None => host.memory.limits.first().map_or("unknown".into(), |limit| limit.source.clone()),
    };
    let mut assumptions = vec![
        format!("memory for a model: {} ({budget})", bytes(have)),
        "speed is a guess from the processor's class until it is measured".to_string(),
    ];
    let Some(best) = best else {
        return Plan { chosen: None, why: Vec::new(), rejected, assumptions, evidence: Evidence::Guess };
    };
    let (candidate, quality, fit) = fitting.remove(best);
    for (other, other_quality, _) in &fitting {
        let fix = format!(
            "{} is better: expected divergence {:.4} against {:.4}",
            candidate.id, quality.kld_mean, other_quality.kld_mean
        );
        rejected.push(plain_rejection(&other.id, Code::QualityDominated, fix));
    }
    if !quality.measured {
        assumptions.push("quality is guessed from the precision: the manifest has no measurement".into());
    }
    let why = reasons(candidate, quality, &fit, have, fitting.len());
    let chosen = choice(host, candidate, quality, fit, request);
    Plan { chosen: Some(chosen), why, rejected, assumptions, evidence: Evidence::Guess }
}

/// Whether `a` is to be preferred: quality, then fewer bytes, then what is here already.
fn better(a: &(&Candidate, QualityEstimate, Fit), b: &(&Candidate, QualityEstimate, Fit)) -> bool {
    if a.1.ties(&b.1) || a.1.kld_mean == b.1.kld_mean {
        return (a.0.weights_bytes, !a.0.present) < (b.0.weights_bytes, !b.0.present);
    }
    a.1.kld_mean < b.1.kld_mean
}

fn refusal(candidate: &Candidate, request: &Request) -> Option<(Code, String)> {
    if let Some(asked) = request.variant.as_ref().filter(|asked| **asked != candidate.id) {
        return Some((Code::NotAsked, format!("{asked} was asked for")));
    }
    if let Some(blocked) = &candidate.blocked {
        return Some(blocked.clone());
    }
    let mut here = request.devices.iter().map(|device| device.backend).chain([Backend::Cpu]);
    if here.any(|backend| candidate.compatible_backends.iter().any(|name| name == backend.name())) {
        return None;
    }
    Some((Code::Engine, format!("needs one of: {}", candidate.compatible_backends.join(", "))))
}

/// The first rung of the ladder that fits, or the memory of the last one.
fn fit(candidate: &Candidate, request: &Request, have: u64) -> Result<Fit, MemoryEstimate> {
    let longest = candidate.description.max_context.max(1);
    let wished = request.context_tokens.unwrap_or(USUAL_CONTEXT).min(longest);
    let shortest = request.context_tokens.map_or(SHORTEST_CONTEXT.min(wished), |_| wished);
    let mut least = None;
    for n_ubatch in UBATCHES {
        for kv_type in [GgmlType::F16, GgmlType::Q8_0] {
            let mut context_tokens = wished;
            loop {
                let memory = estimate(
                    &candidate.description,
                    candidate.weights_bytes,
                    context_tokens,
                    kv_type,
                    n_ubatch.into(),
                );
                if memory.total_bytes() <= have {
                    let mut concessions = Vec::new();
                    if context_tokens < wished {
                        concessions
                            .push(format!("context shortened from {wished} to {context_tokens} tokens"));
                    }
                    if kv_type != GgmlType::F16 {
                        concessions.push("key-value cache in Q8_0 instead of F16".into());
                    }
                    if n_ubatch != UBATCHES[0] {
                        concessions.push(format!("prompts computed {n_ubatch} tokens at a time"));
                    }
                    return Ok(Fit { memory, context_tokens, kv_type, n_ubatch, concessions });
                }
                least = Some(memory);
                if context_tokens <= shortest {
                    break;
                }
                context_tokens = (context_tokens / 2).max(shortest);
            }
        }
    }
    Err(least.expect("the ladder has rungs"))
}

fn memory_rejection(candidate: &Candidate, least: &MemoryEstimate, have: u64) -> Rejection {
    let need = least.total_bytes();
    let hard = least.hard_bytes() > have;
    let shortfall = need.saturating_sub(have);
    Rejection {
        id: candidate.id.clone(),
        code: if hard { Code::MemHard } else { Code::MemSoft },
        need_bytes: Some(need),
        have_bytes: Some(have),
        shortfall_bytes: Some(shortfall),
        fix: format!("free {} or choose a smaller precision", bytes(shortfall)),
    }
}

fn plain_rejection(id: &str, code: Code, fix: String) -> Rejection {
    Rejection { id: id.into(), code, need_bytes: None, have_bytes: None, shortfall_bytes: None, fix }
}

fn reasons(
    candidate: &Candidate,
    quality: QualityEstimate,
    fit: &Fit,
    have: u64,
    others: usize,
) -> Vec<Reason> {
    let founded = if quality.measured { "measured" } else { "guessed" };
    let mut texts = vec![
        format!(
            "{} has the best quality of {} that fit: divergence {:.4} ({founded})",
            candidate.id,
            match others {
                0 => "the one variant".to_string(),
                n => format!("the {} variants", n + 1),
            },
            quality.kld_mean
        ),
        format!("it takes {} of {}", bytes(fit.memory.total_bytes()), bytes(have)),
    ];
    texts.extend(fit.concessions.iter().cloned());
    texts.into_iter().map(|text| Reason { text }).collect()
}

fn choice(
    host: &Host,
    candidate: &Candidate,
    quality: QualityEstimate,
    fit: Fit,
    request: &Request,
) -> Choice {
    let usable = host.cpu.usable_cpus.max(1);
    // Spinning barriers need a core each: the fast ones, and one left to the rest of the app where there are many.
    let cores = host.cpu.physical_cores.min(host.cpu.fast_cores).min(usable).max(1);
    let usual = if cores > 4 && cores == usable { cores - 1 } else { cores };
    let n_threads = request.n_threads.unwrap_or(usual).max(1);
    let n_threads_batch = request.n_threads.unwrap_or(host.cpu.physical_cores.min(usable).max(1)).max(1);
    let device = request.devices.iter().max_by_key(|device| device.free_bytes);
    let layers = candidate.description.n_layers + 1;
    let per_layer = (candidate.weights_bytes + fit.memory.kv_bytes) / u64::from(layers);
    let room = device.map_or(0, |device| device.free_bytes.saturating_sub(fit.memory.compute_bytes) * 9 / 10);
    let fitting_layers = (room / per_layer.max(1)).min(layers.into()) as u32;
    let gpu_layers = request.gpu_layers.unwrap_or(fitting_layers);
    let backend = device.filter(|_| gpu_layers > 0).map_or(Backend::Cpu, |device| device.backend);
    Choice {
        id: candidate.id.clone(),
        precision: candidate.precision.clone(),
        backend,
        gpu_layers: if backend == Backend::Cpu { 0 } else { gpu_layers },
        context_tokens: fit.context_tokens,
        kv_type: fit.kv_type.name(),
        n_threads,
        n_threads_batch,
        n_ubatch: fit.n_ubatch,
        memory: fit.memory,
        speed: speed(candidate, n_threads),
        quality,
    }
}

/// Decode reads the active weights once per token: t = layers · ℓ + bytes / bandwidth.
fn speed(candidate: &Candidate, n_threads: u32) -> SpeedEstimate {
    let gigabytes = candidate.active_weights_bytes as f64 / 1e9;
    let layers = f64::from(candidate.description.n_layers);
    let rate = |end: usize| {
        let bandwidth = (BANDWIDTH_PER_CORE_GBS[end] * f64::from(n_threads)).min(BANDWIDTH_CAP_GBS);
        1.0 / (layers * LAYER_SECONDS[1 - end] + gigabytes / bandwidth)
    };
    SpeedEstimate { decode_tokens_per_s: [rate(0), rate(1)] }
}

/// `7947872` → `7.6 MiB`.
pub(crate) fn bytes(count: u64) -> String {
    let value = count as f64;
    match count {
        0..1024 => format!("{count} B"),
        1024..1_048_576 => format!("{:.1} KiB", value / 1024.0),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", value / 1_048_576.0),
        _ => format!("{:.2} GiB", value / 1_073_741_824.0),
    }
}
