//! What is known of sensitivities before anything is measured (`data/sensitivity.toml`).
//! Knows roles and layers; must not know weights.

use crate::recipe::order;
use families::{Role, role_of};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::LazyLock;

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    serde_json::from_str(include_str!(concat!(env!("OUT_DIR"), "/sensitivity.json")))
        .expect("the built-in table parses: a test reads it")
});

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    others: f64,
    /// Divergence per unit of error in a model of one layer's depth; others share it.
    kappa: BTreeMap<Role, f64>,
    /// Factors on that along the depth, first layers first.
    depth: Vec<f64>,
}

/// Divergence per unit of error of `tensor` in a model of `n_layers`.
pub(super) fn kappa(tensor: &str, n_layers: i64) -> f64 {
    let kappa = TABLE.kappa.get(&role_of(tensor)).copied().unwrap_or(TABLE.others);
    let (layer, _) = order(tensor);
    if layer < 0 || n_layers < 1 || TABLE.depth.is_empty() {
        return kappa;
    }
    let at = (layer * TABLE.depth.len() as i64 / n_layers).clamp(0, TABLE.depth.len() as i64 - 1);
    kappa * TABLE.depth[at as usize] / n_layers as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_role_and_layer_has_a_prior() {
        for name in ["token_embd.weight", "blk.0.attn_v.weight", "blk.11.ffn_down.weight", "strange.weight"] {
            let kappa = kappa(name, 12);
            assert!(kappa > 0.0 && kappa.is_finite(), "{name}: {kappa}");
        }
        assert!(kappa("output.weight", 12) > kappa("blk.5.attn_k.weight", 12));
    }
}
