//! Carries a plan out: rows in, blocks out, on all cores, with bounded memory.
//!
//! Work is cut into chunks of rows of one matrix. A wave of chunks is quantized in parallel while the wave before it is
//! written, so memory stays at a few waves whatever the model's size. Rows are independent, so the cut never shows.

use crate::progress::Meter;
use crate::recipe::{FileType, Overrides, Shape, requires_imatrix, stock};
use crate::source::{QUANTIZATION_VERSION, SourceTensor, TensorSource};
use crate::{Error, Result, Watch};
use engine::gguf::quantize::{self, quantize_rows};
use formats::gguf::{GgmlType, Metadata, TensorSpec, Value, Writer};
use formats::imatrix::Imatrix;
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::io::Write;
use std::sync::mpsc::sync_channel;

/// Weights per chunk: large enough to hide scheduling, small enough to balance.
const CHUNK_WEIGHTS: u64 = 1 << 17;
/// Chunks per worker and wave.
const CHUNKS_PER_WORKER: usize = 8;

/// One tensor's part of a plan.
#[derive(Debug, Clone, PartialEq)]
pub struct TensorPlan {
    /// Its index in the source.
    pub index: usize,
    /// Name.
    pub name: String,
    /// Extents, contiguous dimension first.
    pub dims: Vec<u64>,
    /// Type in the source.
    pub from: GgmlType,
    /// Type in the output.
    pub to: GgmlType,
    /// The rule that chose it.
    pub reason: &'static str,
}

/// A file to write: metadata, tensors in order with their types, importance where there is some.
#[derive(Debug, Clone)]
pub struct Job {
    /// What progress calls it.
    pub label: String,
    /// Metadata of the file.
    pub metadata: Metadata,
    /// Tensors in the order of the file.
    pub tensors: Vec<TensorPlan>,
    /// Importance by tensor name: one value per column and matrix.
    pub importance: Option<BTreeMap<String, Vec<f32>>>,
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// Length of the file.
    pub file_bytes: u64,
    /// Largest single tensor.
    pub largest_tensor_bytes: u64,
}

impl Job {
    /// The tables of the output.
    pub fn specs(&self) -> Vec<TensorSpec> {
        let spec =
            |plan: &TensorPlan| TensorSpec { name: plan.name.clone(), dims: plan.dims.clone(), ty: plan.to };
        self.tensors.iter().map(spec).collect()
    }

    /// Exact length of the file, before any work.
    ///
    /// # Errors
    /// Names or shapes that GGUF does not allow.
    pub fn predicted_bytes(&self) -> Result<u64> {
        Writer::<Vec<u8>>::predicted_bytes(&self.metadata, &self.specs())
            .map_err(|source| Error::Gguf { path: self.label.clone().into(), source })
    }
}

/// Plans `source` as `file_type` with the stock recipe, in llama.cpp's order of tensors and with its metadata.
///
/// # Errors
/// Quantized input without leave, a type that needs an importance matrix, one that does not fit.
pub fn plan_file(
    source: &dyn TensorSource,
    file_type: FileType,
    wishes: &Overrides,
    imatrix: Option<&(String, Imatrix)>,
    allow_requantize: bool,
) -> Result<Job> {
    let mut order: Vec<usize> = (0..source.tensors().len()).collect();
    order.sort_by(|&a, &b| {
        let key = |index: usize| crate::recipe::stock_order(&source.tensors()[index].name);
        key(a).cmp(&key(b))
    });
    let tensors: Vec<&SourceTensor> = order.iter().map(|&index| &source.tensors()[index]).collect();
    let shape = shape_of(source, imatrix.is_some());
    let rows: Vec<(&str, &[u64], GgmlType)> =
        tensors.iter().map(|t| (t.name.as_str(), &t.dims[..], t.ty)).collect();
    let choices = stock(&rows, file_type, shape, wishes);
    let importance: Option<BTreeMap<String, Vec<f32>>> = imatrix.map(|(_, imatrix)| {
        imatrix.entries.iter().map(|(name, entry)| (name.clone(), entry.importance())).collect()
    });
    let mut plan = Vec::new();
    for ((index, tensor), (to, reason)) in order.iter().zip(&tensors).zip(choices) {
        if to != tensor.ty {
            if tensor.ty.is_quantized() && !allow_requantize {
                let problem =
                    format!("is {} already: quantizing again loses quality and must be asked for", tensor.ty);
                return Err(Error::Tensor {
                    path: source.path().into(),
                    tensor: tensor.name.clone(),
                    problem,
                });
            }
            check_importance(tensor, to, file_type, importance.as_ref())?;
        }
        let (name, dims) = (tensor.name.clone(), tensor.dims.clone());
        plan.push(TensorPlan { index: *index, name, dims, from: tensor.ty, to, reason });
    }
    let metadata = quantized_metadata(source.metadata(), file_type, imatrix);
    Ok(Job { label: file_type.name().into(), metadata, tensors: plan, importance })
}

