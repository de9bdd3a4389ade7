//! Words for quality. Owns the thresholds (`data/grades.toml`) and their use; must not know how figures are measured.

use crate::divergence::Figures;
use serde::{Deserialize, Serialize};
use std::sync::LazyLock;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    grade: Vec<Limits>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Limits {
    word: String,
    loss: Option<f64>,
    task_share: Option<f64>,
}

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    serde_json::from_slice(include_bytes!(concat!(env!("OUT_DIR"), "/grades.json")))
        .expect("the built-in table parses: a test reads it")
});

/// A word for the quality of a candidate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Grade {
    /// The word for the measured figures.
    pub word: String,
    /// The word for the bad ends of their intervals; the same where the measurement settles it.
    pub at_worst: String,
    /// The loss that decided: the share by which perplexity rises or the divergence lets expect it.
    pub loss: f64,
}

impl Grade {
    /// Of figures, and of the share of the original's task scores where that is known.
    pub fn of(figures: &Figures, task_share: Option<f64>) -> Self {
        let loss = |ratio: f64, kld: f64| (ratio - 1.0).max(kld.exp_m1());
        let measured = loss(figures.ppl_ratio.mean, figures.kld.mean);
        let worst = loss(figures.ppl_ratio.interval[1], figures.kld.interval[1]);
        Self { word: word(measured, task_share), at_worst: word(worst, task_share), loss: measured }
    }
}

fn word(loss: f64, task_share: Option<f64>) -> String {
    let keeps = |limits: &&Limits| {
        let within = limits.loss.is_none_or(|most| loss < most);
        let answers = task_share.zip(limits.task_share).is_none_or(|(share, least)| share > least);
        within && answers
    };
    TABLE.grade.iter().find(keeps).map(|limits| limits.word.clone()).unwrap_or_default()
}

/// `word`, or the first worse one that a share of the original's task scores allows.
pub fn lowered(word: &str, task_share: f64) -> String {
    let from = TABLE.grade.iter().skip_while(|limits| limits.word != word);
    let allowed = |limits: &&Limits| limits.task_share.is_none_or(|least| task_share > least);
    from.into_iter().find(allowed).map_or_else(|| word.to_string(), |limits| limits.word.clone())
}

/// Every word, best first, with the greatest loss it stands for; the last has none.
pub fn words() -> impl Iterator<Item = (&'static str, Option<f64>)> {
    TABLE.grade.iter().map(|limits| (limits.word.as_str(), limits.loss))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_fall_with_the_loss_and_the_last_takes_everything() {
        let losses: Vec<f64> = words().filter_map(|(_, loss)| loss).collect();
        assert!(losses.is_sorted() && losses.len() + 1 == words().count());
        let word = |loss| word(loss, None);
        let of = [-0.01, 0.049, 0.05, 0.12, 0.19, 0.21, f64::INFINITY].map(word);
        let expected =
            ["production", "production", "development", "acceptable", "poor", "unusable", "unusable"];
        assert_eq!(of, expected);
        assert_eq!(super::word(0.01, Some(0.85)), "development");
        assert_eq!(lowered("production", 0.85), "development");
        assert_eq!((lowered("production", 0.95), lowered("poor", 0.1)), ("production".into(), "poor".into()));
    }
}
