//! Families as data: the TOML tables of `data/`, and how a family is found.
//! Owns loading; must not branch on a family's name.

mod checkpoint;
mod identity;
mod reranker;

use crate::config::Config;
use crate::detect::schedule::Schedule;
use crate::extent::Extent;
use crate::keys::rule::{KeyRule, Replacement};
use crate::tensors::rule::{Condition, TensorRule, TensorTable};
use crate::{Error, Form, Role, tables};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

pub use reranker::Reranker;

use identity::Identity;

pub(crate) use checkpoint::{Checkpoint, Classifier, Requirement};

static FAMILIES: LazyLock<Vec<Family>> = LazyLock::new(|| {
    let parse = |(name, table): &(&str, tables::Table)| match Family::parse(table.json()) {
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

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Mechanisms {
    /// Kinds of RoPE scaling that are stored as generated tensors of factors; others of these kinds are not applied.
    #[serde(default)]
    pub(crate) rope_factors: Vec<RopeFactors>,
    /// The width of dense feed-forwards, where it is not the usual field.
    pub(crate) dense_ffn: Option<DenseFfn>,
    /// Sections of the rotary dimensions where the configuration states none: time, height, width, more.
    #[serde(default)]
    pub(crate) rotary_sections: Vec<i32>,
    /// Layers behind the stated number of them predict further tokens, and are left out.
    #[serde(default)]
    pub(crate) leaves_out_predictions: bool,
    /// Matrices whose `.scale` beside them the engine's graph multiplies onto their products, without `.weight`.
    #[serde(default)]
    scaled_products: Vec<String>,
    /// Special tokens by kind that the tokenizer's files leave to be known by their text.
    #[serde(default)]
    special_tokens: BTreeMap<String, String>,
    /// The tokenizer's `add_prefix_space` is stated in GGUF.
    #[serde(default)]
    states_space_prefix: bool,
    /// Added tokens of tokenizer.json lie over those of a tokenizer.model.
    #[serde(default)]
    added_over_sentencepiece: bool,
    /// How byte-pair encodings of characters, with tokens for bytes, are stated where it is not as SentencePiece's.
    byte_fallback: Option<ByteFallback>,
    /// Some of its checkpoints are rerankers.
    reranker: Option<Reranker>,
    /// Tokens are put around and between texts, unless the tokenizer's files say otherwise.
    #[serde(default)]
    adds_around: bool,
    /// Files that hold a SentencePiece model of the unigram kind, the first that is there counts.
    #[serde(default)]
    unigram_files: Vec<String>,
    /// Files beside a checkpoint say how vectors become one.
    #[serde(default)]
    states_pooling: bool,
    /// Checkpoints may end in scores of the whole text.
    pub(crate) classifier: Option<Classifier>,
    /// The engine keeps an embedding that is the output as well twice.
    #[serde(default)]
    copies_tied_embedding: bool,
    /// A vocabulary of this size never gets a beginning-of-sequence token.
    never_adds_bos_at: Option<usize>,
}

/// A byte-pair encoding of characters, with tokens for bytes, that goes by its merges and not by scores.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ByteFallback {
    /// `tokenizer.ggml.model`.
    pub model: String,
    /// Whether a text always begins with BOS.
    #[serde(default)]
    pub adds_bos: bool,
    /// Special tokens that are printed as texts are.
    #[serde(default)]
    pub printed: Vec<String>,
}

/// Where the width of dense feed-forwards is stated, and what is done to it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DenseFfn {
    /// A field that counts before the usual one.
    stated: String,
    adjusted: Option<AdjustedFfn>,
}

/// Two thirds of a width, times a factor, rounded up to a multiple: fields with the numbers.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AdjustedFfn {
    /// Whether it is.
    when: String,
    factor: String,
    multiple_of: String,
}

impl DenseFfn {
    /// The width of dense feed-forwards; `usual` is what the usual field says.
    ///
    /// # Errors
    /// A field of another type.
    pub(crate) fn width(&self, config: &Config<'_>, usual: u64) -> Result<u64, Error> {
        let stated = config.extent(&self.stated)?.unwrap_or(usual);
        let Some(adjusted) = &self.adjusted else { return Ok(stated) };
        if !config.boolean(&adjusted.when)?.unwrap_or(false) {
            return Ok(stated);
        }
        let factor = config.number(&adjusted.factor)?.unwrap_or(1.0);
        let width = ((2 * stated / 3) as f64 * factor) as u64;
        Ok(width.next_multiple_of(config.required_extent(&adjusted.multiple_of)?))
    }
}

