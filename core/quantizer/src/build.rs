//! The whole job: a model and a list of precisions → variants of a bundle, published together.
//! Knows sources, recipes and the bundle's writer; must not know how rows are quantized.

use crate::convert::conversion_job;
use crate::execute::{Job, plan_file, write_file};
use crate::recipe::{FileType, Overrides};
use crate::source::{Checkpoint, GgufSource, TensorSource};
use crate::{Error, Result, Watch};
use bundle::{
    Architecture, BundleWriter, Format, Licence, MemoryInputs, ModelCard, Needs, Provenance, Settings,
    Variant,
};
use families::OutputType;
use formats::gguf::GgmlType;
use formats::imatrix::Imatrix;
use std::path::{Path, PathBuf};

/// What to make of what.
#[derive(Debug, Clone)]
pub struct BuildRequest {
    /// Checkpoint directory or GGUF file.
    pub model: PathBuf,
    /// The id that manifest and provenance state.
    pub model_id: String,
    /// Commit of the source, where it is known.
    pub revision: Option<String>,
    /// Bundle directory, new or existing.
    pub output: PathBuf,
    /// File types, in order.
    pub precisions: Vec<FileType>,
    /// Importance matrix file.
    pub imatrix: Option<PathBuf>,
    /// Wishes that override the recipe.
    pub overrides: Overrides,
    /// Accept quantized input.
    pub allow_requantize: bool,
    /// Workers, 0 for all cores.
    pub threads: usize,
    /// Only plan: nothing is written.
    pub dry_run: bool,
}

/// What was planned or made.
#[derive(Debug, Clone, serde::Serialize)]
pub struct BuildReport {
    /// One entry per precision.
    pub variants: Vec<VariantReport>,
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
    /// Bits per weight, everything counted.
    pub bits_per_weight: f64,
    /// Tensors per type: type, count, bytes.
    pub types: Vec<(String, usize, u64)>,
    /// Tensors whose rows did not divide into the wished type's blocks.
    pub fallbacks: usize,
}

