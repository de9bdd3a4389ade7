//! Probes: one tensor rounded, all others whole, and how far the model's predictions move.
//! Knows the engine, sources and rounding; must not know budgets.

use super::Sensitivity;
use crate::convert::conversion_job;
use crate::execute::{n_workers, write_file};
use crate::moments::{Moments, engine_error, load, reading_settings};
use crate::progress::Meter;
use crate::rounding::{MatrixInput, round_matrix_rows};
use crate::source::TensorSource;
use crate::{Error, Result, Watch};
use engine::gguf::quantize::{dequantize_rows, quantize_rows};
use engine::{CancelToken, Context as _, Logits, Token};
use families::OutputType;
use formats::gguf::{GgmlType, Header};
use rayon::prelude::*;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::ops::ControlFlow;
use std::path::Path;

/// What to probe with.
#[derive(Debug, Clone, Copy)]
pub struct Probes<'a> {
    /// Texts, each read from an empty context; the second half of each is judged.
    pub chunks: &'a [Vec<Token>],
    /// A file to write the model to in 32-bit floats; left for the caller to remove.
    pub scratch: &'a Path,
    /// The type of a rounded tensor.
    pub ty: GgmlType,
    /// Workers, 0 for all cores.
    pub threads: usize,
}

/// Measures how much the model's predictions move (mean KLD) per unit of error, for every tensor of `sensitivity`.
///
/// # Errors
/// A model that cannot be loaded, a full disk, or [`Error::Cancelled`].
pub fn measure_kappas(
    source: &dyn TensorSource,
    moments: &Moments,
    sensitivity: &mut Sensitivity,
    probes: &Probes<'_>,
    watch: &mut Watch<'_>,
) -> Result<()> {
    let mut probe = Probe::start(source, moments, sensitivity.feedback, probes)?;
    let names: Vec<String> = sensitivity.tensors.keys().cloned().collect();
    let mut meter = Meter::new(watch, "probes", names.len() as u64);
    for name in names {
        let tensor = sensitivity.tensors.get_mut(&name).expect("a name of its own");
        let ty = probe.type_for(&name);
        if let Some(error) = ty.and_then(|ty| tensor.errors.get(ty.name())).filter(|error| **error > 0.0) {
            tensor.kappa = Some(probe.divergence_of(&name, ty.expect("it has an error"))? / error);
        }
        meter.add(1)?;
    }
    sensitivity.probe_tokens = probe.n_judged() as u64;
    Ok(())
}

/// The model in a file that tensors are exchanged in, and what it says while it is whole.
pub(super) struct Probe<'a> {
    source: &'a dyn TensorSource,
    moments: &'a Moments,
    feedback: bool,
    probes: &'a Probes<'a>,
    header: Header,
    /// Logarithms of the whole model's probabilities, by judged token.
    whole: Vec<f32>,
    n_vocab: usize,
}

impl<'a> Probe<'a> {
    /// Writes the model to the scratch file and reads the texts with it.
    pub(super) fn start(
        source: &'a dyn TensorSource,
        moments: &'a Moments,
        feedback: bool,
        probes: &'a Probes<'a>,
    ) -> Result<Self> {
        let job = conversion_job(source, OutputType::F32);
        let file = File::create(probes.scratch).map_err(|error| Error::io(probes.scratch, error))?;
        let mut go_on = |_: crate::Progress<'_>| ControlFlow::Continue(());
        write_file(&job, source, std::io::BufWriter::new(file), probes.threads, &mut go_on)?;
        let path = probes.scratch;
        let file = File::open(path).map_err(|error| Error::io(path, error))?;
        let length = file.metadata().map_err(|error| Error::io(path, error))?.len();
        let header = Header::read(std::io::BufReader::new(file), length)
            .map_err(|source| Error::Gguf { path: path.into(), source })?;
        let mut probe = Self { source, moments, feedback, probes, header, whole: Vec::new(), n_vocab: 1 };
        let mut whole = Vec::new();
        probe.n_vocab = probe.read(&mut |row| {
            let start = whole.len();
            whole.extend_from_slice(row);
            to_log_probabilities(&mut whole[start..]);
        })?;
        probe.whole = whole;
        Ok(probe)
    }

    pub(super) fn n_judged(&self) -> usize {
        self.whole.len() / self.n_vocab
    }

    /// The probe's type for a tensor, or the nearest plain one for its rows.
    pub(super) fn type_for(&self, name: &str) -> Option<GgmlType> {
        let tensor = self.source.tensors().iter().find(|tensor| tensor.name == name)?;
        let fits = |ty: &GgmlType| tensor.dims[0].is_multiple_of(ty.block_len());
        [self.probes.ty, GgmlType::Q4_0].into_iter().find(fits)
    }

    /// Hands the logits of the judged tokens on; tells how many there are of each.
    fn read(&self, judge: &mut dyn FnMut(&[f32])) -> Result<usize> {
        let model = load(self.probes.scratch, true)?;
        let longest = self.probes.chunks.iter().map(Vec::len).max().unwrap_or(1);
        let settings = reading_settings(longest, n_workers(self.probes.threads));
        let mut context = model.open_context(&settings).map_err(engine_error)?;
        let mut n_vocab = 1;
        for chunk in self.probes.chunks {
            context.truncate(0).map_err(engine_error)?;
            context.decode(chunk, Logits::All, &CancelToken::new()).map_err(engine_error)?;
            for row in chunk.len() / 2..chunk.len() {
                let logits = context.logits(row).map_err(engine_error)?;
                n_vocab = logits.len();
                judge(logits);
            }
        }
        Ok(n_vocab)
    }

