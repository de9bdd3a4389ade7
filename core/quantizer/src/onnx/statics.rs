//! Static ranges of what flows into products, learned from text, with what is moved from there into the matrices
//! (SmoothQuant): factors of columns that the tensor before them takes, so that the model stays the same.
//! Knows sources, the engine's watch and a table (`data/onnx_static.toml`); must not know graphs.

mod magnitudes;
mod search;
mod seen;
mod table;

pub use magnitudes::Reach;
pub(super) use table::Table;

use crate::exchange::{Exchange, exchanges};
use crate::moments::{engine_error, load, reading_settings};
use crate::progress::Meter;
use crate::source::TensorSource;
use crate::source::smoothed::Factors;
use crate::{Error, Result, Watch};
use engine::gguf::GgufContext;
use engine::{CancelToken, Context as _, Logits, Token};
use magnitudes::{LEVELS, Magnitudes};
use rayon::prelude::*;
use search::{Choice, Sample, choose, divisors};
use seen::{Collector, Phase};
use std::collections::BTreeMap;
use std::path::Path;

/// What is learned from.
#[derive(Debug, Clone)]
pub struct Learning<'a> {
    /// The model as a GGUF file, in the precision that graphs are made from.
    pub model: &'a Path,
    /// Texts, each read from an empty context; one in four judges.
    pub chunks: &'a [Vec<Token>],
    /// Whether factors are moved into matrices where that helps.
    pub smooth: bool,
    /// Workers, 0 for all cores.
    pub threads: usize,
}

/// What was learned of a model: ranges of codes, and factors that leave the model as it is.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Statics {
    /// In the model's order.
    pub inputs: Vec<StaticInput>,
    #[serde(skip)]
    factors: BTreeMap<String, Factors>,
}

/// What flows into matrices of a layer.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct StaticInput {
    /// The matrices, in GGUF's names.
    pub readers: Vec<String>,
    /// Exponent of the factors that were moved; none where none were.
    pub strength: Option<f64>,
    /// How the range was found.
    pub range: Reach,
    /// The magnitude that the largest code stands for.
    pub reach: f32,
    /// Squared error of products by codes, as a part of their square, on text that was held out.
    pub error: f64,
    /// The same without factors.
    pub plain_error: f64,
    /// Whether it is coded; too large an error leaves it floats.
    pub is_coded: bool,
}

impl Statics {
    /// Whether `weight` is a matrix whose weights are codes by row.
    pub(super) fn has(&self, weight: &str) -> bool {
        self.input(weight).is_some()
    }

    /// What a code of what flows into `weight` is multiplied by; none where that stays floats.
    pub(super) fn step(&self, weight: &str) -> Option<f32> {
        let input = self.input(weight).filter(|input| input.is_coded)?;
        Some(input.reach / LEVELS as f32)
    }

    /// Whether any factors were moved.
    pub(crate) fn smooths(&self) -> bool {
        !self.factors.is_empty()
    }

    fn input(&self, weight: &str) -> Option<&StaticInput> {
        self.inputs.iter().find(|input| input.readers.iter().any(|reader| reader == weight))
    }

    pub(crate) fn factors(&self) -> &BTreeMap<String, Factors> {
        &self.factors
    }
}

/// The largest of the columns that share a factor, for each column.
fn shared(input: &Exchange, of_columns: &[f32]) -> Vec<f32> {
    let mut largest = vec![0f32; input.n_factors()];
    input
        .group
        .iter()
        .zip(of_columns)
        .for_each(|(group, value)| largest[*group] = largest[*group].max(*value));
    input.group.iter().map(|group| largest[*group]).collect()
}

/// Has the model read `learning`'s texts and finds ranges and factors for its products.
///
/// # Errors
/// Too little text, a model that cannot be loaded or has no such products, or [`Error::Cancelled`].
pub fn learn(source: &dyn TensorSource, learning: &Learning<'_>, watch: &mut Watch<'_>) -> Result<Statics> {
    let table = Table::built_in();
    let n_chunks = learning.chunks.len();
    let request = |expected: String, got: String| Error::Request {
        wish: "text for static ranges".into(),
        expected,
        got,
    };
    if n_chunks < table.held_out_every {
        return Err(request(format!("at least {} chunks", table.held_out_every), n_chunks.to_string()));
    }
    let mut inputs = exchanges(source)?;
    inputs.retain(|input| input.n_matrices == 1);
    if inputs.is_empty() {
        return Err(request("a model with products to code".into(), source.path().display().to_string()));
    }
    let pool = rayon::ThreadPoolBuilder::new().num_threads(learning.threads).build();
    let pool = pool.map_err(|error| request(format!("threads ({error})"), learning.threads.to_string()))?;
    let collector = Collector::new(inputs.iter().map(|input| input.shown_by().to_string()));
    let model = load(learning.model, false)?;
    let longest = learning.chunks.iter().map(Vec::len).max().unwrap_or(1);
    let settings = reading_settings(longest, pool.current_num_threads());
    let mut context =
        model.open_watched_context(&settings, Box::new(collector.clone())).map_err(engine_error)?;
    let is_held_out = |at: &usize| at % table.held_out_every == table.held_out_every - 1;
    let n_judging: usize = (0..n_chunks).filter(is_held_out).map(|at| learning.chunks[at].len()).sum();
    let n_tokens: usize = learning.chunks.iter().map(Vec::len).sum();
    let mut meter = Meter::new(watch, "ranges", (2 * n_tokens - n_judging) as u64);
    for at in 0..n_chunks {
        let every = n_judging.div_ceil(table.most_rows);
        collector.enter(if is_held_out(&at) { Phase::Judging { every } } else { Phase::Largest });
        read(&mut context, &learning.chunks[at], &mut meter)?;
    }
    let strengths: Vec<Option<f64>> = std::iter::once(None)
        .chain(table.strengths.iter().copied().map(Some).filter(|_| learning.smooth))
        .collect();
    pool.install(|| inputs.par_iter().try_for_each(|input| prepare(source, input, &strengths, &collector)))?;
    collector.enter(Phase::Counting);
    for at in (0..n_chunks).filter(|at| !is_held_out(at)) {
        read(&mut context, &learning.chunks[at], &mut meter)?;
    }
    drop(context);
    drop(model);
    let mut meter = Meter::new(watch, "ranges judged", inputs.len() as u64);
    let mut statics = Statics { inputs: Vec::new(), factors: BTreeMap::new() };
    for some in inputs.chunks(pool.current_num_threads().max(1)) {
        let judge = |input: &Exchange| judge(source, input, &collector, table);
        let judged: Vec<(Choice, Vec<f32>)> =
            pool.install(|| some.par_iter().map(judge).collect::<Result<_>>())?;
        for (input, (choice, divisors)) in some.iter().zip(judged) {
            statics.take(input, &choice, strengths[choice.candidate], &divisors, table);
        }
        meter.add(some.len() as u64)?;
    }
    Ok(statics)
}

