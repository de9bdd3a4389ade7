//! Carries a plan out: rows in, blocks out, on all cores, with bounded memory.
//!
//! Work is cut into chunks of rows of one matrix. Workers take chunks in file order and run ahead of the writer by a
//! fixed number of them, across tensors, so that small tensors leave no core idle and memory does not grow with the
//! model. Rows are quantized independently, so the cut never shows in the result.

use crate::pipeline::{self, Step};
use crate::plan::{Job, TensorPlan};
use crate::progress::Meter;
use crate::rounding::{MatrixInput, round_matrix_rows};
use crate::source::{TensorSource, largest_magnitude};
use crate::{Error, Moments, Result, Watch};
use engine::gguf::quantize::{dequantize_rows, quantize_rows};
use formats::gguf::{GgmlType, Writer};
use std::collections::VecDeque;
use std::io::Write;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Weights per chunk: large enough to hide scheduling, small enough to stay in a core's cache.
const CHUNK_WEIGHTS: u64 = 1 << 16;
/// Chunks that may be under way or wait for the writer, per worker.
const CHUNKS_PER_WORKER: usize = 8;
/// Up to here every block format's 16-bit scales hold any weights; beyond, the blocks are read back.
const SAFE_MAGNITUDE: f32 = 4096.0;

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// Length of the file.
    pub file_bytes: u64,
    /// Largest single tensor.
    pub largest_tensor_bytes: u64,
}

/// Rows of one matrix of one tensor.
#[derive(Clone, Copy)]
pub(crate) struct Portion {
    /// Number in the job.
    pub(crate) tensor: usize,
    pub(crate) first_row: u64,
    pub(crate) n_rows: u64,
}

/// Workers that `threads` means: 0 is one per core that this process may use.
pub(crate) fn n_workers(threads: usize) -> usize {
    if threads > 0 { threads } else { std::thread::available_parallelism().map_or(1, Into::into) }
}

/// Most bytes that the buffers of [`write_file`] take, whatever the number of tensors; the tables that the search
/// types need, the vocabulary and the writer's own buffer are not among them.
pub fn work_bytes(job: &Job, threads: usize) -> u64 {
    let n_workers = n_workers(threads) as u64;
    let most = |bytes: fn(&TensorPlan) -> u64| {
        job.tensors.iter().map(|plan| rows_per_chunk(plan).saturating_mul(bytes(plan))).max().unwrap_or(0)
    };
    let weights = most(|plan| plan.dims[0].saturating_mul(size_of::<f32>() as u64));
    // One more is with the writer.
    let n_buffers = n_workers * CHUNKS_PER_WORKER as u64 + 1;
    n_workers.saturating_mul(weights).saturating_add(n_buffers.saturating_mul(most(TensorPlan::row_bytes)))
}

/// Writes the file that `job` describes; `threads` workers, 0 for all cores.
///
/// # Errors
/// A weight that is not finite or that the type cannot hold, whatever `out` reports, or [`Error::Cancelled`].
pub fn write_file(
    job: &Job,
    source: &dyn TensorSource,
    out: impl Write,
    threads: usize,
    watch: &mut Watch<'_>,
) -> Result<Summary> {
    let gguf = |source| Error::Gguf { path: job.label.clone().into(), source };
    let writer = Writer::new(out, &job.metadata, &job.specs()).map_err(gguf)?;
    write_rest(job, source, writer, 0, threads, watch)
}

