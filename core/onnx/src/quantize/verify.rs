//! Whether the result is what was planned, and what it is worth: coverage, kernels, differences, speed.
//! Knows both models and samples that were held out; changes nothing.

use crate::quantize::evaluate::{Evaluator, Feed, Runner};
use crate::quantize::plan::{Choice, Item, Plan};
use crate::quantize::progress::{Progress, Step};
use crate::quantize::samples::Samples;
use crate::quantize::{Goal, Precision, Request};
use crate::{Error, Optimization};
use formats::onnx::{DataType, ModelProto, tensor_of_bytes};
use std::time::{Duration, Instant};

/// How much of a model is quantized.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Coverage {
    /// Part of the multiplications that are computed in eight bits, 0 to 1.
    pub macs: f64,
    /// Part of the weights that are stored in eight bits.
    pub weights: f64,
    /// Nodes with weights, quantized and in all.
    pub nodes: (usize, usize),
}

/// How far one output is from the float model's.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Difference {
    /// The output.
    pub output: String,
    /// Squared error over the spread of the float output.
    pub relative_squared: f64,
    /// Largest difference.
    pub largest: f64,
}

/// Milliseconds of a run with one thread, the least of many, and their ratio.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Speed {
    /// The plain float model.
    pub plain_ms: f64,
    /// The result.
    pub ms: f64,
    /// Float over result: more than 1 is faster.
    pub ratio: f64,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Verification {
    /// How much is quantized; none for half precision.
    pub coverage: Option<Coverage>,
    /// By output, on held-out samples, states carried by each model itself.
    pub differences: Vec<Difference>,
    /// Largest difference of outputs with the library's rewriting off and on, over its largest value.
    pub rewriting: f64,
    /// Silence, black and full scale gave finite numbers.
    pub extremes_are_finite: bool,
    /// How fast both are.
    pub speed: Speed,
}

/// The least ratio of speeds where size is not all that counts.
const LEAST_SPEED: f64 = 0.9;
/// Steps on which rewriting is looked at.
const REWRITING_STEPS: usize = 16;
/// Time that both models are timed for.
const TIMING: Duration = Duration::from_millis(1500);

#[allow(clippy::too_many_arguments, reason = "what is compared, on what, and what was asked for")]
pub(crate) fn verify(
    evaluator: &Evaluator<'_>,
    plain: &ModelProto,
    made: &ModelProto,
    items: &[Item],
    plan: Option<&Plan>,
    held_out: &Samples,
    request: &Request,
    progress: &mut Progress<'_>,
) -> Result<Verification, Error> {
    let coverage = plan.map(|plan| coverage(items, plan));
    if coverage.is_some_and(|coverage| coverage.weights <= 0.0) {
        let kinds: Vec<&str> = items.iter().map(|item| item.operator.as_str()).collect();
        let name = crate::quantize::precision_name(request.precision);
        return Err(Error::Nothing(format!(
            "0 of {} nodes with weights ({}) can be {name} for {}",
            items.len(),
            summary(&kinds),
            request.target.name
        )));
    }
    progress.report(Step::Verifying, 0, 3)?;
    let mut runners = (
        evaluator.runner(plain, None, Optimization::Full)?,
        evaluator.runner(made, None, Optimization::Full)?,
    );
    let names = runners.0.outputs();
    let expected = held_out.trace(&mut runners.0)?;
    let got = held_out.trace(&mut runners.1)?;
    let differences = (0..expected.outputs.first().map_or(0, Vec::len))
        .map(|at| difference(names.get(at).cloned().unwrap_or_default(), at, &expected.outputs, &got.outputs))
        .collect();
    progress.report(Step::Verifying, 1, 3)?;
    let first = &expected.feeds[0];
    let rewriting = rewriting(evaluator, made, &mut runners.1, &expected.feeds)?;
    progress.report(Step::Verifying, 2, 3)?;
    let mut extremes_are_finite = true;
    for value in [0.0, 1.0, -1.0] {
        let outputs = runners.1.floats(&filled(first, value)?)?;
        extremes_are_finite &= outputs.iter().flatten().all(|value| value.is_finite());
    }
    progress.report(Step::Timing, 0, 1)?;
    let speed = time(&mut runners, first)?;
    progress.report(Step::Timing, 1, 1)?;
    if request.goal == Goal::Balanced && request.target.timed && request.precision != Precision::Fp32 {
        // Another look before it is refused: others may have had the processor.
        let again = if speed.ratio < LEAST_SPEED { time(&mut runners, first)? } else { speed };
        let ratio = speed.ratio.max(again.ratio);
        if ratio < LEAST_SPEED {
            return Err(Error::TooSlow { ratio, least: LEAST_SPEED });
        }
    }
    Ok(Verification { coverage, differences, rewriting, extremes_are_finite, speed })
}

