//! The explanation: reasons for a choice with their figures, and what was taken for granted.
//! Must not choose.

use crate::choose::{Contender, bytes};
use crate::measured;
use crate::render::rate;
use crate::{Candidate, Code, Evidence, QualityEstimate, Reason, ReasonCode, Rejection, Request, Residuals};
use hardware::Host;

/// What a speed is taken from, where it was not measured here.
pub(crate) fn speed_assumption(evidence: Evidence) -> Option<Reason> {
    let (code, source) = match evidence {
        Evidence::Measured | Evidence::Calibrated => return None,
        Evidence::Profile => (ReasonCode::SpeedProfile, "speed is what such a chip is expected to reach"),
        Evidence::Guess => (ReasonCode::SpeedGuessed, "speed is a guess from the processor's class"),
    };
    Some(code.because(format!("{source}, until it is measured")))
}

pub(crate) fn assumptions(host: &Host, request: &Request, have: u64) -> Vec<Reason> {
    let limit = host.memory.limits.first();
    let uncapped = request.memory_budget_bytes.unwrap_or(host.memory.budget_bytes);
    let (code, source) = match (request.memory_budget_bytes, limit) {
        _ if have < uncapped => {
            (ReasonCode::BudgetCapped, format!("capped by the app; there were {}", bytes(uncapped)))
        }
        (Some(_), _) => (ReasonCode::BudgetAsked, "the budget that was asked for".to_string()),
        (None, Some(limit)) => {
            let left = bytes(limit.headroom_bytes);
            let text = format!("{} leaves {left}, less a reserve for everything else", limit.source);
            (ReasonCode::BudgetLimit, text)
        }
        (None, None) => (ReasonCode::BudgetUnlimited, "the system states no limit".to_string()),
    };
    let mapped = match request.page_experts {
        false => "weights are mapped from their file, which the system may evict; they are counted whole",
        true => "weights are mapped from their file; what is held of them is counted whole",
    };
    vec![
        code.because(format!("memory for a model: {} ({source})", bytes(have))),
        ReasonCode::MappedCounted.because(mapped),
    ]
}

/// The concession in precision: variants that are better and fit, but are not as fast as asked.
pub(crate) fn lowered(
    candidates: &[Candidate],
    winner: &Contender<'_>,
    rejected: &[Rejection],
) -> Option<Reason> {
    let slow = rejected.iter().filter(|one| matches!(one.code, Code::Speed | Code::Ttft));
    let better = slow.filter_map(|one| candidates.iter().find(|candidate| candidate.id == one.id));
    let better = better.filter(|candidate| {
        let quality = candidate.quality.unwrap_or_else(|| QualityEstimate::guess(&candidate.precision));
        quality.beats(&winner.quality)
    });
    let ids: Vec<&str> = better.map(|candidate| candidate.id.as_str()).collect();
    (!ids.is_empty()).then(|| {
        let text =
            format!("precision lowered for speed: better, but not as fast as asked: {}", ids.join(", "));
        ReasonCode::PrecisionLowered.because(text)
    })
}

/// What earlier loads taught, where the estimate rests on it.
fn learned(winner: &Contender<'_>, residuals: &Residuals) -> Option<Reason> {
    let (fit, architecture) = (&winner.fit, &winner.candidate.description.architecture);
    fit.batches.is_none().then_some(())?;
    let residual = residuals.of(fit.backend, architecture).filter(|residual| residual.n > 0)?;
    let (formula, now) = (fit.memory.formula_compute_bytes, fit.memory.compute_bytes);
    let loads = if residual.n == 1 { "one load".to_string() } else { format!("{} loads", residual.n) };
    Some(ReasonCode::MemoryLearned.because(format!(
        "{} for computing instead of {}, as {loads} of such models on this machine showed",
        bytes(now),
        bytes(formula)
    )))
}

/// What measuring found, beside what would have been guessed.
fn measured_quality(winner: &Contender<'_>) -> Option<Reason> {
    let quality = winner.quality.measured.then_some(&winner.quality)?;
    let [low, high] = quality.interval;
    let precision = &winner.candidate.precision;
    let guess = QualityEstimate::guess(precision).kld_mean;
    Some(ReasonCode::QualityMeasured.because(format!(
        "its divergence was measured: {:.4} ({low:.4} to {high:.4}); {precision} would be taken for {guess:.4}",
        quality.kld_mean
    )))
}

pub(crate) fn reasons(
    winner: &Contender<'_>,
    have: u64,
    others: &[Contender<'_>],
    request: &Request,
) -> Vec<Reason> {
    let founded = if winner.quality.measured { "measured" } else { "guessed" };
    let n_fit = others.len() + 1;
    let of = match others.iter().any(|other| other.stands_back(winner, request)) {
        true => {
            let context = winner.fit.context_tokens;
            format!("no better one of the {n_fit} variants that fit holds {context} tokens of context")
        }
        false if n_fit == 1 => "it is the one variant that fits".to_string(),
        false => format!("no better one is known of the {n_fit} variants that fit"),
    };
    let [slow, fast] = winner.speed.decode_tokens_per_s.map(rate);
    let memory = &winner.fit.memory;
    let best =
        format!("{}: {of}; divergence {:.4} ({founded})", winner.candidate.id, winner.quality.kld_mean);
    let takes = format!("it takes {} of {} memory", bytes(winner.fit.host_bytes()), bytes(have));
    let mut reasons = vec![ReasonCode::Best.because(best), ReasonCode::Memory.because(takes)];
    reasons.extend(measured_quality(winner));
    if memory.device_bytes > 0 {
        let text = format!("{} lie on the device", bytes(memory.device_bytes));
        reasons.push(ReasonCode::DeviceMemory.because(text));
    }
    let evidence = winner.speed.evidence.name();
    let speed = format!("{slow} to {fast} tokens/s are expected when writing ({evidence})");
    reasons.push(ReasonCode::Speed.because(speed));
    reasons.extend(measured::reason(winner, others, request));
    reasons.extend(learned(winner, &request.residuals));
    if memory.projector_bytes > 0 {
        let text = format!("{} of it for the projector that reads images", bytes(memory.projector_bytes));
        reasons.push(ReasonCode::Projector.because(text));
    }
    if let Some(draft) = &request.draft {
        let text = format!("{} of it for the draft model {}", bytes(memory.draft_bytes), draft.id);
        reasons.push(ReasonCode::Draft.because(text));
    }
    if let Some(backend) = winner.fit.batches {
        let [slow, fast] = winner.speed.prefill_tokens_per_s.map(rate);
        let (name, at_once) = (backend.name(), winner.fit.n_ubatch);
        reasons.push(ReasonCode::PromptsElsewhere.because(format!(
            "prompts are computed by {name}, for which weights in the host's memory are copied every {at_once} tokens: \
             {slow} to {fast} tokens/s"
        )));
    }
    reasons.extend(winner.fit.concessions.iter().cloned());
    reasons
}
