//! Kinds of checkpoints of a family: which configurations are its own, what they leave out, what they must say.
//! Owns these tables of `data/families`; must not branch on a family's name.

use crate::config::Config;
use crate::extent::Extent;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// One `model_type` of config.json.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Checkpoint {
    pub(crate) model_type: String,
    /// Other names that mean the same.
    #[serde(default)]
    also: Vec<String>,
    /// Values of fields that the file may leave out.
    #[serde(default)]
    pub(crate) defaults: BTreeMap<String, Value>,
    /// Values of further fields that the text part of a larger model's file leaves out: parts are written as what differs
    /// from their class's defaults.
    #[serde(default)]
    pub(crate) within: BTreeMap<String, Value>,
    /// The same as `defaults`, computed from other fields.
    #[serde(default)]
    pub(crate) derived: BTreeMap<String, Extent>,
    /// True or false fields that the file may leave out, and what another field says of them.
    #[serde(default)]
    pub(crate) flags: BTreeMap<String, FieldTest>,
    /// The longest context, where it is not the usual field.
    pub(crate) context: Option<Extent>,
    /// Fields that count in the place of others where the file states them.
    #[serde(default)]
    pub(crate) instead: BTreeMap<String, String>,
    /// Special tokens by kind that the tokenizer's files leave to be known by their text, beside those of the family.
    #[serde(default)]
    pub(crate) special_tokens: BTreeMap<String, String>,
    /// Whether its feed-forwards are routed experts.
    #[serde(default)]
    routed: Routed,
    /// Layers that predict tokens beyond the next are layers like the others in GGUF, where the checkpoint has them.
    #[serde(default)]
    pub(crate) keeps_predictions: bool,
    /// What must hold of a configuration of this type that is this family's, where several families share a type.
    #[serde(default)]
    pub(crate) when: Vec<FieldTest>,
}

/// Whether checkpoints of a kind have experts.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Routed {
    Always(bool),
    /// Where this field is a number above 0, or true.
    Above(String),
}

impl Default for Routed {
    fn default() -> Self {
        Self::Always(false)
    }
}

/// One test of a field.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FieldTest {
    pub(crate) field: String,
    /// Whether it is there.
    stated: Option<bool>,
    /// Whether it is a number above 0, or true.
    positive: Option<bool>,
    /// A value that it does not have.
    is_not: Option<Value>,
    /// One of these stands in its list, or in its text.
    #[serde(default)]
    has: Vec<Value>,
    /// None of these does.
    #[serde(default)]
    lacks: Vec<Value>,
    /// Whether the test holds where the field is not there.
    #[serde(default)]
    or_left_out: bool,
}

impl FieldTest {
    pub(crate) fn holds(&self, config: &Config<'_>) -> bool {
        let value = config.stated(&self.field);
        let contains = |entry: &Value| match (value, entry) {
            (Some(Value::Array(entries)), _) => entries.contains(entry),
            (Some(Value::String(text)), Value::String(part)) => text.contains(part.as_str()),
            _ => false,
        };
        if self.or_left_out && value.is_none() {
            return true;
        }
        self.stated.is_none_or(|stated| stated == value.is_some())
            && self.positive.is_none_or(|positive| positive == is_positive(value))
            && self.is_not.as_ref().is_none_or(|other| value != Some(other))
            && (self.has.is_empty() || self.has.iter().any(contains))
            && !self.lacks.iter().any(contains)
    }
}

fn is_positive(value: Option<&Value>) -> bool {
    value
        .is_some_and(|value| value == &Value::Bool(true) || value.as_f64().is_some_and(|number| number > 0.0))
}

impl Checkpoint {
    /// Whether the feed-forwards of `config` are routed experts.
    pub(crate) fn is_routed(&self, config: &Config<'_>) -> bool {
        match &self.routed {
            Routed::Always(routed) => *routed,
            Routed::Above(field) => is_positive(config.get(field)),
        }
    }

    /// Whether a model with (`routed`) or without experts may be of this kind.
    pub(crate) fn may_be(&self, routed: bool) -> bool {
        match &self.routed {
            Routed::Always(always) => *always == routed,
            Routed::Above(_) => true,
        }
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.model_type).chain(&self.also).map(String::as_str)
    }
}

