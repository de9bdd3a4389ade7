//! `moments` and `sensitivity`: what a model is measured by before it is quantized.

use crate::args::{Moments, Reading, Sensitivity};
use crate::fetch::{Take, locate};
use crate::interrupt;
use crate::screen::Screen;
use anyhow::{Context, Result, bail};
use llama_pajamas::families::OutputType;
use llama_pajamas::quantizer::sensitivity::{SubsetCheck, SubsetProbes};
use llama_pajamas::quantizer::source::TensorSource;
use llama_pajamas::quantizer::{self, Calibration, Probes, Progress, Subsets};
use llama_pajamas::{Token, Tokenizer};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// Chunks that probes are judged by, where nobody says.
const PROBE_CHUNKS: usize = 16;

pub(crate) fn moments(args: &Moments, screen: &Screen) -> Result<()> {
    let located = locate(&args.model, &args.network.network(), Take::Model, screen)?;
    let source = quantizer::open_source(&located.path, &[])?;
    let chunks = chunks(&args.reading, source.as_ref(), None)?;
    let readable = Readable::new(&located.path, source.as_ref(), &args.output)?;
    let names: Vec<String> = args.reading.text.iter().map(|path| path.display().to_string()).collect();
    let calibration = Calibration {
        model: &readable.path,
        chunks: &chunks,
        dataset: &names.join(", "),
        block: args.block,
        memory_bytes: args.memory_budget,
        threads: args.reading.threads.unwrap_or(0),
    };
    let weights = source.tensors().iter().map(|tensor| tensor.name.clone());
    into_file(&args.output, |out| {
        with_bar(screen, |watch| Ok(quantizer::collect_moments(&calibration, weights, out, watch)?))
    })?;
    wrote(&args.output, screen)
}

pub(crate) fn sensitivity(args: &Sensitivity, screen: &Screen) -> Result<()> {
    let located = locate(&args.model, &args.network.network(), Take::Model, screen)?;
    let source = quantizer::open_source(&located.path, &[])?;
    let moments = quantizer::Moments::open(&args.moments)?;
    let threads = args.reading.threads.unwrap_or(0);
    let mut sensitivity = with_bar(screen, |watch| {
        let feedback = !args.no_feedback;
        Ok(quantizer::measure_errors(source.as_ref(), &args.model, &moments, feedback, threads, watch)?)
    })?;
    if !args.no_probes {
        let chunks = chunks(&args.reading, source.as_ref(), Some(PROBE_CHUNKS))?;
        let scratch = Scratch(beside(&args.output, "f32.tmp"));
        let ty = quantizer::recipe::parse_type(&args.probe_type)?;
        let probes = Probes { chunks: &chunks, scratch: &scratch.0, ty, threads };
        with_bar(screen, |watch| {
            let (source, figures) = (source.as_ref(), &mut sensitivity);
            match args.probes.map(|n| Subsets { n, seed: args.seed }) {
                Some(subsets) => {
                    quantizer::refine_kappas(source, &moments, figures, &probes, subsets, watch)?;
                }
                None => quantizer::measure_kappas(source, &moments, figures, &probes, watch)?,
            }
            Ok(())
        })?;
    }
    into_file(&args.output, |out| {
        serde_json::to_writer_pretty(&mut *out, &sensitivity)?;
        Ok(writeln!(out)?)
    })?;
    if let (Some(probed), false) = (&sensitivity.subset_probes, screen.json) {
        print_checks(probed, screen);
    }
    wrote(&args.output, screen)
}

/// How well a fit to most subsets foretells the others.
fn print_checks(probed: &SubsetProbes, screen: &Screen) {
    println!("{}", screen.bold("subsets held out: mean KLD foretold and measured"));
    println!("  {:>8} {:>12} {:>12} {:>12}", "tensors", "by priors", "by the fit", "measured");
    for SubsetCheck { n_tensors, by_priors, predicted, measured } in &probed.checks {
        println!("  {n_tensors:>8} {by_priors:>12.3e} {predicted:>12.3e} {measured:>12.3e}");
    }
    let percent = |error: f64| 100.0 * error.exp_m1();
    println!(
        "  off by a factor within {:.0} % as a rule by the priors' ratios, {:.0} % by the fit to {} subsets",
        percent(probed.error_of_priors),
        percent(probed.error),
        probed.n - probed.checks.len()
    );
}

