//! A bundle's report: what its manifest and its `evaluation` folder hold, as REPORT.md and report.html.
//! Knows where figures lie; must not know how they are drawn.

use super::evaluate::Kept;
use super::measure::Subject;
use anyhow::{Context, Result};
use llama_pajamas::bundle::atomic::AtomicFile;
use llama_pajamas::bundle::{Bundle, Quality, Variant};
use llama_pajamas::evaluator::grade::lowered;
use llama_pajamas::evaluator::importance::Coverage;
use llama_pajamas::evaluator::report::{Summary, VariantSummary, html, markdown};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Folder of results inside of a bundle.
const FOLDER: &str = "evaluation";

/// Where a variant's scores lie.
pub(crate) fn evaluation_path(root: &Path, id: &str) -> PathBuf {
    root.join(FOLDER).join(format!("{id}.json"))
}

/// Where what experts saw lies.
fn experts_path(root: &Path) -> PathBuf {
    root.join(FOLDER).join("experts.json")
}

/// Keeps what experts saw of a text for the next report of a bundle.
pub(crate) fn keep_experts(root: &Path, text: &str, coverage: &Coverage) -> Result<()> {
    let path = experts_path(root);
    let mut experts = experts(root)?;
    experts.insert(text.to_string(), coverage.clone());
    std::fs::create_dir_all(root.join(FOLDER)).with_context(|| path.display().to_string())?;
    Ok(AtomicFile::write_all_to(&path, serde_json::to_string_pretty(&experts)?.as_bytes())?)
}

fn experts(root: &Path) -> Result<BTreeMap<String, Coverage>> {
    let path = experts_path(root);
    if !path.exists() {
        return Ok(BTreeMap::new());
    }
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    serde_json::from_str(&text).with_context(|| path.display().to_string())
}

/// Writes the report of a bundle, and returns its page; of a single file there is none.
pub(crate) fn write(subject: &Subject) -> Result<Option<PathBuf>> {
    let Some(bundle) = subject.runtime.bundle() else { return Ok(None) };
    // The figures may have just been written.
    let bundle = Bundle::open(bundle.root())?;
    let summary = summary(&bundle)?;
    let folder = bundle.root().join(FOLDER);
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    AtomicFile::write_all_to(&folder.join("REPORT.md"), markdown(&summary).as_bytes())?;
    let page = folder.join("report.html");
    AtomicFile::write_all_to(&page, html(&summary).as_bytes())?;
    Ok(Some(page))
}

fn summary(bundle: &Bundle) -> Result<Summary> {
    let manifest = bundle.manifest();
    let mut variants = Vec::new();
    for variant in bundle.variants() {
        variants.push(summarized(bundle, variant)?);
    }
    let baselines: Vec<&str> = qualities(bundle).map(|quality| quality.how.baseline.as_str()).collect();
    for (summary, variant) in variants.iter_mut().zip(bundle.variants()) {
        summary.is_original = summary.kld.is_none() && baselines.contains(&variant.precision.as_str());
    }
    if let Some(original) =
        variants.iter().find(|variant| variant.is_original).map(mean_score).filter(|s| *s > 0.0)
    {
        for variant in variants.iter_mut().filter(|variant| !variant.tasks.is_empty()) {
            let share = mean_score(variant) / original;
            variant.grade = variant.grade.as_deref().map(|word| lowered(word, share));
        }
    }
    variants.sort_by_key(|variant| std::cmp::Reverse(variant.file_bytes));
    let name = if manifest.model.name.is_empty() { &manifest.model.id } else { &manifest.model.name };
    let experts = experts(bundle.root())?;
    Ok(Summary { model: name.clone(), notes: notes(bundle), variants, experts })
}

fn qualities(bundle: &Bundle) -> impl Iterator<Item = &Quality> {
    bundle.variants().iter().filter_map(|variant| variant.quality.as_ref())
}

fn mean_score(variant: &VariantSummary) -> f64 {
    variant.tasks.values().map(|result| result.score).sum::<f64>() / variant.tasks.len().max(1) as f64
}

fn summarized(bundle: &Bundle, variant: &Variant) -> Result<VariantSummary> {
    let path = evaluation_path(bundle.root(), &variant.id);
    let kept: Option<Kept> = match path.exists() {
        true => {
            let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            Some(serde_json::from_str(&text).with_context(|| path.display().to_string())?)
        }
        false => None,
    };
    let quality = variant.quality.clone().unwrap_or_default();
    let other = |name: &str| quality.other.get(name).and_then(serde_json::Value::as_f64);
    Ok(VariantSummary {
        id: variant.id.clone(),
        file_bytes: variant.file_bytes(),
        is_original: false,
        kld: quality.kld_mean.map(|mean| (mean, quality.kld_interval)),
        kld_p999: other("kld_p999"),
        same_top: quality.top1_agreement,
        ppl_ratio: quality.ppl.zip(quality.ppl_baseline).map(|(ppl, baseline)| ppl / baseline),
        routers: quality
            .other
            .get("router_agreement_by_layer")
            .and_then(|shares| serde_json::from_value(shares.clone()).ok())
            .unwrap_or_default(),
        grade: quality.other.get("grade").and_then(|word| word.as_str()).map(String::from),
        tokens_per_s: kept.as_ref().and_then(|kept| kept.tokens_per_s),
        categories: kept.as_ref().map(|kept| kept.evaluation.categories.clone()).unwrap_or_default(),
        tasks: kept.map(|kept| kept.evaluation.tasks).unwrap_or_default(),
    })
}

/// How the figures were measured, each way once.
fn notes(bundle: &Bundle) -> Vec<String> {
    let mut notes = Vec::new();
    for how in qualities(bundle).map(|quality| &quality.how).filter(|how| !how.baseline.is_empty()) {
        let note = format!(
            "Divergence and perplexity: held against {}, on {}, {} tokens compared in windows of {}, by {} with {}, {}.",
            how.baseline,
            how.dataset,
            how.n_tokens.unwrap_or_default(),
            how.context_tokens.unwrap_or_default(),
            how.tool,
            how.device,
            how.date
        );
        if !notes.contains(&note) {
            notes.push(note);
        }
    }
    notes
}
