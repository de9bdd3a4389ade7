//! Fitting the numbers of a processor to what was measured on it: maximum a posteriori by Gauss-Newton steps, measurements
//! far from the rest counting less. Owns the fit; must not know hosts.

use super::classes::CostClass;
use super::equation::{Question, Unit, milliseconds};
use super::linear::{inverse, times};
use super::parameter::{Belief, Parameter, Phase};
use super::work::Work;
use crate::Backend;
use serde::{Deserialize, Serialize};

const STEPS: usize = 25;
/// Longest step of a logarithm.
const LONGEST_STEP: f64 = 1.0;
/// Step of the numeric derivative.
const NUDGE: f64 = 1e-4;
/// Deviations beyond which a measurement counts less (Huber).
const OUTLIER: f64 = 2.0;

/// One measured time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// What computed.
    pub backend: Backend,
    /// What was done.
    pub phase: Phase,
    /// Name of the model: variants of one share what makes it differ from its work.
    pub model: String,
    /// Id of the variant.
    pub variant: String,
    /// Its work.
    pub work: Work,
    /// Decode: tokens before, on average. Prefill: tokens read.
    pub n_tokens: f64,
    /// Of one token when writing, of the whole prompt when reading.
    pub milliseconds: f64,
}

impl Observation {
    /// Whether beliefs of this backend are fitted to it. They are of llama.cpp: what another engine took, as the format in the
    /// variant's id says (`onnx/int4`), tells of that variant alone.
    pub(super) fn teaches(&self, backend: Backend) -> bool {
        let other_engine = self.variant.split_once('/').is_some_and(|(format, _)| format != "gguf");
        self.backend == backend && !other_engine
    }

    /// Whether its numbers can be: what comes from a file may not be a measurement.
    pub fn is_sound(&self) -> bool {
        let sound = |number: f64| number.is_finite() && (0.0..1e12).contains(&number);
        sound(self.milliseconds) && self.milliseconds > 1e-9 && sound(self.n_tokens)
    }
}

/// What is believed of one backend on this device after measuring, apart from any model: it predicts models that are not
/// downloaded yet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// What computes.
    pub backend: Backend,
    /// Numbers of writing.
    pub decode: Belief,
    /// Numbers of reading.
    pub prefill: Belief,
    /// Measurements that went in.
    pub n_observations: u32,
}

/// The numbers that `observations` leave of `before`. Those of another engine, backend or phase are ignored. `processor` are the
/// class and numbers of the processor, for what the device does not hold.
pub fn calibrate(
    class: &CostClass,
    phase: Phase,
    before: &Belief,
    processor: (&CostClass, &Belief),
    observations: &[Observation],
) -> Belief {
    let mine = |observation: &&Observation| {
        observation.teaches(class.backend) && observation.phase == phase && observation.is_sound()
    };
    let observations: Vec<&Observation> = observations.iter().filter(mine).collect();
    if observations.is_empty() || !before.is_sound() {
        return before.clone();
    }
    let noise = class.noise(phase);
    let mut prior = before.clone();
    for observation in &observations {
        complete(&mut prior, class, phase, &observation.work, Some(&observation.model));
    }
    let Some(precision) = inverse(prior.covariance()) else { return before.clone() };
    let residuals = |belief: &Belief| -> Vec<f64> {
        let expected = |observation: &&Observation| expect(class, phase, belief, processor, observation).ln();
        observations.iter().map(|o| o.milliseconds.ln() - expected(o)).collect()
    };
    let mut belief = prior.clone();
    let mut covariance = prior.covariance().to_vec();
    for _ in 0..STEPS {
        let left = residuals(&belief);
        let slopes = slopes(&belief, &left, &residuals);
        let weights: Vec<f64> = left
            .iter()
            .map(|residual| {
                let far = residual.abs() / noise;
                (OUTLIER / far.max(OUTLIER)) / noise.powi(2)
            })
            .collect();
        let n = belief.means().len();
        let mut normal = precision.clone();
        let moved: Vec<f64> =
            belief.means().iter().zip(prior.means()).map(|(now, then)| now - then).collect();
        let mut pull: Vec<f64> = times(&precision, &moved).iter().map(|number| -number).collect();
        for ((slope, residual), weight) in slopes.iter().zip(&left).zip(&weights) {
            for i in 0..n {
                pull[i] += weight * slope[i] * residual;
                for j in 0..n {
                    normal[i][j] += weight * slope[i] * slope[j];
                }
            }
        }
        let Some(inverse) = inverse(&normal) else { break };
        let step = times(&inverse, &pull);
        let longest = step.iter().fold(0f64, |longest, part| longest.max(part.abs()));
        let shorten = (LONGEST_STEP / longest.max(LONGEST_STEP)).min(1.0);
        let means = belief.means().iter().zip(&step).map(|(mean, part)| mean + part * shorten).collect();
        covariance = inverse;
        belief = belief.moved(means, covariance.clone());
        if longest < 1e-6 {
            break;
        }
    }
    belief.moved(belief.means().to_vec(), covariance)
}

/// Adds what the work needs and the belief lacks: its types, and what makes `model` differ.
pub(super) fn complete(
    belief: &mut Belief,
    class: &CostClass,
    phase: Phase,
    work: &Work,
    model: Option<&str>,
) {
    let types = work.weights.iter().filter(|weights| class.holds(weights));
    let names = types.map(|weights| Parameter::Type(weights.ty));
    let model = model.map(|model| Parameter::Model(model.into()));
    for name in names.chain(model) {
        let [value, spread] = class.figure(phase, &name);
        belief.add(name, value, spread);
    }
}

/// The time that a belief expects, in milliseconds.
pub(super) fn expect(
    class: &CostClass,
    phase: Phase,
    belief: &Belief,
    processor: (&CostClass, &Belief),
    observation: &Observation,
) -> f64 {
    let question = Question { work: &observation.work, phase, n_tokens: observation.n_tokens };
    let of_model = Parameter::Model(observation.model.clone());
    let model = belief.value(&of_model).unwrap_or(1.0);
    model * time(question, class, belief, processor, Some(&of_model))
}

/// The same for a model of which nothing is known but its work, and what makes `model` differ on the processor, for the part
/// that the processor computes for a device.
pub(super) fn time(
    question: Question<'_>,
    class: &CostClass,
    belief: &Belief,
    processor: (&CostClass, &Belief),
    model: Option<&Parameter>,
) -> f64 {
    let own = |name: &Parameter| belief.value(name).unwrap_or(1.0);
    let slower = model.and_then(|model| processor.1.value(model)).unwrap_or(1.0);
    let other = |name: &Parameter| {
        let value = processor.1.value(name).unwrap_or(1.0);
        if *name == Parameter::Speed { value / slower } else { value }
    };
    let unit = Unit { class, value: &own };
    let processor = Unit { class: processor.0, value: &other };
    milliseconds(question, &unit, &processor)
}

/// How the expected logarithms change with each number, by measurement.
fn slopes(belief: &Belief, left: &[f64], residuals: &impl Fn(&Belief) -> Vec<f64>) -> Vec<Vec<f64>> {
    let mut slopes = vec![vec![0.0; belief.means().len()]; left.len()];
    for place in 0..belief.means().len() {
        let mut means = belief.means().to_vec();
        means[place] += NUDGE;
        let nudged = residuals(&belief.moved(means, belief.covariance().to_vec()));
        for ((row, before), after) in slopes.iter_mut().zip(left).zip(nudged) {
            row[place] = (before - after) / NUDGE;
        }
    }
    slopes
}
