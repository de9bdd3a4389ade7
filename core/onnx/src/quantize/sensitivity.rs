//! How far a model's answers move when one node is quantized, and which nodes are worth their bytes as floats.
//! Knows soft outputs, never labels; errors of single nodes add up nearly, so that a plan is a choice of nodes.

use crate::quantize::emit::{Choices, emit};
use crate::quantize::evaluate::Evaluator;
use crate::quantize::plan::{Choice, Item, Plan};
use crate::quantize::progress::{Progress, Step};
use crate::quantize::record::Record;
use crate::quantize::samples::Trace;
use crate::quantize::{Goal, Request};
use crate::{Error, Optimization};
use formats::onnx::{ModelProto, write_model};

/// Steps of the trace that a node is tried on, spread over it.
const TRIED_STEPS: usize = 24;
/// Part of the bytes saved that may go back to nodes, where no size is asked for.
const BYTES_BACK: f64 = 0.12;
/// Parts of the multiplications that may stay float where speed matters too: the next one where answers are still farther
/// from the float model's than [`TOLERANCE`].
const MACS_BACK: [f64; 3] = [0.12, 0.3, 1.0];
/// A node that stays float between others costs steps from and to eight bits: as much as so many multiplications for each
/// value that it reads and makes, and at least as this part of all.
const COST_PER_VALUE: f64 = 16.0;
const LEAST_COST: f64 = 0.01;
/// Relative squared distance of soft outputs that is near enough.
const TOLERANCE: f64 = 0.02;
/// What remains of the summed error when it is no longer worth more bytes.
const ENOUGH: f64 = 0.02;

/// What tries need.
pub(crate) struct Judge<'a> {
    pub(crate) evaluator: &'a Evaluator<'a>,
    pub(crate) plain: &'a ModelProto,
    pub(crate) record: &'a Record,
    pub(crate) trace: &'a Trace,
}

impl Judge<'_> {
    /// All in eight bits, but for nodes whose harm is worth their bytes.
    pub(crate) fn plan(
        &self,
        items: &[Item],
        request: &Request,
        choices: Choices,
        progress: &mut Progress<'_>,
    ) -> Result<Plan, Error> {
        let target = &request.target;
        let all = Plan::all_int8(target, items);
        let whole = emit(self.plain, self.record, &all, target, choices)?;
        let whole_bytes = write_model(&whole)?.len() as f64;
        let plain_bytes = write_model(self.plain)?.len() as f64;
        let room = match request.max_bytes {
            Some(most) => most as f64 - whole_bytes,
            None if request.goal == Goal::Size => 0.0,
            None => (plain_bytes - whole_bytes) * BYTES_BACK,
        };
        if room < 0.0 {
            return Err(Error::Setting {
                field: "max bytes",
                expected: format!("at least {whole_bytes}, everything in eight bits"),
                got: request.max_bytes.unwrap_or_default().to_string(),
            });
        }
        let quantized: Vec<&Item> =
            items.iter().filter(|item| all.choice(&item.name) != Choice::Float).collect();
        let mut tried = Vec::new();
        for (at, item) in quantized.iter().enumerate() {
            let whole = self.alone(&all, item, all.choice(&item.name), request, choices)?;
            let weights = self.alone(&all, item, Choice::Weights, request, choices)?;
            tried.push(Tried { item, whole, weights: weights.min(whole) });
            progress.report(Step::Trying, at + 1, quantized.len())?;
        }
        tracing::debug!(?tried, "harms of single nodes");
        let mut plan = all.clone();
        for part in MACS_BACK {
            plan = choose(all.clone(), &tried, items, room, part);
            let distance = self.distance(&emit(self.plain, self.record, &plan, target, choices)?)?;
            tracing::debug!(part, distance, "plan");
            if distance <= TOLERANCE {
                break;
            }
        }
        Ok(plan)
    }

    /// The distance with one node as `choice` says and all others as they were.
    fn alone(
        &self,
        all: &Plan,
        item: &Item,
        choice: Choice,
        request: &Request,
        choices: Choices,
    ) -> Result<f64, Error> {
        let mut plan = all.clone();
        plan.nodes.values_mut().for_each(|choice| *choice = Choice::Float);
        plan.nodes.insert(item.name.clone(), choice);
        self.distance(&emit(self.plain, self.record, &plan, &request.target, choices)?)
    }

    /// Relative squared distance of soft outputs, summed over outputs and averaged over steps; states are those of the float
    /// model at each step.
    pub(crate) fn distance(&self, made: &ModelProto) -> Result<f64, Error> {
        let mut runner = self.evaluator.runner(made, None, Optimization::Full)?;
        let stride = self.trace.feeds.len().div_ceil(TRIED_STEPS).max(1);
        let mut sums: Vec<(f64, f64)> = Vec::new();
        for (feed, expected) in self.trace.feeds.iter().zip(&self.trace.outputs).step_by(stride) {
            let got = runner.floats(feed)?;
            sums.resize(expected.len(), (0.0, 0.0));
            for ((sum, expected), got) in sums.iter_mut().zip(expected).zip(&got) {
                let mean = expected.iter().sum::<f32>() / expected.len().max(1) as f32;
                for (&one, &two) in expected.iter().zip(got) {
                    sum.0 += f64::from(one - two).powi(2);
                    sum.1 += f64::from(one - mean).powi(2);
                }
            }
        }
        Ok(sums.iter().map(|(error, spread)| error / spread.max(1e-12)).sum())
    }
}

