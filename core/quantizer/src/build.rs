//! The whole job: a model and a list of precisions → variants of a bundle, published together.
//! Knows sources, recipes and the bundle's writer; must not know how rows are quantized.

mod card;
mod inputs;
mod mlx;
mod onnx;
mod remake;
mod way;

use card::{describe_model, ensure_same_experts, licence_of};
pub use inputs::{Inputs, open_inputs};
pub use remake::{Remade, Remake};
pub(crate) use way::decimal;
use way::{Way, ways};

use crate::convert::conversion_job;
use crate::execute::{work_bytes, write_file};
use crate::plan::{Job, TensorPlan, plan_file, plan_types};
use crate::projector::{ProjectorReport, ProjectorWish, Projectors};
use crate::recipe::{FileType, Overrides, Recipe};
use crate::source::{Checkpoint, GgufSource, TensorSource, describe as describe_source};
use crate::{Error, Importance, Moments, Pruning, Result, Target, TypePlan, Watch};
use bundle::manifest::{ImatrixSource, TensorOverride};
use bundle::{BundleWriter, Format, MemoryInputs, ModelCard, Needs, Settings, Variant};
use families::OutputType;
use formats::gguf::GgmlType;
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
    /// Second moments of what flows into the weights: blocks are rounded with error feedback.
    pub moments: Option<PathBuf>,
    /// Low-rank adapters to merge into a checkpoint, in order: directories as `peft` writes them.
    pub adapters: Vec<PathBuf>,
    /// Experts to take out of every layer, those that give least by moments or an importance matrix; 0 for none.
    pub prune_experts: usize,
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
    /// Experts that were taken out first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pruning: Option<Pruning>,
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
    /// Most memory that the buffers for making it take; see [`work_bytes`].
    pub work_bytes: u64,
    /// Bits per weight, everything counted.
    pub bits_per_weight: f64,
    /// Tensors per type: type, count, bytes.
    pub types: Vec<(String, usize, u64)>,
    /// Tensors whose rows did not divide into the wished type's blocks.
    pub fallbacks: usize,
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
    let Inputs { source, importance, moments, pruning } = open_inputs(request)?;
    let importance = importance.as_ref();
    ensure_same_experts(source.as_ref(), request)?;
    let mut projectors = Projectors::open(&request.model, request.projector)?;
    let ways = ways(source.as_ref(), request, importance)?;
    let directories = mlx::Directories::open(request, moments.as_ref())?;
    let directory_plans = match &directories {
        Some(directories) => directories.plans(source.as_ref(), request.threads, watch)?,
        None => Vec::new(),
    };
    let graph_plans = onnx::plans(source.as_ref(), request, importance, moments.as_ref())?;
    let precisions = ways.iter().map(Way::nearest_recipe).collect::<Result<Vec<_>>>()?;
    let mut report = BuildReport {
        variants: Vec::new(),
        projectors: projectors.report(&precisions)?,
        pruning,
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
    for ((way, &precision), variant) in ways.iter().zip(&precisions).zip(&report.variants) {
        // Planned once more: a plan holds the vocabulary, and one of them at a time is enough.
        let job = plan(source.as_ref(), way, request, importance, moments.as_ref())?;
        let mut file = writer.file(format!("{}/model.gguf", variant.id))?;
        write_file(&job, source.as_ref(), &mut file, request.threads, watch)?;
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

fn describe(job: &Job, way: &Way, threads: usize) -> Result<VariantReport> {
    let mut types: Vec<(String, usize, u64)> = Vec::new();
    for plan in &job.tensors {
        match types.iter_mut().find(|(name, ..)| name == plan.to.name()) {
            Some(entry) => {
                entry.1 += 1;
                entry.2 += plan.bytes();
            }
            None => types.push((plan.to.name().into(), 1, plan.bytes())),
        }
    }
    types.sort_by_key(|entry| std::cmp::Reverse(entry.2));
    let tensor_bytes: u64 = types.iter().map(|entry| entry.2).sum();
    let n_weights: u64 = job.tensors.iter().map(TensorPlan::n_weights).sum();
    let file_bytes = job.predicted_bytes()?;
    Ok(VariantReport {
        id: match way {
            Way::Recipe(recipe) => format!("gguf/{}", recipe.name()),
            Way::Plan(_) => format!("gguf/auto-{}", decimal(file_bytes)),
        },
        file_bytes,
        work_bytes: work_bytes(job, threads),
        bits_per_weight: tensor_bytes as f64 * 8.0 / n_weights.max(1) as f64,
        types,
        fallbacks: job.tensors.iter().filter(|plan| plan.instead_of.is_some()).count(),
        plan: match way {
            Way::Recipe(_) => None,
            Way::Plan(plan) => Some(plan.clone()),
        },
    })
}

fn memory_inputs(source: &dyn TensorSource, job: &Job) -> Result<MemoryInputs> {
    let description = describe_source(source)?;
    let active = |plan: &TensorPlan| match description.moe {
        Some(moe) if plan.name.contains("_exps.") => {
            plan.bytes() / u64::from(moe.n_experts.max(1)) * u64::from(moe.n_active)
        }
        _ => plan.bytes(),
    };
    Ok(MemoryInputs {
        weights_bytes: job.tensors.iter().map(TensorPlan::bytes).sum(),
        active_weights_bytes: Some(job.tensors.iter().map(active).sum()),
        largest_tensor_bytes: job.tensors.iter().map(TensorPlan::bytes).max(),
        kv_bytes_per_token: families::memory::kv_bytes(&description, 1, GgmlType::F16, GgmlType::F16),
        other: Default::default(),
    })
}

/// How the types were chosen, in words.
fn method(way: &Way, request: &BuildRequest) -> &'static str {
    match way {
        _ if request.overrides.copy => "copied",
        Way::Recipe(Recipe::Stock(_)) if request.moments.is_some() => {
            "llama.cpp stock recipe, rounded with feedback"
        }
        Way::Recipe(Recipe::Stock(_)) => "llama.cpp stock recipe",
        Way::Recipe(Recipe::Preset(_)) => "types by role",
        Way::Plan(_) if request.moments.is_some() => "types by error, rounded with feedback",
        Way::Plan(_) => "types by error",
    }
}

fn settings(
    source: &dyn TensorSource,
    way: &Way,
    request: &BuildRequest,
    importance: Option<&Arc<Importance>>,
) -> Settings {
    let wishes = &request.overrides;
    let recipe = match (wishes, way) {
        (Overrides { copy: true, .. }, _) => "copy",
        (_, Way::Plan(_)) => "plan",
        (Overrides { pure: true, .. }, _) => "pure",
        (_, Way::Recipe(Recipe::Stock(_))) => "stock",
        (_, Way::Recipe(Recipe::Preset(preset))) => preset.name(),
    };
    let named = |tensor: &str, ty: GgmlType| TensorOverride { tensor: tensor.into(), ty: ty.name().into() };
    let whole = [("token_embd.weight", wishes.token_embedding), ("output.weight", wishes.output)];
    let whole = whole.into_iter().filter_map(|(tensor, ty)| Some(named(&format!("^{tensor}$"), ty?)));
    let by_name = wishes.by_name.iter().map(|(pattern, ty)| named(pattern.as_str(), *ty));
    Settings {
        recipe: Some(recipe.into()),
        source_precision: Some(source.precision()),
        imatrix: importance.and_then(|importance| {
            Some(ImatrixSource {
                sha256: importance.sha256()?,
                datasets: importance.datasets().to_vec(),
                n_chunks: Some(importance.n_chunks().into()),
                other: Default::default(),
            })
        }),
        overrides: whole.chain(by_name).collect(),
        other: match request.prune_experts {
            0 => Default::default(),
            n => [("pruned_experts_per_layer".to_string(), n.into())].into_iter().collect(),
        },
    }
}
