//! Tuning while other processes compute: what it finds beside everything that could be found.

use crate::busy::Busy;
use crate::sweep::{Figure, Point, Sweep, Table};
use llama_pajamas::engine::gguf::{EngineOptions, GgufEngine};
use llama_pajamas::engine::{Engine, LoadSettings};
use llama_pajamas::hardware::Host;
use llama_pajamas::{CancelToken, LoadedModel, PlanRequest, Runtime, RuntimeSettings, Setting, TuneSettings};
use std::error::Error;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Time for one turn of a sweep, behind every run.
const WRITING: Duration = Duration::from_secs(10);
const READING: Duration = Duration::from_secs(45);
const WRITTEN: usize = 16;
const READ: usize = 512;

pub(crate) fn run(path: &Path, runs: u32, n_busy: u32) -> Result<(), Box<dyn Error>> {
    let folder = std::env::temp_dir().join(format!("llama-pajamas-tuning-{}", std::process::id()));
    let outcome = measure(path, runs, n_busy, &folder);
    // Nothing of it is wanted; where it cannot be removed it is a few kilobytes among temporary files.
    let _ = std::fs::remove_dir_all(&folder);
    outcome
}

fn measure(path: &Path, runs: u32, n_busy: u32, folder: &Path) -> Result<(), Box<dyn Error>> {
    let engine = GgufEngine::start(EngineOptions::default())?;
    let swept = engine.load(path, &LoadSettings::default(), &mut |_| ControlFlow::Continue(()))?;
    let busy = Busy::start(n_busy)?;
    let mut longest = Duration::ZERO;
    let mut sweep = Sweep::new(swept);
    let (mut writing, mut reading) = (None, None);
    let mut found = Vec::new();
    for run in 1..=runs {
        let folder = folder.join(run.to_string());
        let (runtime, model) = open(path, &folder, None, None)?;
        let settings = TuneSettings { seed: u64::from(run), ..TuneSettings::default() };
        let mut quiet = |_: &llama_pajamas::TuneStep<'_>| ControlFlow::Continue(());
        let report = runtime.tune(&model, &settings, &CancelToken::new(), &mut quiet)?;
        longest = longest.max(report.elapsed);
        println!(
            "run {run}: {} -> {} in {:.2} s{}",
            words(&report.start),
            words(&report.setting),
            report.elapsed.as_secs_f64(),
            report.halted.map_or(String::new(), |halt| format!(", stopped: {}", halt.text()))
        );
        for knob in &report.knobs {
            let arms = knob.race.iter().flat_map(|race| knob.values.iter().zip(&race.arms));
            for (value, arm) in arms {
                println!(
                    "  raced {} {value}: {:.1} tokens/s, {:.3} of the start, {} blocks, {} broken off, {:?}",
                    knob.knob.name(),
                    arm.tokens_per_s,
                    arm.ratio,
                    arm.n_blocks,
                    arm.n_late,
                    arm.verdict
                );
            }
        }
        // Two more than the process may use, which tuning never tries.
        let most = runtime.host().cpu.usable_cpus + 2;
        let start = report.start;
        let written = writing.get_or_insert_with(|| {
            Table::new((1..=most).map(|threads| Point { threads, n_ubatch: start.n_ubatch }).collect())
        });
        sweep.run(written, WRITTEN, true, WRITING)?;
        let read = reading.get_or_insert_with(|| {
            let ubatches = [512, 256, 128, 64].into_iter().filter(|n| *n <= start.n_ubatch);
            let points =
                ubatches.flat_map(|n_ubatch| (1..most).map(move |threads| Point { threads, n_ubatch }));
            Table::new(points.collect())
        });
        sweep.run(read, READ, false, READING)?;
        found.push((report.start, report.setting));
    }
    let (mut worst_best, mut worst_start) = (f64::INFINITY, f64::INFINITY);
    let mut judge = |what: &str, table: &Table, of: &dyn Fn(&Setting) -> Point| {
        let figures = table.figures();
        show(what, &figures, table.n_rounds());
        for (run, (start, tuned)) in found.iter().enumerate() {
            let (best, start) = compare(&figures, of(tuned), of(start));
            println!("  {what}, run {}: tuned / best {best:.3}, tuned / start {start:.3}", run + 1);
            (worst_best, worst_start) = (worst_best.min(best), worst_start.min(start));
        }
    };
    if let (Some(written), Some(read)) = (&writing, &reading) {
        let n_ubatch = found[0].0.n_ubatch;
        judge("writing", written, &|of| Point { threads: of.n_threads, n_ubatch });
        judge("reading", read, &|of| Point { threads: of.n_threads_batch, n_ubatch: of.n_ubatch });
    }
    println!(
        "worst of {runs} runs: {worst_best:.3} of the best, {worst_start:.3} of the start, {:.2} s",
        longest.as_secs_f64()
    );
    drop(busy);
    starts(path, &folder.join("1"))
}

