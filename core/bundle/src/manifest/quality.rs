//! Measured quality of a variant, and how it was measured.
//!
//! Owns the types. Must not know how to measure: that is the evaluator's.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Other;

/// Measured quality against the unquantized model. Every figure is optional; `how` says what they rest on.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Quality {
    /// Mean Kullback–Leibler divergence per token from the baseline, in nats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kld_mean: Option<f64>,
    /// Its 95 % confidence interval: low, high.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kld_interval: Option<[f64; 2]>,
    /// Perplexity of the variant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ppl: Option<f64>,
    /// Perplexity of the baseline on the same tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ppl_baseline: Option<f64>,
    /// Share of tokens whose most likely token equals the baseline's, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top1_agreement: Option<f64>,
    /// Scores by task name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tasks: BTreeMap<String, TaskScore>,
    /// How the figures were measured.
    #[serde(default)]
    pub how: HowMeasured,
    /// Unknown fields.
    #[serde(flatten)]
    pub other: Other,
}

/// Score in one task.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TaskScore {
    /// Score, 0 to 1.
    pub score: f64,
    /// Its 95 % confidence interval: low, high.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<[f64; 2]>,
    /// Number of questions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n: Option<u64>,
    /// Unknown fields.
    #[serde(flatten)]
    pub other: Other,
}

/// What a measurement rests on.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HowMeasured {
    /// Name and version of what measured it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub tool: String,
    /// The text it was measured on.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub dataset: String,
    /// Number of scored tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n_tokens: Option<u64>,
    /// Context length of a chunk in tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context_tokens: Option<u64>,
    /// Precision or variant id of the baseline.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub baseline: String,
    /// Device and backend.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub device: String,
    /// Date, as `YYYY-MM-DD`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub date: String,
    /// Unknown fields.
    #[serde(flatten)]
    pub other: Other,
}
