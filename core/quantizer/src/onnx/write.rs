//! Writes what lies beside a graph: rows in, codes and scales out, on all cores, with bounded memory.
//!
//! Workers take chunks of rows in file order and run ahead of the writer by a fixed number of them. Codes go to the file as
//! they come; scales of a matrix or stack wait until its codes are complete: a quarter of their bytes at 4 bits. A matrix that lies
//! by columns waits for its last row.

use super::codes::split;
use super::graph::Part;
use super::plan::Plan;
use super::stored::{Form, Stored};
use crate::execute::{Inputs, Portion, n_workers, quantize_portion};
use crate::pipeline::{self, Step};
use crate::plan::Job;
use crate::progress::Meter;
use crate::source::{TensorSource, largest_magnitude};
use crate::{Error, Result, Watch};
use formats::onnx::DataType;
use std::io::Write;

/// Weights per chunk.
const CHUNK_WEIGHTS: u64 = 1 << 16;
/// Chunks that may be under way or wait for the writer, per worker.
const CHUNKS_PER_WORKER: usize = 8;

/// Rows `first .. first + n` of each tensor of something stored.
#[derive(Clone, Copy)]
struct Chunk {
    stored: usize,
    first: u64,
    n: u64,
}

/// Work memory of a worker.
#[derive(Default)]
struct Memory {
    weights: Vec<f32>,
    blocks: Vec<Vec<u8>>,
    scales: Vec<u8>,
}

impl Plan {
    /// Most bytes that the buffers of writing it take.
    pub(crate) fn work_bytes(&self, threads: usize) -> u64 {
        let workers = n_workers(threads) as u64;
        let most = |of: &dyn Fn(&Stored) -> u64| self.stores.all.iter().map(of).max().unwrap_or(0);
        let chunk = most(&|stored| rows_per_chunk(&self.job, stored) * stored.columns * 8);
        let waits = |stored: &Stored| match stored.form {
            Form::ByRow => stored.bytes(Part::Values) + stored.bytes(Part::Scales),
            _ => stored.bytes(Part::Scales),
        };
        let waiting = most(&waits);
        chunk.saturating_mul(2 * workers + workers * CHUNKS_PER_WORKER as u64 + 1).saturating_add(waiting)
    }
}

/// Writes the file beside the graph of `plan`. The meter counts the source's bytes.
///
/// # Errors
/// A weight that is no finite number or that its floats cannot hold, whatever `out` reports, or [`Error::Cancelled`].
pub(super) fn write_data(
    plan: &Plan,
    source: &dyn TensorSource,
    mut out: impl Write,
    threads: usize,
    watch: &mut Watch<'_>,
) -> Result<()> {
    let job = &plan.job;
    let failed = |error| Error::io(std::path::Path::new(&plan.data), error);
    let chunks = cut(plan);
    let bytes_of = |stored: &Stored| -> u64 {
        stored.rows.tensors.iter().map(|at| source.tensors()[job.tensors[*at].index].source_bytes).sum()
    };
    let mut meter = Meter::new(watch, &job.label, plan.stores.all.iter().map(bytes_of).sum());
    let workers = n_workers(threads);
    let step = Step { n_items: chunks.len(), n_workers: workers, n_ahead: workers * CHUNKS_PER_WORKER };
    let inputs = Inputs::new(workers);
    let (mut scales, mut rows) = (Vec::new(), Vec::new());
    let mut written = 0u64;
    pipeline::run(
        step,
        |at, memory: &mut Memory, bytes| pack(plan, chunks[at], (source, &inputs), memory, bytes),
        |at, bytes| {
            let Chunk { stored: number, first, n } = chunks[at];
            let stored = &plan.stores.all[number];
            let groups = stored.n_rows / stored.rows.tensors.len() as u64;
            let share = |part| (stored.bytes(part) / groups * n) as usize;
            let (codes, own) = bytes.split_at(share(Part::Values));
            if first == 0 {
                pad(&mut out, &mut written, stored.values_at).map_err(failed)?;
            }
            if stored.form == Form::ByRow {
                rows.extend_from_slice(codes);
                if first + n == groups {
                    by_columns(&rows, stored.columns as usize, &mut out).map_err(failed)?;
                    rows.clear();
                }
            } else {
                out.write_all(codes).map_err(failed)?;
            }
            written += codes.len() as u64;
            scales.extend_from_slice(own);
            if first + n == groups && !scales.is_empty() {
                pad(&mut out, &mut written, stored.scales_at).map_err(failed)?;
                out.write_all(&scales).map_err(failed)?;
                written += scales.len() as u64;
                scales.clear();
            }
            let until =
                |row: u64| (u128::from(bytes_of(stored)) * u128::from(row) / u128::from(groups)) as u64;
            meter.add(until(first + n) - until(first))
        },
    )?;
    Ok(())
}

/// Writes rows of single bytes column by column.
fn by_columns(rows: &[u8], n_columns: usize, out: &mut impl Write) -> std::io::Result<()> {
    let mut column = Vec::with_capacity(rows.len() / n_columns.max(1));
    for at in 0..n_columns {
        column.clear();
        column.extend(rows[at..].iter().step_by(n_columns));
        out.write_all(&column)?;
    }
    Ok(())
}