    /// Mean divergence with one tensor rounded.
    fn divergence_of(&mut self, name: &str, ty: GgmlType) -> Result<f64> {
        self.put(self.probes.scratch, name, Some(ty))?;
        let divergence = self.divergence();
        self.put(self.probes.scratch, name, None)?;
        divergence
    }

    /// Mean divergence as the scratch file is.
    pub(super) fn divergence(&self) -> Result<f64> {
        let mut rows = Vec::with_capacity(self.whole.len());
        self.read(&mut |row| rows.extend_from_slice(row))?;
        let of_row = |(row, whole): (&mut [f32], &[f32])| {
            to_log_probabilities(row);
            let terms = whole.iter().zip(&*row).map(|(p, q)| f64::from(p.exp()) * f64::from(p - q));
            terms.sum::<f64>()
        };
        let n_vocab = self.n_vocab;
        let sum: f64 = rows.par_chunks_mut(n_vocab).zip(self.whole.par_chunks(n_vocab)).map(of_row).sum();
        Ok(sum / self.n_judged().max(1) as f64)
    }

    /// Copies a tensor from another file of the same layout into the scratch file.
    pub(super) fn copy(&self, from: &Path, name: &str) -> Result<()> {
        let Some(stored) = self.header.tensor(name) else { return Ok(()) };
        let offset = self.header.data_offset + stored.offset;
        let open = |path: &Path, write: bool| -> std::io::Result<File> {
            let mut file = File::options().read(!write).write(write).open(path)?;
            file.seek(SeekFrom::Start(offset))?;
            Ok(file)
        };
        let source = open(from, false).map_err(|error| Error::io(from, error))?;
        let to = self.probes.scratch;
        let mut target = open(to, true).map_err(|error| Error::io(to, error))?;
        let copied = std::io::copy(&mut source.take(stored.bytes), &mut target);
        copied.map(|_| ()).map_err(|error| Error::io(to, error))
    }

    /// Writes a tensor into a file of the scratch file's layout: rounded to `ty`, or whole.
    pub(super) fn put(&self, path: &Path, name: &str, ty: Option<GgmlType>) -> Result<()> {
        let io = |error| Error::io(path, error);
        let Some(index) = self.source.tensors().iter().position(|tensor| tensor.name == name) else {
            return Ok(());
        };
        let stored = self.header.tensor(name).expect("the file holds the source's tensors");
        let mut file = File::options().write(true).open(path).map_err(io)?;
        file.seek(SeekFrom::Start(self.header.data_offset + stored.offset)).map_err(io)?;
        let tensor = &self.source.tensors()[index];
        let (n_columns, per_matrix) = (tensor.dims[0] as usize, tensor.rows_per_matrix());
        for matrix in 0..tensor.n_rows() / per_matrix {
            let input = match ty {
                Some(_) => MatrixInput::of(self.moments, name, matrix as usize, n_columns),
                None => None,
            };
            let strip = (1u64 << 16).div_ceil(tensor.dims[0]).min(per_matrix);
            let strips: Vec<u64> = (0..per_matrix).step_by(strip as usize).collect();
            let rounded: Vec<Result<Vec<f32>>> = strips
                .par_iter()
                .map(|first| {
                    let n_rows = strip.min(per_matrix - first);
                    let mut weights = vec![0f32; n_rows as usize * n_columns];
                    self.source.read_rows(index, matrix * per_matrix + first, &mut weights)?;
                    if let Some(ty) = ty {
                        self.round(ty, &mut weights, n_columns, input.as_ref())
                            .map_err(|source| Error::Engine { tensor: name.into(), source })?;
                    }
                    Ok(weights)
                })
                .collect();
            for weights in rounded {
                let bytes: Vec<u8> = weights?.iter().flat_map(|weight| weight.to_le_bytes()).collect();
                file.write_all(&bytes).map_err(io)?;
            }
        }
        Ok(())
    }

    fn round(
        &self,
        ty: GgmlType,
        weights: &mut [f32],
        n_columns: usize,
        input: Option<&MatrixInput>,
    ) -> std::result::Result<(), engine::Error> {
        let row_bytes = ty.row_bytes(n_columns as u64).expect("chosen to divide") as usize;
        let mut bytes = vec![0; weights.len() / n_columns * row_bytes];
        match input {
            Some(input) => round_matrix_rows(ty, weights, n_columns, input, self.feedback, &mut bytes)?,
            None => {
                quantize_rows(ty, weights, &mut bytes, n_columns, Some(&vec![1.0; n_columns]))?;
            }
        }
        dequantize_rows(ty, &bytes, weights)
    }
}

/// Logits to logarithms of probabilities.
fn to_log_probabilities(logits: &mut [f32]) {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|logit| f64::from((logit - most).exp())).sum();
    let norm = most + sum.ln() as f32;
    logits.iter_mut().for_each(|logit| *logit -= norm);
}