/// Kinds of RoPE scaling whose factors are tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RopeFactors {
    /// Llama 3's interpolation: `rope_freqs.weight`.
    Llama3,
    /// Some pairs of each head that sees everything stay as they are: `rope_freqs.weight`.
    Proportional,
    /// LongRoPE: `rope_factors_long.weight` and `rope_factors_short.weight`, with a factor of attention as a key.
    Long,
}

impl FamilyTable {
    /// What stands before the names of a layer's tensors in the checkpoint.
    pub(crate) fn layers_prefix(&self) -> &str {
        &self.family.layers
    }
}

/// A table of `data/parts`.
fn part(name: &str) -> Result<TensorTable, String> {
    let found = tables::PARTS.iter().find(|(known, _)| *known == name);
    let (_, table) = found.ok_or_else(|| format!("no part `{name}` in data/parts"))?;
    serde_json::from_slice(table.json()).map_err(|error| format!("part `{name}`: {error}"))
}

impl Family {
    /// Reads a file of `data/families`, as JSON.
    fn parse(json: &[u8]) -> Result<Self, String> {
        let table: FamilyTable = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        let identity = &table.family;
        let rules = |part: &TensorTable| part.rules(&identity.layers, &identity.blocks);
        let mut tensors = Vec::new();
        for name in &identity.parts {
            tensors.extend(rules(&part(name)?)?);
        }
        if let Some(encoder) = &identity.encoder {
            for name in &encoder.parts {
                tensors.extend(part(name)?.encoder_rules(&encoder.layers, &encoder.blocks)?);
            }
        }
        tensors.extend(rules(&table.own_tensors)?);
        Ok(Self { table, tensors })
    }