fn read(context: &mut GgufContext, chunk: &[Token], meter: &mut Meter<'_, '_>) -> Result<()> {
    context.truncate(0).map_err(engine_error)?;
    context.decode(chunk, Logits::All, &CancelToken::new()).map_err(engine_error)?;
    meter.add(chunk.len() as u64)
}

/// Gives the input its candidates.
fn prepare(
    source: &dyn TensorSource,
    input: &Exchange,
    strengths: &[Option<f64>],
    collector: &Collector,
) -> Result<()> {
    let mut of_weights = vec![0f32; input.group.len()];
    for (_, index) in &input.readers {
        each_row(source, *index, 1, &mut |row| {
            of_weights.iter_mut().zip(row).for_each(|(largest, weight)| *largest = largest.max(weight.abs()));
        })?;
    }
    let of_weights = shared(input, &of_weights);
    let largest = collector.with(input.shown_by(), |seen| seen.largest.clone()).unwrap_or_default();
    if largest.len() != input.group.len() {
        let problem =
            format!("expected {} numbers to flow into it, saw {}", input.group.len(), largest.len());
        return Err(Error::Tensor { path: source.path().into(), tensor: input.shown_by().into(), problem });
    }
    let of_inputs = shared(input, &largest);
    let strengths = strengths.iter().filter(|strength| strength.is_none() || input.is_open());
    let candidates = strengths.map(|strength| {
        let by = match strength {
            None => vec![1f32; largest.len()],
            Some(strength) => divisors(&of_inputs, &of_weights, *strength),
        };
        let most =
            largest.iter().zip(&by).map(|(largest, by)| largest / by).fold(f32::MIN_POSITIVE, f32::max);
        (by, Magnitudes::up_to(most))
    });
    let candidates = candidates.collect();
    collector.with(input.shown_by(), |seen| seen.counts = candidates);
    Ok(())
}

/// Chooses among them.
fn judge(
    source: &dyn TensorSource,
    input: &Exchange,
    collector: &Collector,
    table: &Table,
) -> Result<(Choice, Vec<f32>)> {
    let taken = collector
        .with(input.shown_by(), |seen| (std::mem::take(&mut seen.rows), std::mem::take(&mut seen.counts)));
    let (held_out, candidates) = taken.unwrap_or_default();
    let mut samples = Vec::new();
    for (_, index) in &input.readers {
        let every = source.tensors()[*index].n_rows().div_ceil(table.most_rows as u64).max(1);
        let mut rows = Vec::new();
        each_row(source, *index, every, &mut |row| rows.extend_from_slice(row))?;
        samples.push(Sample { rows });
    }
    let choice = choose(&held_out, &samples, &candidates, &table.ranges);
    let divisors = candidates.into_iter().nth(choice.candidate).map(|(divisors, _)| divisors);
    Ok((choice, divisors.unwrap_or_default()))
}

/// Shows one of `every` so many rows of a tensor.
fn each_row(source: &dyn TensorSource, index: usize, every: u64, show: &mut dyn FnMut(&[f32])) -> Result<()> {
    let tensor = &source.tensors()[index];
    let mut row = vec![0f32; tensor.dims[0] as usize];
    for at in (0..tensor.n_rows()).step_by(every as usize) {
        source.read_rows(index, at, &mut row)?;
        show(&row);
    }
    Ok(())
}

impl Statics {
    /// Writes down what was chosen for an input.
    fn take(
        &mut self,
        input: &Exchange,
        choice: &Choice,
        strength: Option<f64>,
        divisors: &[f32],
        table: &Table,
    ) {
        let is_coded = choice.error <= table.most_error;
        let readers: Vec<String> = input.readers.iter().map(|(name, _)| name.clone()).collect();
        if strength.is_some() && is_coded {
            input.apply(divisors, &mut self.factors);
        }
        self.inputs.push(StaticInput {
            readers,
            strength: strength.filter(|_| is_coded),
            range: choice.by,
            reach: choice.reach,
            error: choice.error,
            plain_error: choice.first_error,
            is_coded,
        });
    }
}

#[cfg(test)]
mod tests;
