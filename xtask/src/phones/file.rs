//! Files of measurements in PocketPal's benchmark format, and what is known of the models in them.
//! Must not predict anything.

use anyhow::{Context, Result, bail};
use formats::gguf::GgmlType;
use hardware::{Fact, Host, Origin};
use planner::speed::{Observation, Part, Phase, Weights, Work};
use planner::{Backend, EngineGraph};
use semver::Version;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

/// Average depth of the cells that write 64 tokens into an empty cache.
const DECODE_DEPTH: f64 = 32.0;
/// Chips of the files by a part of the name that the file gives them: their profile and the kind of their fastest core.
const CHIPS: [(&str, &str, &str); 3] = [
    ("Snapdragon 8 Gen 2", "snapdragon-8-gen-2", "0x41/0xd4e"),
    ("MT6899", "dimensity-8400", "0x41/0xd87"),
    ("Snapdragon 8 Elite Gen 5", "snapdragon-8-elite-gen-5", "0x51/0x002"),
];

/// Measurements of one phone.
pub(super) struct Phone {
    /// As the file names it.
    pub(super) device: String,
    /// The host as a planner sees it: architecture, cores of its fixture, bandwidth of its profile.
    pub(super) host: Host,
    /// What its engine's version does in its computations.
    pub(super) engine_graph: EngineGraph,
    pub(super) cells: Vec<Cell>,
}

/// One model, file and backend.
pub(super) struct Cell {
    pub(super) model: String,
    pub(super) quant: String,
    pub(super) backend: Backend,
    pub(super) work: Work,
    /// Milliseconds of one token when writing.
    pub(super) decode_ms: f64,
    /// Milliseconds of the whole prompt when reading.
    pub(super) prefill_ms: f64,
    /// Tokens of that prompt.
    pub(super) prompt_tokens: f64,
    /// Fused attention.
    pub(super) flash_attention: bool,
    /// What the engine reported of its buffers.
    pub(super) buffers: Option<Buffers>,
}

/// Buffers of an engine by name, in MiB.
#[derive(Clone, Deserialize)]
pub(super) struct Buffers {
    #[serde(rename = "weights_mib")]
    pub(super) weights: BTreeMap<String, f64>,
    #[serde(rename = "kv_cache_mib")]
    pub(super) cache: BTreeMap<String, f64>,
    #[serde(rename = "compute_mib")]
    pub(super) compute: BTreeMap<String, f64>,
}

impl Cell {
    /// The precision of the file: what these tables call iq1_s are IQ2_M files, by their buffers and their names.
    pub(super) fn precision(&self) -> String {
        if self.quant == "iq1_s" { "IQ2_M".into() } else { self.quant.to_ascii_uppercase() }
    }

    pub(super) fn milliseconds(&self, phase: Phase) -> f64 {
        match phase {
            Phase::Decode => self.decode_ms,
            Phase::Prefill => self.prefill_ms,
        }
    }

    /// What the planner is asked: the depth or the length.
    pub(super) fn n_tokens(&self, phase: Phase) -> f64 {
        match phase {
            Phase::Decode => DECODE_DEPTH,
            Phase::Prefill => self.prompt_tokens,
        }
    }

    pub(super) fn tokens_per_s(&self, phase: Phase) -> f64 {
        match phase {
            Phase::Decode => 1e3 / self.decode_ms,
            Phase::Prefill => self.prompt_tokens * 1e3 / self.prefill_ms,
        }
    }

    /// Both measurements, as the planner learns from them.
    pub(super) fn observations(&self) -> impl Iterator<Item = Observation> {
        Phase::ALL.into_iter().map(|phase| Observation {
            backend: self.backend,
            phase,
            model: self.model.clone(),
            variant: self.quant.clone(),
            work: self.work.clone(),
            n_tokens: self.n_tokens(phase),
            milliseconds: self.milliseconds(phase),
        })
    }
}

#[derive(Deserialize)]
struct Table {
    device: String,
    soc: String,
    /// Version of the library that the benchmark's application carries; it vendors llama.cpp.
    llama_rn_version: Option<Version>,
    bench: Bench,
    runs: Vec<Run>,
}

#[derive(Deserialize)]
struct Bench {
    pp: u32,
}

#[derive(Deserialize)]
struct Run {
    model_id: String,
    quant: String,
    effective_backend: String,
    pp_avg: f64,
    tg_avg: f64,
    status: String,
    #[serde(default)]
    init_settings: Settings,
    #[serde(default)]
    log_signals: Option<Signals>,
}

#[derive(Default, Deserialize)]
struct Settings {
    flash_attn_type: Option<String>,
}

#[derive(Deserialize)]
struct Signals {
    #[serde(default)]
    memory_buffers: Option<Buffers>,
}