/// A field that must hold one of some values where it is there: what the engine takes for granted.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Requirement {
    pub(crate) field: String,
    /// The values that are allowed.
    #[serde(default)]
    pub(crate) one_of: Vec<Value>,
    /// The one number that is, as an expression over the configuration's fields.
    pub(crate) equals: Option<Extent>,
    /// The values that a list repeats, one entry per layer; an empty list means the same.
    #[serde(default)]
    pub(crate) repeats: Vec<Value>,
    /// What a list begins with, and what follows to its end.
    pub(crate) begins: Option<Beginning>,
    /// Another field, whose value it must have.
    pub(crate) same_as: Option<String>,
    /// Fields and their values with which alone it holds.
    #[serde(default)]
    pub(crate) only_with: BTreeMap<String, Value>,
    /// Fields and their values with which it does not hold.
    #[serde(default)]
    pub(crate) except_with: BTreeMap<String, Value>,
    /// Fields and the numbers from which on alone it holds.
    #[serde(default)]
    pub(crate) only_from: BTreeMap<String, u64>,
    /// Fields and the numbers below which alone it holds.
    #[serde(default)]
    pub(crate) only_below: BTreeMap<String, u64>,
    /// What users are told where it does not hold, instead of a refusal: the difference is small.
    pub(crate) warning: Option<String>,
}

/// A list of some entries of one value, and of another one from there on.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Beginning {
    with: Value,
    times: usize,
    then: Value,
}

impl Beginning {
    /// Whether `entries` are such a list.
    pub(crate) fn is_of(&self, entries: &[Value]) -> bool {
        entries
            .iter()
            .enumerate()
            .all(|(at, entry)| entry == if at < self.times { &self.with } else { &self.then })
    }

    /// What is expected, for messages.
    pub(crate) fn told(&self) -> String {
        format!("{} times {}, then {}", self.times, self.with, self.then)
    }
}

impl Requirement {
    /// Whether it is one of `config`.
    pub(crate) fn counts(&self, config: &Config<'_>) -> bool {
        let is = |(field, wanted): (&String, &Value)| config.get(field) == Some(wanted);
        let number = |field: &str| config.get(field).and_then(Value::as_u64);
        self.only_with.iter().all(is)
            && !self.except_with.iter().any(is)
            && self.only_from.iter().all(|(field, from)| number(field).is_some_and(|n| n >= *from))
            && self.only_below.iter().all(|(field, end)| number(field).is_some_and(|n| n < *end))
    }
}

/// Scores of the whole text.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Classifier {
    /// The end of the name of classes that have them, as `architectures` states it.
    architecture: String,
    /// Kinds of checkpoints in which a layer as wide as the model comes before them.
    #[serde(default)]
    with_layer: Vec<String>,
}

impl Classifier {
    /// Scores, and the width of the layer before them.
    pub(crate) fn widths(
        &self,
        config: &Config<'_>,
        model_type: &str,
        hidden: u64,
    ) -> Option<(u64, Option<u64>)> {
        let classes = config.get("architectures")?.as_array()?.first()?.as_str()?;
        let labels = config.labels("id2label").map_or(2, |labels| labels.len());
        let layer = self.with_layer.iter().any(|kind| kind == model_type).then_some(hidden);
        classes.ends_with(&self.architecture).then_some((labels as u64, layer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_tell_families_of_one_type_apart() {
        let test = |test: &str| -> FieldTest { toml::from_str(test).expect("a test") };
        let config = serde_json::json!({"n": 0, "m": 2, "words": ["a", "b"], "letters": "xy"});
        let config = Config::new(&config).expect("an object");
        for (table, expected) in [
            ("field = 'n'\nstated = true", true),
            ("field = 'o'\nstated = true", false),
            ("field = 'n'\npositive = false", true),
            ("field = 'm'\npositive = true", true),
            ("field = 'o'\npositive = true", false),
            ("field = 'words'\nhas = ['b', 'c']", true),
            ("field = 'words'\nhas = ['c']", false),
            ("field = 'words'\nlacks = ['b', 'c']", false),
            ("field = 'o'\nlacks = ['b']", true),
            ("field = 'letters'\nhas = ['y']", true),
            ("field = 'letters'\nlacks = ['y']", false),
            ("field = 'o'\nhas = ['b']\nor_left_out = true", true),
            ("field = 'words'\nhas = ['c']\nor_left_out = true", false),
            ("field = 'n'\nis_not = 0", false),
            ("field = 'n'\nis_not = 1", true),
            ("field = 'o'\nis_not = 0", true),
        ] {
            assert_eq!(test(table).holds(&config), expected, "{table}");
        }
    }
}