fn shape_of(source: &dyn TensorSource, has_imatrix: bool) -> Shape {
    let metadata = source.metadata();
    let architecture = metadata.str("general.architecture").unwrap_or_default();
    let number = |key: &str| metadata.u64(&format!("{architecture}.{key}")).unwrap_or(0);
    let (heads, kv_heads) = (number("attention.head_count"), number("attention.head_count_kv"));
    let n_layers = number("block_count") as usize;
    Shape {
        n_layers,
        gqa_ratio: heads.checked_div(kv_heads).unwrap_or(1) as u32,
        n_experts: number("expert_count") as u32,
        has_imatrix,
        tied_embeddings: !source.tensors().iter().any(|tensor| tensor.name == "output.weight"),
        is_70b: n_layers == 80 && matches!(architecture, "llama" | "qwen2"),
    }
}

fn check_importance(
    tensor: &SourceTensor,
    to: GgmlType,
    file_type: FileType,
    importance: Option<&BTreeMap<String, Vec<f32>>>,
) -> Result<()> {
    let refuse = |problem: String| {
        Err(Error::Importance { tensor: tensor.name.clone(), ty: to.name().into(), problem })
    };
    let row = importance.and_then(|importance| importance.get(&tensor.name));
    let expected = tensor.dims[0] * tensor.dims.get(2).copied().unwrap_or(1);
    match row {
        Some(row) if row.len() as u64 != expected && tensor.name != "token_embd.weight" => {
            refuse(format!("importance matrix: expected {expected} values, got {}", row.len()))
        }
        None if requires_imatrix(&tensor.name, to, file_type) => {
            refuse("needs an importance matrix: give one, or choose a type of 3 bits and more".into())
        }
        _ => Ok(()),
    }
}

fn quantized_metadata(
    source: &Metadata,
    file_type: FileType,
    imatrix: Option<&(String, Imatrix)>,
) -> Metadata {
    let mut metadata = source.clone();
    for key in ["split.no", "split.count", "split.tensors.count"] {
        metadata.remove(key);
    }
    let mut put = |key: &str, value: Value| {
        metadata.remove(key);
        metadata.insert(key, value);
    };
    put("general.quantization_version", Value::U32(QUANTIZATION_VERSION));
    put("general.file_type", Value::U32(file_type.id()));
    if let Some((name, imatrix)) = imatrix {
        put("quantize.imatrix.file", Value::String(name.clone()));
        if let Some(dataset) = imatrix.datasets.first() {
            put("quantize.imatrix.dataset", Value::String(dataset.clone()));
        }
        put("quantize.imatrix.entries_count", Value::U32(imatrix.entries.len() as u32));
        if imatrix.chunk_count > 0 {
            put("quantize.imatrix.chunks_count", Value::U32(imatrix.chunk_count));
        }
    }
    metadata
}

/// Rows of one matrix of one tensor.
#[derive(Clone, Copy)]
struct Chunk {
    tensor: usize,
    first_row: u64,
    n_rows: u64,
}

