//! The choice: every variant goes down its ladder; the best quality that fits wins, and the rest hear why not.
//! Must not know how a configuration is laid out; that is the ladder's.

use crate::allocation::sift;
use crate::explain::{assumptions, lowered, reasons, speed_assumption};
use crate::ladder::{Fit, USUAL_CONTEXT, device, shorter_context};
use crate::measured;
use crate::memory::Repack;
use crate::preference::preference;
use crate::speed::{SpeedModel, Tables};
use crate::ways::{Judged, best_way, miss, seconds};
use crate::{
    Backend, Candidate, Choice, Code, Evidence, Nearest, Objective, Plan, QualityEstimate, ReasonCode,
    Rejection, Request, SpeedEstimate, kv_precision, threads,
};
use hardware::Host;

/// A variant that fits, with all that it is judged by.
pub(crate) struct Contender<'a> {
    pub(crate) candidate: &'a Candidate,
    pub(crate) quality: QualityEstimate,
    pub(crate) speed: SpeedEstimate,
    pub(crate) fit: Fit,
}

/// Divergence, in nats, up to which a smaller variant with the usual context stands before a better one with a shorter context:
/// precisions of four bits and more, by their priors.
const FAITHFUL_KLD: f64 = 0.06;

impl Contender<'_> {
    /// Whether it holds as long a context as was asked for; where none was, the usual one.
    fn holds_context(&self, request: &Request) -> bool {
        let usual = USUAL_CONTEXT.min(self.candidate.description.max_context.max(1));
        request.context_tokens.is_some() || self.fit.context_tokens >= usual
    }

    /// Whether nothing but speed or size speaks for `winner` against it: neither is known to be better.
    pub(crate) fn holds_against(&self, winner: &Self) -> bool {
        !winner.quality.beats(&self.quality) && !self.quality.beats(&winner.quality)
    }

    /// Whether it is better than the one that was chosen and lacks its context.
    pub(crate) fn stands_back(&self, winner: &Self, request: &Request) -> bool {
        winner.holds_context(request)
            && !self.holds_context(request)
            && self.quality.beats(&winner.quality)
            && request.objective == Objective::Quality
    }
}

/// Makes a plan. Pure: the same inputs give the same plan. Takes about a millisecond per variant.
pub fn plan(host: &Host, candidates: &[Candidate], request: &Request) -> Plan {
    let request = &request.with_capped_devices();
    let have = request.memory_bytes(host);
    let n_threads = request.n_threads.unwrap_or_else(|| threads::decode_threads(host)).max(1);
    let repack = Repack::of(host);
    let speeds = SpeedModel::new(host, Tables::default())
        .calibrated(&request.calibrations)
        .observed(&request.observations);
    // What fits whole stands before what fits in parts.
    let in_memory = Request { page_experts: false, ..request.clone() };
    let (mut contenders, mut rejected) = judge_all(host, &speeds, candidates, &in_memory, have);
    if contenders.is_empty() && request.page_experts {
        (contenders, rejected) = judge_all(host, &speeds, candidates, request, have);
    }
    let mut assumptions = assumptions(host, request, have);
    let Some(best) = best(host, &contenders, request) else {
        let nearest = nearest(candidates, request, have, repack, &rejected)
            .or_else(|| fastest(host, &speeds, candidates, request, have));
        assumptions.extend(speed_assumption(Evidence::Guess));
        return Plan {
            chosen: None,
            allowance: request.allowance(host),
            why: Vec::new(),
            rejected,
            nearest,
            assumptions,
            evidence: Evidence::Guess,
        };
    };
    let winner = contenders.remove(best);
    rejected.extend(contenders.iter().map(|other| beaten(other, &winner, &contenders, request)));
    // In the order of the candidates, whatever stage they fell at.
    let rejected = in_order_of(candidates, rejected);
    if !winner.quality.measured {
        let text = "quality is guessed from the precision: the manifest has no measurement";
        assumptions.push(ReasonCode::QualityGuessed.because(text));
    }
    let mut why = reasons(&winner, have, &contenders, request);
    why.extend(lowered(candidates, &winner, &rejected));
    let suits = preference(host, winner.candidate, winner.fit.gpu_layers);
    let suited = |reason| ReasonCode::FormatSuits.because(format!("{}: {reason}", winner.candidate.id));
    why.extend(suits.map(suited));
    let n_threads_batch = request.n_threads.unwrap_or_else(|| threads::batch_threads(host)).max(1);
    let Contender { candidate, quality, speed, fit } = winner;
    let chosen = Choice {
        id: candidate.id.clone(),
        precision: candidate.precision.clone(),
        backend: fit.backend,
        prompt_backend: fit.batches.unwrap_or(fit.backend),
        copies_weights: fit.batches.is_some(),
        device: fit.device,
        gpu_layers: fit.gpu_layers,
        layers_asked: request.gpu_layers.is_some(),
        unified: fit.unified,
        context_tokens: fit.context_tokens,
        type_k: fit.cache.k.name(),
        type_v: fit.cache.v.name(),
        cache_steps: match candidate.cache {
            // Nobody can choose.
            Some(_) => Vec::new(),
            None => kv_precision::stated(
                &candidate.description,
                fit.context_tokens,
                fit.n_ubatch.into(),
                fit.cache,
            ),
        },
        n_threads,
        n_threads_batch,
        n_ubatch: fit.n_ubatch,
        expert_memory_bytes: fit.expert_memory_bytes,
        memory: fit.memory,
        speed,
        quality,
    };
    let evidence = speed.evidence;
    assumptions.extend(speed_assumption(evidence));
    let allowance = request.allowance(host);
    Plan { chosen: Some(chosen), allowance, why, rejected, nearest: None, assumptions, evidence }
}

