//! What a family is called, and how its names are spelled in checkpoints and in GGUF.
//! Owns the table `[family]`; must not know tensors.

use crate::Form;
use serde::Deserialize;
use std::collections::BTreeMap;

/// The table `[family]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Identity {
    pub(super) id: String,
    pub(super) architecture: String,
    /// Tables of `data/parts` that its tensors are in, before its own.
    pub(super) parts: Vec<String>,
    /// Whether it writes, reads, or reads and then writes.
    #[serde(default)]
    pub(super) form: Form,
    /// What stands before the names of a layer's tensors in the checkpoint.
    #[serde(default = "layers_of_decoders")]
    pub(super) layers: String,
    /// And in GGUF.
    #[serde(default = "blocks_of_decoders")]
    pub(super) blocks: String,
    /// The encoder in front of the decoder.
    pub(super) encoder: Option<EncoderNames>,
    /// What checkpoints may have in front of their names, and names do without.
    #[serde(default)]
    pub(super) drop: Vec<String>,
    /// Beginnings of names, then without that, of tensors that are not part of the model.
    #[serde(default)]
    pub(super) skip: Vec<String>,
    /// Older ends of names, and what is written for them now.
    #[serde(default)]
    pub(super) respell: BTreeMap<String, String>,
}

/// The layers of an encoder in front of a decoder.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EncoderNames {
    /// Tables of `data/parts` whose rows of layers are its own.
    pub(super) parts: Vec<String>,
    /// What stands before the names of its tensors in the checkpoint.
    pub(super) layers: String,
    /// And in GGUF.
    pub(super) blocks: String,
}

fn layers_of_decoders() -> String {
    "model.layers.{layer}.".into()
}

fn blocks_of_decoders() -> String {
    "blk.{layer}.".into()
}
