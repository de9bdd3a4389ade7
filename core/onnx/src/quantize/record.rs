//! What flows through a graph, noted instead of inferred: shapes, ranges, means and histograms of every tensor of floats,
//! streamed so that never more than a budget of it is in memory. Knows tensors by name; no operator.

use crate::quantize::evaluate::{Evaluator, Feed};
use crate::quantize::graph::graph;
use crate::quantize::progress::{Progress, Step};
use crate::{Error, Optimization, Value};
use formats::onnx::ModelProto;
use std::collections::BTreeMap;

/// Bins between the least and the largest value.
pub(crate) const BINS: usize = 2048;
/// Tensors that one run exposes are at most this many bytes together.
const BUDGET_BYTES: usize = 128 << 20;
/// Tensors that one run exposes while sizes are not known.
const FIRST_CHUNK: usize = 48;

/// What was seen of one tensor.
#[derive(Debug, Clone)]
pub(crate) struct TensorStat {
    pub(crate) shape: Vec<i64>,
    pub(crate) min: f32,
    pub(crate) max: f32,
    /// Means along axis 1, for three dimensions and more.
    pub(crate) channel_mean: Vec<f32>,
    /// Means along the last axis.
    pub(crate) column_mean: Vec<f32>,
    /// Counts in equal bins from `min` to `max`.
    pub(crate) histogram: Vec<u64>,
}

/// By name of the tensor.
pub(crate) type Record = BTreeMap<String, TensorStat>;

/// Notes every float tensor that nodes read or make, over all feeds.
pub(crate) fn record(
    model: &ModelProto,
    evaluator: &Evaluator<'_>,
    feeds: &[Feed],
    progress: &mut Progress<'_>,
) -> Result<Record, Error> {
    let graph = graph(model)?;
    let mut names: Vec<String> = graph.node.iter().flat_map(|node| node.output.clone()).collect();
    names.retain(|name| !name.is_empty());
    names.dedup();
    let first = feeds.first().ok_or(Error::NoSamples)?;
    let mut record = Record::new();
    let mut sizes = BTreeMap::new();
    for chunk in names.chunks(FIRST_CHUNK) {
        let mut runner = evaluator.runner(model, Some(chunk), Optimization::Off)?;
        for (name, value) in chunk.iter().zip(runner.run(first)?) {
            if let Ok(values) = value.as_floats() {
                sizes.insert(name.clone(), values.len() * 4);
                record.insert(name.clone(), TensorStat::new(&value.shape()));
            }
        }
    }
    names.retain(|name| sizes.contains_key(name));
    let inputs: Vec<String> = graph.input.iter().map(|input| input.name().to_string()).collect();
    for name in &inputs {
        if let Some(Ok(value)) = first.get(name).map(Value::of_tensor)
            && value.as_floats().is_ok()
        {
            record.insert(name.clone(), TensorStat::new(&value.shape()));
        }
    }
    let groups = group(&names, &sizes);
    let n_steps = 2 * feeds.len() * groups.len();
    let mut n_done = 0;
    for (number, names) in groups.iter().enumerate() {
        let mut runner = evaluator.runner(model, Some(names), Optimization::Off)?;
        for pass in [Pass::Range, Pass::Histogram] {
            for feed in feeds {
                for (name, value) in names.iter().zip(runner.run(feed)?) {
                    note(&mut record, name, &value, pass)?;
                }
                for name in inputs.iter().filter(|_| number == 0) {
                    if let Some(tensor) = feed.get(name).filter(|_| record.contains_key(name)) {
                        note(&mut record, name, &Value::of_tensor(tensor)?, pass)?;
                    }
                }
                n_done += 1;
                progress.report(Step::Recording, n_done, n_steps)?;
            }
        }
    }
    let count = feeds.len() as f32;
    for stat in record.values_mut() {
        stat.channel_mean.iter_mut().chain(&mut stat.column_mean).for_each(|mean| *mean /= count);
    }
    Ok(record)
}

#[derive(Clone, Copy, PartialEq)]
enum Pass {
    Range,
    Histogram,
}

fn note(record: &mut Record, name: &str, value: &Value, pass: Pass) -> Result<(), Error> {
    let Some(stat) = record.get_mut(name) else { return Ok(()) };
    let values = value.as_floats()?;
    if let Some(at) = values.iter().position(|value| !value.is_finite()) {
        return Err(Error::Value {
            name: name.into(),
            expected: "finite numbers while calibrating".into(),
            got: format!("{} at {at}", values[at]),
        });
    }
    match pass {
        Pass::Range => stat.range(values),
        Pass::Histogram => stat.count(values),
    }
    Ok(())
}

/// Names in groups whose tensors fit the budget; one that does not fits alone.
fn group(names: &[String], sizes: &BTreeMap<String, usize>) -> Vec<Vec<String>> {
    let mut groups: Vec<Vec<String>> = vec![Vec::new()];
    let mut bytes = 0;
    for name in names {
        if bytes + sizes[name] > BUDGET_BYTES && groups.last().is_some_and(|group| !group.is_empty()) {
            groups.push(Vec::new());
            bytes = 0;
        }
        bytes += sizes[name];
        groups.last_mut().expect("there is one from the start").push(name.clone());
    }
    groups
}

impl TensorStat {
    fn new(shape: &[i64]) -> Self {
        let dim = |at: usize| shape.get(at).map_or(0, |&dim| dim as usize);
        Self {
            shape: shape.to_vec(),
            min: 0.0,
            max: 0.0,
            channel_mean: vec![0.0; if shape.len() >= 3 { dim(1) } else { 0 }],
            column_mean: vec![0.0; shape.last().map_or(0, |&dim| dim as usize)],
            histogram: vec![0; BINS],
        }
    }

    fn range(&mut self, values: &[f32]) {
        self.min = values.iter().copied().fold(self.min, f32::min);
        self.max = values.iter().copied().fold(self.max, f32::max);
        let channels = self.channel_mean.len();
        if channels > 0 {
            let inner: usize = self.shape[2..].iter().map(|&dim| dim as usize).product();
            let (inner, outer) = (inner.max(1), self.shape[0].max(1) as f32);
            for (at, part) in values.chunks_exact(inner).enumerate() {
                self.channel_mean[at % channels] += part.iter().sum::<f32>() / inner as f32 / outer;
            }
        }
        let columns = self.column_mean.len();
        if columns > 0 && columns <= values.len() {
            let rows = (values.len() / columns) as f32;
            for row in values.chunks_exact(columns) {
                self.column_mean.iter_mut().zip(row).for_each(|(mean, &value)| *mean += value / rows);
            }
        }
    }

    fn count(&mut self, values: &[f32]) {
        let width = self.max - self.min;
        if width <= 0.0 {
            return;
        }
        let per_unit = BINS as f32 / width;
        for &value in values {
            let bin = ((value - self.min) * per_unit) as usize;
            self.histogram[bin.min(BINS - 1)] += 1;
        }
    }

    /// Elements of one run.
    pub(crate) fn n_elements(&self) -> u64 {
        self.shape.iter().map(|&dim| dim.max(0) as u64).product()
    }
}