/// Those that fit, and why the others do not.
fn judge_all<'a>(
    host: &Host,
    speeds: &SpeedModel,
    candidates: &'a [Candidate],
    request: &Request,
    have: u64,
) -> (Vec<Contender<'a>>, Vec<Rejection>) {
    let (mut contenders, mut rejected) = (Vec::new(), Vec::new());
    for candidate in candidates {
        match judge(host, speeds, candidate, request, have) {
            Ok(contender) => contenders.push(contender),
            Err(rejection) => rejected.push(rejection),
        }
    }
    (contenders, rejected)
}

fn judge<'a>(
    host: &Host,
    speeds: &SpeedModel,
    candidate: &'a Candidate,
    request: &Request,
    have: u64,
) -> Result<Contender<'a>, Rejection> {
    let plain = |code, fix| Err(plain_rejection(&candidate.id, code, fix));
    let (sifted, small) = sift(candidate, request);
    let request = &sifted;
    if let Some((code, fix)) = refusal(candidate, request) {
        let small = small.first().filter(|_| code == Code::Engine);
        return small.map_or_else(|| plain(code, fix), |small| Err(small.rejection(&candidate.id)));
    }
    let Judged { mut fit, speed } = match best_way(host, speeds, candidate, request, have) {
        Ok(judged) => judged,
        Err(least) => return Err(memory_rejection(candidate, request, &least, have, Repack::of(host))),
    };
    let left_out = small.iter().map(|small| ReasonCode::MaxAlloc.because(small.text()));
    fit.concessions.extend(left_out);
    let quality = candidate.quality.unwrap_or_else(|| QualityEstimate::guess(&candidate.precision));
    let speed = measured::expected(request, &candidate.id, &fit, speed);
    if let Some((code, fix)) = miss(&speed, request) {
        return plain(code, fix);
    }
    if let Objective::Speed { max_kld } = request.objective
        && quality.kld_mean > max_kld
    {
        let fix = format!("divergence {:.4}, at most {max_kld:.4} asked for", quality.kld_mean);
        return plain(Code::QualityDominated, fix);
    }
    Ok(Contender { candidate, quality, speed, fit })
}

/// Of the variants that none is known to beat, one in a format that suits the hardware, then the one with fewest bytes, present
/// before absent, measured before predicted. Variants with a shorter context than the usual one stand back where another is
/// faithful and holds that. Where speed is the objective: the fastest.
fn best(host: &Host, contenders: &[Contender<'_>], request: &Request) -> Option<usize> {
    match request.objective {
        Objective::Quality => {
            let cost = |one: &Contender<'_>| {
                let suits = preference(host, one.candidate, one.fit.gpu_layers).is_some();
                (!suits, one.candidate.weights_bytes, !one.candidate.present, one.speed.evidence.rank())
            };
            let left = measured::fastest(unbeaten(contenders, request), request);
            left.into_iter().min_by_key(|(_, one)| cost(one)).map(|(place, _)| place)
        }
        Objective::Speed { .. } => {
            let faster = |one: &Contender<'_>, other: &Contender<'_>| {
                seconds(&one.speed).total_cmp(&seconds(&other.speed))
            };
            let places = contenders.iter().enumerate();
            places.min_by(|(_, one), (_, other)| faster(one, other)).map(|(place, _)| place)
        }
    }
}

