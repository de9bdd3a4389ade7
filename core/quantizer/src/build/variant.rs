//! What report and manifest say of a variant: its sizes, how it was made, what the planner counts by.
//! Knows requests and jobs; must not know files.

use super::{BuildRequest, VariantReport, Way, decimal};
use crate::execute::work_bytes;
use crate::plan::{Job, TensorPlan};
use crate::recipe::{Overrides, Recipe};
use crate::source::{TensorSource, describe as describe_source};
use crate::{Importance, Result};
use bundle::manifest::{ImatrixSource, TensorOverride};
use bundle::{MemoryInputs, Settings};
use formats::gguf::GgmlType;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Sizes and types, as they will be.
pub(super) fn describe(job: &Job, way: &Way, threads: usize) -> Result<VariantReport> {
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
        folded: Vec::new(),
        fallbacks: job.tensors.iter().filter(|plan| plan.instead_of.is_some()).count(),
        plan: match way {
            Way::Recipe(_) => None,
            Way::Plan(plan) => Some(plan.clone()),
        },
    })
}

/// What the planner counts memory by.
pub(super) fn memory_inputs(source: &dyn TensorSource, job: &Job) -> Result<MemoryInputs> {
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
pub(super) fn method(way: &Way, request: &BuildRequest) -> &'static str {
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

/// What the model had that the variant has not, as the manifest tells it.
fn changes(request: &BuildRequest) -> BTreeMap<String, serde_json::Value> {
    let mut changes = BTreeMap::new();
    if request.prune_experts > 0 {
        changes.insert("pruned_experts_per_layer".to_string(), request.prune_experts.into());
    }
    if !request.prune_layers.is_empty() {
        changes.insert("pruned_layers".to_string(), request.prune_layers.clone().into());
    }
    if request.pad {
        changes.insert("padded".to_string(), true.into());
    }
    if request.fold {
        changes.insert("folded".to_string(), true.into());
    }
    if !request.metadata.is_empty() {
        let keys: Vec<&str> = request.metadata.iter().map(|(key, _)| key.as_str()).collect();
        changes.insert("restated_metadata".to_string(), keys.into());
    }
    changes
}

/// How it was made, for whoever makes it again.
pub(super) fn settings(
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
        other: changes(request),
    }
}
