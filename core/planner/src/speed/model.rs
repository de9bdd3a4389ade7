//! The speed model of one host: beliefs about each backend, from the tables, the host's priors, calibrations and
//! measurements, and predictions from them. Measured > calibrated > profile > guess. Must not know budgets or quality.

use super::calibration::{Calibration, Observation, calibrate, complete, time};
use super::classes::{CostClass, PrefillScale, Tables};
use super::equation::Question;
use super::estimate::Prediction;
use super::parameter::{Belief, Parameter, Phase};
use super::work::Work;
use crate::{Backend, Evidence, threads};
use hardware::{Fact, Host, Origin, Priors};
use std::collections::BTreeMap;

/// Standard deviations between the ends of a range that holds four of five.
const EIGHTY_PERCENT_RANGE: f64 = 2.0 * 1.2816;
/// Bandwidth that one busy core draws, and that all draw together, in GB/s: middling dual-channel machines. What is taken
/// where neither a profile nor a measurement says more.
const BANDWIDTH_PER_CORE_GBS: f64 = 8.0;
const BANDWIDTH_CAP_GBS: f64 = 48.0;
/// Peak bandwidth of a device's own memory where nothing is known, in GB/s: middling discrete ones.
const DEVICE_BANDWIDTH_GBS: f64 = 250.0;
/// Spread of both.
const GUESSED_SPREAD: f64 = 0.35;
/// How much of what one backend was found to reach of a memory beyond expectation is expected of the others that share it: a
/// controller, clocks and heat are common, caches and access patterns are not.
const SHARED_MEMORY: f64 = 0.5;
/// Shortest step of a numeric derivative.
const LEAST_STEP: f64 = 1e-3;

/// Predicts times on one host.
#[derive(Debug, Clone)]
pub struct SpeedModel {
    tables: Tables,
    arch: String,
    signatures: Vec<String>,
    backends: BTreeMap<Backend, Beliefs>,
    observations: Vec<Observation>,
    /// Whether all backends read the host's memory.
    unified: bool,
}

#[derive(Debug, Clone)]
struct Beliefs {
    decode: Belief,
    prefill: Belief,
    evidence: Evidence,
    n_observations: u32,
    /// Writing's numbers before anything was measured.
    decode_before: Belief,
}

impl Beliefs {
    fn of(&self, phase: Phase) -> &Belief {
        match phase {
            Phase::Decode => &self.decode,
            Phase::Prefill => &self.prefill,
        }
    }
}

impl SpeedModel {
    /// What is believed before anything was measured.
    pub fn new(host: &Host, tables: Tables) -> Self {
        let backends = Backend::ALL.into_iter().map(|backend| {
            let class = tables.class(backend, &host.arch, &host.cpu.signatures);
            (backend, prior(host, backend, class))
        });
        Self {
            backends: backends.collect(),
            arch: host.arch.clone(),
            signatures: host.cpu.signatures.clone(),
            tables,
            observations: Vec::new(),
            unified: host.memory.unified,
        }
    }

    /// Puts calibrations of this device in the place of what was believed. Unsound ones are ignored.
    pub fn calibrated(mut self, calibrations: &[Calibration]) -> Self {
        for calibration in calibrations {
            if !(calibration.decode.is_sound() && calibration.prefill.is_sound()) {
                continue;
            }
            let evidence =
                if calibration.n_observations > 0 { Evidence::Calibrated } else { Evidence::Profile };
            if let Some(beliefs) = self.backends.get_mut(&calibration.backend) {
                (beliefs.decode, beliefs.prefill) = (calibration.decode.clone(), calibration.prefill.clone());
                (beliefs.evidence, beliefs.n_observations) = (evidence, calibration.n_observations);
            }
        }
        self.share();
        self
    }

    /// Learns from measurements on this device: the processor's first, since it computes what devices do not hold.
    pub fn observed(mut self, observations: &[Observation]) -> Self {
        for backend in Backend::ALL {
            let n = observations.iter().filter(|observation| observation.teaches(backend)).count() as u32;
            if n == 0 {
                continue;
            }
            let fit = |phase| {
                let processor = self.processor(phase);
                calibrate(self.class(backend), phase, self.belief(backend, phase), processor, observations)
            };
            let (decode, prefill) = (fit(Phase::Decode), fit(Phase::Prefill));
            if let Some(beliefs) = self.backends.get_mut(&backend) {
                (beliefs.decode, beliefs.prefill) = (decode, prefill);
                beliefs.n_observations = beliefs.n_observations.saturating_add(n);
                beliefs.evidence = Evidence::Calibrated;
            }
            self.share();
        }
        self.observations.extend_from_slice(observations);
        self
    }