/// Writes what follows the first `finished` tensors, which `writer` counts as written.
pub(crate) fn write_rest(
    job: &Job,
    source: &dyn TensorSource,
    mut writer: Writer<impl Write>,
    finished: usize,
    threads: usize,
    watch: &mut Watch<'_>,
) -> Result<Summary> {
    let gguf = |source| Error::Gguf { path: job.label.clone().into(), source };
    let bytes = |plan: &TensorPlan| source.tensors()[plan.index].source_bytes;
    let total = job.tensors.iter().map(bytes).sum();
    let mut meter = Meter::new(watch, &job.label, total);
    meter.skip(job.tensors[..finished].iter().map(bytes).sum());
    let mut chunks = cut(job);
    chunks.retain(|chunk| chunk.tensor >= finished);
    let workers = n_workers(threads);
    let inputs = Inputs::new(workers);
    let step = Step { n_items: chunks.len(), n_workers: workers, n_ahead: workers * CHUNKS_PER_WORKER };
    pipeline::run(
        step,
        |index, weights: &mut Vec<f32>, blocks| {
            quantize_portion(job, source, chunks[index], &inputs, weights, blocks)
        },
        |index, blocks| {
            writer.write(blocks).map_err(gguf)?;
            meter.add(source_bytes(job, source, chunks[index]))
        },
    )?;
    writer.finish().map_err(gguf)?;
    Ok(Summary {
        file_bytes: job.predicted_bytes()?,
        largest_tensor_bytes: job.tensors.iter().map(TensorPlan::bytes).max().unwrap_or(0),
    })
}

/// The chunk's share of its tensor's stored bytes; the shares of all chunks add up exactly.
fn source_bytes(job: &Job, source: &dyn TensorSource, chunk: Portion) -> u64 {
    let plan = &job.tensors[chunk.tensor];
    let stored = u128::from(source.tensors()[plan.index].source_bytes);
    let until = |row: u64| (stored * u128::from(row) / u128::from(plan.n_rows())) as u64;
    until(chunk.first_row + chunk.n_rows) - until(chunk.first_row)
}

fn rows_per_chunk(plan: &TensorPlan) -> u64 {
    (CHUNK_WEIGHTS / plan.dims[0]).clamp(1, plan.rows_per_matrix())
}

/// Chunks of the whole job in file order; none crosses a matrix, whose importance is its own.
fn cut(job: &Job) -> Vec<Portion> {
    let mut chunks = Vec::new();
    for (tensor, plan) in job.tensors.iter().enumerate() {
        let (per_matrix, per_chunk) = (plan.rows_per_matrix(), rows_per_chunk(plan));
        for first_of_matrix in (0..plan.n_rows()).step_by(per_matrix as usize) {
            for first in (0..per_matrix).step_by(per_chunk as usize) {
                let n_rows = per_chunk.min(per_matrix - first);
                chunks.push(Portion { tensor, first_row: first_of_matrix + first, n_rows });
            }
        }
    }
    chunks
}

/// Fills `blocks` with the chunk as the file holds it; `weights` is work memory.
pub(crate) fn quantize_portion(
    job: &Job,
    source: &dyn TensorSource,
    chunk: Portion,
    inputs: &Inputs,
    weights: &mut Vec<f32>,
    blocks: &mut Vec<u8>,
) -> Result<()> {
    let plan = &job.tensors[chunk.tensor];
    let columns = plan.dims[0] as usize;
    let row_bytes = plan.row_bytes() as usize;
    let n_rows = chunk.n_rows as usize;
    let holds_weights =
        plan.from.is_quantized() || matches!(plan.from, GgmlType::F32 | GgmlType::F16 | GgmlType::BF16);
    if holds_weights {
        resize(weights, columns * n_rows);
        source.read_rows(plan.index, chunk.first_row, weights)?; // also what is copied must be finite
    }
    resize(blocks, row_bytes * n_rows);
    if plan.from == plan.to && source.is_stored(plan.index) {
        source.copy_rows(plan.index, chunk.first_row, blocks);
        return Ok(());
    }
    let matrix = (chunk.first_row / plan.rows_per_matrix()) as usize;
    let moments = job.moments.as_ref().filter(|_| plan.to.is_quantized());
    match moments.and_then(|moments| inputs.of(moments, (chunk.tensor, &plan.name), matrix, columns)) {
        Some(input) => round_matrix_rows(plan.to, weights, columns, &input, true, blocks),
        None => {
            let even = vec![1f32; if job.moments.is_some() { columns } else { 0 }];
            let importance = importance_of(job, plan, chunk).or((!even.is_empty()).then_some(&even[..]));
            quantize_rows(plan.to, weights, blocks, columns, importance).map(|_| ())
        }
    }
    .map_err(|source| Error::Engine { tensor: plan.name.clone(), source })?;
    let largest = largest_magnitude(weights);
    let fits = match plan.to {
        GgmlType::F32 | GgmlType::BF16 => true,
        _ if largest <= SAFE_MAGNITUDE => true,
        ty => {
            dequantize_rows(ty, blocks, weights)
                .map_err(|source| Error::Engine { tensor: plan.name.clone(), source })?;
            largest_magnitude(weights).is_finite()
        }
    };
    if fits {
        return Ok(());
    }
    let problem = format!(
        "rows {} to {}: expected weights that {} can hold, got magnitudes up to {largest}: choose BF16 or F32",
        chunk.first_row,
        chunk.first_row + chunk.n_rows - 1,
        plan.to
    );
    Err(Error::Tensor { path: source.path().into(), tensor: plan.name.clone(), problem })
}

