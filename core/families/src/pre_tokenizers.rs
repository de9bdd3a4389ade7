//! Pre-tokenizers of byte-level BPE vocabularies: llama.cpp's names ↔ the steps of tokenizer.json.
//! Owns the table (`data/pre_tokenizers.toml`); must not tokenize.

use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::LazyLock;

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    toml::from_str(include_str!("../data/pre_tokenizers.toml"))
        .expect("the built-in table parses: a test reads it")
});

#[derive(Deserialize)]
struct Table {
    #[serde(rename = "pre_tokenizer")]
    rows: Vec<PreTokenizer>,
}

/// How text is cut before byte-pair merging.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PreTokenizer {
    name: String,
    #[serde(default)]
    aliases: Vec<String>,
    steps: Vec<Step>,
}

/// One step of a pre-tokenizer.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Matches of the regex become pieces of their own.
    Split(String),
    /// Digits become pieces: `individual` or `grouped`.
    Digits(String),
    /// Punctuation becomes pieces: `contiguous` runs.
    Punctuation(String),
    /// Bytes become printable characters; `true` splits by GPT-2's regex before.
    ByteLevel(bool),
}

impl PreTokenizer {
    /// The canonical name, as `tokenizer.ggml.pre` holds it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The steps in order.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// The `pre_tokenizer` object of a tokenizer.json.
    pub fn to_json(&self) -> Value {
        let steps = self.steps.iter().map(|step| match step {
            Step::Split(regex) => {
                json!({"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false})
            }
            Step::Digits(kind) => json!({"type": "Digits", "individual_digits": kind == "individual"}),
            Step::Punctuation(_) => json!({"type": "Punctuation", "behavior": "Contiguous"}),
            Step::ByteLevel(regex) => {
                json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": regex})
            }
        });
        json!({"type": "Sequence", "pretokenizers": steps.collect::<Vec<_>>()})
    }
}

/// The row called `name`, by its canonical name or an alias.
pub fn by_name(name: &str) -> Option<&'static PreTokenizer> {
    TABLE.rows.iter().find(|row| row.name == name || row.aliases.iter().any(|alias| alias == name))
}

/// The row whose steps are those of tokenizer.json's `pre_tokenizer`.
pub fn recognise(pre_tokenizer: &Value) -> Option<&'static PreTokenizer> {
    let mut steps = Vec::new();
    collect(pre_tokenizer, &mut steps)?;
    TABLE.rows.iter().find(|row| row.steps == steps)
}

fn collect(value: &Value, steps: &mut Vec<Step>) -> Option<()> {
    match value.get("type")?.as_str()? {
        "Sequence" => {
            value.get("pretokenizers")?.as_array()?.iter().try_for_each(|inner| collect(inner, steps))
        }
        "Split" => {
            let plain = value.get("behavior")? == "Isolated" && value.get("invert")? == false;
            let regex = value.get("pattern")?.get("Regex")?.as_str()?;
            plain.then(|| steps.push(Step::Split(regex.into())))
        }
        "Digits" => {
            let individual = value.get("individual_digits").and_then(Value::as_bool).unwrap_or(false);
            steps.push(Step::Digits(if individual { "individual" } else { "grouped" }.into()));
            Some(())
        }
        "Punctuation" if value.get("behavior").is_some_and(|behavior| behavior == "Contiguous") => {
            steps.push(Step::Punctuation("contiguous".into()));
            Some(())
        }
        "ByteLevel" => {
            let prefix = value.get("add_prefix_space").and_then(Value::as_bool).unwrap_or(true);
            let regex = value.get("use_regex").and_then(Value::as_bool).unwrap_or(true);
            (!prefix).then(|| steps.push(Step::ByteLevel(regex)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_row_is_recognised_from_its_own_json() {
        let mut names = HashSet::new();
        for row in &TABLE.rows {
            assert_eq!(recognise(&row.to_json()).map(PreTokenizer::name), Some(row.name()));
            for name in row.aliases.iter().chain([&row.name]) {
                assert!(names.insert(name.clone()), "{name} stands twice");
                assert_eq!(by_name(name).map(PreTokenizer::name), Some(row.name()));
            }
        }
    }

    #[test]
    fn other_steps_are_not_recognised() {
        assert!(recognise(&json!({"type": "ByteLevel", "add_prefix_space": true})).is_none());
        assert!(
            recognise(
                &json!({"type": "Split", "pattern": {"Regex": "x"}, "behavior": "Removed", "invert": false})
            )
            .is_none()
        );
        assert!(recognise(&json!(null)).is_none());
    }
}
