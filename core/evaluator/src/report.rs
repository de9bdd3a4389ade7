//! Reports on the variants of a model: Markdown, and one HTML file with charts that needs nothing beside itself.
//!
//! Owns what a report holds, the recommendations and the charts' drawing. Must not know files, nor measure.

mod chart;
mod heat;
mod html;
mod markdown;
mod uses;

pub use html::html;
pub use markdown::markdown;
pub use uses::{Recommendation, recommendations};

use crate::importance::Coverage;
use crate::suite::TaskResult;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What is known of a model's variants.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The model.
    pub model: String,
    /// How the figures were measured, a sentence each.
    pub notes: Vec<String>,
    /// The variants, best first.
    pub variants: Vec<VariantSummary>,
    /// Tokens that experts saw, by a name of the text: heat maps.
    pub experts: BTreeMap<String, Coverage>,
}

/// What is known of one variant. What was not measured is absent.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct VariantSummary {
    /// Its id.
    pub id: String,
    /// Bytes of its files.
    pub file_bytes: u64,
    /// Whether the others are held against it.
    pub is_original: bool,
    /// Mean divergence from the original, with its 95 % interval.
    pub kld: Option<(f64, Option<[f64; 2]>)>,
    /// Divergence that 99.9 % of positions stay below.
    pub kld_p999: Option<f64>,
    /// Share of positions with the original's likeliest token.
    pub same_top: Option<f64>,
    /// Perplexity over the original's.
    pub ppl_ratio: Option<f64>,
    /// By layer, the share of the original's experts that it chooses too.
    pub routers: Vec<(u32, f64)>,
    /// The word for its quality.
    pub grade: Option<String>,
    /// Speed of writing in tokens per second.
    pub tokens_per_s: Option<f64>,
    /// Scores by task.
    pub tasks: BTreeMap<String, TaskResult>,
    /// Mean scores by category.
    pub categories: BTreeMap<String, f64>,
}

impl Summary {
    /// Categories that any variant has a score in, in order.
    fn categories(&self) -> Vec<&str> {
        let mut names: Vec<&str> =
            self.variants.iter().flat_map(|variant| variant.categories.keys()).map(String::as_str).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Tasks that any variant has a score in, in order.
    fn tasks(&self) -> Vec<&str> {
        let mut names: Vec<&str> =
            self.variants.iter().flat_map(|variant| variant.tasks.keys()).map(String::as_str).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Ids of the variants that no other beats in both size and divergence. The original diverges by nothing.
    pub fn front(&self) -> Vec<&str> {
        let of = |variant: &VariantSummary| {
            let kld = if variant.is_original { Some(0.0) } else { variant.kld.map(|(mean, _)| mean) };
            Some((variant.file_bytes, kld?))
        };
        let points: Vec<(&str, u64, f64)> = self
            .variants
            .iter()
            .filter_map(|variant| of(variant).map(|(bytes, kld)| (variant.id.as_str(), bytes, kld)))
            .collect();
        let beaten = |one: &(&str, u64, f64)| {
            points
                .iter()
                .any(|other| other.1 <= one.1 && other.2 <= one.2 && (other.1 < one.1 || other.2 < one.2))
        };
        points.iter().filter(|one| !beaten(one)).map(|one| one.0).collect()
    }
}

/// `7947872` → `7.6 MiB`.
fn size(bytes: u64) -> String {
    match bytes as f64 / f64::from(1 << 20) {
        mib if mib >= 1024.0 => format!("{:.2} GiB", mib / 1024.0),
        mib => format!("{mib:.1} MiB"),
    }
}

#[cfg(test)]
mod tests;
