//! `cargo xtask score-memory FILE`: the planner's memory beside the buffers that the engine of a phone reported.
//! Knows what such an engine was asked for; must not correct what the planner says.

use super::file::{Buffers, Cell, Phone, read};
use anyhow::{Context, Result, ensure};
use families::{Description, Layer, Reach, detect_config};
use formats::gguf::{GgmlType, TensorSpec};
use planner::speed::Part;
use planner::{Backend, CacheTypes, MemoryEstimate, MemoryModel, Repack, Setup, Weights};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

/// What the benchmark asks of its engine: tokens of the context, and tokens computed at a time, all of whose logits the engine
/// of these files makes room for.
const CONTEXT_TOKENS: u64 = 2048;
const UBATCH_TOKENS: u64 = 512;
const MIB: f64 = (1 << 20) as f64;
/// Buffers are reported in hundredths of a MiB.
const ROUNDING_MIB: f64 = 0.006;
/// Numbers of a row that blocks of every type divide.
const ROW: u64 = 256;
/// How far weights and the processor's computation may be off.
const WEIGHTS_SHARE: f64 = 0.02;
const COMPUTE_SHARE: f64 = 0.05;

#[derive(Deserialize)]
struct Configs {
    configs: BTreeMap<String, serde_json::Value>,
}

/// Predicted beside reported, in MiB.
struct Judged<'a> {
    cell: &'a Cell,
    cache: [f64; 2],
    weights: [f64; 2],
    compute: [f64; 2],
    /// Where the computation's buffers were said to lie.
    interval: [f64; 2],
}

pub(crate) fn run(path: &Path) -> Result<()> {
    let phone = read(path)?;
    let (judged, left_out) = judge_all(&phone)?;
    ensure!(!judged.is_empty(), "{}: no cell reports buffers", path.display());
    println!("{}: {} cells judged", phone.device, judged.len());
    for (what, n) in left_out {
        println!("left out: {n} of {what}");
    }
    let mut by_backend: BTreeMap<Backend, Vec<&Judged<'_>>> = BTreeMap::new();
    for one in &judged {
        by_backend.entry(one.cell.backend).or_default().push(one);
    }
    for (backend, judged) in by_backend {
        report(backend, &judged);
    }
    Ok(())
}

/// Every cell that can be judged, and of what cannot how many cells there are.
fn judge_all(phone: &Phone) -> Result<(Vec<Judged<'_>>, BTreeMap<String, usize>)> {
    let configs: Configs = serde_json::from_str(include_str!("../../data/phone_configs.json"))?;
    let (mut judged, mut left_out) = (Vec::new(), BTreeMap::new());
    for cell in &phone.cells {
        let reason = match (configs.configs.get(&cell.model), &cell.buffers) {
            (Some(config), Some(buffers)) => {
                judged.push(judge(phone, cell, config, buffers)?);
                continue;
            }
            (None, _) => format!("{}, which has no configuration here", cell.model),
            (_, None) => "cells whose engine reported no buffers".to_owned(),
        };
        *left_out.entry(reason).or_default() += 1;
    }
    Ok((judged, left_out))
}

fn judge<'a>(
    phone: &Phone,
    cell: &'a Cell,
    config: &serde_json::Value,
    buffers: &Buffers,
) -> Result<Judged<'a>> {
    let description = detect_config(config).with_context(|| cell.model.clone())?;
    let tensors = tensors(cell, &description)?;
    let bytes = tensors.iter().map(bytes).sum();
    let model = MemoryModel::new(&description, Weights { bytes, tensors: &tensors });
    let setup = Setup {
        n_outputs: UBATCH_TOKENS,
        flash_attention: cell.flash_attention,
        gpu_layers: if cell.backend == Backend::Cpu { 0 } else { description.n_layers + 1 },
        repack: Repack::DotProduct,
        mapped: false,
        engine_graph: phone.engine_graph,
        ..Setup::new(CONTEXT_TOKENS, CacheTypes::both(GgmlType::F16), UBATCH_TOKENS)
    };
    let estimate = model.estimate(&setup, None);
    // The engine's own account leaves out the rows that logits are copied to.
    let copied = (description.vocab_size * UBATCH_TOKENS * 4) as f64 / MIB;
    let mib = |bytes: u64| bytes as f64 / MIB - copied;
    let compute = match cell.backend {
        Backend::Cpu => model.opened_compute_bytes(&setup).map(|bytes| bytes as f64 / MIB),
        _ => Some(mib(estimate.compute_bytes)),
    };
    let sum = |buffers: &BTreeMap<String, f64>| buffers.values().sum::<f64>();
    Ok(Judged {
        cell,
        cache: [told_mib(&estimate, &description), sum(&buffers.cache)],
        weights: [estimate.weights_bytes as f64 / MIB, sum(&buffers.weights)],
        compute: [compute.context("the computation is not laid out")?, sum(&buffers.compute)],
        interval: estimate.compute_interval_bytes.map(mib),
    })
}

/// What of the caches such a file tells: not the recurrent states, and of a model with two caches the one that was made last,
/// that of its sliding windows.
fn told_mib(estimate: &MemoryEstimate, description: &Description) -> f64 {
    let states = description.layers.iter().filter_map(Layer::recurrent);
    let states: u64 = states.map(|recurrent| (recurrent.convolution_len + recurrent.state_len) * 4).sum();
    let reach = |layer: &&Layer| layer.attention().map(|attention| attention.reach);
    let has_windows =
        description.layers.iter().any(|layer| !matches!(reach(&layer), None | Some(Reach::Full)));
    let full = description.layers.iter().filter(|layer| has_windows && reach(layer) == Some(Reach::Full));
    let full: u64 = full.map(|layer| (layer.cache_row().0 + layer.cache_row().1) * 2 * CONTEXT_TOKENS).sum();
    estimate.kv_bytes.saturating_sub(states).saturating_sub(full) as f64 / MIB
}

