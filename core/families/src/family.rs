//! Families as data: the TOML tables of `data/`, and how a family is found.
//! Owns loading; must not branch on a family's name.

use crate::Role;
use crate::extent::Extent;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::LazyLock;

const SOURCES: [(&str, &str); 4] = [
    ("llama.toml", include_str!("../data/llama.toml")),
    ("qwen2.toml", include_str!("../data/qwen2.toml")),
    ("qwen3.toml", include_str!("../data/qwen3.toml")),
    ("qwen3moe.toml", include_str!("../data/qwen3moe.toml")),
];

static FAMILIES: LazyLock<Vec<Family>> = LazyLock::new(|| {
    let parse = |(name, text): &(&str, &str)| match toml::from_str(text) {
        Ok(family) => family,
        Err(error) => panic!("built-in family {name} does not parse: {error}"),
    };
    SOURCES.iter().map(parse).collect()
});

/// One family: checkpoints, names, shapes and keys of one GGUF architecture, as its TOML file states them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Family {
    family: Identity,
    #[serde(rename = "checkpoint")]
    pub(crate) checkpoints: Vec<Checkpoint>,
    #[serde(default, rename = "require")]
    pub(crate) requirements: Vec<Requirement>,
    #[serde(default)]
    pub(crate) mechanisms: Mechanisms,
    #[serde(default, rename = "extra_key")]
    pub(crate) extra_keys: Vec<ExtraKey>,
    #[serde(rename = "tensor")]
    pub(crate) tensors: Vec<TensorRule>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Identity {
    id: String,
    architecture: String,
}

/// One `model_type` of config.json.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Checkpoint {
    pub(crate) model_type: String,
    /// Values of fields that the file may leave out.
    #[serde(default)]
    pub(crate) defaults: BTreeMap<String, Value>,
    /// The same, computed from other fields.
    #[serde(default)]
    pub(crate) derived: BTreeMap<String, Extent>,
    /// Whether its feed-forwards are routed experts.
    #[serde(default)]
    pub(crate) routed: bool,
}

/// A field that, where it is there, must hold one of some values.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Requirement {
    pub(crate) field: String,
    pub(crate) one_of: Vec<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Mechanisms {
    /// Llama-3 RoPE scaling is stored as a generated tensor of factors, `rope_freqs.weight`.
    #[serde(default)]
    pub(crate) llama3_rope_factors: bool,
    /// The tokenizer's `add_prefix_space` is stated in GGUF.
    #[serde(default)]
    states_space_prefix: bool,
    /// A vocabulary of this size never gets a beginning-of-sequence token.
    never_adds_bos_at: Option<usize>,
}

/// A key behind those that every decoder has; always a u32.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExtraKey {
    pub(crate) key: String,
    pub(crate) from: String,
    /// The value where the field is not there; without it, no key.
    #[serde(rename = "else")]
    pub(crate) otherwise: Option<Extent>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TensorRule {
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) role: Role,
    /// Contiguous dimension first.
    pub(crate) dims: Vec<Extent>,
    #[serde(default)]
    pub(crate) transform: Transform,
    pub(crate) when: Option<Condition>,
}

/// When a tensor exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Condition {
    Untied,
    AttentionBias,
    MlpBias,
    /// In layers without a router.
    Dense,
    /// In layers with one.
    Routed,
}

/// What happens to the values on the way to GGUF.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transform {
    /// Taken as they are.
    #[default]
    None,
    /// Rows of each query head go from halves to interleaved pairs, the order ggml's RoPE expects:
    /// `[n_heads, 2, rows / n_heads / 2, …]` with axes 1 and 2 exchanged. Biases likewise.
    PermuteQueryHeads,
    /// The same for key heads (`n_kv_heads`).
    PermuteKeyHeads,
}

impl Family {
    /// Every built-in family.
    pub fn all() -> &'static [Family] {
        &FAMILIES
    }

    /// The family that `model_type` of a config.json names.
    pub fn for_model_type(model_type: &str) -> Option<&'static Family> {
        FAMILIES.iter().find(|family| family.checkpoint(model_type).is_some())
    }

    /// The family of a GGUF `general.architecture`.
    pub fn for_architecture(architecture: &str) -> Option<&'static Family> {
        FAMILIES.iter().find(|family| family.architecture() == architecture)
    }

    /// Family id, e.g. `qwen3`.
    pub fn id(&self) -> &str {
        &self.family.id
    }

    /// `general.architecture` in GGUF.
    pub fn architecture(&self) -> &str {
        &self.family.architecture
    }

    /// The `model_type`s it answers to, the usual one first.
    pub fn model_types(&self) -> impl Iterator<Item = &str> {
        self.checkpoints.iter().map(|checkpoint| checkpoint.model_type.as_str())
    }

    /// Whether the tokenizer's `add_prefix_space` is stated in GGUF.
    pub fn states_space_prefix(&self) -> bool {
        self.mechanisms.states_space_prefix
    }

    /// The vocabulary size at which no beginning-of-sequence token is ever added.
    pub fn never_adds_bos_at(&self) -> Option<usize> {
        self.mechanisms.never_adds_bos_at
    }

    pub(crate) fn checkpoint(&self, model_type: &str) -> Option<&Checkpoint> {
        self.checkpoints.iter().find(|checkpoint| checkpoint.model_type == model_type)
    }

    /// What the GGUF tensor `name` does; [`Role::Other`] where no rule names it.
    pub fn role_of(&self, name: &str) -> Role {
        crate::role_of(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_lead_to_their_family() {
        assert_eq!(Family::for_model_type("mistral").map(Family::id), Some("llama"));
        assert_eq!(Family::for_model_type("mixtral").map(Family::id), Some("llama"));
        assert_eq!(Family::for_architecture("qwen3moe").map(Family::id), Some("qwen3moe"));
        assert!(Family::for_model_type("nothing").is_none());
    }

    #[test]
    fn identifiers_and_names_stand_once_and_roles_agree_with_the_table() {
        let (mut architectures, mut types) = (HashSet::new(), HashSet::new());
        for family in Family::all() {
            assert!(architectures.insert(family.architecture()));
            assert!(family.model_types().all(|model_type| types.insert(model_type.to_string())));
            let mut names = HashSet::new();
            for rule in &family.tensors {
                assert!(names.insert((rule.from.as_str(), rule.to.as_str())), "{}", rule.from);
                assert_eq!(crate::role_of(&rule.to.replace("{layer}", "7")), rule.role, "{}", rule.to);
            }
        }
    }
}
