//! The whole job: a model and a list of precisions → variants of a bundle, published together.
//! Knows sources, recipes and the bundle's writer; must not know how rows are quantized.

mod card;
mod inputs;
mod mlx;
mod onnx;
mod remake;
mod variant;
mod way;

use card::{describe_model, ensure_same_model, licence_of};
pub use inputs::{Inputs, open_inputs};
pub use remake::{Remade, Remake};
use variant::{describe, memory_inputs, method, settings};
pub(crate) use way::decimal;
use way::{Way, ways};

use crate::convert::conversion_job;
use crate::execute::write_file;
use crate::fold::{FoldedExchange, Folding, fold};
use crate::plan::{Job, plan_file, plan_types};
use crate::projector::{ProjectorReport, ProjectorWish, Projectors};
use crate::recipe::{FileType, Overrides, Recipe};
use crate::sensitivity::Outline;
use crate::source::{Checkpoint, GgufSource, TensorSource};
use crate::{Error, Importance, Moments, Pruning, PruningLoss, Result, Sensitivity, Target, TypePlan, Watch};
use bundle::{BundleWriter, Format, ModelCard, Needs, Variant};
use families::OutputType;
use formats::gguf::Value;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What to make of what. By default the model's projector goes along, all cores work, and nothing is overridden.
#[derive(Debug, Clone, Default)]
pub struct BuildRequest {
    /// Checkpoint directory or GGUF file.
    pub model: PathBuf,
    /// The id that manifest and provenance state.
    pub model_id: String,
    /// Commit of the source, where it is known.
    pub revision: Option<String>,
    /// Bundle directory, new or existing.
    pub output: PathBuf,
    /// Recipes of directories for MLX, in order.
    pub mlx: Vec<crate::mlx::Recipe>,
    /// Wishes beside them.
    pub mlx_wishes: crate::mlx::Wishes,
    /// Recipes of directories for ONNX Runtime, in order.
    pub onnx: Vec<crate::onnx::Recipe>,
    /// What was learned of the model, for those of them that need it.
    pub statics: Option<Arc<crate::onnx::Statics>>,
    /// Recipes, in order; ignored where tensors are copied, which leaves the model's own.
    pub precisions: Vec<Recipe>,
    /// Sizes to choose types for, by what [`BuildRequest::sensitivity`] says.
    pub targets: Vec<Target>,
    /// What was measured of the model's tensors, for targets.
    pub sensitivity: Option<PathBuf>,
    /// Plans to carry out, from files.
    pub plans: Vec<PathBuf>,
    /// Plans to carry out that were made already.
    pub made_plans: Vec<TypePlan>,
    /// Move factors between tensors first where that lessens errors by 3 % or more, for which moments must be known.
    pub fold: bool,
    /// Second moments of what flows into the weights: blocks are rounded with error feedback.
    pub moments: Option<PathBuf>,
    /// Low-rank adapters to merge into a checkpoint, in order: directories as `peft` writes them.
    pub adapters: Vec<PathBuf>,
    /// Experts to take out of every layer, those that give least by moments or an importance matrix; 0 for none.
    pub prune_experts: usize,
    /// Pad widths with zeros to what blocks of 256 weights divide.
    pub pad: bool,
    /// Layers to take out, by their numbers from 0; those behind them move up.
    pub prune_layers: Vec<u64>,
    /// Metadata to state instead of the model's own.
    pub metadata: Vec<(String, Value)>,
    /// Importance matrix file.
    pub imatrix: Option<PathBuf>,
    /// Wishes that override the recipe.
    pub overrides: Overrides,
    /// Accept quantized input.
    pub allow_requantize: bool,
    /// The projector of a model that takes images.
    pub projector: ProjectorWish,
    /// Workers, 0 for all cores.
    pub threads: usize,
    /// Memory that the work may take; `None` does not ask.
    pub memory_budget_bytes: Option<u64>,
    /// Only plan: nothing is written.
    pub dry_run: bool,
}

/// What was planned or made.
#[derive(Debug, Clone, serde::Serialize)]
pub struct BuildReport {
    /// One entry per precision.
    pub variants: Vec<VariantReport>,
    /// One entry per projector's file that goes with them.
    pub projectors: Vec<ProjectorReport>,
    /// Layers that were taken out first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pruned_layers: Vec<u64>,
    /// Experts that were taken out of those that were left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pruning: Option<Pruning>,
    /// Divergence of what was left from the whole model, where it was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pruning_loss: Option<PruningLoss>,
    /// Things to know.
    pub warnings: Vec<String>,
}

