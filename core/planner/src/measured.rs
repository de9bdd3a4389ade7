//! Speeds that were measured here to compare variants: what decides between those of like quality.
//! Must not measure, nor weigh quality.

use crate::choose::Contender;
use crate::ladder::Fit;
use crate::render::rate;
use crate::ways::seconds;
use crate::{Backend, Evidence, Reason, ReasonCode, Request, SpeedEstimate};
use serde::{Deserialize, Serialize};

/// A speed that was measured on this machine with one variant, under the plan for it alone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MeasuredSpeed {
    /// Id of the variant.
    pub id: String,
    /// What computed.
    pub backend: Backend,
    /// Layers that lay on its device.
    pub gpu_layers: u32,
    /// Tokens per second when writing, at the start of a context.
    pub decode_tokens_per_s: f64,
    /// Tokens per second when reading a short prompt.
    pub prefill_tokens_per_s: f64,
}

/// What a measurement of a few tokens may be off by, either way.
const SPREAD: f64 = 1.1;
/// Variants this near the fastest are taken for as fast.
const AS_FAST: f64 = 1.05;

impl MeasuredSpeed {
    /// Whether it says anything.
    fn is_sound(&self) -> bool {
        let sound = |speed: f64| speed.is_finite() && speed > 0.0;
        sound(self.decode_tokens_per_s) && sound(self.prefill_tokens_per_s)
    }

    /// What is expected where this was measured: the estimate keeps how heat slows the machine down, and how long loading takes.
    fn estimate(&self, guessed: SpeedEstimate) -> SpeedEstimate {
        let around = |speed: f64| [speed / SPREAD, speed * SPREAD];
        let middle = |[low, high]: [f64; 2]| (low * high).sqrt().max(1e-9);
        let decode_tokens_per_s = around(self.decode_tokens_per_s);
        let slowed = (middle(guessed.sustained_tokens_per_s) / middle(guessed.decode_tokens_per_s)).min(1.0);
        let first_token_s = around(f64::from(guessed.prompt_tokens) / self.prefill_tokens_per_s);
        let loading = |at: usize| guessed.first_token_cold_s.map(|cold| cold[at] - guessed.first_token_s[at]);
        let cold = |at: usize| Some(first_token_s[at] + loading(at)?.max(0.0));
        SpeedEstimate {
            decode_tokens_per_s,
            sustained_tokens_per_s: decode_tokens_per_s.map(|speed| speed * slowed),
            prefill_tokens_per_s: around(self.prefill_tokens_per_s),
            first_token_s,
            first_token_cold_s: cold(0).zip(cold(1)).map(|(low, high)| [low, high]),
            evidence: Evidence::Measured,
            ..guessed
        }
    }
}

/// What was measured of a variant that is run so.
fn of<'a>(request: &'a Request, id: &str, fit: &Fit) -> Option<&'a MeasuredSpeed> {
    let is_it = |measured: &&MeasuredSpeed| {
        measured.id == id && (measured.backend, measured.gpu_layers) == (fit.backend, fit.gpu_layers)
    };
    request.measured.iter().find(is_it).filter(|measured| measured.is_sound() && fit.batches.is_none())
}

/// The speed to expect of a variant that is run so: the measured one, where there is one.
pub(crate) fn expected(request: &Request, id: &str, fit: &Fit, guessed: SpeedEstimate) -> SpeedEstimate {
    of(request, id, fit).map_or(guessed, |measured| measured.estimate(guessed))
}

fn known<'a>(request: &'a Request, one: &Contender<'_>) -> Option<&'a MeasuredSpeed> {
    of(request, &one.candidate.id, &one.fit)
}

/// Of variants that none is known to beat, those that are as fast as the fastest that was measured; all of them, where fewer
/// than two were.
pub(crate) fn fastest<'a, 'b>(
    left: Vec<(usize, &'a Contender<'b>)>,
    request: &Request,
) -> Vec<(usize, &'a Contender<'b>)> {
    let took = |one: &Contender<'_>| known(request, one).map(|_| seconds(&one.speed));
    let times: Vec<f64> = left.iter().filter_map(|(_, one)| took(one)).collect();
    if times.len() < 2 {
        return left;
    }
    let least = times.iter().copied().fold(f64::INFINITY, f64::min);
    left.into_iter().filter(|(_, one)| took(one).is_some_and(|took| took <= least * AS_FAST)).collect()
}

/// Why measuring spoke for the winner: its speed beside those of the others that were measured and are as good.
pub(crate) fn reason(winner: &Contender<'_>, others: &[Contender<'_>], request: &Request) -> Option<Reason> {
    let own = known(request, winner)?;
    let rival = |one: &Contender<'_>| Some(format!("{} {}", one.candidate.id, told(known(request, one)?)));
    let rivals: Vec<String> =
        others.iter().filter(|one| one.holds_against(winner)).filter_map(rival).collect();
    if rivals.is_empty() {
        return None;
    }
    let text = format!("measured here: {} {}; {}", winner.candidate.id, told(own), rivals.join("; "));
    Some(ReasonCode::SpeedMeasured.because(text))
}

/// Why one of like quality was not chosen, where measuring decided.
pub(crate) fn slower(
    other: &Contender<'_>,
    winner: &Contender<'_>,
    others: &[Contender<'_>],
    request: &Request,
) -> Option<String> {
    let own = known(request, winner)?;
    let rivals = |one: &Contender<'_>| one.holds_against(winner) && known(request, one).is_some();
    if !other.holds_against(winner) || !others.iter().any(rivals) {
        return None;
    }
    let id = &winner.candidate.id;
    match known(request, other) {
        Some(theirs) if seconds(&other.speed) > seconds(&winner.speed) * AS_FAST => {
            Some(format!("{id} is as good and was faster here: {}; this one {}", told(own), told(theirs)))
        }
        Some(_) => None,
        None => Some(format!("{id} is as good and was measured here: {}; this one was not", told(own))),
    }
}

fn told(measured: &MeasuredSpeed) -> String {
    let [decode, prefill] = [measured.decode_tokens_per_s, measured.prefill_tokens_per_s].map(rate);
    format!("{decode} tokens/s when writing, {prefill} when reading")
}