    /// Every built-in family.
    pub fn all() -> &'static [Family] {
        &FAMILIES
    }

    /// The family of a configuration whose `model_type` is this one, and its kind of checkpoint.
    pub(crate) fn for_config(
        config: &Config<'_>,
        model_type: &str,
    ) -> Option<(&'static Family, &'static Checkpoint)> {
        let found = FAMILIES.iter().filter_map(|family| Some((family, family.checkpoint(model_type)?)));
        found.into_iter().find(|(_, checkpoint)| checkpoint.when.iter().all(|test| test.holds(config)))
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

    /// Whether its models write, read, or read and then write.
    pub fn form(&self) -> Form {
        self.table.family.form
    }

    /// What stands before the names of layers in GGUF, without their numbers; of the encoder in front of a decoder, too.
    pub(crate) fn block_prefixes(&self) -> (&str, Option<&str>) {
        let cut = |blocks: &str| blocks.find('{').unwrap_or(blocks.len());
        let identity = &self.table.family;
        let encoder = identity.encoder.as_ref().map(|encoder| &encoder.blocks[..cut(&encoder.blocks)]);
        (&identity.blocks[..cut(&identity.blocks)], encoder)
    }

    /// What makes some of its checkpoints rerankers.
    pub fn reranker(&self) -> Option<&Reranker> {
        self.table.mechanisms.reranker.as_ref()
    }

    /// How its byte-pair encodings of characters are stated, where that is not as SentencePiece's.
    pub fn byte_fallback(&self) -> Option<&ByteFallback> {
        self.table.mechanisms.byte_fallback.as_ref()
    }

    /// Whether tokens are put around and between texts, unless the tokenizer's files say otherwise.
    pub fn adds_tokens_around(&self) -> bool {
        self.table.mechanisms.adds_around
    }

    /// Files that hold a SentencePiece model of the unigram kind, the first that is there counts.
    pub fn unigram_files(&self) -> impl Iterator<Item = &str> {
        self.table.mechanisms.unigram_files.iter().map(String::as_str)
    }

    /// Whether a checkpoint's files beside it say how vectors become one.
    pub fn states_pooling(&self) -> bool {
        self.table.mechanisms.states_pooling
    }

    /// A checkpoint's name as this family's rows spell it.
    pub(crate) fn spelled(&self, name: &str) -> String {
        let identity = &self.table.family;
        let name = identity.drop.iter().find_map(|prefix| name.strip_prefix(prefix.as_str())).unwrap_or(name);
        let older =
            identity.respell.iter().find_map(|(old, new)| Some((name.strip_suffix(old.as_str())?, new)));
        older.map_or_else(|| name.to_string(), |(stem, end)| format!("{stem}{end}"))
    }

    /// Whether the tensor spelled `name` is not part of the model.
    pub(crate) fn leaves_out(&self, name: &str) -> bool {
        self.table.family.skip.iter().any(|prefix| name.starts_with(prefix.as_str()))
    }

    /// The `model_type`s it answers to, the usual one first.
    pub fn model_types(&self) -> impl Iterator<Item = &str> {
        self.table.checkpoints.iter().flat_map(Checkpoint::names)
    }

    /// Whether the engine multiplies what `.scale` beside the GGUF tensor `name` holds onto its products.
    pub fn scales_product_of(&self, name: &str) -> bool {
        let part =
            name.strip_prefix("blk.").and_then(|rest| rest.split_once('.')).map_or(name, |(_, part)| part);
        let part = part.strip_suffix(".weight").unwrap_or(part);
        self.table.mechanisms.scaled_products.iter().any(|scaled| scaled == part)
    }

    /// Whether the tokenizer's `add_prefix_space` is stated in GGUF.
    pub fn states_space_prefix(&self) -> bool {
        self.table.mechanisms.states_space_prefix
    }

    /// Whether the engine keeps an embedding that is the output as well twice.
    pub fn copies_tied_embedding(&self) -> bool {
        self.table.mechanisms.copies_tied_embedding
    }

    /// Special tokens, kind and text, that the tokenizer's files of checkpoints of this type leave to be known.
    pub fn special_tokens(&self, model_type: &str) -> impl Iterator<Item = (&str, &str)> {
        let own = self.checkpoint(model_type).into_iter().flat_map(|checkpoint| &checkpoint.special_tokens);
        let all = self.table.mechanisms.special_tokens.iter().chain(own);
        all.map(|(kind, text)| (kind.as_str(), text.as_str()))
    }

    /// Whether added tokens of tokenizer.json lie over those of a tokenizer.model.
    pub fn adds_tokens_over_sentencepiece(&self) -> bool {
        self.table.mechanisms.added_over_sentencepiece
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

    /// Fields of the configuration that weights are multiplied by, each once.
    pub(crate) fn factor_fields(&self) -> impl Iterator<Item = &str> {
        let fields: BTreeSet<&str> =
            self.tensors.iter().flat_map(|rule| rule.times.iter().flatten()).map(String::as_str).collect();
        fields.into_iter()
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
    use serde_json::Value;
    use std::collections::HashSet;

    #[test]
    fn names_lead_to_their_family() {
        let of_type = |model_type: &str| {
            let config = serde_json::json!({"model_type": model_type});
            Family::for_config(&Config::new(&config).expect("an object"), model_type).map(|(f, _)| f.id())
        };
        assert_eq!(of_type("mistral"), Some("llama"));
        assert_eq!(of_type("mixtral"), Some("llama"));
        assert_eq!(of_type("nothing"), None);
        assert_eq!(Family::for_architecture("qwen3moe").map(Family::id), Some("qwen3moe"));
    }

    #[test]
    fn identifiers_and_names_stand_once_and_have_a_role() {
        let (mut architectures, mut types) = (HashSet::new(), HashSet::new());
        for family in Family::all() {
            assert!(architectures.insert(family.architecture()));
            for checkpoint in &family.table.checkpoints {
                // Families share a type only where each says which configurations are its own.
                let mut names = checkpoint.names();
                assert!(names.all(|name| types.insert(name.to_string()) || !checkpoint.when.is_empty()));
            }
            let mut names = HashSet::new();
            for rule in &family.tensors {
                let when = format!("{:?}", rule.when);
                assert!(names.insert((rule.from.as_str(), rule.to.as_str(), when)), "{}", rule.from);
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
            Family::parse(json.to_string().as_bytes())
        };
        assert!(parse(table("'embedding'")).is_ok());
        assert!(parse(table("'nothing'")).is_err_and(|error| error.contains("`nothing`")));
        let unknown = format!("{}\n[mechanisms]\nmagic = true", table(""));
        assert!(parse(unknown).is_err_and(|error| error.contains("magic")));
    }
}
