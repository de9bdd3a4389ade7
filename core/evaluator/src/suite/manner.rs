//! How tasks are put: categories, what stands between questions and answers, as data (`data/tasks.toml`).
//! Knows names of tasks; must not know questions.

use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// What a likelihood is divided by before answers are compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Per {
    /// Nothing: the whole answer's.
    #[default]
    Nothing,
    /// Bytes of the answer, so that length does not decide.
    Byte,
}

/// How a task is put.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Manner {
    /// What its score counts for.
    pub category: String,
    /// Between a question and an answer.
    pub between: String,
    /// What likelihoods are divided by.
    pub per: Per,
    /// Solved questions before each question.
    pub shots: usize,
    /// The question, with `{question}` in it.
    pub question: String,
    /// Where a written answer ends.
    pub stop: String,
    /// Most tokens of a written answer.
    pub max_tokens: usize,
}

impl Default for Manner {
    fn default() -> Self {
        Self {
            category: "other".into(),
            between: " ".into(),
            per: Per::Nothing,
            shots: 0,
            question: "{question}".into(),
            stop: String::new(),
            max_tokens: 256,
        }
    }
}

static MANNERS: LazyLock<BTreeMap<String, Manner>> = LazyLock::new(|| {
    serde_json::from_slice(include_bytes!(concat!(env!("OUT_DIR"), "/tasks.json")))
        .expect("the built-in table parses: a test reads it")
});

/// How the task of this name is put: by the longest beginning of its name that the table has.
pub fn manner_of(task: &str) -> Manner {
    let known = MANNERS.iter().filter(|(name, _)| task.starts_with(name.as_str()));
    known.max_by_key(|(name, _)| name.len()).map(|(_, manner)| manner.clone()).unwrap_or_default()
}
