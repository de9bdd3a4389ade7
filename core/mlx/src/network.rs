//! What is computed that neither tensors nor numbers tell, as data (`data/networks.toml`).
//! Owns the table; must not know operators.

use crate::Error;
use families::Description;
use serde::Deserialize;
use std::path::Path;
use std::sync::LazyLock;

static NETWORKS: LazyLock<Vec<Network>> = LazyLock::new(|| {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Table {
        network: Vec<Network>,
    }
    let table: Table = serde_json::from_slice(include_bytes!(concat!(env!("OUT_DIR"), "/networks.json")))
        .expect("the built-in table parses: every test of this file reads it");
    table.network
});

/// What a network computes that no tensor tells.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Network {
    architectures: Vec<String>,
    /// What the gate goes through.
    #[serde(default)]
    pub(crate) activation: Activation,
    /// How experts are chosen; `None` where there are none.
    pub(crate) router: Option<Router>,
    /// Whether of experts with equal scores the one is chosen that is found first among falling scores.
    #[serde(default)]
    pub(crate) ranks_falling: bool,
    #[serde(default = "usual_norm")]
    pub(crate) feed_forward_norm: String,
    /// Whether embeddings are multiplied by the square root of their width.
    #[serde(default)]
    pub(crate) scales_embedding: bool,
    wide_queries_in_layers: Option<u32>,
    /// Whether sums of the residual stream end at 16-bit floats' largest number.
    #[serde(default)]
    pub(crate) bounds_half_sums: bool,
}

fn usual_norm() -> String {
    "ffn_norm".into()
}

/// What a gate goes through.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Activation {
    /// `g · σ(g) · u`.
    #[default]
    Silu,
    /// Gelu by a hyperbolic tangent, times `u`.
    GeluTanh,
    /// `min(g, 7) · σ(1.702 · min(g, 7)) · (clamp(u, ±7) + 1)`.
    ClampedSilu,
}

/// How experts are chosen and weighed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Router {
    /// Shares of all; those of the chosen ones are made to add up to one.
    SoftmaxThenChoose,
    /// Shares of the chosen ones.
    ChooseThenSoftmax,
}

impl Network {
    /// Checks that models of this type may be computed, before anything else of a configuration is looked at.
    ///
    /// # Errors
    /// A `model_type` whose family has no network here.
    pub(crate) fn check(config_path: &Path, model_type: &str) -> Result<(), Error> {
        let mut families = families::Family::all().iter();
        let other = families.find(|family| family.model_types().any(|known| known == model_type));
        let is_known = |family: &families::Family| {
            NETWORKS
                .iter()
                .flat_map(|network| &network.architectures)
                .any(|known| known == family.architecture())
        };
        match other.filter(|family| !is_known(family)) {
            None => Ok(()),
            Some(_) => Err(unknown(config_path, model_type)),
        }
    }

    /// The network of a model that `config_path` describes.
    ///
    /// # Errors
    /// A `model_type` whose network is not known.
    pub(crate) fn of(config_path: &Path, description: &Description) -> Result<&'static Self, Error> {
        let stated = &description.architecture;
        let found = NETWORKS.iter().find(|network| network.architectures.contains(stated));
        found.ok_or_else(|| unknown(config_path, &description.model_type))
    }

    /// What products of queries and keys of `key_dim` elements are multiplied by.
    pub(crate) fn attention_scale(&self, description: &Description, key_dim: u32) -> f32 {
        let is_wide = self.wide_queries_in_layers == Some(description.n_layers);
        let width = match is_wide {
            true => description.hidden_size as f64 / f64::from(description.n_heads.max(1)),
            false => f64::from(key_dim),
        };
        width.powf(-0.5) as f32
    }
}

fn unknown(config_path: &Path, model_type: &str) -> Error {
    let known: Vec<&str> = NETWORKS
        .iter()
        .flat_map(|network| &network.architectures)
        .filter_map(|architecture| families::Family::for_architecture(architecture))
        .flat_map(families::Family::model_types)
        .collect();
    let expected = format!("one that the MLX engine computes ({})", known.join(", "));
    Error::field(config_path, "model_type", expected, format!("`{model_type}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_architecture_is_named_once_and_known_to_families() {
        let mut all: Vec<&String> = NETWORKS.iter().flat_map(|network| &network.architectures).collect();
        let n = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), n);
        for architecture in all {
            assert!(families::Family::for_architecture(architecture).is_some(), "{architecture}");
        }
    }
}