fn wrote(path: &Path, screen: &Screen) -> Result<()> {
    if screen.json {
        return screen.print_json(&serde_json::json!({ "file": path }));
    }
    println!("wrote {}", screen.green(&path.display().to_string()));
    Ok(())
}

/// The text in chunks of tokens; at most so many, evenly spread.
pub(crate) fn chunks(
    reading: &Reading,
    source: &dyn TensorSource,
    most: Option<usize>,
) -> Result<Vec<Vec<Token>>> {
    if reading.context < 2 {
        bail!("--context: expected at least 2 tokens, got {}", reading.context);
    }
    let tokenizer = Tokenizer::from_metadata(source.metadata())?;
    let mut tokens = Vec::new();
    for path in &reading.text {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        tokens.extend(tokenizer.encode(&text, false)?);
    }
    let first = tokenizer.encode("", true)?.first().copied().filter(|token| tokenizer.bos() == Some(*token));
    let mut chunks: Vec<Vec<Token>> = tokens.chunks_exact(reading.context).map(<[Token]>::to_vec).collect();
    if chunks.is_empty() {
        bail!("--file: expected text of at least {} tokens, got {}", reading.context, tokens.len());
    }
    if let Some(first) = first {
        chunks.iter_mut().for_each(|chunk| chunk[0] = first);
    }
    let most = reading.chunks.or(most).unwrap_or(chunks.len()).clamp(1, chunks.len());
    let n_chunks = chunks.len();
    let chosen = (0..most).map(|at| std::mem::take(&mut chunks[at * n_chunks / most]));
    Ok(chosen.collect())
}

/// A model that the engine can read: the GGUF file itself, or one made of a checkpoint for the time being.
pub(crate) struct Readable {
    pub(crate) path: PathBuf,
    _made: Option<Scratch>,
}

impl Readable {
    pub(crate) fn new(model: &Path, source: &dyn TensorSource, output: &Path) -> Result<Self> {
        if model.is_file() {
            return Ok(Self { path: model.into(), _made: None });
        }
        let scratch = Scratch(beside(output, "bf16.tmp"));
        let file = File::create(&scratch.0).with_context(|| scratch.0.display().to_string())?;
        let mut go_on = |_: Progress<'_>| ControlFlow::Continue(());
        quantizer::convert(source, OutputType::Bf16, BufWriter::new(file), 0, &mut go_on)?;
        Ok(Self { path: scratch.0.clone(), _made: Some(scratch) })
    }
}

/// A file that goes with its owner.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    name.into()
}

/// Writes a file that appears when it is whole.
pub(crate) fn into_file(path: &Path, write: impl FnOnce(&mut BufWriter<File>) -> Result<()>) -> Result<()> {
    let scratch = Scratch(beside(path, "tmp"));
    let named = || scratch.0.display().to_string();
    let mut out = BufWriter::new(File::create(&scratch.0).with_context(named)?);
    write(&mut out)?;
    out.into_inner()
        .map_err(|error| error.into_error())
        .and_then(|file| file.sync_all())
        .with_context(named)?;
    std::fs::rename(&scratch.0, path).with_context(|| path.display().to_string())
}

/// Runs long work under a bar that Ctrl-C ends.
pub(crate) fn with_bar<T>(
    screen: &Screen,
    work: impl FnOnce(&mut quantizer::Watch<'_>) -> Result<T>,
) -> Result<T> {
    let cancel = interrupt::token();
    let mut bar: Option<(String, indicatif::ProgressBar)> = None;
    let result = work(&mut |progress| {
        if bar.as_ref().is_none_or(|(label, _)| label != progress.label) {
            if let Some((_, done)) = bar.take() {
                done.finish_and_clear();
            }
            bar = Some((progress.label.into(), screen.count_bar(progress.total_bytes, progress.label)));
        }
        if let Some((_, bar)) = &bar {
            bar.set_position(progress.done_bytes);
        }
        if cancel.is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    if let Some((_, bar)) = bar {
        bar.finish_and_clear();
    }
    result
}
