//! How much each tensor suffers under each type, and how much the model suffers with it: the file that says so.
//! Knows tensors, types and roles; must not know how the figures are measured (`sensitivity/curves`, `sensitivity/probe`).
//!
//! The divergence that a tensor adds is taken as `kappa · error`, with `error` the share of the product's power that
//! rounding changes, `tr(Δ H Δᵀ) / tr(W H Wᵀ)`.

mod curves;
mod priors;
mod probe;
mod refine;
mod sampled;
mod subsets;

pub use curves::measure_errors;
pub use priors::{MeasuredModel, Outline, Priors};
pub use probe::{Probes, measure_kappas};
pub use refine::Spread;
pub(crate) use sampled::{sampled, sampled_weights};
pub use subsets::{FEWEST_SUBSETS, SpreadCheck, SubsetCheck, SubsetProbes, Subsets, refine_kappas};

use crate::{Error, Result};
use formats::gguf::GgmlType;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// Types that error curves are measured for, where rows divide into their blocks.
pub const CANDIDATES: [GgmlType; 18] = [
    GgmlType::IQ2_XXS,
    GgmlType::IQ2_XS,
    GgmlType::IQ2_S,
    GgmlType::Q2_K,
    GgmlType::IQ3_XXS,
    GgmlType::IQ3_S,
    GgmlType::Q3_K,
    GgmlType::IQ4_XS,
    GgmlType::IQ4_NL,
    GgmlType::Q4_0,
    GgmlType::Q4_K,
    GgmlType::Q4_1,
    GgmlType::Q5_0,
    GgmlType::Q5_K,
    GgmlType::Q5_1,
    GgmlType::Q6_K,
    GgmlType::Q8_0,
    GgmlType::F16,
];

/// What was measured of a model.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sensitivity {
    /// The model.
    pub model: String,
    /// Whether errors are those of rounding with feedback.
    pub feedback: bool,
    /// Tokens that probes were judged by, 0 where there were none.
    pub probe_tokens: u64,
    /// How subsets of tensors were probed, where that is how it was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subset_probes: Option<SubsetProbes>,
    /// By tensor.
    pub tensors: BTreeMap<String, TensorSensitivity>,
}

/// What was measured of a tensor.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TensorSensitivity {
    /// Divergence (mean KLD in nats) per unit of error, where it was probed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kappa: Option<f64>,
    /// Share of the product's power that rounding changes, by type.
    pub errors: BTreeMap<String, f64>,
}

impl Sensitivity {
    /// Reads a file.
    ///
    /// # Errors
    /// A file that cannot be read or does not hold such figures.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read(path).map_err(|source| Error::io(path, source))?;
        let read: Self =
            serde_json::from_slice(&text).map_err(|source| Error::Json { path: path.into(), source })?;
        for (name, tensor) in &read.tensors {
            let figures = tensor.errors.values().chain(&tensor.kappa);
            if let Some(bad) = figures.into_iter().find(|figure| !figure.is_finite() || **figure < 0.0) {
                return Err(Error::Tensor {
                    path: path.into(),
                    tensor: name.clone(),
                    problem: format!("expected figures of 0 and more, got {bad}"),
                });
            }
        }
        Ok(read)
    }

    /// Gives tensors the names that `name` says, and forgets those that it says none of.
    pub(crate) fn rename(&mut self, name: impl Fn(&str) -> Option<String>) {
        let all = std::mem::take(&mut self.tensors).into_iter();
        self.tensors = all.filter_map(|(tensor, figures)| Some((name(&tensor)?, figures))).collect();
    }

    /// The error of `tensor` as `ty`, where it was measured.
    pub(crate) fn error(&self, tensor: &str, ty: GgmlType) -> Option<f64> {
        self.tensors.get(tensor)?.errors.get(ty.name()).copied()
    }

    /// Divergence per unit of error: probed, or else by the tensor's role and layer.
    pub(crate) fn kappa(&self, tensor: &str, outline: Outline) -> f64 {
        let probed = self.tensors.get(tensor).and_then(|tensor| tensor.kappa);
        probed.unwrap_or_else(|| Priors::built_in().of(tensor, outline))
    }
}