/// A node and the distance with it alone changed.
#[derive(Debug)]
struct Tried<'a> {
    item: &'a Item,
    /// In eight bits.
    whole: f64,
    /// With its weights alone in eight bits, which costs speed and no bytes.
    weights: f64,
}

/// Takes back what does most harm: first what flows, for multiplications, then weights, for bytes.
fn choose(all: Plan, tried: &[Tried<'_>], items: &[Item], room: f64, part: f64) -> Plan {
    let total: f64 = tried.iter().map(|tried| tried.whole).sum();
    let macs: f64 = items.iter().map(|item| item.macs as f64).sum();
    let cost =
        |item: &Item| (item.macs as f64 + COST_PER_VALUE * item.n_values as f64).max(LEAST_COST * macs);
    // Everything may be more than all, where nodes of few multiplications count as more.
    let budget = if part < 1.0 { macs * part } else { f64::INFINITY };
    let (mut plan, mut macs_left, mut bytes_left, mut remaining) = (all, budget, room, total);
    let order = |worth: &dyn Fn(&Tried<'_>) -> f64| {
        let mut order: Vec<usize> = (0..tried.len()).collect();
        order.sort_by(|&one, &two| worth(&tried[two]).total_cmp(&worth(&tried[one])));
        order
    };
    let mut harms: Vec<f64> = tried.iter().map(|tried| tried.whole).collect();
    for at in order(&|tried| (tried.whole - tried.weights) / cost(tried.item)) {
        let (item, gain) = (tried[at].item, tried[at].whole - tried[at].weights);
        if remaining > total * ENOUGH && cost(item) <= macs_left && gain > 0.0 {
            macs_left -= cost(item);
            remaining -= gain;
            harms[at] = tried[at].weights;
            plan.nodes.insert(item.name.clone(), Choice::Weights);
        }
    }
    for at in order(&|tried| tried.weights / (tried.item.n_weights as f64 + 64.0)) {
        let (item, bytes) = (tried[at].item, 3.0 * tried[at].item.n_weights as f64);
        let is_taken_back = plan.choice(&item.name) == Choice::Weights;
        if remaining > total * ENOUGH && is_taken_back && bytes <= bytes_left {
            bytes_left -= bytes;
            remaining -= harms[at];
            plan.nodes.insert(item.name.clone(), Choice::Float);
        }
    }
    plan
}
