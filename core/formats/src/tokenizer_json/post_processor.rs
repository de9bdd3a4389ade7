//! Post-processors: what is put around the tokens of a text.

use super::component::component;
use super::shared_parts::ByteLevel;
use serde::Deserialize;
use std::collections::BTreeMap;

component! {
    /// A post-processor.
    PostProcessor, sequence of "processors" {
        /// Trims offsets of byte-level tokens.
        "ByteLevel" => ByteLevel(ByteLevel),
        /// Tokens around texts by template.
        "TemplateProcessing" => Template {
            /// For one text.
            single: Vec<Piece>,
            /// For a pair of texts.
            pair: Vec<Piece>,
            /// The tokens that the templates name.
            special_tokens: BTreeMap<String, SpecialToken>,
        },
        /// BERT's `[CLS] A [SEP] B [SEP]`.
        "BertProcessing" => Bert {
            /// Separator: text and id.
            sep: (String, u32),
            /// Class token: text and id.
            cls: (String, u32),
        },
        /// RoBERTa's `<s> A </s></s> B </s>`.
        "RobertaProcessing" => Roberta {
            /// Separator: text and id.
            sep: (String, u32),
            /// Class token: text and id.
            cls: (String, u32),
            /// Leaves spaces out of offsets.
            trim_offsets: bool,
            /// Whether the pre-tokenizer puts a space before the text.
            add_prefix_space: bool,
        },
    }
}

/// A piece of a template.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub enum Piece {
    /// A text.
    Sequence {
        /// Which.
        id: SequenceId,
        /// Segment number of its tokens.
        type_id: u32,
    },
    /// A special token.
    SpecialToken {
        /// Its key in `special_tokens`.
        id: String,
        /// Segment number.
        type_id: u32,
    },
}

/// The texts of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum SequenceId {
    /// The first, or the only one.
    A,
    /// The second.
    B,
}

/// The tokens that one name of a template stands for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct SpecialToken {
    /// The name.
    pub id: String,
    /// Ids.
    pub ids: Vec<u32>,
    /// Texts.
    pub tokens: Vec<String>,
}
