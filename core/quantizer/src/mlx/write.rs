//! Carries a plan out, file by file: rows in, codes out, on all cores, with bounded memory.
//!
//! Workers take chunks of rows in file order and run ahead of the writer by a fixed number of them. Codes go to the file as they
//! come; scales and biases of a matrix wait until its codes are complete, which is at most an eighth of their bytes at 4 bits
//! and groups of 64.

use super::grid::{Grid, Packed};
use super::plan::{Form, Plan, PlannedTensor, Shard};
use super::search;
use crate::execute::{Inputs, n_workers};
use crate::pipeline::{self, Step};
use crate::progress::Meter;
use crate::source::largest_magnitude;
use crate::source::mlx::MlxSource;
use crate::{Error, Result, Watch};
use std::io::Write;

/// Weights per chunk.
const CHUNK_WEIGHTS: u64 = 1 << 16;
/// Chunks that may be under way or wait for the writer, per worker.
const CHUNKS_PER_WORKER: usize = 8;

/// Rows of one matrix of one tensor.
#[derive(Clone, Copy)]
struct Chunk {
    tensor: usize,
    first_row: u64,
    n_rows: u64,
}

impl Plan {
    /// Most bytes that the buffers of writing it take: chunks under way, and one matrix's scales and biases.
    pub(crate) fn work_bytes(&self, threads: usize) -> u64 {
        let n_workers = n_workers(threads) as u64;
        let most = |of: &dyn Fn(&PlannedTensor) -> u64| self.tensors.iter().map(of).max().unwrap_or(0);
        let chunk = most(&|tensor| rows_per_chunk(tensor) * tensor.columns() * size_of::<f32>() as u64);
        let beside = most(&|tensor| match tensor.grid() {
            None => 0,
            Some(grid) => tensor.bytes() - grid.words_per_row(tensor.columns()) * 4 * tensor.n_rows(),
        });
        // Weights and codes of each worker, and results, which are at most as long as the weights.
        chunk.saturating_mul(2 * n_workers + n_workers * CHUNKS_PER_WORKER as u64 + 1).saturating_add(beside)
    }
}

/// Writes one file of `plan`. The meter counts the source's bytes.
///
/// # Errors
/// A weight or scale that is no finite number, whatever `out` reports, or [`Error::Cancelled`].
pub(super) fn write_shard(
    plan: &Plan,
    shard: &Shard,
    source: &MlxSource,
    mut out: impl Write,
    threads: usize,
    meter: &mut Meter<'_, '_>,
) -> Result<()> {
    let failed = |error| Error::io(std::path::Path::new(&shard.name), error);
    out.write_all(&shard.start).map_err(failed)?;
    let chunks = cut(&plan.tensors, shard);
    let n_workers = n_workers(threads);
    let step = Step { n_items: chunks.len(), n_workers, n_ahead: n_workers * CHUNKS_PER_WORKER };
    let inputs = Inputs::new(n_workers);
    let mut beside = Packed::default();
    pipeline::run(
        step,
        |at, memory: &mut (Vec<f32>, Packed), bytes| {
            let chunk = chunks[at];
            pack_chunk(plan, chunk, (source, &inputs), memory, bytes)
        },
        |at, bytes| {
            let chunk = chunks[at];
            let tensor = &plan.tensors[chunk.tensor];
            let [codes, scales, biases] = parts(tensor, chunk.n_rows, bytes);
            out.write_all(codes).map_err(failed)?;
            beside.scales.extend_from_slice(scales);
            beside.biases.extend_from_slice(biases);
            if chunk.first_row + chunk.n_rows == tensor.n_rows() {
                out.write_all(&beside.scales).map_err(failed)?;
                out.write_all(&beside.biases).map_err(failed)?;
                beside.scales.clear();
                beside.biases.clear();
            }
            meter.add(source_bytes(tensor, source, chunk))
        },
    )
}

/// A meter of all that is read for `plan`.
pub(super) fn meter<'a, 'b>(plan: &Plan, source: &MlxSource, watch: &'a mut Watch<'b>) -> Meter<'a, 'b> {
    let bytes = |tensor: &PlannedTensor| source.tensors[tensor.index].source_bytes;
    Meter::new(watch, &plan.label, plan.tensors.iter().map(bytes).sum())
}

/// The chunk's share of what its tensor takes where it lies; the shares of all chunks add up exactly.
fn source_bytes(tensor: &PlannedTensor, source: &MlxSource, chunk: Chunk) -> u64 {
    let stored = u128::from(source.tensors[tensor.index].source_bytes);
    let until = |row: u64| (stored * u128::from(row) / u128::from(tensor.n_rows())) as u64;
    until(chunk.first_row + chunk.n_rows) - until(chunk.first_row)
}

