//! By what each variant is made: a recipe, or a plan that was made to fit or read from a file.
//! Knows requests and plans; must not know bundles.

use super::BuildRequest;
use crate::recipe::{FileType, Recipe};
use crate::source::TensorSource;
use crate::{Error, Importance, Known, Result, Sensitivity, TypePlan, plan_for_target};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a variant is made by.
pub(super) enum Way {
    Recipe(Recipe),
    Plan(TypePlan),
}

/// How the variants are made that are asked for.
pub(super) fn ways(
    source: &dyn TensorSource,
    request: &BuildRequest,
    importance: Option<&Arc<Importance>>,
    sensitivity: Option<&Sensitivity>,
) -> Result<Vec<Way>> {
    if request.overrides.copy {
        return Ok(vec![Way::Recipe(stated_file_type(source)?.into())]);
    }
    let mut ways: Vec<Way> = request.precisions.iter().copied().map(Way::Recipe).collect();
    if !request.targets.is_empty() {
        let sensitivity = sensitivity.ok_or_else(|| Error::Request {
            wish: "target size".into(),
            expected: "what was measured of the model's tensors".into(),
            got: "nothing".into(),
        })?;
        for target in &request.targets {
            let known = Known::of(importance, request.moments.is_some());
            let plan = plan_for_target(source, sensitivity, *target, &request.overrides, known)?;
            ways.push(Way::Plan(plan));
        }
    }
    ways.extend(request.made_plans.iter().cloned().map(Way::Plan));
    for plan in &request.plans {
        ways.push(Way::Plan(TypePlan::read(plan)?));
    }
    Ok(ways)
}

impl Way {
    /// The recipe, or the one whose type most bytes of a plan are of.
    pub(super) fn nearest_recipe(&self) -> Result<Recipe> {
        let plan = match self {
            Self::Recipe(recipe) => return Ok(*recipe),
            Self::Plan(plan) => plan,
        };
        let mut bytes_of: BTreeMap<&str, u64> = BTreeMap::new();
        plan.tensors.iter().for_each(|tensor| *bytes_of.entry(&tensor.ty).or_default() += tensor.bytes);
        let of = |file_type: &FileType| bytes_of.get(file_type.default_type().name()).copied().unwrap_or(0);
        let most = FileType::ALL.iter().rev().copied().max_by_key(of);
        Ok(most.unwrap_or(FileType::F16).into())
    }
}

/// What the model is already.
fn stated_file_type(source: &dyn TensorSource) -> Result<FileType> {
    let stated = source.metadata().u64("general.file_type").and_then(FileType::from_id);
    stated.or_else(|| FileType::from_name(&source.precision())).ok_or_else(|| Error::Request {
        wish: "copy".into(),
        expected: "a model of a file type that llama.cpp has".into(),
        got: format!("{} of mostly {}", source.path().display(), source.precision()),
    })
}

/// `4784736` → `4.785MB`.
pub(crate) fn decimal(bytes: u64) -> String {
    let (unit, name) = if bytes < 1_000_000_000 { (1e6, "MB") } else { (1e9, "GB") };
    format!("{:.3}{name}", bytes as f64 / unit)
}
