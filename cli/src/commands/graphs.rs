//! `quantize vision` and `quantize speech`: an ONNX file and samples → an ONNX file of fewer bits, and what it is worth.
//! Knows folders and what is printed; must not know what becomes of a node.

mod samples;

use crate::args::{Graph, GraphGoal, GraphKind, GraphPrecision, PixelScale, QuantizeWhat, Ranges, Vision};
use crate::interrupt;
use crate::screen::{Screen, bytes};
use anyhow::{Context, Result, bail, ensure};
use llama_pajamas::onnx::quantize::{
    Architecture, Goal, Plan, Precision, Quantized, RangeMethod, Report, Request, Samples, Scale, Step,
    Target, quantize as quantize_graph,
};
use llama_pajamas::onnx::{Library, Options, Session, files};
use samples::{Shown, pictures, sounds};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// A graph, or a language model.
pub(crate) fn quantize(args: &QuantizeWhat, screen: &Screen) -> Result<()> {
    match args {
        QuantizeWhat::Graph(kind) => run(kind, screen),
        QuantizeWhat::Model(model) => super::quantize::run(model, screen),
    }
}

fn run(kind: &GraphKind, screen: &Screen) -> Result<()> {
    let args = match kind {
        GraphKind::Vision(args) => &args.graph,
        GraphKind::Speech(args) => &args.graph,
    };
    let mut request = request(args)?;
    let library = Library::open(&library_path(args.onnx_library.as_deref())?)?;
    let model = files::read(&args.model)?;
    // Whatever the library says of the model as it is, before anything is done with it.
    let session =
        Session::open(&library, &args.model, &Options { threads: args.threads, ..Options::default() })
            .with_context(|| args.model.display().to_string())?;
    let architecture = Architecture::of(&model, session.inputs(), session.outputs());
    let shown = match kind {
        GraphKind::Vision(args) => pictures(args, scale(args)?, session.inputs())?,
        GraphKind::Speech(args) => sounds(args, architecture.as_ref(), session.inputs(), session.outputs())?,
    };
    drop(session);
    request.fixed.clone_from(&shown.fixed);
    if !screen.json {
        let what = architecture.as_ref().map_or("a model of no known kind", |row| row.name.as_str());
        println!("{} {what}; {}", screen.bold("model"), shown.about);
    }
    let output = args.output.clone().unwrap_or_else(|| beside(&args.model, args.precision));
    ensure!(!same_file(&output, &args.model), "--output: expected another file than the model");
    let made = work(&library, &model, &request, &shown, screen)?;
    files::write(&output, &made.model)?;
    if let (Some(path), Some(plan)) = (&args.write_plan, &made.report.plan) {
        files::write(path, serde_json::to_string_pretty(plan)?.as_bytes())?;
    }
    if screen.json {
        return screen.print_json(&made.report);
    }
    print(&made.report, screen);
    println!("wrote {}", screen.green(&output.display().to_string()));
    Ok(())
}

fn work(
    library: &Library,
    model: &llama_pajamas::formats::onnx::ModelProto,
    request: &Request,
    shown: &Shown,
    screen: &Screen,
) -> Result<Quantized> {
    let cancel = interrupt::token();
    let mut bar: Option<(Step, indicatif::ProgressBar)> = None;
    let mut progress = |step: Step, n_done: usize, n_steps: usize| {
        if bar.as_ref().is_none_or(|(shown, _)| *shown != step) {
            if let Some((_, bar)) = &bar {
                bar.finish_and_clear();
            }
            bar = Some((step, screen.steps_bar(n_steps as u64, label(step))));
        }
        if let Some((_, bar)) = &bar {
            bar.set_position(n_done as u64);
        }
        if cancel.is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let made = quantize_graph(library, model, request, &shown.calibration, &shown.held_out, &mut progress);
    if let Some((_, bar)) = bar {
        bar.finish_and_clear();
    }
    Ok(made?)
}

fn label(step: Step) -> &'static str {
    match step {
        Step::Cleaning => "making the graph plain",
        Step::Recording => "watching samples",
        Step::Trying => "trying nodes",
        Step::Verifying => "comparing",
        Step::Timing => "timing",
        _ => "working",
    }
}

fn request(args: &Graph) -> Result<Request> {
    let precision = match args.precision {
        GraphPrecision::Int8 => Precision::Int8,
        GraphPrecision::Dynamic => Precision::Dynamic,
        GraphPrecision::Fp16 => Precision::Fp16,
        GraphPrecision::Fp32 => Precision::Fp32,
    };
    let plan = args.plan.as_deref().map(read_plan).transpose()?;
    if precision == Precision::Int8 && args.calibration.is_empty() {
        bail!("--calibration: expected a folder with samples for int8, got none");
    }
    ensure!((0.0..0.5).contains(&args.outside), "--outside: expected 0 to 0.5, got {}", args.outside);
    Ok(Request {
        method: match args.ranges {
            Ranges::Mse => RangeMethod::Mse,
            Ranges::Minmax => RangeMethod::MinMax,
            Ranges::Percentile => RangeMethod::Percentile(args.outside),
            Ranges::Entropy => RangeMethod::Entropy,
        },
        goal: match args.goal {
            GraphGoal::Balanced => Goal::Balanced,
            GraphGoal::Size => Goal::Size,
        },
        max_bytes: args.max_size,
        open_shapes: args.keep_open,
        plan,
        threads: args.threads.max(1),
        ..Request::new(precision, Target::of_name(&args.target)?)
    })
}