/// Those that none is known to beat, with their places.
fn unbeaten<'a, 'b>(contenders: &'a [Contender<'b>], request: &Request) -> Vec<(usize, &'a Contender<'b>)> {
    let holds = |one: &&Contender<'_>| one.holds_context(request);
    let faithful = contenders.iter().filter(holds).any(|one| one.quality.kld_mean <= FAITHFUL_KLD);
    let stands = |one: &Contender<'_>| !faithful || one.holds_context(request);
    let beaten = |one: &Contender<'_>| {
        contenders.iter().any(|other| stands(other) && other.quality.beats(&one.quality))
    };
    contenders.iter().enumerate().filter(|(_, one)| stands(one) && !beaten(one)).collect()
}

/// Ids of the variants between which speed may decide: those that fit and that none is known to beat; where speed is what is asked
/// for, all that fit and are good enough.
pub fn competitors(host: &Host, candidates: &[Candidate], request: &Request) -> Vec<String> {
    let request = &request.with_capped_devices();
    let speeds = SpeedModel::new(host, Tables::default())
        .calibrated(&request.calibrations)
        .observed(&request.observations);
    let (contenders, _) = judge_all(host, &speeds, candidates, request, request.memory_bytes(host));
    let id = |one: &Contender<'_>| one.candidate.id.clone();
    match request.objective {
        Objective::Quality => unbeaten(&contenders, request).into_iter().map(|(_, one)| id(one)).collect(),
        Objective::Speed { .. } => contenders.iter().map(id).collect(),
    }
}

/// What would come nearest where variants fit but none is as fast as asked: the fastest of them.
fn fastest(
    host: &Host,
    speeds: &SpeedModel,
    candidates: &[Candidate],
    request: &Request,
    have: u64,
) -> Option<Nearest> {
    let possible = candidates.iter().filter(|candidate| refusal(candidate, request).is_none());
    let judged = possible.filter_map(|candidate| {
        Some((candidate, best_way(host, speeds, candidate, request, have).ok()?.speed))
    });
    let (candidate, speed) = judged.min_by(|(_, one), (_, other)| seconds(one).total_cmp(&seconds(other)))?;
    let ([slow, fast], [soon, late]) = (speed.decode_tokens_per_s, speed.first_token_s);
    Some(Nearest {
        id: candidate.id.clone(),
        context_tokens: None,
        shortfall_bytes: 0,
        text: format!(
            "{} is the fastest: {slow:.1} to {fast:.1} tokens/s, {soon:.1} to {late:.1} s to the first token",
            candidate.id
        ),
    })
}

/// Why a candidate is out whatever the memory.
fn refusal(candidate: &Candidate, request: &Request) -> Option<(Code, String)> {
    if let Some(asked) = request.variant.as_ref().filter(|asked| !candidate.is_called(asked)) {
        return Some((Code::NotAsked, format!("{asked} was asked for")));
    }
    if let Some(blocked) = &candidate.blocked {
        return Some(blocked.clone());
    }
    if request.images && candidate.projector.is_none() {
        return Some((Code::Feature, "it has no projector, and images are to be read".into()));
    }
    let ours = candidate.description.vocab_size;
    if let Some(draft) = request.draft.as_ref().filter(|draft| draft.description.vocab_size != ours) {
        let (id, theirs) = (&draft.id, draft.description.vocab_size);
        return Some((Code::Feature, format!("the draft model {id} knows {theirs} tokens, this one {ours}")));
    }
    let cpu = candidate.compatible_backends.iter().any(|name| name == Backend::Cpu.name());
    if cpu || device(candidate, request).is_some() {
        return None;
    }
    Some((Code::Engine, format!("needs one of: {}", candidate.compatible_backends.join(", "))))
}