    /// What is to be remembered of a backend, without any model. The cost tables stay out of it: they come with the library.
    pub fn calibration(&self, backend: Backend) -> Calibration {
        let beliefs = &self.backends[&backend];
        let of_device = |name: &Parameter| !matches!(name, Parameter::Model(_));
        Calibration {
            backend,
            decode: beliefs.decode.retain(of_device),
            prefill: beliefs.prefill.retain(of_device),
            n_observations: beliefs.n_observations,
        }
    }

    /// The class that speaks for a backend here.
    pub fn class(&self, backend: Backend) -> &CostClass {
        self.tables.class(backend, &self.arch, &self.signatures)
    }

    /// The time of one token when writing after `n_tokens` others, or of a prompt of `n_tokens`. A variant that was measured
    /// here answers with its measurement.
    pub fn predict(
        &self,
        backend: Backend,
        phase: Phase,
        (model, variant): (&str, &str),
        work: &Work,
        n_tokens: f64,
    ) -> Prediction {
        let class = self.class(backend);
        let same = |observation: &&Observation| {
            (observation.backend, observation.phase) == (backend, phase)
                && (observation.model.as_str(), observation.variant.as_str()) == (model, variant)
                && observation.is_sound()
                && observation.work == *work
        };
        let measured: Vec<&Observation> = self.observations.iter().filter(same).collect();
        let question = Question { work, phase, n_tokens };
        let mut belief = self.belief(backend, phase).clone();
        complete(&mut belief, class, phase, work, None);
        let processor = self.processor(phase);
        let of_model = Parameter::Model(model.into());
        let at = |belief: &Belief, processor: &Belief| {
            time(question, class, belief, (self.class(Backend::Cpu), processor), Some(&of_model))
        };
        if !measured.is_empty() {
            // Measured at another depth or length: the equation carries it over.
            let ratio = |observation: &&Observation| {
                let there = Question { n_tokens: observation.n_tokens, ..question };
                (observation.milliseconds / time(there, class, &belief, processor, Some(&of_model))).ln()
            };
            let mean = measured.iter().map(ratio).sum::<f64>() / measured.len() as f64;
            let deviation = class.noise(phase);
            let milliseconds = at(&belief, processor.1) * mean.exp();
            let evidence = Evidence::Measured;
            return Prediction { milliseconds, deviation, shared_deviation: 0.0, evidence };
        }
        let middle = at(&belief, processor.1);
        let own = gradient(&belief, |moved| at(moved, processor.1));
        let mut variance = belief.variance(&own) + class.noise(phase).powi(2);
        let shared = if backend == Backend::Cpu {
            belief.variance(&own)
        } else {
            let slope = gradient(processor.1, |moved| at(&belief, moved));
            let of_processor = processor.1.variance(&slope);
            variance += of_processor;
            of_processor
        };
        let mut milliseconds = middle;
        match belief.value(&of_model) {
            Some(factor) => {
                milliseconds *= factor;
                // It hangs together with the rest: the whole again, with it.
                let whole = |moved: &Belief| at(moved, processor.1) * moved.value(&of_model).unwrap_or(1.0);
                let slope = gradient(&belief, whole);
                variance += belief.variance(&slope) - belief.variance(&own);
            }
            None => variance += class.figure(phase, &of_model)[1].powi(2),
        }
        Prediction {
            milliseconds,
            deviation: variance.max(0.0).sqrt(),
            shared_deviation: shared.clamp(0.0, variance.max(0.0)).sqrt(),
            evidence: self.backends[&backend].evidence,
        }
    }

    /// Lets backends that were not measured share in what was found of those that were: half as much faster or slower at the
    /// memory than was expected.
    fn share(&mut self) {
        let measured = self.backends.values().filter(|beliefs| beliefs.n_observations > 0);
        let found: Vec<f64> = measured
            .filter_map(|beliefs| {
                let [after, before] =
                    [&beliefs.decode, &beliefs.decode_before].map(|belief| belief.value(&Parameter::Speed));
                Some((after? / before?).ln())
            })
            .collect();
        if !self.unified || found.is_empty() {
            return;
        }
        let mean = found.iter().sum::<f64>() / found.len() as f64;
        for beliefs in self.backends.values_mut().filter(|beliefs| beliefs.n_observations == 0) {
            let left = (1.0 - SHARED_MEMORY * SHARED_MEMORY).sqrt();
            beliefs.decode = beliefs.decode_before.shifted(&Parameter::Speed, SHARED_MEMORY * mean, left);
        }
    }

    /// Logarithm of a measured time over the time that the numbers give, whatever the model.
    pub fn left(&self, backend: Backend, phase: Phase, work: &Work, n_tokens: f64, milliseconds: f64) -> f64 {
        let mut belief = self.belief(backend, phase).clone();
        complete(&mut belief, self.class(backend), phase, work, None);
        let question = Question { work, phase, n_tokens };
        (milliseconds / time(question, self.class(backend), &belief, self.processor(phase), None)).ln()
    }