fn read_plan(path: &Path) -> Result<Plan> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    serde_json::from_str(&text).with_context(|| path.display().to_string())
}

fn scale(args: &Vision) -> Result<Scale> {
    let three = |field: &str, values: &[f32]| -> Result<[f32; 3]> {
        match *values {
            [one] => Ok([one; 3]),
            [one, two, three] => Ok([one, two, three]),
            _ => bail!("--{field}: expected one number or three, got {}", values.len()),
        }
    };
    if args.mean.is_empty() {
        return Ok(match args.scale {
            PixelScale::Unit => Scale::UNIT,
            PixelScale::Symmetric => Scale::SYMMETRIC,
            PixelScale::Imagenet => Scale::IMAGENET,
            PixelScale::Bytes => Scale::BYTES,
        });
    }
    let scale = Scale { mean: three("mean", &args.mean)?, deviation: three("deviation", &args.deviation)? };
    ensure!(scale.deviation.iter().all(|value| *value > 0.0), "--deviation: expected numbers above 0");
    Ok(scale)
}

/// The library that is named, or the first in a folder that is, else beside the command and in the system's folders.
pub(super) fn library_path(named: Option<&Path>) -> Result<PathBuf> {
    const FOLDERS: [&str; 4] =
        ["/usr/local/lib", "/usr/lib", "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu"];
    match named {
        Some(path) if path.is_dir() => Ok(Library::find(&[path.to_path_buf()])?),
        Some(path) => Ok(path.to_path_buf()),
        None => {
            let beside = std::env::current_exe().ok().and_then(|path| Some(path.parent()?.to_path_buf()));
            let folders: Vec<PathBuf> = beside.into_iter().chain(FOLDERS.map(PathBuf::from)).collect();
            Ok(Library::find(&folders)?)
        }
    }
}

fn beside(model: &Path, precision: GraphPrecision) -> PathBuf {
    let stem = model.file_stem().unwrap_or_default().to_string_lossy();
    model.with_file_name(format!("{stem}.{}.onnx", format!("{precision:?}").to_lowercase()))
}

fn same_file(one: &Path, two: &Path) -> bool {
    std::fs::canonicalize(one).is_ok_and(|one| std::fs::canonicalize(two).is_ok_and(|two| one == two))
}

fn print(report: &Report, screen: &Screen) {
    let (cleaning, checked) = (&report.cleaning, &report.verification);
    println!(
        "{} {} of {} nodes stay: {} branches taken, {} folded, {} normalisations in weights, {} spelled-out norms, {} sums in norms, {} transposes cancelled, {} reshapes and {} constants joined; operators {} to {}",
        screen.bold("plain"),
        cleaning.n_nodes,
        cleaning.n_nodes_before,
        cleaning.n_branches,
        cleaning.n_folded,
        cleaning.n_normalisations,
        cleaning.n_norms,
        cleaning.n_skip_norms,
        cleaning.n_transposes,
        cleaning.n_reshapes,
        cleaning.n_shared,
        cleaning.opset.0,
        cleaning.opset.1
    );
    println!(
        "{} {}, plain {}, now {} for {}",
        screen.bold("bytes"),
        bytes(report.bytes_before),
        bytes(report.bytes_plain),
        bytes(report.bytes),
        report.target
    );
    if let Some(coverage) = checked.coverage {
        println!(
            "{} {:.1} % of multiplications computed, {:.1} % of weights stored in eight bits; {} of {} nodes with weights",
            screen.bold("quantized"),
            coverage.macs * 100.0,
            coverage.weights * 100.0,
            coverage.nodes.0,
            coverage.nodes.1
        );
    }
    for difference in &checked.differences {
        println!(
            "{} {}: {:.2e} of its spread squared, {:.4} at most",
            screen.bold("differs"),
            difference.output,
            difference.relative_squared,
            difference.largest
        );
    }
    let speed = checked.speed;
    println!(
        "{} {:.3} ms, float {:.3} ms: {:.2} times as fast on this processor",
        screen.bold("speed"),
        speed.ms,
        speed.plain_ms,
        speed.ratio
    );
    if !checked.extremes_are_finite {
        println!("{} silence, black or full scale give no finite numbers", screen.bold("warning"));
    }
}

/// Samples for both, from those that were found: every fourth is held out where none are named.
fn split(all: Vec<Vec<llama_pajamas::onnx::quantize::Feed>>) -> (Samples, Samples) {
    let (mut calibration, mut held_out) = (Samples::default(), Samples::default());
    let few = all.len() < 4;
    for (at, sequence) in all.into_iter().enumerate() {
        if few || at % 4 == 3 {
            held_out.sequences.push(sequence.clone());
        }
        if few || at % 4 != 3 {
            calibration.sequences.push(sequence);
        }
    }
    (calibration, held_out)
}