fn rows_per_chunk(tensor: &PlannedTensor) -> u64 {
    (CHUNK_WEIGHTS / tensor.columns()).clamp(1, tensor.rows_per_matrix())
}

fn cut(tensors: &[PlannedTensor], shard: &Shard) -> Vec<Chunk> {
    let mut chunks = Vec::new();
    for tensor in shard.tensors.clone() {
        let (per_matrix, step) = (tensors[tensor].rows_per_matrix(), rows_per_chunk(&tensors[tensor]));
        for first_of_matrix in (0..tensors[tensor].n_rows()).step_by(per_matrix as usize) {
            for first in (0..per_matrix).step_by(step as usize) {
                let n_rows = step.min(per_matrix - first);
                chunks.push(Chunk { tensor, first_row: first_of_matrix + first, n_rows });
            }
        }
    }
    chunks
}

/// Codes, scales and biases of `n_rows` rows that lie behind each other in `bytes`.
fn parts<'a>(tensor: &PlannedTensor, n_rows: u64, bytes: &'a [u8]) -> [&'a [u8]; 3] {
    let Some(grid) = tensor.grid() else { return [bytes, &[], &[]] };
    let codes = grid.words_per_row(tensor.columns()) * 4 * n_rows;
    let scales = grid.groups_per_row(tensor.columns()) * n_rows * grid.scale_bytes(tensor.float);
    let (codes, rest) = bytes.split_at(codes as usize);
    let (scales, biases) = rest.split_at(scales as usize);
    [codes, scales, biases]
}

/// Fills `bytes` with the chunk's codes, scales and biases, or its floats.
fn pack_chunk(
    plan: &Plan,
    chunk: Chunk,
    (source, inputs): (&MlxSource, &Inputs),
    (weights, packed): &mut (Vec<f32>, Packed),
    bytes: &mut Vec<u8>,
) -> Result<()> {
    let tensor = &plan.tensors[chunk.tensor];
    let columns = tensor.columns();
    let (first, len) = (chunk.first_row * columns, chunk.n_rows * columns);
    bytes.clear();
    [&mut packed.codes, &mut packed.scales, &mut packed.biases].into_iter().for_each(Vec::clear);
    if tensor.form == Form::Copied {
        source.copy_mxfp4(tensor.index, first, len, &mut packed.codes, &mut packed.scales);
    } else {
        weights.resize(len as usize, 0.0);
        source.read(tensor.index, first, weights)?;
    }
    match tensor.form {
        Form::Plain => weights.iter().for_each(|weight| tensor.float.push(*weight, bytes)),
        Form::On(grid) => {
            match (grid, tensor.error) {
                (Grid::Affine { bits, group }, Some(_)) => {
                    let (matrix, of) = (chunk.first_row / tensor.rows_per_matrix(), columns as usize);
                    let named = (chunk.tensor, tensor.gguf_name.as_str());
                    let moments = plan.moments.as_ref();
                    let input = moments.and_then(|moments| inputs.of(moments, named, matrix as usize, of));
                    let rounded =
                        search::round(weights, of, (bits, group as usize), tensor.float, input.as_deref());
                    rounded.pack(bits, of, tensor.float, packed);
                }
                _ => grid.pack(weights, columns as usize, tensor.float, packed),
            }
            ensure_finite(tensor, grid, packed, weights, source)?;
        }
        Form::Copied => {}
    }
    for part in [&packed.codes, &packed.scales, &packed.biases] {
        bytes.extend_from_slice(part);
    }
    Ok(())
}

/// Refuses scales and biases that the tensor's floats cannot hold.
fn ensure_finite(
    tensor: &PlannedTensor,
    grid: Grid,
    packed: &Packed,
    weights: &[f32],
    source: &MlxSource,
) -> Result<()> {
    if !grid.has_biases() {
        return Ok(());
    }
    let mut values = vec![0f32; packed.scales.len() / tensor.float.bytes()];
    for part in [&packed.scales, &packed.biases] {
        tensor.float.widen(part, &mut values);
        if !largest_magnitude(&values).is_finite() {
            let problem = format!(
                "expected weights whose scales {} can hold, got magnitudes up to {}",
                tensor.float.dtype().name(),
                largest_magnitude(weights)
            );
            let (path, tensor) = (source.path().into(), tensor.name.clone());
            return Err(Error::Tensor { path, tensor, problem });
        }
    }
    Ok(())
}