/// The file's tensors: its matrices by type, as the table of models lists them, and what stays in floats.
fn tensors(cell: &Cell, description: &Description) -> Result<Vec<TensorSpec>> {
    let mut tensors = Vec::new();
    let embedding = vec![description.hidden_size, description.vocab_size];
    for (place, group) in cell.work.weights.iter().enumerate() {
        match group.part {
            Part::Output if description.tied_embeddings => {
                tensors.push(spec("token_embd.weight".into(), embedding.clone(), group.ty));
            }
            Part::Output => {
                tensors.push(spec("output.weight".into(), embedding.clone(), group.ty));
                let ty = looked_up(cell)?;
                tensors.push(spec("token_embd.weight".into(), embedding.clone(), ty));
            }
            Part::Layers => {
                // Rows of every type's blocks: the table has the shorter side, which need not be a row's.
                let dims = vec![ROW, group.n_weights / ROW];
                tensors.push(spec(format!("blk.0.group_{place}.weight"), dims, group.ty));
            }
        }
    }
    let floats = description.tensor_shapes().into_iter().filter(|shape| shape.dims.len() == 1);
    tensors.extend(floats.map(|shape| spec(shape.name, shape.dims, GgmlType::F32)));
    Ok(tensors)
}

fn spec(name: String, dims: Vec<u64>, ty: GgmlType) -> TensorSpec {
    TensorSpec { name, dims, ty }
}

/// The type of an embedding that is not the output as well: the recipe's main one.
fn looked_up(cell: &Cell) -> Result<GgmlType> {
    let name = match cell.precision().as_str() {
        "IQ2_M" => "IQ3_S".to_owned(),
        other => other.trim_end_matches("_M").to_owned(),
    };
    GgmlType::from_name(&name).with_context(|| format!("no type {name}"))
}

fn bytes(tensor: &TensorSpec) -> u64 {
    let rows: u64 = tensor.dims[1..].iter().product();
    tensor.ty.row_bytes(tensor.dims[0]).unwrap_or(0) * rows
}

/// Predicted ÷ reported − 1.
fn off(pair: [f64; 2]) -> f64 {
    pair[0] / pair[1] - 1.0
}

impl Judged<'_> {
    fn has_exact_cache(&self) -> bool {
        (self.cache[0] - self.cache[1]).abs() < ROUNDING_MIB
    }

    fn has_close_weights(&self) -> bool {
        off(self.weights).abs() <= WEIGHTS_SHARE
    }

    /// The processor's within a share, a device's in the stated interval.
    fn has_expected_computation(&self) -> bool {
        match self.cell.backend {
            Backend::Cpu => off(self.compute).abs() <= COMPUTE_SHARE,
            _ => (self.interval[0]..=self.interval[1]).contains(&self.compute[1]),
        }
    }
}

fn report(backend: Backend, judged: &[&Judged<'_>]) {
    println!("{}: {} cells", backend.name(), judged.len());
    let count = |hit: &dyn Fn(&Judged<'_>) -> bool| judged.iter().filter(|one| hit(one)).count();
    println!("  cache exact: {}", count(&|one| one.has_exact_cache()));
    println!("  weights within 2 %: {}", count(&|one| one.has_close_weights()));
    let computation = if backend == Backend::Cpu { "within 5 %" } else { "in the interval" };
    println!("  computation {computation}: {}", count(&|one| one.has_expected_computation()));
    for one in judged.iter().filter(|one| !one.has_close_weights()) {
        let [predicted, reported] = one.weights;
        println!("  weights of {} {}: {predicted:.1} for {reported:.1} MiB", one.cell.model, one.cell.quant);
    }
    let mut models: BTreeMap<&str, Vec<&Judged<'_>>> = BTreeMap::new();
    for one in judged {
        models.entry(&one.cell.model).or_default().push(one);
    }
    for (model, judged) in models {
        let widest = |of: &dyn Fn(&Judged<'_>) -> [f64; 2]| {
            let pairs = judged.iter().map(|one| of(one));
            let widest = pairs.max_by(|one, other| off(*one).abs().total_cmp(&off(*other).abs()));
            widest.map_or_else(String::new, |pair| {
                format!("{:.1} for {:.1} ({:+.1} %)", pair[0], pair[1], off(pair) * 100.0)
            })
        };
        println!(
            "  {model:31} furthest off, MiB: cache {}, weights {}, computation {}",
            widest(&|one| one.cache),
            widest(&|one| one.weights),
            widest(&|one| one.compute)
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_buffers_of_a_part_of_a_phone_are_as_predicted() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/samsung-s23-part.json");
        let phone = read(&path).expect("the part is whole");
        let (judged, left_out) = judge_all(&phone).expect("it is judged");
        assert_eq!((judged.len(), left_out.len()), (9, 0));
        for one in &judged {
            let name = format!("{} {} on {}", one.cell.model, one.cell.quant, one.cell.backend.name());
            assert!(one.has_exact_cache(), "{name}: {:?}", one.cache);
            assert!(one.has_close_weights(), "{name}: {:?}", one.weights);
            assert!(one.has_expected_computation(), "{name}: {:?} {:?}", one.compute, one.interval);
        }
        run(&path).expect("it is printed");
    }
}
