//! What graphs of ONNX must know of a network beside its tensors and metadata, as data (`data/onnx.toml`).
//! Owns the table; must not know operators.

use families::{Description, Error};
use serde::Deserialize;
use std::sync::LazyLock;

static NETWORKS: LazyLock<Vec<Network>> = LazyLock::new(|| {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Table {
        network: Vec<Network>,
    }
    let table: Table = serde_json::from_slice(include_bytes!(concat!(env!("OUT_DIR"), "/onnx.json")))
        .expect("the built-in table parses: every test of this file reads it");
    table.network
});

/// What a network computes that no tensor tells.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Network {
    architectures: Vec<String>,
    /// Which elements of a head turn together.
    pub(super) rotary: Rotary,
    /// What the feed-forward's gate goes through.
    #[serde(default)]
    pub(super) activation: Activation,
    /// Whether embeddings are multiplied by the square root of their width.
    #[serde(default)]
    pub(super) scales_embedding: bool,
    wide_queries_in_layers: Option<u32>,
    /// What onnxruntime-genai calls it.
    pub(super) server: String,
}

/// Which elements of a head turn together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Rotary {
    /// Element `i` of the first half and element `i` of the second.
    Halves,
    /// Neighbours.
    Pairs,
}

/// What a gate goes through.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Activation {
    /// `x · σ(x)`.
    #[default]
    Silu,
    /// Gelu by a hyperbolic tangent.
    GeluTanh,
}

impl Network {
    /// The network of models of this architecture.
    ///
    /// # Errors
    /// An architecture that the table does not have.
    pub(super) fn of(description: &Description) -> Result<&'static Self, Error> {
        let stated = &description.architecture;
        let found = NETWORKS.iter().find(|network| network.architectures.contains(stated));
        found.ok_or_else(|| {
            let mut known: Vec<&str> = NETWORKS
                .iter()
                .flat_map(|network| network.architectures.iter().map(String::as_str))
                .collect();
            known.sort_unstable();
            Error::Field {
                field: "general.architecture".into(),
                expected: format!("one whose graph in ONNX is known ({})", known.join(", ")),
                got: format!("`{stated}`"),
            }
        })
    }

    /// What products of queries and keys of `key_dim` elements are multiplied by.
    pub(super) fn attention_scale(&self, description: &Description, key_dim: u32) -> f32 {
        let is_wide = self.wide_queries_in_layers == Some(description.n_layers);
        let width = match is_wide {
            true => description.hidden_size as f64 / f64::from(description.n_heads.max(1)),
            false => f64::from(key_dim),
        };
        width.powf(-0.5) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn description(model_type: &str, layers: u32) -> Description {
        let config = json!({"model_type": model_type, "hidden_size": 4608, "intermediate_size": 64,
            "num_hidden_layers": layers, "num_attention_heads": 32, "num_key_value_heads": 16, "head_dim": 128,
            "query_pre_attn_scalar": if layers == 46 { 144 } else { 128 }, "vocab_size": 32,
            "max_position_embeddings": 64, "rms_norm_eps": 1e-6});
        families::detect_config(&config).expect("a whole configuration")
    }

    #[test]
    fn every_architecture_is_named_once() {
        let mut all: Vec<&String> = NETWORKS.iter().flat_map(|network| &network.architectures).collect();
        let n = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), n);
    }

    #[test]
    fn scales_are_the_models_own() {
        let small = description("gemma2", 4);
        let network = Network::of(&small).expect("known");
        assert_eq!(network.attention_scale(&small, 256), 1.0 / 16.0);
        let large = description("gemma2", 46);
        assert_eq!(network.attention_scale(&large, 128), 1.0 / 12.0);
        assert_eq!((network.activation, network.scales_embedding), (Activation::GeluTanh, true));
    }

    #[test]
    fn others_are_refused_by_name() {
        let other = Description { architecture: "command-r".into(), ..description("gemma2", 4) };
        let error = Network::of(&other).expect_err("unknown").to_string();
        assert!(error.contains("`command-r`") && error.contains("qwen3moe"), "{error}");
    }
}
