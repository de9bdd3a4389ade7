//! Measured quality on its way into bundles, and the tokenizer as measurements want it.
//! Knows evaluations and manifests; must not measure.

use crate::Tokenizer;
use bundle::manifest::HowMeasured;
use bundle::manifest::TaskScore;
use bundle::{Bundle, BundleWriter, Quality};
use engine::Token;
use evaluator::routing::RoutingFigures;
use evaluator::suite::Evaluation;
use evaluator::{Validation, Vocabulary};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;

impl Vocabulary for Tokenizer {
    fn encode(&self, text: &str, parse_special: bool) -> evaluator::Result<Vec<Token>> {
        let tokens = match parse_special {
            true => Tokenizer::encode(self, text, false),
            false => self.encode_plain(text),
        };
        tokens.map_err(|error| evaluator::Error::Text {
            name: text.chars().take(40).collect(),
            problem: error.to_string(),
        })
    }

    fn decode(&self, tokens: &[Token]) -> String {
        Tokenizer::decode(self, tokens)
    }

    fn first(&self) -> Option<Token> {
        self.in_front().first().copied()
    }

    fn ends(&self, token: Token) -> bool {
        self.ends_turn(token)
    }
}

/// What a measurement rests on beside its figures.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Circumstances {
    /// What computed: engine, version, kernels.
    pub device: String,
    /// The day, as `YYYY-MM-DD`; empty where it is not to be stated.
    pub date: String,
}

/// A validation in the form in which a manifest keeps it. Further figures go where readers of this schema pass over
/// them: quantiles, figures by text, the floor, the word.
pub fn quality_of(validation: &Validation, circumstances: &Circumstances) -> Quality {
    let figures = &validation.overall;
    let texts: Vec<&str> = validation
        .domains
        .iter()
        .filter(|domain| domain.n_ctx == validation.n_ctx)
        .map(|domain| domain.text.as_str())
        .collect();
    let by_text: serde_json::Map<String, serde_json::Value> = validation
        .domains
        .iter()
        .filter(|domain| domain.n_ctx == validation.n_ctx)
        .map(|domain| {
            let figures = &domain.figures;
            let entry = json!({
                "kld_mean": figures.kld.mean, "kld_p999": figures.kld_p999,
                "top1_agreement": figures.same_top.mean, "ppl_ratio": figures.ppl_ratio.mean,
            });
            let entry = match routing_of(validation, &domain.text) {
                Some(routing) => with(entry, "router_agreement", json!(routing.agreement.mean)),
                None => entry,
            };
            (domain.text.clone(), entry)
        })
        .collect();
    let mut other = bundle::manifest::Other::from([
        ("kld_median".into(), json!(figures.kld_median)),
        ("kld_p99".into(), json!(figures.kld_p99)),
        ("kld_p999".into(), json!(figures.kld_p999)),
        ("ppl_ratio_interval".into(), json!(figures.ppl_ratio.interval)),
        ("by_text".into(), by_text.into()),
        ("grade".into(), json!(validation.grade.word)),
    ]);
    let routers = router_agreement(validation);
    if !routers.is_empty() {
        let mean = routers.iter().map(|(_, share)| share).sum::<f64>() / routers.len() as f64;
        other.insert("router_agreement".into(), json!(mean));
        other.insert("router_agreement_by_layer".into(), json!(routers));
    }
    if !validation.drift.is_empty() {
        other.insert("state_drift".into(), json!(validation.drift));
    }
    if !validation.needles.is_empty() {
        other.insert("needles".into(), json!(validation.needles));
    }
    if let Some(floor) = &validation.floor {
        other.insert("kld_floor".into(), json!(floor.kld.mean));
    }
    // One window alone tells no interval.
    let interval = Some(figures.kld.interval).filter(|[low, high]| low.is_finite() && high.is_finite());
    Quality {
        kld_mean: Some(figures.kld.mean),
        kld_interval: interval,
        ppl: Some(figures.ppl.mean),
        ppl_baseline: Some(figures.ppl_reference.mean),
        top1_agreement: Some(figures.same_top.mean),
        tasks: Default::default(),
        how: HowMeasured {
            tool: format!("llama-pajamas {}", env!("CARGO_PKG_VERSION")),
            dataset: texts.join(", "),
            n_tokens: Some(figures.n_tokens),
            context_tokens: Some(validation.n_ctx as u64),
            baseline: validation.reference.clone(),
            device: circumstances.device.clone(),
            date: circumstances.date.clone(),
            other: Default::default(),
        },
        other,
    }
}

fn routing_of<'a>(validation: &'a Validation, text: &str) -> Option<&'a RoutingFigures> {
    validation.routing.iter().find(|routing| routing.n_ctx == validation.n_ctx && routing.text == text)
}

fn with(mut entry: serde_json::Value, key: &str, value: serde_json::Value) -> serde_json::Value {
    if let Some(fields) = entry.as_object_mut() {
        fields.insert(key.into(), value);
    }
    entry
}

/// By layer, the share of the original's experts that the candidate chooses too: of all texts at the first length of context,
/// each position counting for the same.
fn router_agreement(validation: &Validation) -> Vec<(u32, f64)> {
    let mut sums = BTreeMap::<u32, (f64, f64)>::new();
    for routing in validation.routing.iter().filter(|routing| routing.n_ctx == validation.n_ctx) {
        for layer in &routing.layers {
            let sum = sums.entry(layer.layer).or_default();
            *sum = (sum.0 + layer.agreement * routing.n_tokens as f64, sum.1 + routing.n_tokens as f64);
        }
    }
    sums.into_iter().map(|(layer, (sum, n))| (layer, sum / n.max(1.0))).collect()
}

/// Writes measured quality into the manifest of the bundle at `root`, variant by variant, in one atomic change. Scores
/// of tasks that were measured before stay. A signature of the manifest before goes.
///
/// # Errors
/// No such bundle or variant, one that is being written, a figure that a manifest may not hold.
pub fn record(root: &Path, measured: &[(String, Quality)]) -> bundle::Result<Bundle> {
    change(root, measured, |before, quality: &Quality| {
        let mut quality = quality.clone();
        for (name, score) in before.unwrap_or_default().tasks {
            quality.tasks.entry(name).or_insert(score);
        }
        quality
    })
}

/// Writes scores of tasks into the manifest of the bundle at `root`, likewise. Other figures stay.
///
/// # Errors
/// As [`record`].
pub fn record_scores(root: &Path, evaluations: &[(String, Evaluation)]) -> bundle::Result<Bundle> {
    change(root, evaluations, |before, evaluation: &Evaluation| {
        let mut quality = before.unwrap_or_default();
        for (name, result) in &evaluation.tasks {
            let score = TaskScore {
                score: result.score,
                interval: Some(result.interval),
                n: Some(result.n as u64),
                other: Default::default(),
            };
            quality.tasks.insert(name.clone(), score);
        }
        if quality.how.tool.is_empty() {
            quality.how.tool = format!("llama-pajamas {}", env!("CARGO_PKG_VERSION"));
        }
        quality
    })
}

fn change<T>(
    root: &Path,
    measured: &[(String, T)],
    quality: impl Fn(Option<Quality>, &T) -> Quality,
) -> bundle::Result<Bundle> {
    let mut writer = BundleWriter::open(root)?;
    for (id, measured) in measured {
        let Some(mut variant) = writer.manifest().variant(id).cloned() else {
            // Says which variants there are.
            Bundle::open(root)?.variant(id)?;
            continue;
        };
        variant.quality = Some(quality(variant.quality.take(), measured));
        writer.put_variant(variant);
    }
    writer.publish()
}