    fn belief(&self, backend: Backend, phase: Phase) -> &Belief {
        self.backends[&backend].of(phase)
    }

    fn processor(&self, phase: Phase) -> (&CostClass, &Belief) {
        (self.class(Backend::Cpu), self.belief(Backend::Cpu, phase))
    }
}

/// How the logarithm of a time changes with each number: between one deviation below and one above, since a number that is
/// known badly may matter little where it is expected and much beyond.
fn gradient(belief: &Belief, at: impl Fn(&Belief) -> f64) -> Vec<f64> {
    let slope = |place: usize| {
        let step = belief.covariance()[place][place].max(0.0).sqrt().max(LEAST_STEP);
        let moved = |by: f64| {
            let mut means = belief.means().to_vec();
            means[place] += by;
            at(&belief.moved(means, Vec::new()))
        };
        (moved(step) / moved(-step)).ln() / (2.0 * step)
    };
    (0..belief.means().len()).map(slope).collect()
}

/// What host and tables say of a backend.
fn prior(host: &Host, backend: Backend, class: &CostClass) -> Beliefs {
    let priors = memory_priors(host, backend);
    let (decode_threads, batch_threads) = (threads::decode_threads(host), threads::batch_threads(host));
    let mut evidence = Evidence::Profile;
    let stated = priors.bandwidth_gbs.as_ref();
    // Where the class has no measurement and the profile has one, the profile's share of the peak holds.
    let share = match priors.eta_decode.as_ref().filter(|_| class.sources.is_empty()) {
        Some(fact) => middle(fact),
        None => class.figure(Phase::Decode, &Parameter::Speed),
    };
    let (peak, speed) = match stated {
        Some(fact) => {
            if fact.origin == Origin::ClassDefault {
                evidence = Evidence::Guess;
            }
            let [gbs, spread] = middle(fact);
            (gbs, [gbs * share[0], spread.hypot(share[1])])
        }
        None => {
            evidence = Evidence::Guess;
            let gbs = match backend {
                Backend::Cpu => (BANDWIDTH_PER_CORE_GBS * f64::from(decode_threads)).min(BANDWIDTH_CAP_GBS),
                _ => DEVICE_BANDWIDTH_GBS * share[0],
            };
            (gbs / share[0], [gbs, GUESSED_SPREAD])
        }
    };
    let speed = match priors.core_bandwidth_gbs.as_ref().filter(|_| backend == Backend::Cpu).map(middle) {
        // So few threads do not draw what the memory gives.
        Some([per_core, spread]) if per_core * f64::from(decode_threads) < speed[0] => {
            [per_core * f64::from(decode_threads), spread.max(speed[1])]
        }
        _ => speed,
    };
    let units = match class.prefill_per {
        PrefillScale::Thread => f64::from(batch_threads),
        PrefillScale::Gbs => peak,
    };
    let [per_unit, spread] = class.figure(Phase::Prefill, &Parameter::Speed);
    let mut beliefs = Beliefs {
        decode: Belief::default(),
        prefill: Belief::default(),
        evidence,
        n_observations: 0,
        decode_before: Belief::default(),
    };
    beliefs.decode.add(Parameter::Speed, speed[0], speed[1]);
    beliefs.prefill.add(Parameter::Speed, per_unit * units, spread);
    let layer = priors.layer_us.as_ref().filter(|_| class.sources.is_empty()).map(middle);
    if let Some([microseconds, spread]) = layer {
        beliefs.decode.add(Parameter::Layer, microseconds / 1e3, spread);
    }
    for (phase, belief) in [(Phase::Decode, &mut beliefs.decode), (Phase::Prefill, &mut beliefs.prefill)] {
        let names = [Parameter::Layer, Parameter::Crossing, Parameter::Recurrence, Parameter::State];
        let names = names.into_iter().chain([Parameter::Narrow, Parameter::HalfLength]);
        let relevant = |name: &Parameter| phase == Phase::Prefill || *name != Parameter::HalfLength;
        for name in names.filter(relevant) {
            let [value, spread] = class.figure(phase, &name);
            belief.add(name, value, spread);
        }
    }
    beliefs.decode_before = beliefs.decode.clone();
    beliefs
}

/// The priors of the memory that a backend reads: a device's own where the host lists one, else the host's.
fn memory_priors(host: &Host, backend: Backend) -> &Priors {
    let own = host.gpus.iter().find(|gpu| !gpu.unified && gpu.priors.bandwidth_gbs.is_some());
    match own.filter(|_| backend != Backend::Cpu) {
        Some(gpu) => &gpu.priors,
        None => &host.priors,
    }
}

/// The geometric middle of a range and the spread that it states.
fn middle(fact: &Fact) -> [f64; 2] {
    let [low, high] = fact.range.map(|end| end.max(1e-9));
    [(low * high).sqrt(), (high / low).ln() / EIGHTY_PERCENT_RANGE]
}
