//! A model's divergence from its original on a text, part by part, so that what does clearly worse is not read to the end.
//! Knows the engine and the evaluator's stores; must not know plans.

use crate::moments::{engine_error, load};
use crate::progress::Meter;
use crate::{Error, Result, Watch};
use engine::{CancelToken, Model, Token};
use evaluator::divergence::{Computing, compare};
use evaluator::reference::{Keep, Reader, collect};
use evaluator::text::Pass;
use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Parts that a text is read in.
const PARTS: usize = 4;

/// A text and the model to hold others against.
#[derive(Debug, Clone, Copy)]
pub struct Judging<'a> {
    /// The original as a GGUF file, in the precision to quantize from.
    pub original: &'a Path,
    /// Windows of one length, each read from an empty context; the second half of each is judged.
    pub windows: &'a [Vec<Token>],
    /// An empty folder for distributions and candidates; left for the caller to remove.
    pub scratch: &'a Path,
    /// Workers, 0 for all cores.
    pub threads: usize,
}

/// The original's distributions.
pub(crate) struct Judge {
    parts: Vec<PathBuf>,
    computing: Computing,
    n_scored: usize,
}

impl Judge {
    /// Reads the text with the original.
    pub(crate) fn new(judging: &Judging<'_>, watch: &mut Watch<'_>) -> Result<Self> {
        let n_ctx = judging.windows.first().map_or(0, Vec::len);
        if n_ctx < 4 || judging.windows.iter().any(|window| window.len() != n_ctx) {
            return Err(Error::Request {
                wish: "text to judge by".into(),
                expected: "windows of one length of at least 4 tokens".into(),
                got: format!("{} windows, the first of {n_ctx}", judging.windows.len()),
            });
        }
        let n_threads = crate::execute::n_workers(judging.threads) as u32;
        let mut judge = Self {
            parts: Vec::new(),
            computing: Computing { n_threads },
            n_scored: judging.windows.len() * Pass::n_scored(n_ctx),
        };
        let model: Arc<dyn Model> = load(judging.original, false)?;
        let mut meter = Meter::new(watch, "reading with the original", judging.windows.len() as u64);
        let per_part = judging.windows.len().div_ceil(PARTS);
        for (number, windows) in judging.windows.chunks(per_part).enumerate() {
            let path = judging.scratch.join(format!("reference-{number}"));
            let file = File::create(&path).map_err(|error| Error::io(&path, error))?;
            let pass = Pass { text: "held out".into(), n_ctx, windows: windows.to_vec() };
            // What is read within a window is short; between windows the meter is asked.
            let mut go_on = |_: evaluator::Progress<'_>| ControlFlow::Continue(());
            let cancel = CancelToken::new();
            let passes = std::slice::from_ref(&pass);
            let out = BufWriter::new(file);
            let of = ("original", "");
            collect(&model, of, passes, Keep::default(), &judge.computing, out, &cancel, &mut go_on)
                .map_err(judging_error)?;
            judge.parts.push(path);
            meter.add(windows.len() as u64)?;
        }
        Ok(judge)
    }

    pub(crate) fn n_parts(&self) -> usize {
        self.parts.len()
    }

    /// Positions that are judged, all parts together.
    pub(crate) fn n_scored(&self) -> usize {
        self.n_scored
    }

    /// Loads a candidate.
    pub(crate) fn open(&self, candidate: &Path) -> Result<Candidate<'_>> {
        Ok(Candidate { judge: self, model: load(candidate, true)? })
    }
}

/// A loaded candidate.
pub(crate) struct Candidate<'a> {
    judge: &'a Judge,
    model: Arc<dyn Model>,
}

impl Candidate<'_> {
    /// Mean divergence in nats of every window of a part.
    pub(crate) fn part(&self, number: usize) -> Result<Vec<f64>> {
        let path = &self.judge.parts[number];
        let file = File::open(path).map_err(|error| Error::io(path, error))?;
        let mut reader = Reader::open(BufReader::new(file)).map_err(judging_error)?;
        let mut go_on = |_: evaluator::Progress<'_>| ControlFlow::Continue(());
        let (computing, cancel) = (&self.judge.computing, CancelToken::new());
        let compared = compare(&self.model, &mut reader, computing, "candidate", &cancel, &mut go_on)
            .map_err(judging_error)?;
        let mut windows: Vec<(f64, usize)> = Vec::new();
        for sample in compared.samples {
            let at = sample.window as usize;
            windows.resize(windows.len().max(at + 1), (0.0, 0));
            windows[at] = (windows[at].0 + f64::from(sample.kld), windows[at].1 + 1);
        }
        Ok(windows.into_iter().map(|(sum, n)| sum / n.max(1) as f64).collect())
    }

    /// The same of all parts.
    pub(crate) fn all(&self) -> Result<Vec<f64>> {
        let mut windows = Vec::new();
        for part in 0..self.judge.n_parts() {
            windows.extend(self.part(part)?);
        }
        Ok(windows)
    }
}

/// Mean and standard error of windows.
pub(crate) fn mean(windows: &[f64]) -> (f64, f64) {
    let n = windows.len().max(1) as f64;
    let mean = windows.iter().sum::<f64>() / n;
    let squares: f64 = windows.iter().map(|value| (value - mean).powi(2)).sum();
    (mean, (squares / (n - 1.0).max(1.0) / n).sqrt())
}

fn judging_error(error: evaluator::Error) -> Error {
    match error {
        evaluator::Error::Cancelled => Error::Cancelled,
        evaluator::Error::Engine(source) => engine_error(source),
        source => Error::Judging { source },
    }
}