/// One variant.
#[derive(Debug, Clone, serde::Serialize)]
pub struct VariantReport {
    /// Id in the manifest.
    pub id: String,
    /// Exact file size.
    pub file_bytes: u64,
    /// Most memory that the buffers for making it take; see [`crate::work_bytes`].
    pub work_bytes: u64,
    /// Bits per weight, everything counted.
    pub bits_per_weight: f64,
    /// Tensors per type: type, count, bytes.
    pub types: Vec<(String, usize, u64)>,
    /// Tensors whose rows did not divide into the wished type's blocks.
    pub fallbacks: usize,
    /// Where factors were moved first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub folded: Vec<FoldedExchange>,
    /// Types by tensor, where they were chosen to fit or read from a plan.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<TypePlan>,
}

/// The id of a model that is told none: the name of its folder or file, links followed.
pub fn model_id(model: &Path) -> String {
    let path = std::fs::canonicalize(model).unwrap_or_else(|_| model.to_path_buf());
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// Opens a checkpoint directory, with `adapters` merged into it, or a GGUF file.
///
/// # Errors
/// Neither, one that cannot be read, or adapters for a GGUF file.
pub fn open_source(model: &Path, adapters: &[PathBuf]) -> Result<Box<dyn TensorSource>> {
    if model.is_dir() {
        return Ok(Box::new(Checkpoint::open_with(model, adapters)?));
    }
    if let Some(adapter) = adapters.first() {
        return Err(Error::Request {
            wish: format!("adapter {}", adapter.display()),
            expected: "a checkpoint directory to merge it into".into(),
            got: model.display().to_string(),
        });
    }
    if !model.exists() {
        return Err(Error::checkpoint(
            model,
            "expected a checkpoint directory or a GGUF file, found nothing",
        ));
    }
    Ok(Box::new(GgufSource::open(model)?))
}

/// Makes the variants and publishes them together. `planned` hears the report, with exact sizes, before any work.
///
/// # Errors
/// Bad input, too little disk space, cancellation: the bundle is then as it was.
pub fn build_bundle(
    request: &BuildRequest,
    planned: &mut dyn FnMut(&BuildReport),
    watch: &mut Watch<'_>,
) -> Result<BuildReport> {
    let Inputs { source, importance, moments, sensitivity, pruning } = open_inputs(request)?;
    let importance = importance.as_ref();
    if request.fold && moments.is_none() {
        return Err(Error::Request {
            wish: "fold".into(),
            expected: "moments, which say what flows into the weights".into(),
            got: "none".into(),
        });
    }
    ensure_same_model(source.as_ref(), request)?;
    let mut projectors = Projectors::open(&request.model, request.projector)?;
    let ways = ways(source.as_ref(), request, importance, sensitivity.as_ref())?;
    let directories = mlx::Directories::open(request, sensitivity.as_ref(), moments.as_ref())?;
    let directory_plans = match &directories {
        Some(directories) => directories.plans(source.as_ref(), request.threads, watch)?,
        None => Vec::new(),
    };
    let graph_plans = onnx::plans(source.as_ref(), request, importance, moments.as_ref())?;
    let precisions = ways.iter().map(Way::nearest_recipe).collect::<Result<Vec<_>>>()?;
    let mut report = BuildReport {
        variants: Vec::new(),
        projectors: projectors.report(&precisions)?,
        pruned_layers: request.prune_layers.clone(),
        pruning,
        pruning_loss: None,
        warnings: Vec::new(),
    };
    for way in &ways {
        let job = plan(source.as_ref(), way, request, importance, moments.as_ref())?;
        report.variants.push(describe(&job, way, request.threads)?);
        report.warnings.extend(job.warnings.iter().map(|warning| format!("{}: {warning}", job.label)));
    }
    report.variants.extend(directory_plans.iter().map(|plan| mlx::describe(plan, request.threads)));
    for plan in &graph_plans {
        report.variants.push(onnx::describe(plan, request.threads));
        let of_plan = plan.warnings().iter().map(|warning| format!("{}: {warning}", plan.label()));
        report.warnings.extend(of_plan);
    }
    report
        .warnings
        .extend(directories.iter().flat_map(|of| of.warnings()).map(|warning| format!("mlx: {warning}")));
    ensure_own_ids(&report.variants)?;
    planned(&report);
    ensure_memory(request, &report)?;
    if request.dry_run {
        return Ok(report);
    }
    let licence = licence_of(source.metadata());
    let name = source.metadata().str("general.name").unwrap_or(&request.model_id).to_string();
    let card = ModelCard { id: request.model_id.clone(), name, licence, other: Default::default() };
    let mut writer = BundleWriter::create_or_open(&request.output, card)?;
    let of_models: u64 = report.variants.iter().map(|variant| variant.file_bytes).sum();
    let of_projectors: u64 = report.projectors.iter().map(|projector| projector.file_bytes).sum();
    writer.ensure_space(of_models.saturating_add(of_projectors))?;
    describe_model(source.as_ref(), request, &mut writer)?;
    for ((way, &precision), variant) in ways.iter().zip(&precisions).zip(&mut report.variants) {
        // Planned once more: a plan holds the vocabulary, and one of them at a time is enough.
        let job = plan(source.as_ref(), way, request, importance, moments.as_ref())?;
        let (job, folding) = folded(source.as_ref(), job, request, sensitivity.as_ref(), watch)?;
        let mut file = writer.file(format!("{}/model.gguf", variant.id))?;
        write_file(&job, &folding.source(source.as_ref()), &mut file, request.threads, watch)?;
        variant.folded = folding.exchanges;
        let mut files = vec![file.finish()?];
        files.extend(projectors.entry(precision, &writer, request.threads, watch)?);
        writer.put_variant(Variant {
            id: variant.id.clone(),
            format: Format::Gguf,
            precision: precision.name().into(),
            method: method(way, request).into(),
            settings: settings(source.as_ref(), way, request, importance),
            compatible_backends: ["cpu", "vulkan", "cuda", "metal"].map(String::from).to_vec(),
            min_runtime: env!("CARGO_PKG_VERSION").into(),
            files,
            needs: Needs::default(),
            memory: memory_inputs(source.as_ref(), &job)?,
            quality: None,
            other: Default::default(),
        });
    }
    for plan in &directory_plans {
        if let Some(directories) = &directories {
            directories.write(plan, request, &mut writer, watch)?;
        }
    }
    for plan in &graph_plans {
        onnx::write(plan, source.as_ref(), request, &mut writer, watch)?;
    }
    writer.publish()?;
    Ok(report)
}

/// The job behind factors that are moved first, where the request asks for them.
fn folded(
    source: &dyn TensorSource,
    job: Job,
    request: &BuildRequest,
    sensitivity: Option<&Sensitivity>,
    watch: &mut Watch<'_>,
) -> Result<(Job, Folding)> {
    let Some(moments) = job.moments.as_ref().filter(|_| request.fold) else {
        return Ok((job, Folding::default()));
    };
    let outline = Outline::of(source.tensors().iter().map(|tensor| &tensor.name));
    let nothing = Sensitivity::default();
    let measured = sensitivity.unwrap_or(&nothing);
    let kappa = |tensor: &str| measured.kappa(tensor, outline);
    let folding = fold(source, &job, moments, &kappa, request.threads, watch)?;
    let moments = Arc::new(folding.moments(moments));
    Ok((Job { moments: Some(moments), ..job }, folding))
}

/// Refuses two variants of one name.
fn ensure_own_ids(variants: &[VariantReport]) -> Result<()> {
    let is_twice = |at: &usize| variants[..*at].iter().any(|other| other.id == variants[*at].id);
    match (0..variants.len()).find(is_twice) {
        None => Ok(()),
        Some(at) => Err(Error::Request {
            wish: "variants".into(),
            expected: "names of their own".into(),
            got: format!("{} twice", variants[at].id),
        }),
    }
}

/// Refuses when the work takes more memory than there is: what is mapped does not count, the engine gives it back.
fn ensure_memory(request: &BuildRequest, report: &BuildReport) -> Result<()> {
    let need = report.variants.iter().map(|variant| variant.work_bytes).max().unwrap_or(0);
    match request.memory_budget_bytes {
        Some(have) if have < need => Err(Error::Memory { need_bytes: need, have_bytes: have }),
        _ => Ok(()),
    }
}

fn plan(
    source: &dyn TensorSource,
    way: &Way,
    request: &BuildRequest,
    importance: Option<&Arc<Importance>>,
    moments: Option<&Arc<Moments>>,
) -> Result<Job> {
    let precision = match way {
        Way::Recipe(precision) => *precision,
        Way::Plan(types) => return plan_types(source, types, importance, moments),
    };
    let plain = !(0..source.tensors().len()).all(|index| source.is_stored(index));
    let float = match precision {
        Recipe::Stock(FileType::F32) => Some(OutputType::F32),
        Recipe::Stock(FileType::F16) => Some(OutputType::F16),
        Recipe::Stock(FileType::BF16) => Some(OutputType::Bf16),
        _ => None,
    };
    match float {
        Some(output) if plain && !request.overrides.copy => Ok(conversion_job(source, output)),
        _ => {
            let wishes = &request.overrides;
            let job = plan_file(source, precision, wishes, importance, request.allow_requantize)?;
            Ok(Job { moments: moments.cloned(), ..job })
        }
    }
}
