//! Metadata keys as data: which configuration field feeds which key, in which type (`data/decoder.toml`).
//! Owns the table of what every decoder shares; must not know a family.

pub(crate) mod metadata;
pub(crate) mod rule;

use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::LazyLock;

static DECODER: LazyLock<Decoder> = LazyLock::new(|| {
    serde_json::from_slice(crate::tables::DECODER.json())
        .expect("the built-in table parses: every test of this crate reads it")
});

/// What every decoder family shares.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Decoder {
    /// What the text model's fields stand in, where a larger model's file encloses them.
    text_parts: Vec<String>,
    #[serde(rename = "key")]
    pub(crate) entries: Vec<Entry>,
    pub(crate) skip: Skip,
    pub(crate) prefix: Prefix,
    pub(crate) generic: Generic,
}

impl Decoder {
    /// The text part of a larger model's configuration, with its name.
    pub(crate) fn text_part<'a>(&self, root: &'a Map<String, Value>) -> Option<(&str, &'a Value)> {
        let stated = |part: &'_ String| root.get(part).filter(|value| !value.is_null());
        self.text_parts.iter().find_map(|part| Some((part.as_str(), stated(part)?)))
    }
}

/// One place in the order of keys.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Entry {
    Key(Key),
    Mechanism { mechanism: Mechanism },
}

/// A key that copies a field.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Key {
    pub(crate) name: String,
    #[serde(rename = "type")]
    pub(crate) kind: Kind,
    pub(crate) from: Vec<String>,
    called: Option<String>,
    #[serde(default)]
    pub(crate) words: BTreeMap<String, u32>,
    pub(crate) only: Option<bool>,
}

impl Key {
    /// The spelling that messages use.
    pub(crate) fn called(&self) -> &str {
        self.called.as_deref().unwrap_or(&self.from[0])
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    U32,
    F32,
    Bool,
}

/// Keys that code computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Mechanism {
    /// `rope.scaling.*`, `rope.dimension_sections`, `rope.freq_base`, `rope.freq_base_swa`.
    Rope,
    /// `general.file_type`.
    FileType,
}

/// Checkpoint tensors that no text decoder stores.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Skip {
    suffixes: Vec<String>,
    prefixes: Vec<String>,
    parts: Vec<String>,
}

impl Skip {
    /// Whether whoever runs the model computes the tensor.
    pub(crate) fn is_computed(&self, name: &str) -> bool {
        self.suffixes.iter().any(|suffix| name.ends_with(suffix))
    }

    pub(crate) fn matches(&self, name: &str) -> bool {
        self.is_computed(name)
            || self.prefixes.iter().any(|prefix| name.starts_with(prefix))
            || self.parts.iter().any(|part| name.contains(part))
    }
}

/// What a larger model puts around its decoder's names.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Prefix {
    pub(crate) drop: Vec<String>,
    pub(crate) outer: String,
}

/// When an unknown `model_type` counts as a plain decoder.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Generic {
    /// The `model_type` whose rules it follows.
    pub(crate) like: String,
    pub(crate) needs: Vec<String>,
    pub(crate) foreign: Vec<String>,
}

/// The shared table.
pub(crate) fn decoder() -> &'static Decoder {
    &DECODER
}

/// The shared key called `name`.
///
/// # Panics
/// When the built-in table has no such key; names are fixed in code and tests look each one up.
pub(crate) fn key(name: &str) -> &'static Key {
    let keys = DECODER.entries.iter().filter_map(|entry| match entry {
        Entry::Key(key) => Some(key),
        Entry::Mechanism { .. } => None,
    });
    let found = keys.into_iter().find(|key| key.name == name);
    found.expect("the built-in table has every key that detection asks for")
}
