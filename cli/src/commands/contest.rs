//! `quantize --tournament`: the plan of a size is contested on held-out text, and the winner takes its place.
//! Knows requests, texts and how a contest is shown; must not know how it is held.

use super::calibrate::{Readable, chunks, with_bar};
use crate::args::{Fitting, JudgingText, Reading};
use crate::screen::Screen;
use anyhow::{Context, Result, bail};
use llama_pajamas::Token;
use llama_pajamas::quantizer::{self, BuildRequest, Contest, ContestRecord, Inputs, Judging, Target};
use std::path::Path;
use tempfile::TempDir;

/// Holds the contest that `--tournament` asks for and puts the winner in the size's place.
pub(crate) fn contest(args: &Fitting, request: &mut BuildRequest, screen: &Screen) -> Result<()> {
    let Some(n_plans) = args.tournament else { return Ok(()) };
    let [target] = request.targets[..] else {
        bail!("--tournament: expected one size to fit, got {}", request.targets.len());
    };
    let Inputs { source, importance, moments, sensitivity, .. } = quantizer::open_inputs(request)?;
    let sensitivity = sensitivity.context("--tournament: expected --sensitivity")?;
    let contest = Contest {
        sensitivity: &sensitivity,
        target,
        wishes: &request.overrides,
        importance: importance.as_ref(),
        moments: moments.as_ref(),
        n_plans,
        seed: args.seed,
    };
    let court = Court::new(&args.judging, request)?;
    let plan = with_bar(screen, |watch| {
        Ok(quantizer::hold_contest(source.as_ref(), &contest, &court.judging(), watch)?)
    })?;
    if let (Some(record), false) = (&plan.contest, screen.json) {
        print(record, target, screen);
    }
    request.targets.clear();
    request.made_plans.push(plan);
    Ok(())
}

/// A text, the original to hold candidates against, and a folder that goes when they are done.
pub(crate) struct Court {
    original: Readable,
    windows: Vec<Vec<Token>>,
    scratch: TempDir,
    threads: usize,
}

impl Court {
    /// Reads the text; a checkpoint becomes a file for the time being. The original has all of its experts.
    pub(crate) fn new(text: &JudgingText, request: &BuildRequest) -> Result<Self> {
        let source = quantizer::open_source(&request.model, &request.adapters)?;
        let reading = Reading {
            text: text.text.clone(),
            context: text.window,
            chunks: Some(text.windows),
            threads: None,
        };
        let windows = chunks(&reading, source.as_ref(), None)?;
        // Beside what is made, where there is room for such files.
        let beside = request.output.parent().filter(|parent| parent.is_dir()).unwrap_or(Path::new("."));
        let scratch = tempfile::tempdir_in(beside).context("a folder for candidates")?;
        let original = Readable::new(&request.model, source.as_ref(), &scratch.path().join("original"))?;
        Ok(Self { original, windows, scratch, threads: request.threads })
    }

    pub(crate) fn judging(&self) -> Judging<'_> {
        Judging {
            original: &self.original.path,
            windows: &self.windows,
            scratch: self.scratch.path(),
            threads: self.threads,
        }
    }
}

fn print(record: &ContestRecord, target: Target, screen: &Screen) {
    let size = match target {
        Target::FileBytes(bytes) => format!("{bytes} bytes"),
        Target::BitsPerWeight(bits) => format!("{bits} bits per weight"),
    };
    println!("{}", screen.bold(&format!("contest of plans for {size}, KLD on the text")));
    for entry in &record.entries {
        let won = if entry.won { screen.green("better") } else { String::new() };
        println!(
            "  {:26} {:>3} types changed  {:.4e} (best before it {:.4e}, {} windows) {won}",
            entry.disturbed, entry.n_changed, entry.kld, entry.kld_of_best, entry.n_windows
        );
    }
    let ContestRecord { kld, kld_undisturbed, standard_error, n_scored, .. } = record;
    println!(
        "  {kld:.4e} instead of {kld_undisturbed:.4e} over {n_scored} tokens, difference \u{b1} {standard_error:.1e}"
    );
}