fn memory_rejection(
    candidate: &Candidate,
    request: &Request,
    least: &Fit,
    have: u64,
    repack: Repack,
) -> Rejection {
    let shorter = shorter_context(candidate, request, have, repack);
    let mut need = least.host_bytes();
    let mut have = have;
    let mut code = if least.memory.hard_bytes() > have { Code::MemHard } else { Code::MemSoft };
    if need <= have {
        // The host would hold its part; the device on which all layers must lie does not.
        have = device(candidate, request).map_or(0, |device| device.free_bytes);
        need = least.memory.total_bytes().max(have);
        code = Code::MemHard;
    }
    let shortfall = need - have;
    let fix = match shorter {
        Some(context) => format!("ask for at most {context} tokens of context"),
        None => format!("free {} or choose a smaller precision", bytes(shortfall)),
    };
    Rejection {
        id: candidate.id.clone(),
        code,
        need_bytes: Some(need),
        have_bytes: Some(have),
        shortfall_bytes: Some(shortfall),
        fix,
    }
}

/// The rejections in the order of the candidates that they are of.
fn in_order_of(candidates: &[Candidate], mut rejected: Vec<Rejection>) -> Vec<Rejection> {
    let mut ordered = Vec::with_capacity(rejected.len());
    for candidate in candidates {
        let (own, others): (Vec<_>, Vec<_>) =
            rejected.into_iter().partition(|rejection| rejection.id == candidate.id);
        ordered.extend(own);
        rejected = others;
    }
    ordered
}

fn plain_rejection(id: &str, code: Code, fix: String) -> Rejection {
    Rejection { id: id.into(), code, need_bytes: None, have_bytes: None, shortfall_bytes: None, fix }
}

fn beaten(
    other: &Contender<'_>,
    winner: &Contender<'_>,
    others: &[Contender<'_>],
    request: &Request,
) -> Rejection {
    let (id, ours, theirs) = (&winner.candidate.id, winner.quality.kld_mean, other.quality.kld_mean);
    if other.stands_back(winner, request) {
        let (short, long) = (other.fit.context_tokens, winner.fit.context_tokens);
        let fix = format!(
            "it holds {short} tokens of context here, {id} {long}: ask for {short} or fewer to have it"
        );
        return plain_rejection(&other.candidate.id, Code::Context, fix);
    }
    if let (Some(fix), Objective::Quality) =
        (measured::slower(other, winner, others, request), request.objective)
    {
        return plain_rejection(&other.candidate.id, Code::Slower, fix);
    }
    let fix = if let Objective::Speed { .. } = request.objective {
        format!("{id} is expected to be faster")
    } else if winner.quality.beats(&other.quality) {
        format!("{id} is better: divergence {ours:.4} against {theirs:.4}")
    } else {
        let (small, large) = (winner.candidate.weights_bytes, other.candidate.weights_bytes);
        format!(
            "{id} cannot be told apart in quality ({ours:.4}, {theirs:.4}) and takes {} instead of {}",
            bytes(small),
            bytes(large)
        )
    };
    plain_rejection(&other.candidate.id, Code::QualityDominated, fix)
}

/// What would work when nothing does: a shorter context if that is all, else the variant that lacks least.
fn nearest(
    candidates: &[Candidate],
    request: &Request,
    have: u64,
    repack: Repack,
    rejected: &[Rejection],
) -> Option<Nearest> {
    let lacking = rejected.iter().filter(|rejection| rejection.need_bytes.is_some());
    let shorter = lacking.clone().filter_map(|rejection| {
        let candidate = candidates.iter().find(|candidate| candidate.id == rejection.id)?;
        Some((shorter_context(candidate, request, have, repack)?, candidate))
    });
    if let Some((context, candidate)) = shorter.max_by_key(|(context, _)| *context) {
        return Some(Nearest {
            id: candidate.id.clone(),
            context_tokens: Some(context),
            shortfall_bytes: 0,
            text: format!("{} fits with {context} tokens of context", candidate.id),
        });
    }
    let least = lacking.min_by_key(|rejection| rejection.shortfall_bytes)?;
    let shortfall_bytes = least.shortfall_bytes.unwrap_or(0);
    Some(Nearest {
        id: least.id.clone(),
        context_tokens: None,
        shortfall_bytes,
        text: format!("{} fits once {} more are free", least.id, bytes(shortfall_bytes)),
    })
}

/// A number of bytes for people: `7947872` → `7.6 MiB`.
pub fn bytes(count: u64) -> String {
    let value = count as f64;
    match count {
        0..1024 => format!("{count} B"),
        1024..1_048_576 => format!("{:.1} KiB", value / 1024.0),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", value / 1_048_576.0),
        _ => format!("{:.2} GiB", value / 1_073_741_824.0),
    }
}
