//! Which variant for which use, by rules that are data (`data/uses.toml`).
//! Knows summaries and words for quality; must not know how they are shown.

use super::{Summary, VariantSummary};
use crate::grade::words;
use serde::Deserialize;
use std::sync::LazyLock;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    r#use: Vec<Use>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Use {
    name: String,
    grade: Option<String>,
    prefer: String,
}

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    serde_json::from_slice(include_bytes!(concat!(env!("OUT_DIR"), "/uses.json")))
        .expect("the built-in table parses: a test reads it")
});

/// A use with the variant for it.
#[derive(Debug, Clone, PartialEq)]
pub struct Recommendation<'a> {
    /// The use.
    pub name: &'static str,
    /// The variant; `None` where nothing that was measured will do.
    pub variant: Option<&'a str>,
    /// What speaks for it.
    pub because: String,
}

/// The variants for all uses, of those that were quantized: the original needs no recommendation.
pub fn recommendations(summary: &Summary) -> Vec<Recommendation<'_>> {
    TABLE.r#use.iter().map(|one| recommend(one, summary)).collect()
}

fn recommend<'a>(one: &'static Use, summary: &'a Summary) -> Recommendation<'a> {
    let allowed = summary.variants.iter().filter(|variant| !variant.is_original && will_do(variant, one));
    // The least of these is the best.
    let rank = |variant: &VariantSummary| -> Option<f64> {
        match one.prefer.as_str() {
            "small" => Some(variant.file_bytes as f64),
            "faithful" => variant.kld.map(|(mean, _)| mean),
            "fast" => variant.tokens_per_s.map(|speed| -speed),
            category => variant.categories.get(category).filter(|score| **score > 0.0).map(|score| -score),
        }
    };
    let ranked = allowed.filter_map(|variant| Some((rank(variant)?, variant)));
    let best =
        ranked.min_by(|(a, one), (b, other)| a.total_cmp(b).then(one.file_bytes.cmp(&other.file_bytes)));
    let because = match best {
        None => "nothing that was measured".to_string(),
        Some((_, variant)) => because(one, variant),
    };
    Recommendation { name: &one.name, variant: best.map(|(_, variant)| variant.id.as_str()), because }
}

fn because(one: &Use, variant: &VariantSummary) -> String {
    let kld = variant.kld.map(|(mean, _)| format!("divergence {mean:.4}"));
    let mut parts = vec![super::size(variant.file_bytes)];
    parts.extend(kld);
    parts.extend(
        variant.tokens_per_s.filter(|_| one.prefer == "fast").map(|speed| format!("{speed:.0} tokens/s")),
    );
    let score = variant.categories.get(&one.prefer);
    parts.extend(score.map(|score| format!("{:.0} % of {}", 100.0 * score, one.prefer)));
    parts.join(", ")
}

/// Whether the variant's word is the wanted one or a better one.
fn will_do(variant: &VariantSummary, one: &Use) -> bool {
    let Some(wanted) = &one.grade else { return true };
    let place = |word: &str| words().position(|(known, _)| known == word);
    variant.grade.as_deref().and_then(place).zip(place(wanted)).is_some_and(|(has, worst)| has <= worst)
}