/// Zeros up to `offset`.
fn pad(out: &mut impl Write, written: &mut u64, offset: u64) -> std::io::Result<()> {
    let missing = offset - *written;
    *written = offset;
    out.write_all(&vec![0; missing as usize])
}

fn rows_per_chunk(job: &Job, stored: &Stored) -> u64 {
    let tensors = stored.rows.tensors.len() as u64;
    let per_matrix = job.tensors[stored.rows.tensors[0]].rows_per_matrix();
    (CHUNK_WEIGHTS / (stored.columns * tensors).max(1)).clamp(1, per_matrix)
}

/// Chunks in file order; none crosses a matrix.
fn cut(plan: &Plan) -> Vec<Chunk> {
    let mut chunks = Vec::new();
    for (number, stored) in plan.stores.all.iter().enumerate() {
        let tensor = &plan.job.tensors[stored.rows.tensors[0]];
        let (per_matrix, step) = (tensor.rows_per_matrix(), rows_per_chunk(&plan.job, stored));
        for of_matrix in (0..tensor.n_rows()).step_by(per_matrix as usize) {
            for first in (0..per_matrix).step_by(step as usize) {
                chunks.push(Chunk {
                    stored: number,
                    first: of_matrix + first,
                    n: step.min(per_matrix - first),
                });
            }
        }
    }
    chunks
}

/// Fills `bytes` with the chunk's floats, or its codes and behind them its scales. Rows of two tensors alternate.
fn pack(
    plan: &Plan,
    chunk: Chunk,
    (source, inputs): (&dyn TensorSource, &Inputs),
    memory: &mut Memory,
    bytes: &mut Vec<u8>,
) -> Result<()> {
    let stored = &plan.stores.all[chunk.stored];
    let tensors = &stored.rows.tensors;
    bytes.clear();
    let Memory { weights, blocks: all_blocks, scales } = memory;
    scales.clear();
    all_blocks.resize_with(tensors.len(), Vec::new);
    for (at, blocks) in tensors.iter().zip(all_blocks.iter_mut()) {
        let portion = Portion { tensor: *at, first_row: chunk.first, n_rows: chunk.n };
        match stored.form {
            Form::Codes { .. } => {
                quantize_portion(&plan.job, source, portion, inputs, weights, blocks)?;
            }
            Form::Floats(ty) => {
                let name = read(plan, *at, chunk, source, weights)?;
                blocks.clear();
                push(ty, weights, blocks);
                let largest = largest_magnitude(weights);
                if ty == DataType::Float16 && largest > half::f16::MAX.to_f32() {
                    let problem =
                        format!("expected numbers that F16 can hold, got magnitudes up to {largest}");
                    return Err(Error::Tensor { path: source.path().into(), tensor: name, problem });
                }
            }
            Form::ByRow => {
                read(plan, *at, chunk, source, weights)?;
                blocks.clear();
                code_rows(weights, stored.columns as usize, blocks, scales);
            }
        }
    }
    for row in 0..chunk.n as usize {
        for blocks in all_blocks.iter() {
            let width = blocks.len() / chunk.n as usize;
            let own = &blocks[row * width..][..width];
            match stored.form {
                Form::Floats(_) | Form::ByRow => bytes.extend_from_slice(own),
                Form::Codes { bits, scales: floats, signed } => {
                    split(bits, own, signed, floats, bytes, scales);
                }
            }
        }
    }
    bytes.extend_from_slice(scales);
    Ok(())
}

/// Reads the chunk's rows of a tensor, whose name it gives.
fn read(
    plan: &Plan,
    tensor: usize,
    chunk: Chunk,
    source: &dyn TensorSource,
    weights: &mut Vec<f32>,
) -> Result<String> {
    let tensor = &plan.job.tensors[tensor];
    weights.resize((chunk.n * tensor.dims[0]) as usize, 0.0);
    source.read_rows(tensor.index, chunk.first, weights)?;
    Ok(tensor.name.clone())
}

/// Appends a code of 8 bits for each weight, and for each row what they are multiplied by.
fn code_rows(weights: &[f32], columns: usize, codes: &mut Vec<u8>, scales: &mut Vec<u8>) {
    for row in weights.chunks_exact(columns) {
        let scale = largest_magnitude(row) / f32::from(i8::MAX);
        let per_weight = if scale > 0.0 { 1.0 / scale } else { 0.0 };
        codes
            .extend(row.iter().map(|weight| ((weight * per_weight).round_ties_even() as i8).cast_unsigned()));
        // A row of nothing has codes of nothing: any scale but 0, which some refuse.
        scales.extend(if scale > 0.0 { scale } else { 1.0 }.to_le_bytes());
    }
}

fn push(ty: DataType, weights: &[f32], bytes: &mut Vec<u8>) {
    match ty {
        DataType::Float16 => {
            bytes.extend(weights.iter().flat_map(|weight| half::f16::from_f32(*weight).to_le_bytes()));
        }
        _ => bytes.extend(weights.iter().flat_map(|weight| weight.to_le_bytes())),
    }
}
