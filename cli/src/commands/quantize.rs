//! `quantize`: a model and a list of precisions → variants of a bundle.

use super::by_hand;
use super::calibrate::into_file;
use super::contest::contest;
use super::fit::{self, Fitted};
use super::measure::Subject;
use super::precisions::Precisions;
use super::prune;
use super::ranges::ranges;
use super::{report, validate};
use crate::args::{Computing, ModelFormat, Quantize, Texts, Validate};
use crate::fetch::{Located, Take, locate};
use crate::interrupt;
use crate::screen::{Screen, bytes};
use anyhow::{Context, Result, bail};
use llama_pajamas::evaluator::Validation;
use llama_pajamas::hardware;
use llama_pajamas::quantizer::source::parse_metadata;
use llama_pajamas::quantizer::{
    BuildReport, BuildRequest, PlannedType, ProjectorPrecision, ProjectorWish, Target, TypePlan,
    VariantReport, build_bundle, mlx, model_id,
};
use std::io::Write;
use std::ops::ControlFlow;
use std::path::Path;

pub(crate) fn run(args: &Quantize, screen: &Screen) -> Result<()> {
    let located = locate(&args.model, &args.network, Take::Model, screen)?;
    let mut request = request(args, &located)?;
    let fitted = fit::fitted(&args.fitting, &request)?;
    if let Some(fitted) = &fitted {
        if !screen.json {
            fitted.print(screen);
        }
        fitted.ask(&mut request);
    }
    let loss = prune::loss(&args.fitting, &request, screen)?;
    contest(&args.fitting, &mut request, screen)?;
    ranges(&args.fitting, &mut request, screen)?;
    let cancel = interrupt::token();
    let mut planned = |report: &BuildReport| {
        if !screen.json {
            print_report(report, args.fitting.explain_plan, screen);
        }
    };
    let mut bar: Option<(String, indicatif::ProgressBar)> = None;
    let mut report = build_bundle(&request, &mut planned, &mut |progress| {
        let same = bar.as_ref().is_some_and(|(label, _)| label == progress.label);
        if !same {
            bar = Some((progress.label.into(), screen.bytes_bar(progress.total_bytes, progress.label)));
        }
        if let Some((_, bar)) = &bar {
            bar.set_position(progress.done_bytes);
        }
        if cancel.is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    if let Some((_, bar)) = bar {
        bar.finish_and_clear();
    }
    report.pruning_loss = loss;
    if let Some(path) = &args.fitting.write_plan {
        write_plan(path, &report)?;
    }
    if !screen.json && args.fitting.fold && !args.dry_run {
        report.variants.iter().for_each(print_folded);
    }
    if !screen.json && !args.dry_run {
        println!("wrote {}", screen.green(&args.output.display().to_string()));
    }
    let validations = validated(args, &located, &report, screen)?;
    if screen.json {
        screen.print_json(&Made { device_fit: fitted, report: &report, validations })?;
    }
    Ok(())
}

/// Holds what was made against the model, where `--validate` asks for it.
fn validated(
    args: &Quantize,
    located: &Located,
    report: &BuildReport,
    screen: &Screen,
) -> Result<Vec<Validation>> {
    if args.validate.is_empty() {
        return Ok(Vec::new());
    }
    let computing = Computing {
        threads: args.threads.map(|n| n as u32),
        gpu_layers: None,
        network: args.network.clone(),
    };
    let made = args.output.display().to_string();
    let subject = Subject::open(&made, &computing, &interrupt::token(), screen)?;
    let present = subject.present();
    let (variant, others): (Vec<String>, Vec<String>) =
        report.variants.iter().map(|variant| variant.id.clone()).partition(|id| present.contains(id));
    if !others.is_empty() {
        eprintln!("not judged, as no engine here runs it: {}", others.join(", "));
    }
    if variant.is_empty() {
        return Ok(Vec::new());
    }
    let wanted = Validate {
        original: Some(located.path.display().to_string()),
        quantized: made,
        variant,
        texts: Texts { text: args.validate.clone(), contexts: vec![512], parse_special: false, chunks: None },
        reference: None,
        floor: false,
        drift: false,
        needle: Vec::new(),
        haystack: None,
        needle_trials: 0,
        beyond_trained: false,
        dry_run: false,
        computing,
    };
    let (validations, header) = validate::validate(&wanted, &subject, screen)?;
    let page = report::write(&subject)?;
    if !screen.json {
        validate::print(&validations, &header, screen);
        if let Some(page) = page {
            println!("report: {}", page.display());
        }
    }
    Ok(validations)
}

/// How many inputs took factors.
fn print_folded(variant: &VariantReport) {
    let left = variant.folded.iter().map(|folded| folded.error_left.ln()).sum::<f64>();
    match variant.folded.len() {
        0 => println!("{}: factors help nowhere", variant.id),
        n => {
            let left = 100.0 * (left / n as f64).exp();
            println!("{}: factors before {n} inputs leave {left:.1} % of their errors", variant.id);
        }
    }
}

/// What is told in JSON.
#[derive(serde::Serialize)]
struct Made<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    device_fit: Option<Fitted>,
    #[serde(flatten)]
    report: &'a BuildReport,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    validations: Vec<Validation>,
}

fn request(args: &Quantize, located: &Located) -> Result<BuildRequest> {
    let mut precisions = Precisions::of(&args.precision, &args.formats)?;
    let mlx_wishes = by_hand::grids(&args.by_hand, &args.formats, &mut precisions)?;
    let Precisions { gguf, mut mlx, onnx } = precisions;
    let wants = |format| args.formats.contains(&format);
    if wants(ModelFormat::Mlx) {
        let other = [("--fit-device", args.fitting.fit_device.is_some()), ("--copy", args.copy)];
        if let Some((option, _)) = other
            .into_iter()
            .chain([("--target-bpw", !args.fitting.target_bpw.is_empty())])
            .find(|(_, is_given)| *is_given)
        {
            bail!("{option}: expected gguf as the only format, got mlx as well");
        }
        mlx.extend(args.fitting.target_size.iter().map(|bytes| mlx::Recipe::Fitted { bytes: *bytes }));
    }
    let model = located.path.as_path();
    Ok(BuildRequest {
        model: model.to_path_buf(),
        model_id: located.repository.clone().unwrap_or_else(|| model_id(model)),
        revision: located.commit.clone(),
        output: args.output.clone(),
        precisions: gguf,
        mlx,
        mlx_wishes,
        onnx,
        statics: None,
        targets: args
            .fitting
            .target_size
            .iter()
            .filter(|_| wants(ModelFormat::Gguf))
            .map(|bytes| Target::FileBytes(*bytes))
            .chain(args.fitting.target_bpw.iter().map(|bits| Target::BitsPerWeight(*bits)))
            .collect(),
        sensitivity: args.fitting.sensitivity.clone(),
        plans: args.fitting.plan.clone(),
        made_plans: Vec::new(),
        prune_experts: args.fitting.prune_experts.unwrap_or(0),
        moments: args.fitting.moments.clone(),
        fold: args.fitting.fold,
        adapters: args.lora.clone(),
        pad: args.by_hand.pad,
        prune_layers: args.by_hand.prune_layers.clone(),
        metadata: args
            .by_hand
            .override_kv
            .iter()
            .map(|text| Ok(parse_metadata(text)?))
            .collect::<Result<_>>()?,
        imatrix: args.imatrix.clone(),
        overrides: by_hand::overrides(&args.by_hand, args.copy, &args.formats)?,
        projector: projector(args.mmproj.as_deref())?,
        allow_requantize: args.allow_requantize,
        threads: args.threads.unwrap_or(0),
        memory_budget_bytes: args
            .memory_budget
            .or_else(|| Some(hardware::detect().ok()?.memory.budget_bytes)),
        dry_run: args.dry_run,
    })
}

/// The one plan of the report as a file.
fn write_plan(path: &Path, report: &BuildReport) -> Result<()> {
    let plans: Vec<&TypePlan> = report.variants.iter().filter_map(|variant| variant.plan.as_ref()).collect();
    let [plan] = plans[..] else {
        bail!("--write-plan: expected one size or plan, got {}", plans.len());
    };
    into_file(path, |out| {
        serde_json::to_writer_pretty(&mut *out, plan)?;
        Ok(writeln!(out)?)
    })
}

/// A line per tensor.
fn explain_plan(plan: &TypePlan) {
    println!("  {:44} {:8} {:>12} {:>10} {:>10}  why", "tensor", "type", "bytes", "error", "KLD");
    for tensor in &plan.tensors {
        let figure = |figure: Option<f64>| figure.map_or("-".into(), |figure| format!("{figure:.2e}"));
        let (error, kld) = (figure(tensor.error), figure(tensor.kld));
        let PlannedType { name, ty, bytes, reason, .. } = tensor;
        println!("  {name:44} {ty:8} {bytes:>12} {error:>10} {kld:>10}  {reason}");
    }
    if let Some(kld) = plan.predicted_kld {
        println!("  together: KLD {kld:.4e} expected, if errors add up");
    }
}

/// What `--mmproj` asks for.
fn projector(name: Option<&str>) -> Result<ProjectorWish> {
    match name {
        None => Ok(ProjectorWish::ByVariant),
        Some(name) if name.eq_ignore_ascii_case("none") => Ok(ProjectorWish::None),
        Some(name) => ProjectorPrecision::from_name(name).map(ProjectorWish::One).with_context(|| {
            let known: Vec<&str> = ProjectorPrecision::ALL.iter().map(|precision| precision.name()).collect();
            format!("--mmproj: `{name}` is none of {}, none", known.join(", "))
        }),
    }
}

fn print_report(report: &BuildReport, explain: bool, screen: &Screen) {
    prune::print(report, screen);
    for variant in &report.variants {
        let types: Vec<String> =
            variant.types.iter().map(|(name, count, _)| format!("{count}× {name}")).collect();
        println!(
            "{:16} {:>11}  {:5.2} bits per weight  {}",
            screen.bold(&variant.id),
            bytes(variant.file_bytes),
            variant.bits_per_weight,
            screen.dim(&types.join(", "))
        );
        if let Some(plan) = variant.plan.as_ref().filter(|_| explain) {
            explain_plan(plan);
        }
        if variant.fallbacks > 0 {
            let n = variant.fallbacks;
            println!(
                "  {n} tensors got a larger type than the recipe's: their rows do not divide into its blocks or groups"
            );
        }
    }
    for projector in &report.projectors {
        let label = format!("projector {}", projector.precision);
        println!("{:16} {:>11}", screen.bold(&label), bytes(projector.file_bytes));
    }
    let work = report.variants.iter().map(|variant| variant.work_bytes).max().unwrap_or(0);
    println!(
        "{}",
        screen.dim(&format!(
            "takes {} of buffers, beside the vocabulary and an importance matrix",
            bytes(work)
        ))
    );
    report.warnings.iter().for_each(|warning| println!("warning: {warning}"));
}
