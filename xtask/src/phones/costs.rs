//! `cargo xtask fit-costs FILE`: a source of the cost tables from a phone's measurements. The planner fits, with everything
//! left open and without any source; this normalises to Q4_0 and prints.

use super::file::{Cell, Phone, read};
use super::{quantile, sorted};
use anyhow::Result;
use formats::gguf::GgmlType;
use planner::Backend;
use planner::speed::{Observation, Parameter, Phase, SpeedModel, Tables};
use std::collections::BTreeMap;
use std::path::Path;

/// Spread of a logarithm below which the measurements told a number; they leave the others as they were.
const CLEAR: f64 = 0.5;

/// Share of some file's weights that a type must have to be told of.
const LEAST_SHARE: f64 = 0.03;

pub(crate) fn run(path: &Path) -> Result<()> {
    let phone = read(path)?;
    let observations: Vec<Observation> = phone.cells.iter().flat_map(|cell| cell.observations()).collect();
    let model = SpeedModel::new(&phone.host, Tables::open()).observed(&observations);
    for backend in Backend::ALL {
        if observations.iter().any(|observation| observation.backend == backend) {
            print(&phone, &model, backend);
        }
    }
    Ok(())
}

/// How far models differ from their work, and measurements from their model: the distance that four of five stay below, as the
/// standard deviation of a normal distribution of which that holds. `None` for fewer than four models.
fn spreads(phone: &Phone, model: &SpeedModel, backend: Backend, phase: Phase) -> Option<[f64; 2]> {
    let cells = phone.cells.iter().filter(|cell| cell.backend == backend);
    let mut by_model: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for cell in cells {
        let left = model.left(backend, phase, &cell.work, cell.n_tokens(phase), cell.milliseconds(phase));
        by_model.entry(&cell.model).or_default().push(left);
    }
    let means = sorted(by_model.values().map(|left| quantile(&sorted(left.iter().copied()), 0.5)));
    let middle = quantile(&means, 0.5);
    let within = by_model.values().flat_map(|left| {
        let middle = quantile(&sorted(left.iter().copied()), 0.5);
        left.iter().map(move |one| (one - middle).abs())
    });
    let distance = |values: Vec<f64>| quantile(&values, 0.8) / 1.2816;
    let of_models = distance(sorted(means.iter().map(|mean| (mean - middle).abs())));
    (means.len() >= 4).then(|| [of_models, distance(sorted(within))])
}

fn print(phone: &Phone, model: &SpeedModel, backend: Backend) {
    println!("[[classes.sources]] # {}", model.class(backend).id);
    println!("device = {:?}\nprovenance = \"\"", phone.device);
    let calibration = model.calibration(backend);
    for (phase, belief) in [(Phase::Decode, &calibration.decode), (Phase::Prefill, &calibration.prefill)] {
        let of_type = |ty| belief.value(&Parameter::Type(ty));
        let reference = of_type(GgmlType::Q4_0).unwrap_or(1.0);
        let speed = belief.value(&Parameter::Speed).unwrap_or(1.0) / reference;
        let peak = phone.host.priors.bandwidth_gbs.as_ref().map_or(1.0, |fact| fact.range[0]);
        let threads = f64::from(phone.host.cpu.fast_cores);
        let unit = if phase == Phase::Prefill && backend == Backend::Cpu { threads } else { peak };
        println!("[classes.sources.{}]", if phase == Phase::Decode { "decode" } else { "prefill" });
        println!("speed = {:.3}", speed / unit);
        let named = [
            ("layer", Parameter::Layer),
            ("crossing", Parameter::Crossing),
            ("recurrence", Parameter::Recurrence),
            ("state", Parameter::State),
            ("narrow", Parameter::Narrow),
        ];
        for (name, parameter) in named {
            let [value, spread] =
                [belief.value(&parameter), belief.deviation(&parameter)].map(|v| v.unwrap_or(0.0));
            if (1e-9..CLEAR).contains(&spread) {
                println!("{name} = {value:.3}");
            }
        }
        if let Some([of_models, noise]) = spreads(phone, model, backend, phase) {
            println!("spread_model = {of_models:.3}\nspread_noise = {noise:.3}");
        }
        let told = |ty: &&GgmlType| {
            let cells = phone.cells.iter().filter(|cell| cell.backend == backend);
            let share = |cell: &Cell| {
                let of_type = cell.work.weights.iter().filter(|weights| weights.ty == **ty);
                let all: u64 = cell.work.weights.iter().map(|weights| weights.n_weights).sum();
                of_type.map(|weights| weights.n_weights).sum::<u64>() as f64 / all.max(1) as f64
            };
            cells.map(share).fold(0.0, f64::max) >= LEAST_SHARE
        };
        let types = GgmlType::ALL.iter().filter(told).filter_map(|ty| {
            let cost = model.class(backend).relative_cost(phase, *ty) * of_type(*ty)? / reference;
            let spread = belief.deviation_between(&Parameter::Type(*ty), &Parameter::Type(GgmlType::Q4_0))?;
            (spread < CLEAR).then(|| format!("{} = {cost:.2}", ty.name()))
        });
        println!("types = {{ {} }}", types.collect::<Vec<_>>().join(", "));
    }
}
