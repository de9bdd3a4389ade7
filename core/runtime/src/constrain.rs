//! Answers that are held to a form: what may be asked for. How it is kept to is in `constrain_llguidance`, or nowhere.
//!
//! Owns [`Constraint`] and the trait that tells which tokens may come next. Must not know how tokens are chosen.

use crate::{Result, Tokenizer};
use engine::Token;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

#[cfg(feature = "constrain")]
#[path = "constrain_llguidance.rs"]
mod keeper;

#[cfg(not(feature = "constrain"))]
#[path = "constrain_disabled.rs"]
mod keeper;

#[cfg(feature = "constrain")]
pub(crate) use keeper::Vocabulary;
pub(crate) use keeper::hold;

/// What an answer must be. Needs the feature `constrain`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Constraint {
    /// JSON text that this schema accepts; what of JSON Schema is understood, the crate `llguidance` documents.
    JsonSchema(Value),
    /// Text that this regular expression matches from beginning to end.
    Regex(String),
    /// Text of this grammar, in `llguidance`'s variant of Lark.
    Lark(String),
}

/// A schema that is written as Python's `json.dumps` writes, which models have read most.
///
/// Numbers get an end: without one, a model that is unsure writes digits for ever. Where the schema does not say otherwise
/// they have at most six behind the point.
pub(crate) fn plainly(mut schema: Value) -> Value {
    end_numbers(&mut schema, MAX_SCHEMA_DEPTH);
    if let Some(object) = schema.as_object_mut() {
        object.entry("x-guidance").or_insert_with(
            || json!({ "item_separator": ", ", "key_separator": ": ", "whitespace_flexible": false }),
        );
    }
    schema
}

/// Schemas are gone through so deep.
const MAX_SCHEMA_DEPTH: u32 = 64;

fn end_numbers(schema: &mut Value, depth: u32) {
    let Some(object) = schema.as_object_mut().filter(|_| depth > 0) else { return };
    let is_number = |kind: &Value| kind == "number";
    let may_be_number = match object.get("type") {
        Some(Value::Array(kinds)) => kinds.iter().any(is_number),
        Some(kind) => is_number(kind),
        None => false,
    };
    if may_be_number && !object.contains_key("multipleOf") {
        object.insert("multipleOf".into(), json!(0.000001));
    }
    for (name, value) in object.iter_mut() {
        match (name.as_str(), value) {
            ("properties" | "patternProperties" | "$defs" | "definitions", Value::Object(all)) => {
                all.values_mut().for_each(|schema| end_numbers(schema, depth - 1));
            }
            ("anyOf" | "oneOf" | "allOf" | "prefixItems", Value::Array(all)) => {
                all.iter_mut().for_each(|schema| end_numbers(schema, depth - 1));
            }
            ("items" | "additionalProperties", schema) => end_numbers(schema, depth - 1),
            _ => {}
        }
    }
}

/// Keeps one answer to its form.
pub(crate) trait Held: Send {
    /// Makes tokens impossible that may not come next.
    fn mask(&mut self, logits: &mut [f32]) -> Result<()>;

    /// Takes a token that was chosen; whether nothing can follow it.
    fn accept(&mut self, token: Token) -> Result<bool>;
}

impl Constraint {
    /// Whether it is understood, and with this tokenizer.
    ///
    /// # Errors
    /// [`crate::Error::Request`] with what is not.
    pub fn check(&self, tokenizer: &Tokenizer) -> Result<()> {
        hold(self, tokenizer).map(|_| ())
    }
}
