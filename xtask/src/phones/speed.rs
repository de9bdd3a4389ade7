//! `cargo xtask score-speed FILE`: the planner, calibrated on one small model per backend, predicts all others.

use super::file::{Cell, Phone, read};
use super::{quantile, sorted};
use anyhow::{Context, Result};
use planner::Backend;
use planner::speed::{Observation, Phase, SpeedModel, Tables};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// One prediction beside its measurement.
struct Judged<'a> {
    cell: &'a Cell,
    /// Predicted ÷ measured speed − 1.
    error: f64,
    /// Whether the measurement lies in the stated interval.
    covered: bool,
}

pub(crate) fn run(path: &Path) -> Result<()> {
    let phone = read(path)?;
    let tables = Tables::without(&phone.device);
    println!("{}: {} cells", phone.device, phone.cells.len());
    for (class, source) in tables.sources() {
        println!("prior of {class}: {} ({})", source.device, source.provenance);
    }
    let reference = reference(&phone).context("no cells")?;
    println!(
        "calibrated on {reference}: of the models without recurrences whose types the others are made of, the one with fewest bytes\n"
    );
    for phase in Phase::ALL {
        let judged = judge(&phone, &tables, &reference, phase);
        report(phase, &judged);
    }
    println!("decode, calibrated on any other model:");
    for model in models(&phone) {
        let judged = judge(&phone, &tables, &model, Phase::Decode);
        println!("  {model:31} {}", summary(judged.iter().collect()));
    }
    let uncalibrated = SpeedModel::new(&phone.host, tables.clone());
    let judged: Vec<Judged<'_>> =
        phone.cells.iter().map(|cell| one(&uncalibrated, cell, Phase::Decode)).collect();
    println!("decode, not calibrated:            {}", summary(judged.iter().collect()));
    Ok(())
}

/// The model to calibrate on, chosen without looking at any speed: of those without recurrences whose types make up most of what
/// the other models are made of (within 2 %), the one with fewest bytes. A recurrent one would not tell what its states cost
/// from what its layers do.
pub(super) fn reference(phone: &Phone) -> Option<String> {
    let shown = |model: &str| -> (f64, f64) {
        let cells = || phone.cells.iter().filter(|cell| cell.model == model);
        let types: BTreeSet<&str> = cells().flat_map(main_types).collect();
        let others =
            phone.cells.iter().filter(|cell| cell.model != model).flat_map(|cell| &cell.work.weights);
        let (mut covered, mut all) = (0u64, 0u64);
        for weights in others {
            all += weights.n_weights;
            covered += if types.contains(weights.ty.name()) { weights.n_weights } else { 0 };
        }
        let bytes = cells().map(|cell| cell.work.weights_bytes()).fold(0.0, f64::max);
        (covered as f64 / all.max(1) as f64, bytes)
    };
    let plain = |model: &String| {
        phone.cells.iter().all(|cell| cell.model != *model || cell.work.n_recurrent_layers == 0)
    };
    let shown: Vec<(String, (f64, f64))> =
        models(phone).into_iter().filter(plain).map(|model| (model.clone(), shown(&model))).collect();
    let most = shown.iter().map(|(_, (covered, _))| *covered).fold(0.0, f64::max);
    let near = shown.into_iter().filter(|(_, (covered, _))| *covered > most - 0.02);
    near.min_by(|(_, (_, one)), (_, (_, other))| one.total_cmp(other)).map(|(model, _)| model)
}

/// Types of at least a tenth of a file's weights.
fn main_types(cell: &Cell) -> Vec<&'static str> {
    let all: u64 = cell.work.weights.iter().map(|weights| weights.n_weights).sum();
    let mut by_type: BTreeMap<&str, u64> = BTreeMap::new();
    for weights in &cell.work.weights {
        *by_type.entry(weights.ty.name()).or_default() += weights.n_weights;
    }
    by_type.into_iter().filter(|(_, n)| n * 10 >= all).map(|(name, _)| name).collect()
}

fn models(phone: &Phone) -> BTreeSet<String> {
    phone.cells.iter().map(|cell| cell.model.clone()).collect()
}

fn judge<'a>(phone: &'a Phone, tables: &Tables, reference: &str, phase: Phase) -> Vec<Judged<'a>> {
    let of_reference = phone.cells.iter().filter(|cell| cell.model == reference);
    let observations: Vec<Observation> = of_reference.flat_map(Cell::observations).collect();
    let model = SpeedModel::new(&phone.host, tables.clone()).observed(&observations);
    let others = phone.cells.iter().filter(|cell| cell.model != reference);
    others.map(|cell| one(&model, cell, phase)).collect()
}

fn one<'a>(model: &SpeedModel, cell: &'a Cell, phase: Phase) -> Judged<'a> {
    let name = (cell.model.as_str(), cell.quant.as_str());
    let prediction = model.predict(cell.backend, phase, name, &cell.work, cell.n_tokens(phase));
    let measured = cell.milliseconds(phase);
    let [low, high] = prediction.interval();
    Judged {
        cell,
        error: measured / prediction.milliseconds - 1.0,
        covered: (low..=high).contains(&measured),
    }
}

fn report(phase: Phase, judged: &[Judged<'_>]) {
    println!("{phase:?}: predicted against measured tokens per second");
    let mut by_backend: BTreeMap<Backend, Vec<&Judged<'_>>> = BTreeMap::new();
    let mut by_quant: BTreeMap<String, Vec<&Judged<'_>>> = BTreeMap::new();
    for one in judged {
        by_backend.entry(one.cell.backend).or_default().push(one);
        by_quant.entry(one.cell.precision()).or_default().push(one);
    }
    for (backend, judged) in by_backend {
        println!("  {:31} {}", backend.name(), summary(judged));
    }
    for (quant, judged) in by_quant {
        println!("  {quant:31} {}", summary(judged));
    }
    println!("  {:31} {}", "all", summary(judged.iter().collect()));
    let mut worst: Vec<&Judged<'_>> = judged.iter().collect();
    worst.sort_by(|one, other| other.error.abs().total_cmp(&one.error.abs()));
    let worst = worst.iter().take(5).map(|one| {
        let cell = one.cell;
        format!("{} {} {} {:+.0} %", cell.model, cell.quant, cell.backend.name(), one.error * 100.0)
    });
    println!("  farthest: {}\n", worst.collect::<Vec<_>>().join(", "));
}

fn summary(judged: Vec<&Judged<'_>>) -> String {
    let errors = sorted(judged.iter().map(|one| one.error.abs()));
    let covered = judged.iter().filter(|one| one.covered).count() as f64 / judged.len().max(1) as f64;
    format!(
        "{:3} cells, |error| median {:4.1} %, 90 % below {:5.1} %; 80 % intervals hold {:3.0} %",
        judged.len(),
        quantile(&errors, 0.5) * 100.0,
        quantile(&errors, 0.9) * 100.0,
        covered * 100.0
    )
}