/// Writes the file that `job` describes; `threads` workers, 0 for all cores.
///
/// # Errors
/// A weight that is not finite, whatever `out` reports, or [`Error::Cancelled`].
pub fn write_file(
    job: &Job,
    source: &dyn TensorSource,
    out: impl Write + Send,
    threads: usize,
    watch: &mut Watch<'_>,
) -> Result<Summary> {
    let gguf = |source| Error::Gguf { path: job.label.clone().into(), source };
    let specs = job.specs();
    let summary = Summary {
        file_bytes: job.predicted_bytes()?,
        largest_tensor_bytes: specs.iter().filter_map(tensor_bytes).max().unwrap_or(0),
    };
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .map_err(|error| Error::checkpoint(source.path(), format!("no worker threads: {error}")))?;
    let total = job.tensors.iter().map(|plan| source.tensors()[plan.index].source_bytes).sum();
    let mut meter = Meter::new(watch, &job.label, total);
    let chunks = cut(job);
    let wave = pool.current_num_threads() * CHUNKS_PER_WORKER;
    let mut writer = Writer::new(out, &job.metadata, &specs).map_err(gguf)?;
    let (send, receive) = sync_channel::<Vec<Vec<u8>>>(1);
    std::thread::scope(|scope| {
        let written = scope.spawn(move || -> std::result::Result<(), formats::gguf::Error> {
            for blocks in receive {
                for block in blocks {
                    writer.write(&block)?;
                }
            }
            writer.finish().map(drop)
        });
        let quantized = (|| {
            for wave in chunks.chunks(wave) {
                let blocks: Result<Vec<Vec<u8>>> = pool
                    .install(|| wave.par_iter().map(|chunk| quantize_chunk(job, source, *chunk)).collect());
                if send.send(blocks?).is_err() {
                    break; // the writer stopped: its error is reported below
                }
                meter.add(wave.iter().map(|chunk| source_bytes(job, source, *chunk)).sum())?;
            }
            Ok(())
        })();
        drop(send);
        let written = written.join().expect("the writing thread does not panic");
        quantized.and(written.map_err(gguf))
    })?;
    Ok(summary)
}

fn tensor_bytes(spec: &TensorSpec) -> Option<u64> {
    spec.ty.row_bytes(spec.dims[0])?.checked_mul(spec.dims[1..].iter().product())
}

fn source_bytes(job: &Job, source: &dyn TensorSource, chunk: Chunk) -> u64 {
    let tensor = &source.tensors()[job.tensors[chunk.tensor].index];
    (u128::from(tensor.source_bytes) * u128::from(chunk.n_rows) / u128::from(tensor.n_rows().max(1))) as u64
}

/// Chunks of the whole job in file order; none crosses a matrix, whose importance is its own.
fn cut(job: &Job) -> Vec<Chunk> {
    let mut chunks = Vec::new();
    for (tensor, plan) in job.tensors.iter().enumerate() {
        let rows: u64 = plan.dims[1..].iter().product();
        let per_matrix = plan.dims.get(1).copied().unwrap_or(1);
        let per_chunk = (CHUNK_WEIGHTS / plan.dims[0]).clamp(1, per_matrix);
        for matrix in 0..rows / per_matrix {
            for first in (0..per_matrix).step_by(per_chunk as usize) {
                let n_rows = per_chunk.min(per_matrix - first);
                chunks.push(Chunk { tensor, first_row: matrix * per_matrix + first, n_rows });
            }
        }
    }
    chunks
}

fn quantize_chunk(job: &Job, source: &dyn TensorSource, chunk: Chunk) -> Result<Vec<u8>> {
    let plan = &job.tensors[chunk.tensor];
    let columns = plan.dims[0] as usize;
    if plan.from == plan.to
        && let Some(stored) = source.stored_bytes(plan.index)
    {
        let row = plan.to.row_bytes(plan.dims[0]).expect("the source's rows are whole blocks");
        let start = (chunk.first_row * row) as usize;
        return Ok(stored[start..start + (chunk.n_rows * row) as usize].to_vec());
    }
    let mut weights = vec![0f32; columns * chunk.n_rows as usize];
    source.read_rows(plan.index, chunk.first_row, &mut weights)?;
    if plan.to == GgmlType::F16
        && let Some(big) = weights.iter().find(|weight| weight.abs() >= 65520.0)
    {
        let problem = format!("expected weights that F16 can hold, got {big}: choose BF16 or F32");
        return Err(Error::Tensor { path: source.path().into(), tensor: plan.name.clone(), problem });
    }
    let row_bytes =
        plan.to.row_bytes(plan.dims[0]).expect("the recipe chose a type whose blocks divide the row");
    let mut blocks = vec![0u8; (row_bytes * chunk.n_rows) as usize];
    let matrix = (chunk.first_row / plan.dims.get(1).copied().unwrap_or(1)) as usize;
    let importance = job
        .importance
        .as_ref()
        .and_then(|importance| importance.get(&plan.name)?.get(matrix * columns..(matrix + 1) * columns));
    if plan.to.is_quantized() {
        quantize::init(plan.to);
    }
    quantize_rows(plan.to, &weights, &mut blocks, columns, importance)
        .map_err(|source| Error::Engine { tensor: plan.name.clone(), source })?;
    Ok(blocks)
}