/// An input that the first who needs it factors, or none.
type LazyInput = OnceLock<Option<MatrixInput>>;

/// What flows into the matrices that are being worked on, factored once for all chunks of each.
pub(crate) struct Inputs {
    latest: Mutex<VecDeque<(usize, usize, Arc<LazyInput>)>>,
    n_kept: usize,
}

impl Inputs {
    pub(crate) fn new(n_workers: usize) -> Self {
        Self { latest: Mutex::default(), n_kept: n_workers + 1 }
    }

    /// The input of `matrix` of tensor number `tensor`, which is `name` in GGUF and has rows of `columns`, where something is
    /// known of it.
    pub(crate) fn of(
        &self,
        moments: &Moments,
        (tensor, name): (usize, &str),
        matrix: usize,
        columns: usize,
    ) -> Option<MatrixHandle> {
        let cell = {
            let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
            let found = latest.iter().find(|(of, at, _)| (*of, *at) == (tensor, matrix));
            match found {
                Some((.., cell)) => Arc::clone(cell),
                None => {
                    let cell = Arc::<LazyInput>::default();
                    latest.push_back((tensor, matrix, Arc::clone(&cell)));
                    if latest.len() > self.n_kept {
                        latest.pop_front();
                    }
                    cell
                }
            }
        };
        cell.get_or_init(|| MatrixInput::of(moments, name, matrix, columns));
        cell.get()?.is_some().then_some(MatrixHandle(cell))
    }
}

/// An input that is there.
pub(crate) struct MatrixHandle(Arc<LazyInput>);

impl std::ops::Deref for MatrixHandle {
    type Target = MatrixInput;

    fn deref(&self) -> &MatrixInput {
        self.0.get().and_then(Option::as_ref).expect("a handle is made of an input that is there")
    }
}

/// Makes `buffer` as long as asked and no larger in memory than the longest so far.
fn resize<T: Clone + Default>(buffer: &mut Vec<T>, length: usize) {
    buffer.reserve_exact(length.saturating_sub(buffer.len()));
    buffer.resize(length, T::default());
}

/// Importance of the columns of the chunk's matrix, where the file knows the tensor in this shape.
fn importance_of<'a>(job: &'a Job, plan: &TensorPlan, chunk: Portion) -> Option<&'a [f32]> {
    let importance = job.importance.as_ref()?;
    let (columns, matrices) = (plan.dims[0], plan.dims.get(2).copied().unwrap_or(1));
    importance.n_values(&plan.name).filter(|&n| n == columns * matrices)?;
    importance.row(&plan.name, (chunk.first_row / plan.rows_per_matrix()) as usize, columns as usize)
}

#[cfg(test)]
mod tests;
