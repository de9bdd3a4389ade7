//! The variants of a bundle that are directories for ONNX Runtime.
//! Knows requests, plans and manifests; must not know graphs.

use super::{BuildRequest, VariantReport};
use crate::onnx::{self, Flavour, Known, Plan, Products};
use crate::plan::TensorPlan;
use crate::source::{TensorSource, describe as describe_source};
use crate::{Importance, Moments, Result, Watch};
use bundle::{BundleWriter, Format, MemoryInputs, Needs, Settings, Variant};
use formats::gguf::GgmlType;
use std::sync::Arc;

/// What will be made.
///
/// # Errors
/// A model whose graph is not known, quantized input without leave.
pub(super) fn plans(
    source: &dyn TensorSource,
    request: &BuildRequest,
    importance: Option<&Arc<Importance>>,
    moments: Option<&Arc<Moments>>,
) -> Result<Vec<Plan>> {
    let statics = request.statics.as_ref();
    let known = Known { importance, moments, statics, allow_requantize: request.allow_requantize };
    request.onnx.iter().map(|recipe| onnx::plan(source, *recipe, known)).collect()
}

/// Writes the variant of `plan`.
///
/// # Errors
/// Bad weights, a full disk, cancellation.
pub(super) fn write(
    plan: &Plan,
    source: &dyn TensorSource,
    request: &BuildRequest,
    writer: &mut BundleWriter,
    watch: &mut Watch<'_>,
) -> Result<()> {
    let id = id_of(plan);
    let mut files = Vec::new();
    onnx::write(
        plan,
        source,
        request.threads,
        watch,
        &mut |name| Ok(writer.file(format!("{id}/{name}"))?),
        &mut |file| {
            files.push(file.finish()?);
            Ok(())
        },
    )?;
    let flavour = match plan.recipe.flavour {
        Flavour::Runtime => "runtime",
        Flavour::Portable => "portable",
    };
    let method = match plan.job.moments.is_some() && plan.recipe.is_coded() {
        _ if plan.statics.as_ref().is_some_and(|statics| statics.smooths()) => "learned ranges, smoothed",
        _ if plan.statics.is_some() => "learned ranges",
        true => "one grid, rounded with feedback",
        false => "one grid",
    };
    writer.put_variant(Variant {
        id,
        format: Format::Onnx,
        precision: plan.recipe.name(),
        method: method.into(),
        settings: Settings {
            recipe: Some("pure".into()),
            source_precision: Some(source.precision()),
            other: [("operators".to_string(), flavour.into())].into_iter().collect(),
            ..Settings::default()
        },
        compatible_backends: backends(plan).iter().map(|name| name.to_string()).collect(),
        min_runtime: env!("CARGO_PKG_VERSION").into(),
        files,
        needs: Needs::default(),
        memory: memory_inputs(source, plan)?,
        quality: None,
        other: Default::default(),
    });
    Ok(())
}

/// What computes it, what it was made for first.
fn backends(plan: &Plan) -> &'static [&'static str] {
    match plan.recipe.products {
        Products::Half => &["cuda", "cpu"],
        Products::Codes | Products::Exact => &["cpu", "cuda"],
        Products::Static => &["tensorrt", "cpu", "cuda"],
    }
}

fn memory_inputs(source: &dyn TensorSource, plan: &Plan) -> Result<MemoryInputs> {
    let description = describe_source(source)?;
    let all = plan.tensor_bytes();
    let cache = if plan.recipe.is_half() { GgmlType::F16 } else { GgmlType::F32 };
    let routed = |tensor: &&TensorPlan| families::role_of(&tensor.name).is_routed_expert();
    let unread = description.moe.map_or(0, |moe| {
        let experts: u64 = plan.job.tensors.iter().filter(routed).map(TensorPlan::bytes).sum();
        experts / u64::from(moe.n_experts.max(1)) * u64::from(moe.n_experts.saturating_sub(moe.n_active))
    });
    Ok(MemoryInputs {
        weights_bytes: all,
        active_weights_bytes: Some(all.saturating_sub(unread)),
        largest_tensor_bytes: plan.job.tensors.iter().map(TensorPlan::bytes).max(),
        kv_bytes_per_token: families::memory::kv_bytes(&description, 1, cache, cache),
        other: Default::default(),
    })
}

fn id_of(plan: &Plan) -> String {
    format!("onnx/{}", plan.recipe.name())
}

/// What is told of a plan.
pub(super) fn describe(plan: &Plan, threads: usize) -> VariantReport {
    let mut types: Vec<(String, usize, u64)> = Vec::new();
    for tensor in &plan.job.tensors {
        match types.iter_mut().find(|(known, ..)| *known == tensor.to.name()) {
            Some(entry) => {
                entry.1 += 1;
                entry.2 += tensor.bytes();
            }
            None => types.push((tensor.to.name().into(), 1, tensor.bytes())),
        }
    }
    types.sort_by_key(|entry| std::cmp::Reverse(entry.2));
    let n_weights: u64 = plan.job.tensors.iter().map(TensorPlan::n_weights).sum();
    VariantReport {
        id: id_of(plan),
        file_bytes: plan.predicted_bytes(),
        work_bytes: plan.work_bytes(threads),
        bits_per_weight: plan.tensor_bytes() as f64 * 8.0 / n_weights.max(1) as f64,
        types,
        folded: Vec::new(),
        fallbacks: plan.job.tensors.iter().filter(|tensor| tensor.instead_of.is_some()).count(),
        plan: None,
    }
}
