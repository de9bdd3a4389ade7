//! Families as data: the TOML tables of `data/`, and how a family is found.
//! Owns loading; must not branch on a family's name.

use crate::detect::schedule::Schedule;
use crate::extent::Extent;
use crate::keys::rule::{KeyRule, Replacement};
use crate::tensors::rule::{Condition, TensorRule, TensorTable};
use crate::{Role, tables};
use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

static FAMILIES: LazyLock<Vec<Family>> = LazyLock::new(|| {
    let parse = |(name, text): &(&str, &str)| match Family::parse(text) {
        Ok(family) => family,
        Err(error) => panic!("built-in family {name}: {error}"),
    };
    tables::FAMILIES.iter().map(parse).collect()
});

/// One family: checkpoints, names, shapes and keys of one GGUF architecture, as its TOML file states them.
#[derive(Debug)]
pub struct Family {
    pub(crate) table: FamilyTable,
    pub(crate) tensors: Vec<TensorRule>,
}

/// A file of `data/families`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FamilyTable {
    family: Identity,
    #[serde(rename = "checkpoint")]
    pub(crate) checkpoints: Vec<Checkpoint>,
    #[serde(default, rename = "require")]
    pub(crate) requirements: Vec<Requirement>,
    #[serde(default)]
    pub(crate) mechanisms: Mechanisms,
    /// Which layer does what.
    #[serde(default)]
    pub(crate) layers: Schedule,
    /// Expressions over the configuration's fields for quantities that are spelled in an own way.
    #[serde(default)]
    pub(crate) quantities: BTreeMap<String, Extent>,
    /// Keys behind those that every decoder has.
    #[serde(default, rename = "key")]
    pub(crate) keys: Vec<KeyRule>,
    /// Keys of every decoder that this family writes in another way, at their place, or not at all.
    #[serde(default)]
    pub(crate) decoder_keys: BTreeMap<String, Replacement>,
    #[serde(default, rename = "tensors")]
    own_tensors: TensorTable,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Identity {
    id: String,
    architecture: String,
    /// Tables of `data/parts` that its tensors are in, before its own.
    parts: Vec<String>,
    /// What stands before the names of a layer's tensors in the checkpoint.
    #[serde(default = "layers_of_decoders")]
    layers: String,
    /// And in GGUF.
    #[serde(default = "blocks_of_decoders")]
    blocks: String,
}

fn layers_of_decoders() -> String {
    "model.layers.{layer}.".into()
}

fn blocks_of_decoders() -> String {
    "blk.{layer}.".into()
}

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
    /// The same, computed from other fields.
    #[serde(default)]
    pub(crate) derived: BTreeMap<String, Extent>,
    /// Whether its feed-forwards are routed experts.
    #[serde(default)]
    pub(crate) routed: bool,
}

impl Checkpoint {
    fn names(&self) -> impl Iterator<Item = &str> {
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
    /// Fields and their values with which alone it holds.
    #[serde(default)]
    pub(crate) only_with: BTreeMap<String, Value>,
    /// Fields and their values with which it does not hold.
    #[serde(default)]
    pub(crate) except_with: BTreeMap<String, Value>,
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

impl Family {
    /// Reads a file of `data/families`, as JSON.
    fn parse(text: &str) -> Result<Self, String> {
        let table: FamilyTable = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let identity = &table.family;
        let rules = |part: &TensorTable| part.rules(&identity.layers, &identity.blocks);
        let mut tensors = Vec::new();
        for part in &identity.parts {
            let found = tables::PARTS.iter().find(|(name, _)| name == part);
            let (_, text) = found.ok_or_else(|| format!("no part `{part}` in data/parts"))?;
            let part: TensorTable =
                serde_json::from_str(text).map_err(|error| format!("part `{part}`: {error}"))?;
            tensors.extend(rules(&part)?);
        }
        tensors.extend(rules(&table.own_tensors)?);
        Ok(Self { table, tensors })
    }

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
        &self.table.family.id
    }

    /// `general.architecture` in GGUF.
    pub fn architecture(&self) -> &str {
        &self.table.family.architecture
    }

    /// The `model_type`s it answers to, the usual one first.
    pub fn model_types(&self) -> impl Iterator<Item = &str> {
        self.table.checkpoints.iter().flat_map(Checkpoint::names)
    }

    /// Whether the tokenizer's `add_prefix_space` is stated in GGUF.
    pub fn states_space_prefix(&self) -> bool {
        self.table.mechanisms.states_space_prefix
    }

    /// The vocabulary size at which no beginning-of-sequence token is ever added.
    pub fn never_adds_bos_at(&self) -> Option<usize> {
        self.table.mechanisms.never_adds_bos_at
    }

    /// Fields of the configuration that decide which tensors there are, each once.
    pub(crate) fn flags(&self) -> impl Iterator<Item = &str> {
        let flags: BTreeSet<&str> =
            self.tensors.iter().flat_map(|rule| &rule.when).filter_map(Condition::flag).collect();
        flags.into_iter()
    }

    pub(crate) fn checkpoint(&self, model_type: &str) -> Option<&Checkpoint> {
        self.table.checkpoints.iter().find(|checkpoint| checkpoint.names().any(|name| name == model_type))
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
    fn identifiers_and_names_stand_once_and_have_a_role() {
        let (mut architectures, mut types) = (HashSet::new(), HashSet::new());
        for family in Family::all() {
            assert!(architectures.insert(family.architecture()));
            assert!(family.model_types().all(|model_type| types.insert(model_type.to_string())));
            let mut names = HashSet::new();
            for rule in &family.tensors {
                assert!(names.insert((rule.from.as_str(), rule.to.as_str())), "{}", rule.from);
                assert_ne!(rule.role, Role::Other, "{}", rule.to);
            }
        }
    }

    #[test]
    fn a_table_that_is_wrong_is_refused_with_the_reason() {
        let table = |parts: &str| {
            format!(
                "[family]\nid = 'x'\narchitecture = 'x'\nparts = [{parts}]\n[[checkpoint]]\nmodel_type = 'x'"
            )
        };
        let parse = |table: String| {
            let json: Value = toml::from_str(&table).expect("TOML");
            Family::parse(&json.to_string())
        };
        assert!(parse(table("'embedding'")).is_ok());
        assert!(parse(table("'nothing'")).is_err_and(|error| error.contains("`nothing`")));
        let unknown = format!("{}\n[mechanisms]\nmagic = true", table(""));
        assert!(parse(unknown).is_err_and(|error| error.contains("magic")));
    }
}