/// Opens a checkpoint directory or a GGUF file.
///
/// # Errors
/// Neither, or one that cannot be read.
pub fn open_source(model: &Path) -> Result<Box<dyn TensorSource>> {
    if model.is_dir() {
        return Ok(Box::new(Checkpoint::open(model)?));
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
    let source = open_source(&request.model)?;
    let imatrix = request.imatrix.as_deref().map(read_imatrix).transpose()?;
    let mut jobs = Vec::new();
    let mut report = BuildReport { variants: Vec::new(), warnings: Vec::new() };
    for &precision in &request.precisions {
        let job = plan(source.as_ref(), precision, request, imatrix.as_ref())?;
        report.variants.push(describe(&job, precision)?);
        jobs.push((precision, job));
    }
    planned(&report);
    if request.dry_run {
        return Ok(report);
    }
    let licence = source.licence().map(|id| Licence { id, url: None, file: None, other: Default::default() });
    let name = source.metadata().str("general.name").unwrap_or(&request.model_id).to_string();
    let card = ModelCard { id: request.model_id.clone(), name, licence, other: Default::default() };
    let mut writer = BundleWriter::create_or_open(&request.output, card)?;
    writer.ensure_space(report.variants.iter().map(|variant| variant.file_bytes).sum())?;
    describe_model(source.as_ref(), request, &mut writer)?;
    for ((precision, job), variant) in jobs.iter().zip(&report.variants) {
        let mut file = writer.file(format!("{}/model.gguf", variant.id))?;
        let summary = write_file(job, source.as_ref(), &mut file, request.threads, watch)?;
        let entry = file.finish()?;
        let memory = memory_inputs(source.as_ref(), summary.largest_tensor_bytes, job)?;
        writer.put_variant(Variant {
            id: variant.id.clone(),
            format: Format::Gguf,
            precision: precision.name().into(),
            method: "llama.cpp stock recipe".into(),
            settings: settings(source.as_ref(), request, imatrix.as_ref()),
            compatible_backends: ["cpu", "vulkan", "cuda", "metal"].map(String::from).to_vec(),
            min_runtime: env!("CARGO_PKG_VERSION").into(),
            files: vec![entry],
            needs: Needs::default(),
            memory,
            quality: None,
            other: Default::default(),
        });
    }
    writer.publish()?;
    Ok(report)
}

fn plan(
    source: &dyn TensorSource,
    precision: FileType,
    request: &BuildRequest,
    imatrix: Option<&(String, Imatrix)>,
) -> Result<Job> {
    let plain = source.stored_bytes(0).is_none();
    let float = match precision {
        FileType::F32 => Some(OutputType::F32),
        FileType::F16 => Some(OutputType::F16),
        FileType::BF16 => Some(OutputType::Bf16),
        _ => None,
    };
    match float {
        Some(output) if plain => Ok(conversion_job(source, output)),
        _ => plan_file(source, precision, &request.overrides, imatrix, request.allow_requantize),
    }
}

fn describe(job: &Job, precision: FileType) -> Result<VariantReport> {
    let mut types: Vec<(String, usize, u64)> = Vec::new();
    let mut weights = 0u64;
    for plan in &job.tensors {
        let bytes = plan.to.row_bytes(plan.dims[0]).unwrap_or(0) * plan.dims[1..].iter().product::<u64>();
        weights += plan.dims.iter().product::<u64>();
        match types.iter_mut().find(|(name, ..)| name == plan.to.name()) {
            Some(entry) => {
                entry.1 += 1;
                entry.2 += bytes;
            }
            None => types.push((plan.to.name().into(), 1, bytes)),
        }
    }
    types.sort_by_key(|entry| std::cmp::Reverse(entry.2));
    let tensor_bytes: u64 = types.iter().map(|entry| entry.2).sum();
    Ok(VariantReport {
        id: format!("gguf/{}", precision.name()),
        file_bytes: job.predicted_bytes()?,
        bits_per_weight: tensor_bytes as f64 * 8.0 / weights.max(1) as f64,
        types,
        fallbacks: job
            .tensors
            .iter()
            .filter(|plan| plan.reason.starts_with("the row does not divide"))
            .count(),
    })
}

fn describe_model(
    source: &dyn TensorSource,
    request: &BuildRequest,
    writer: &mut BundleWriter,
) -> Result<()> {
    let description = description_of(source)?;
    let manifest = writer.manifest_mut();
    manifest.architecture = Some(Architecture {
        family: description.family.clone(),
        model_type: description.model_type.clone(),
        name: description.architecture.clone(),
        parameters_total: Some(description.parameters.total),
        parameters_active: Some(description.parameters.active),
        n_layers: Some(description.n_layers),
        max_context_tokens: Some(description.max_context),
        description: serde_json::to_value(&description).ok(),
        other: Default::default(),
    });
    let version = format!("llama-pajamas {}", env!("CARGO_PKG_VERSION"));
    manifest.provenance = Provenance {
        source: request.model_id.clone(),
        revision: request.revision.clone(),
        converter: Some(version.clone()),
        quantizer: Some(version),
        created: None,
        other: Default::default(),
    };
    Ok(())
}

fn description_of(source: &dyn TensorSource) -> Result<families::Description> {
    let header = formats::gguf::Header {
        version: formats::gguf::VERSION,
        metadata: source.metadata().clone(),
        tensors: Vec::new(),
        alignment: formats::gguf::DEFAULT_ALIGNMENT,
        data_offset: 0,
    };
    let mut description = families::detect_gguf(&header)
        .map_err(|error| Error::Family { path: source.path().into(), source: error })?;
    description.tied_embeddings = !source.tensors().iter().any(|tensor| tensor.name == "output.weight");
    Ok(description)
}

fn memory_inputs(source: &dyn TensorSource, largest_tensor_bytes: u64, job: &Job) -> Result<MemoryInputs> {
    let description = description_of(source)?;
    let bytes = |plan: &crate::execute::TensorPlan| {
        plan.to.row_bytes(plan.dims[0]).unwrap_or(0) * plan.dims[1..].iter().product::<u64>()
    };
    let active = |plan: &crate::execute::TensorPlan| match description.moe {
        Some(moe) if plan.name.contains("_exps.") => {
            bytes(plan) * u64::from(moe.n_active) / u64::from(moe.n_experts)
        }
        _ => bytes(plan),
    };
    Ok(MemoryInputs {
        weights_bytes: job.tensors.iter().map(bytes).sum(),
        active_weights_bytes: Some(job.tensors.iter().map(active).sum()),
        largest_tensor_bytes: Some(largest_tensor_bytes),
        kv_bytes_per_token: families::memory::kv_bytes(&description, 1, GgmlType::F16, GgmlType::F16),
        other: Default::default(),
    })
}

fn settings(
    source: &dyn TensorSource,
    request: &BuildRequest,
    imatrix: Option<&(String, Imatrix)>,
) -> Settings {
    let overrides = request.overrides.by_name.iter();
    let overrides = overrides.map(|(pattern, ty)| bundle::manifest::TensorOverride {
        tensor: pattern.as_str().into(),
        ty: ty.name().into(),
    });
    let digest = |path: &PathBuf| std::fs::read(path).ok().map(|bytes| bundle::Sha256Digest::of(&bytes));
    Settings {
        recipe: Some(if request.overrides.pure { "pure" } else { "stock" }.into()),
        source_precision: Some(source.precision()),
        imatrix: request.imatrix.as_ref().and_then(digest).zip(imatrix).map(|(sha256, (_, imatrix))| {
            bundle::manifest::ImatrixSource {
                sha256,
                datasets: imatrix.datasets.clone(),
                n_chunks: Some(imatrix.chunk_count.into()),
                other: Default::default(),
            }
        }),
        overrides: overrides.collect(),
        other: Default::default(),
    }
}

fn read_imatrix(path: &Path) -> Result<(String, Imatrix)> {
    let bytes = std::fs::read(path).map_err(|source| Error::io(path, source))?;
    let imatrix =
        formats::imatrix::read(&bytes).map_err(|source| Error::Imatrix { path: path.into(), source })?;
    Ok((path.to_string_lossy().into_owned(), imatrix))
}
