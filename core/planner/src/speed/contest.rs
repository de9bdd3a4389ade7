//! Which of several ways is fastest, and which of them to measure first. Owns the comparison of predictions; must not know
//! memory or quality.

use super::estimate::Prediction;
use super::model::SpeedModel;
use super::parameter::Phase;
use super::work::Work;
use crate::{Backend, Evidence};
use std::f64::consts::{PI, SQRT_2};

/// Deviation below which two ways are one as far as measuring goes: the processor computes both.
const ALIKE: f64 = 0.1;

/// Deviations that a time is taken longer by, where the least of several is looked for.
const CAUTION: f64 = 0.5;

/// One way to run a model: a variant on a backend.
#[derive(Debug, Clone, Copy)]
pub struct Way<'a> {
    /// Id of the variant.
    pub variant: &'a str,
    /// What computes.
    pub backend: Backend,
    /// Work of the variant.
    pub work: &'a Work,
}

impl SpeedModel {
    /// The fastest of `ways` to spend a phase: its place and prediction. What is known less well must promise more, by half a
    /// deviation: the least of several uncertain times is usually one that was taken for too short. `None` where there are none.
    pub fn fastest(
        &self,
        phase: Phase,
        model: &str,
        ways: &[Way<'_>],
        n_tokens: f64,
    ) -> Option<(usize, Prediction)> {
        let predict =
            |way: &Way<'_>| self.predict(way.backend, phase, (model, way.variant), way.work, n_tokens);
        let cautious = |one: &Prediction| one.milliseconds.ln() + CAUTION * one.deviation;
        let predictions = ways.iter().map(predict).enumerate();
        predictions.min_by(|(_, one), (_, other)| cautious(one).total_cmp(&cautious(other)))
    }

    /// Which of `ways` to measure next before choosing between them for a model: the one whose measurement is expected to save
    /// most time, over all `choices` (places in `ways` that stand to be chosen between) and `phases`; `None` where nothing is
    /// left to learn. `depth` and `prompt_tokens` are what writing and reading are judged by. Ask again with what was measured.
    pub fn probe(
        &self,
        model: &str,
        ways: &[Way<'_>],
        choices: &[Vec<usize>],
        phases: &[Phase],
        (depth, prompt_tokens): (f64, f64),
    ) -> Option<usize> {
        let tokens = |phase| if phase == Phase::Decode { depth } else { prompt_tokens };
        let predict = |way: &Way<'_>| -> Vec<Prediction> {
            let name = (model, way.variant);
            let phases = phases.iter();
            phases.map(|phase| self.predict(way.backend, *phase, name, way.work, tokens(*phase))).collect()
        };
        let predictions: Vec<Vec<Prediction>> = ways.iter().map(predict).collect();
        let mut worth = vec![0.0; ways.len()];
        let asked = choices.iter().flat_map(|choice| (0..phases.len()).map(move |phase| (choice, phase)));
        for (choice, phase) in asked {
            let time = |place: &usize| predictions[*place][phase].milliseconds;
            let faster = |one: &usize, other: &usize| time(one).total_cmp(&time(other));
            for backend in Backend::ALL {
                let of_backend = choice.iter().copied().filter(|place| ways[*place].backend == backend);
                let Some(own) = of_backend.min_by(faster) else { continue };
                let contends = |place: &usize| {
                    let rival = &predictions[*place][phase];
                    ways[*place].backend != backend
                        && removed(backend, &predictions[own][phase], rival) > ALIKE
                };
                let Some(rival) = choice.iter().copied().filter(contends).min_by(faster) else { continue };
                let removed = removed(backend, &predictions[own][phase], &predictions[rival][phase]);
                worth[own] += expected_gain((time(&own) / time(&rival)).ln().abs(), removed);
            }
        }
        let total = |backend: Backend| -> f64 {
            let of_backend = ways.iter().zip(&worth).filter(|(way, _)| way.backend == backend);
            of_backend.map(|(_, worth)| worth).sum()
        };
        let backend = Backend::ALL.into_iter().max_by(|one, other| total(*one).total_cmp(&total(*other)))?;
        let unmeasured = |place: &usize| {
            let measured = predictions[*place].iter().all(|one| one.evidence == Evidence::Measured);
            ways[*place].backend == backend && !measured
        };
        let places = (0..ways.len()).filter(|place| worth[*place] > 0.0).filter(unmeasured);
        places.max_by(|one, other| {
            let told = |place: &usize| (self.held(&ways[*place]) * 50.0).round();
            told(one).total_cmp(&told(other)).then(worth[*one].total_cmp(&worth[*other]))
        })
    }

    /// Share of the weights that the way's backend computes itself: measuring there tells of the backend.
    fn held(&self, way: &Way<'_>) -> f64 {
        let class = self.class(way.backend);
        let held = way.work.weights.iter().filter(|weights| class.holds(weights));
        let held: u64 = held.map(|weights| weights.n_weights).sum();
        let all: u64 = way.work.weights.iter().map(|weights| weights.n_weights).sum();
        held as f64 / all.max(1) as f64
    }
}

/// What measuring `backend` removes of the uncertainty about which of two is faster: what is its own; measuring the processor,
/// also what both share unevenly.
fn removed(backend: Backend, own: &Prediction, rival: &Prediction) -> f64 {
    match backend {
        Backend::Cpu => own.own_deviation().hypot(own.shared_deviation - rival.shared_deviation),
        _ => own.own_deviation(),
    }
}

/// What knowing a number exactly is expected to save that lies `distance` from where the decision turns, its deviation being
/// given: ∫ max(0, x − distance) of a normal distribution.
fn expected_gain(distance: f64, deviation: f64) -> f64 {
    if deviation <= 0.0 {
        return 0.0;
    }
    let z = distance / deviation;
    let density = (-z * z / 2.0).exp() / (2.0 * PI).sqrt();
    (deviation * density - distance * upper_tail(z)).max(0.0)
}

/// P(x > z) of a standard normal, z ≥ 0. Abramowitz and Stegun 7.1.26, absolute error below 1.5e-7.
fn upper_tail(z: f64) -> f64 {
    let x = z / SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * x);
    let series = t
        * (0.254_829_592
            + t * (-0.284_496_736 + t * (1.421_413_741 + t * (-1.453_152_027 + t * 1.061_405_429))));
    series * (-x * x).exp() / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tails_and_gains_follow_the_tables() {
        for (z, tail) in [(0.0, 0.5), (1.0, 0.158_655), (1.959_96, 0.025)] {
            assert!((upper_tail(z) - tail).abs() < 1e-5, "{z}");
        }
        assert!((expected_gain(0.0, 1.0) - 0.398_942).abs() < 1e-5);
        assert!(expected_gain(3.0, 1.0) < 0.001 && expected_gain(0.1, 0.0) == 0.0);
    }
}
