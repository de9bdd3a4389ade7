//! Families as data: the TOML tables, and how a checkpoint's tensor names map to GGUF's.

use crate::{Error, Role};
use serde::Deserialize;
use std::sync::LazyLock;

const SOURCES: [(&str, &str); 4] = [
    ("llama.toml", include_str!("../data/llama.toml")),
    ("mixtral.toml", include_str!("../data/mixtral.toml")),
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

/// One family: detection, names, shapes and keys, as its TOML file states them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Family {
    family: Identity,
    #[serde(default)]
    pub(crate) defaults: toml::Table,
    #[serde(default)]
    pub(crate) mechanisms: Mechanisms,
    #[serde(default, rename = "extra_key")]
    pub(crate) extra_keys: Vec<ExtraKey>,
    #[serde(rename = "tensor")]
    pub(crate) tensors: Vec<TensorRule>,
    #[serde(default, rename = "skip")]
    skips: Vec<Skip>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Identity {
    id: String,
    architecture: String,
    model_types: Vec<String>,
    key_length: KeyLength,
}

/// When `attention.key_length` is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum KeyLength {
    Always,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Mechanisms {
    /// Llama-3 RoPE scaling is stored as a generated tensor of factors, `rope_freqs.weight`.
    #[serde(default)]
    pub(crate) llama3_rope_factors: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExtraKey {
    pub(crate) key: String,
    pub(crate) from: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TensorRule {
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) role: Role,
    pub(crate) dims: Vec<Extent>,
    #[serde(default)]
    pub(crate) transform: Transform,
    pub(crate) when: Option<Condition>,
}

/// An extent of a tensor, in the terms of the description.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Extent {
    Hidden,
    Vocab,
    Query,
    KeyValue,
    HeadDim,
    Ffn,
    ExpertFfn,
    Experts,
}

/// When a tensor exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Condition {
    Untied,
    AttentionBias,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Skip {
    suffix: String,
}

/// What happens to the values on the way to GGUF.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transform {
    /// Taken as they are.
    #[default]
    None,
    /// Rows of each query head go from halves to interleaved pairs, the order ggml's RoPE expects.
    PermuteQueryHeads,
    /// The same for key heads.
    PermuteKeyHeads,
}

/// What becomes of one tensor of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mapping {
    /// It is written.
    Tensor {
        /// Name in GGUF.
        name: String,
        /// What it does.
        role: Role,
        /// What happens to its values.
        transform: Transform,
        /// Layer it belongs to.
        layer: Option<u32>,
        /// Place in the stack, for experts that are stored stacked.
        expert: Option<u32>,
    },
    /// It is left out: it can be computed from the configuration.
    Skip,
}

impl Family {
    /// Every built-in family.
    pub fn all() -> &'static [Family] {
        &FAMILIES
    }

    /// The family that `model_type` of a config.json names.
    pub fn for_model_type(model_type: &str) -> Option<&'static Family> {
        FAMILIES.iter().find(|family| family.family.model_types.iter().any(|known| known == model_type))
    }

    /// The family of a GGUF `general.architecture`; `routed` tells families of one architecture apart.
    pub fn for_architecture(architecture: &str, routed: bool) -> Option<&'static Family> {
        let mut matching = FAMILIES.iter().filter(|family| family.architecture() == architecture);
        matching.clone().find(|family| family.is_routed() == routed).or_else(|| matching.next())
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
    pub fn model_types(&self) -> &[String] {
        &self.family.model_types
    }

    /// Whether its feed-forward has routed experts.
    pub fn is_routed(&self) -> bool {
        self.tensors.iter().any(|rule| rule.role.is_routed_expert())
    }

    pub(crate) fn key_length(&self) -> KeyLength {
        self.family.key_length
    }

    /// What becomes of the checkpoint's tensor `name`.
    ///
    /// # Errors
    /// A name that no rule of the family covers.
    pub fn map_tensor(&self, name: &str) -> Result<Mapping, Error> {
        if self.skips.iter().any(|skip| name.ends_with(&skip.suffix)) {
            return Ok(Mapping::Skip);
        }
        for rule in &self.tensors {
            if let Some((layer, expert)) = match_name(&rule.from, name) {
                let name = match layer {
                    Some(layer) => rule.to.replace("{layer}", &layer.to_string()),
                    None => rule.to.clone(),
                };
                return Ok(Mapping::Tensor {
                    name,
                    role: rule.role,
                    transform: rule.transform,
                    layer,
                    expert,
                });
            }
        }
        Err(Error::UnknownTensor { tensor: name.into(), family: self.id().into() })
    }

    /// GGUF names of the expert stacks of `layer`, in the order in which they are stored.
    pub fn expert_stacks(&self, layer: u32) -> Vec<String> {
        let stacked = self.tensors.iter().filter(|rule| rule.from.contains("{expert}"));
        stacked.map(|rule| rule.to.replace("{layer}", &layer.to_string())).collect()
    }

    /// What the GGUF tensor `name` does; [`Role::Other`] where no rule names it.
    pub fn role_of(&self, name: &str) -> Role {
        if name == "rope_freqs.weight" {
            return Role::RopeFactors;
        }
        let rule = self.tensors.iter().find(|rule| match_name(&rule.to, name).is_some());
        rule.map_or(Role::Other, |rule| rule.role)
    }
}

/// Matches `name` against a pattern with `{layer}` and `{expert}` places.
fn match_name(pattern: &str, name: &str) -> Option<(Option<u32>, Option<u32>)> {
    let (mut layer, mut expert) = (None, None);
    let mut rest = name;
    let mut pattern = pattern;
    while let Some(open) = pattern.find('{') {
        rest = rest.strip_prefix(&pattern[..open])?;
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: u32 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let close = open + pattern[open..].find('}')?;
        match &pattern[open + 1..close] {
            "layer" => layer = Some(number),
            "expert" => expert = Some(number),
            _ => return None,
        }
        pattern = &pattern[close + 1..];
    }
    (rest == pattern).then_some((layer, expert))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_family_parses_and_maps_its_own_names() {
        for family in Family::all() {
            for rule in &family.tensors {
                let name = rule.from.replace("{layer}", "3").replace("{expert}", "5");
                let Mapping::Tensor { name: gguf, role, .. } = family.map_tensor(&name).unwrap() else {
                    panic!("{name}")
                };
                assert_eq!(family.role_of(&gguf), role, "{gguf}");
            }
        }
    }

    #[test]
    fn names_lead_to_their_family() {
        assert_eq!(Family::for_model_type("mistral").unwrap().id(), "llama");
        assert_eq!(Family::for_architecture("llama", true).unwrap().id(), "mixtral");
        assert_eq!(Family::for_architecture("llama", false).unwrap().id(), "llama");
        assert!(Family::for_model_type("nothing").is_none());
    }

    #[test]
    fn unknown_tensors_are_named_and_computed_ones_skipped() {
        let family = Family::for_model_type("llama").unwrap();
        assert_eq!(family.map_tensor("model.layers.0.self_attn.rotary_emb.inv_freq").unwrap(), Mapping::Skip);
        assert!(family.map_tensor("model.layers.0.mystery").unwrap_err().to_string().contains("mystery"));
        assert!(family.map_tensor("model.layers.99999999999.mlp.up_proj.weight").is_err());
    }
}