#[derive(Deserialize)]
struct Models {
    models: BTreeMap<String, Model>,
}

#[derive(Deserialize)]
struct Model {
    layers: u32,
    recurrent_layers: u32,
    state_elements: u64,
    kv_bytes_per_token: u64,
    files: BTreeMap<String, Vec<Group>>,
}

/// Type, part, shorter side, matrices, weights.
type Group = (String, String, u64, u32, u64);

/// Reads `path`; cells that did not succeed are left out.
pub(super) fn read(path: &Path) -> Result<Phone> {
    let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    let table: Table = serde_json::from_str(&text).with_context(|| format!("parsing {}", path.display()))?;
    let models: Models = serde_json::from_str(include_str!("../../data/phone_models.json"))?;
    let mut cells = Vec::new();
    for run in table.runs.into_iter().filter(|run| run.status == "ok") {
        let backend = match run.effective_backend.as_str() {
            "cpu" => Backend::Cpu,
            "opencl" => Backend::Opencl,
            "hexagon" => Backend::Hexagon,
            other => bail!("{}: expected a backend this command knows, got {other}", path.display()),
        };
        let name = format!("{} {}", run.model_id, run.quant);
        let model = models.models.get(&run.model_id).with_context(|| format!("no shapes of {name}"))?;
        let work = work(model, &run.quant).with_context(|| format!("no types of {name}"))?;
        let prompt_tokens = f64::from(table.bench.pp);
        cells.push(Cell {
            model: run.model_id,
            quant: run.quant,
            backend,
            work,
            decode_ms: 1e3 / run.tg_avg,
            prefill_ms: prompt_tokens * 1e3 / run.pp_avg,
            prompt_tokens,
            flash_attention: run.init_settings.flash_attn_type.as_deref() != Some("off"),
            buffers: run.log_signals.and_then(|signals| signals.memory_buffers),
        });
    }
    let engine_graph = table.llama_rn_version.as_ref().map_or_else(EngineGraph::default, engine_graph);
    Ok(Phone { host: host(&table.soc)?, device: table.device, engine_graph, cells })
}

/// By the sources that llama.rn's packages carry: masks are cast up to 0.12.4, batches mix since 0.13.0-rc.5.
fn engine_graph(version: &Version) -> EngineGraph {
    let before = |text: &str| Version::parse(text).is_ok_and(|limit| *version < limit);
    EngineGraph { batches_mix: !before("0.13.0-rc.5"), masks_are_cast: before("0.12.5") }
}

fn work(model: &Model, quant: &str) -> Result<Work> {
    let mut work = Work {
        weights: Vec::new(),
        n_layers: model.layers,
        n_recurrent_layers: model.recurrent_layers,
        state_elements: model.state_elements,
        kv_bytes_per_token: model.kv_bytes_per_token,
        ..Work::default()
    };
    for (ty, part, shorter_side, n_matrices, n_weights) in
        model.files.get(quant).context("the precision is not listed")?
    {
        let ty = GgmlType::from_name(ty).with_context(|| format!("unknown type {ty}"))?;
        let part = if part == "output" { Part::Output } else { Part::Layers };
        let (shorter_side, n_matrices, n_weights) = (*shorter_side, *n_matrices, *n_weights);
        work.add(Weights { ty, part, shorter_side, n_matrices, n_weights });
    }
    Ok(work)
}

/// A phone with six threads, as all cells were measured with, and the bandwidth of its chip's profile.
fn host(soc: &str) -> Result<Host> {
    let longest = CHIPS.iter().filter(|(name, ..)| soc.contains(name)).max_by_key(|(name, ..)| name.len());
    let (_, id, core) = longest.with_context(|| format!("no profile of the chip {soc}"))?;
    let (_, profile) = hardware::profile(id).with_context(|| format!("no profile {id}"))?;
    let mut host = Host { os: "android".into(), arch: "aarch64".into(), ..Host::default() };
    host.memory.unified = true;
    host.cpu.signatures = vec![core.to_string()];
    host.cpu.usable_cpus = 7;
    (host.cpu.usable_cores, host.cpu.fast_cores) = (6, 6);
    host.priors.bandwidth_gbs = Some(Fact {
        range: profile.bw_gbs,
        origin: Origin::Profile,
        source: format!("profile {id} ({})", profile.confidence),
    });
    Ok(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_differ_in_what_they_lay_out() {
        let of = |text: &str| {
            let graph = engine_graph(&Version::parse(text).unwrap());
            (graph.batches_mix, graph.masks_are_cast)
        };
        assert_eq!(of("0.12.0-rc.9"), (false, true));
        assert_eq!(of("0.12.9"), (false, false));
        assert_eq!(of("0.13.0-rc.4"), (false, false));
        assert_eq!(of("0.13.0"), (true, false));
    }
}