fn coverage(items: &[Item], plan: &Plan) -> Coverage {
    let quantized = |item: &&Item| plan.choice(&item.name) != Choice::Float;
    let computed = |item: &&Item| matches!(plan.choice(&item.name), Choice::Int8 | Choice::Dynamic);
    let part = |of: fn(&Item) -> u64, is_part: &dyn Fn(&&Item) -> bool| {
        let all: u64 = items.iter().map(of).sum();
        items.iter().filter(is_part).map(of).sum::<u64>() as f64 / all.max(1) as f64
    };
    Coverage {
        macs: part(|item| item.macs, &computed),
        weights: part(|item| item.n_weights, &quantized),
        nodes: (items.iter().filter(quantized).count(), items.len()),
    }
}

fn summary(kinds: &[&str]) -> String {
    let mut counts = std::collections::BTreeMap::new();
    kinds.iter().for_each(|kind| *counts.entry(kind).or_insert(0) += 1);
    counts.iter().map(|(kind, count)| format!("{count} {kind}")).collect::<Vec<_>>().join(", ")
}

fn difference(output: String, at: usize, expected: &[Vec<Vec<f32>>], got: &[Vec<Vec<f32>>]) -> Difference {
    let (mut error, mut spread, mut largest) = (0f64, 0f64, 0f64);
    let n: usize = expected.iter().map(|step| step[at].len()).sum();
    let mean = expected.iter().flat_map(|step| &step[at]).map(|&value| f64::from(value)).sum::<f64>()
        / n.max(1) as f64;
    for (one, two) in expected.iter().zip(got) {
        for (&one, &two) in one[at].iter().zip(&two[at]) {
            let distance = f64::from(one - two).abs();
            error += distance * distance;
            spread += (f64::from(one) - mean).powi(2);
            largest = largest.max(distance);
        }
    }
    Difference { output, relative_squared: error / spread.max(1e-12), largest }
}

/// Largest difference between the library's rewriting off and on, over the largest value of the output.
fn rewriting(
    evaluator: &Evaluator<'_>,
    made: &ModelProto,
    on: &mut Runner,
    feeds: &[Feed],
) -> Result<f64, Error> {
    let mut off = evaluator.runner(made, None, Optimization::Off)?;
    let mut figures: Vec<(f32, f32)> = Vec::new();
    for feed in feeds.iter().step_by(feeds.len().div_ceil(REWRITING_STEPS).max(1)) {
        let (off, on) = (off.floats(feed)?, on.floats(feed)?);
        figures.resize(off.len(), (0.0, 1e-6));
        for ((distance, largest), (off, on)) in figures.iter_mut().zip(off.iter().zip(&on)) {
            *distance = off.iter().zip(on).fold(*distance, |most, (off, on)| most.max((off - on).abs()));
            *largest = off.iter().fold(*largest, |most, value| most.max(value.abs()));
        }
    }
    Ok(figures.iter().map(|(distance, largest)| f64::from(distance / largest)).fold(0.0, f64::max))
}

/// The same inputs with every 32-bit float at one value.
fn filled(feed: &Feed, value: f32) -> Result<Feed, Error> {
    let fill = |(name, tensor): (&String, &formats::onnx::TensorProto)| {
        if tensor.element_type() != DataType::Float {
            return Ok((name.clone(), tensor.clone()));
        }
        let n = tensor.n_elements().unwrap_or_default() as usize;
        let bytes: Vec<u8> = std::iter::repeat_n(value, n).flat_map(f32::to_le_bytes).collect();
        Ok((name.clone(), tensor_of_bytes(name, DataType::Float, &tensor.dims, bytes)?))
    };
    feed.iter().map(fill).collect()
}

/// In turn, so that both see the same machine; the least of each.
fn time(runners: &mut (Runner, Runner), feed: &Feed) -> Result<Speed, Error> {
    let (mut plain_ms, mut ms) = (f64::INFINITY, f64::INFINITY);
    let start = Instant::now();
    while start.elapsed() < TIMING {
        for (runner, least) in [(&mut runners.0, &mut plain_ms), (&mut runners.1, &mut ms)] {
            *least = least.min(runner.time(feed)?.as_secs_f64() * 1e3);
        }
    }
    Ok(Speed { plain_ms, ms, ratio: plain_ms / ms })
}
