//! Which parts a model's graphs are made of, and what its checkpoint calls them, as data (`data/exports.json`).
//! Knows the table's shape; must not know operators or tensors.
//! Sources of the table: transformers' `modeling_<model_type>.py` and `configuration_<model_type>.py`.

use crate::Error;
use serde::Deserialize;

/// A number of the configuration, by its key, and what it is where the key is missing.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Number(pub(super) String, pub(super) f64);

/// A text of the configuration, likewise.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Text(pub(super) String, pub(super) String);

/// A kind of model.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Architecture {
    /// As `model_type` of the configuration says.
    pub(super) model_types: Vec<String>,
    /// What names of tensors begin with, unless the checkpoint leaves it out.
    pub(super) optional_prefix: String,
    pub(super) graphs: Vec<Row>,
}

/// One of its graphs: a front, layers of attention and feed-forward with a norm before each, and ends.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Row {
    /// Name of the file, without its ending.
    pub(super) file: String,
    /// The part of the configuration that the keys are of; empty for the whole.
    pub(super) config: String,
    pub(super) layers: Number,
    pub(super) heads: Number,
    pub(super) width: Number,
    pub(super) epsilon: Number,
    pub(super) activation: Text,
    pub(super) front: Front,
    pub(super) layer: Layer,
    /// The norm behind the last layer.
    pub(super) norm: Option<String>,
    pub(super) ends: Vec<End>,
}

/// What goes in.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Front {
    /// A picture cut into patches.
    Pictures {
        image: Number,
        patch: Number,
        channels: Number,
        projection: String,
        class_token: String,
        positions: String,
        norm: Option<String>,
    },
    /// Tokens, each of which sees those before it.
    Tokens {
        embedding: String,
        positions: String,
        /// Whether keys and values of earlier tokens come in and go out.
        cached: bool,
    },
    /// A spectrogram, which two convolutions make half as long.
    Sound {
        bins: Number,
        frames: Number,
        /// Behind each convolution, whatever the configuration says of the layers.
        activation: String,
        first: String,
        second: String,
        positions: String,
    },
}

/// A layer's tensors; `{}` stands for its number.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Layer {
    pub(super) prefix: String,
    pub(super) attention: Attention,
    /// Attention to what an encoder made, whose keys and values come in.
    pub(super) cross: Option<Attention>,
    /// The norm before the feed-forward.
    pub(super) norm: String,
    pub(super) up: String,
    pub(super) down: String,
}

/// Attention's tensors.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Attention {
    pub(super) norm: String,
    pub(super) query: String,
    pub(super) key: String,
    pub(super) value: String,
    pub(super) output: String,
}

/// What comes out.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum End {
    /// Every vector.
    Hidden {
        output: String,
        /// Not where the checkpoint has this tensor.
        unless: Option<String>,
    },
    /// What a matrix makes of the first vector.
    First {
        output: String,
        norm: Option<String>,
        linear: String,
        /// Left out where the checkpoint has no such matrix.
        optional: bool,
    },
    /// What a matrix makes of the vector where a text ends.
    Closing {
        output: String,
        linear: String,
        /// The token that ends a text.
        end: Number,
        /// A number of that token that means the largest token instead.
        largest: i64,
    },
    /// A number for every token of the vocabulary.
    Vocabulary {
        output: String,
        own: String,
        /// The embedding, where there is no matrix of its own.
        shared: String,
    },
    /// Keys and values for a decoder that looks at this.
    Caches { layers: Number, heads: Number, prefix: String, key: String, value: String },
}

fn all() -> Vec<Architecture> {
    serde_json::from_str(include_str!("../../data/exports.json")).expect("the table is tested")
}

impl Architecture {
    /// The row of a model type.
    ///
    /// # Errors
    /// One that the table does not have.
    pub(super) fn of(model_type: &str) -> Result<Self, Error> {
        let known = all();
        let names: Vec<String> = known.iter().flat_map(|row| row.model_types.clone()).collect();
        let found = known.into_iter().find(|row| row.model_types.iter().any(|name| name == model_type));
        found.ok_or_else(|| Error::Setting {
            field: "config.json: model_type",
            expected: format!("one of {}", names.join(", ")),
            got: format!("`{model_type}`"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_whole_and_names_each_kind_once() {
        let rows = all();
        let mut names: Vec<&String> = rows.iter().flat_map(|row| &row.model_types).collect();
        let n = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), n);
        for row in rows.iter().flat_map(|row| &row.graphs) {
            assert!(row.layer.prefix.contains("{}") && !row.ends.is_empty(), "{}", row.file);
        }
        let error = Architecture::of("toaster").unwrap_err().to_string();
        assert!(error.contains("vit, clip, whisper") && error.contains("`toaster`"), "{error}");
    }
}