fn show(what: &str, figures: &[Figure], n_rounds: usize) {
    println!("{what}, {n_rounds} rounds:");
    for figure in figures {
        let Point { threads, n_ubatch } = figure.point;
        println!(
            "  {threads} threads, {n_ubatch:3} at a time: {:8.1} tokens/s, {:.3}",
            figure.tokens_per_s, figure.relative
        );
    }
}

/// The tuned point over the best of all and over the start.
fn compare(figures: &[Figure], tuned: Point, start: Point) -> (f64, f64) {
    let relative = |point: Point| {
        figures.iter().find(|figure| figure.point == point).map_or(f64::NAN, |figure| figure.relative)
    };
    let best = figures.iter().map(|figure| figure.relative).fold(0.0, f64::max);
    (relative(tuned) / best, relative(tuned) / relative(start))
}

/// What the cache of an earlier tuning does for starts like it and unlike it.
fn starts(path: &Path, folder: &Path) -> Result<(), Box<dyn Error>> {
    let told = |what: &str, model: &LoadedModel| -> Result<(), Box<dyn Error>> {
        let recall = model.recall().ok_or("no tuning folder")?;
        let found = match (&recall.tuned, &recall.miss) {
            (Some(tuned), _) => format!("found {}", words(&tuned.setting)),
            (None, miss) => format!("to be tuned: {miss:?}"),
        };
        println!("start, {what}: {found}, read and looked up in {:.2} ms", recall.took.as_secs_f64() * 1e3);
        Ok(())
    };
    for _ in 0..3 {
        told("the same", &open(path, folder, None, None)?.1)?;
    }
    let mut host = llama_pajamas::hardware::detect()?;
    host.cpu.quota_cpus = Some(1.0);
    told("with a quota of one processor", &open(path, folder, Some(host), None)?.1)?;
    told("with other threads asked for", &open(path, folder, None, Some(3))?.1)?;
    let other = folder.join("other.gguf");
    let mut bytes = std::fs::read(path)?;
    if let Some(last) = bytes.last_mut() {
        *last ^= 1;
    }
    std::fs::write(&other, bytes)?;
    told("of another model", &open(&other, folder, None, None)?.1)?;
    Ok(())
}

fn open(
    path: &Path,
    folder: &Path,
    host: Option<Host>,
    n_threads: Option<u32>,
) -> Result<(Runtime, LoadedModel), Box<dyn Error>> {
    let tuning_folder = Some(PathBuf::from(folder));
    let runtime = Runtime::open(path, RuntimeSettings { host, tuning_folder, ..RuntimeSettings::default() })?;
    let request = PlanRequest { context_tokens: Some(1024), n_threads, ..PlanRequest::default() };
    let plan = runtime.plan(&request);
    let model = runtime.load(&plan, &mut |_| {}, &CancelToken::new())?;
    Ok((runtime, model))
}

fn words(setting: &Setting) -> String {
    format!("{}/{} threads, {} at a time", setting.n_threads, setting.n_threads_batch, setting.n_ubatch)
}
