//! One model's measured sensitivities: `per_tensor_kld.csv`, `whole_model_kld.csv`, `tensors.txt`.
//! Knows those files; shows the model to the quantizer as names and shapes without weights.

use anyhow::{Context, Result, ensure};
use formats::gguf::{GgmlType, Metadata, Value, layer_of};
use quantizer::source::{SourceTensor, TensorSource};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Of the smallest divergence, what is taken for the floor that other causes leave.
const FLOOR_SHARE: f64 = 0.9;
/// Probes that a table may hold, best first: those whose figures tell tensors apart without ruining the model.
const PROBES: [&str; 5] = ["iq1_kt", "q2_k_r4", "iq2_ks", "iq1_m", "iq1_m_r4"];

/// What was measured of one model.
pub(super) struct Table {
    pub(super) name: String,
    /// Divergence by tensor at the probe's type, above the floor.
    pub(super) harm: BTreeMap<String, f64>,
    /// Divergence of the whole model by type.
    pub(super) curve: BTreeMap<GgmlType, f64>,
    /// The same at the probe's type.
    pub(super) probe_curve: f64,
    path: PathBuf,
    metadata: Metadata,
    tensors: Vec<SourceTensor>,
}

impl Table {
    pub(super) fn read(folder: &Path) -> Result<Self> {
        let text = |name: &str| {
            let path = folder.join(name);
            std::fs::read_to_string(&path).with_context(|| path.display().to_string())
        };
        let whole = text("whole_model_kld.csv")?;
        let figures = whole.lines().skip(1).filter_map(|line| line.split_once(','));
        let figures: BTreeMap<&str, f64> =
            figures.filter_map(|(ty, kld)| Some((ty, kld.trim().parse().ok()?))).collect();
        let curve = figures.iter().filter_map(|(ty, kld)| Some((GgmlType::from_name(ty)?, *kld)));
        let curve: BTreeMap<GgmlType, f64> =
            curve.filter(|(ty, kld)| ty.is_quantized() && *kld > 0.0).collect();
        let tensors = text("tensors.txt")?;
        let tensors: Vec<SourceTensor> = tensors.lines().filter_map(tensor).collect();
        let probes = text("per_tensor_kld.csv")?;
        let mut lines = probes.lines().map(|line| line.split(',').collect::<Vec<_>>());
        let names = lines.next().context("per_tensor_kld.csv: expected a header, got nothing")?;
        let rows: BTreeMap<&str, Vec<&str>> = lines.map(|row| (row[0], row)).collect();
        let probe = PROBES.iter().find(|probe| rows.contains_key(*probe) && figures.contains_key(*probe));
        let probe = probe.with_context(|| format!("{}: none of {PROBES:?} was probed", folder.display()))?;
        let measured = names.iter().zip(&rows[probe]).skip(1);
        let measured: Vec<(&str, f64)> =
            measured.filter_map(|(name, kld)| Some((*name, kld.trim().parse().ok()?))).collect();
        ensure!(!measured.is_empty(), "{}: {probe}: no figures", folder.display());
        let floor = FLOOR_SHARE * measured.iter().map(|(_, kld)| *kld).fold(f64::INFINITY, f64::min);
        let is_there = |name: &str| tensors.iter().any(|tensor| tensor.name == name);
        let harm = measured.iter().filter(|(name, _)| is_there(name));
        let harm = harm.map(|(name, kld)| (name.to_string(), (kld - floor).max(1e-6))).collect();
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let metadata = metadata(&tensors);
        Ok(Self { name, harm, curve, probe_curve: figures[probe], path: folder.into(), metadata, tensors })
    }

    /// Bytes of a tensor as `ty`, where its rows divide into the blocks.
    pub(super) fn bytes(&self, name: &str, ty: GgmlType) -> Option<u64> {
        let tensor = self.tensors.iter().find(|tensor| tensor.name == name)?;
        Some(ty.row_bytes(tensor.dims[0])? * tensor.n_rows())
    }
}

/// `NAME:shape=(COLUMNS, ROWS):dtype=TYPE:…`
fn tensor(line: &str) -> Option<SourceTensor> {
    let (name, rest) = line.split_once(":shape=(")?;
    let (shape, rest) = rest.split_once("):dtype=")?;
    let (ty, _) = rest.split_once(':')?;
    let dims: Vec<u64> = shape.split(',').filter_map(|dim| dim.trim().parse().ok()).collect();
    let ty = GgmlType::from_name(ty)?;
    let source_bytes = dims.iter().product::<u64>() * ty.block_bytes();
    (!dims.is_empty()).then(|| SourceTensor { name: name.into(), dims, ty, source_bytes })
}

/// The keys that llama.cpp's recipes read, as far as shapes tell them.
fn metadata(tensors: &[SourceTensor]) -> Metadata {
    let n_layers =
        tensors.iter().filter_map(|tensor| layer_of::<u32>(&tensor.name)).max().map_or(0, |last| last + 1);
    let dim = |part: &str, at: usize| {
        let found = tensors.iter().find(|tensor| tensor.name.ends_with(part));
        found.and_then(|tensor| tensor.dims.get(at)).copied().unwrap_or(0) as u32
    };
    let n_experts = dim("ffn_gate_exps.weight", 2);
    // The output's width is that of the heads: query projections may hold gates beside them.
    let (queries, keys) = (dim("attn_output.weight", 0), dim("attn_k.weight", 1));
    let n_heads = queries.max(1);
    let n_kv_heads = if keys == 0 { n_heads } else { keys };
    Metadata::from_iter([
        ("general.architecture".to_string(), Value::String("measured".into())),
        ("measured.block_count".to_string(), Value::U32(n_layers)),
        ("measured.expert_count".to_string(), Value::U32(n_experts)),
        ("measured.attention.head_count".to_string(), Value::U32(n_heads)),
        ("measured.attention.head_count_kv".to_string(), Value::U32(n_kv_heads)),
    ])
}

impl TensorSource for Table {
    fn path(&self) -> &Path {
        &self.path
    }

    fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    fn tensors(&self) -> &[SourceTensor] {
        &self.tensors
    }

    fn read_rows(&self, _index: usize, _first_row: u64, _out: &mut [f32]) -> quantizer::Result<()> {
        unreachable!("only plans are made of it")
    }

    fn precision(&self) -> String {
        "BF16".into()
    }
}
