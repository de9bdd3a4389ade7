//! What is known of sensitivities before anything is measured (`data/sensitivity.toml`), and how that is learned from
//! models of which it was.
//! Knows roles and layers; must not know weights.

use crate::recipe::order;
use families::{Role, role_of};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::LazyLock;

static TABLE: LazyLock<Priors> = LazyLock::new(|| {
    serde_json::from_str(include_str!(concat!(env!("OUT_DIR"), "/sensitivity.json")))
        .expect("the built-in table parses: a test reads it")
});

/// Places along the depth: the first layer, the second, six equal parts of the others, the last layer.
const PLACES: usize = 9;

/// Sensitivities by role and depth. Only their ratios count.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Priors {
    /// Of a role that the table does not have.
    others: f64,
    /// Of an embedding that is the output as well.
    tied_embedding: f64,
    /// Of all layers' tensors of a role together; a layer has its part of it.
    kappa: BTreeMap<Role, f64>,
    /// Factors on that along the depth: first layer, second, six parts, last.
    depth: BTreeMap<Role, [f64; PLACES]>,
}

/// What priors ask of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outline {
    /// Decoder layers.
    pub n_layers: usize,
    /// Whether the embedding is the output as well.
    pub is_tied: bool,
}

impl Outline {
    /// Of a model with tensors of these names.
    pub fn of<'a>(names: impl IntoIterator<Item = &'a String>) -> Self {
        let mut outline = Self { n_layers: 0, is_tied: true };
        for name in names {
            let layers = usize::try_from(order(name).0 + 1).unwrap_or(0);
            outline.n_layers = outline.n_layers.max(layers);
            outline.is_tied &= role_of(name) != Role::Output;
        }
        outline
    }
}

/// Where one is asked that the table does not have: roles that do the same elsewhere.
fn alike(role: Role) -> &'static [Role] {
    use Role::*;
    match role {
        RoutedGate | SharedGate => &[FfnGate],
        RoutedUp | SharedUp => &[FfnUp],
        RoutedDown | SharedDown => &[FfnDown],
        Output => &[TokenEmbedding],
        LatentDown => &[AttentionK, AttentionV],
        LatentUp => &[AttentionQ, AttentionV],
        AttentionQkv => &[AttentionV],
        SsmIn => &[AttentionQkv, AttentionQ],
        SsmOut => &[AttentionOutput],
        AttentionGate => &[AttentionQ],
        _ => &[],
    }
}

/// What was measured of one model: divergence by tensor, each harmed alike.
pub type MeasuredModel = BTreeMap<String, f64>;

impl Priors {
    /// Those that come with this library.
    pub fn built_in() -> &'static Self {
        &TABLE
    }

    /// Learns from measured models: geometric means, after every model's layers were brought to the same sum.
    pub fn learn<'a>(models: impl IntoIterator<Item = &'a MeasuredModel>) -> Self {
        let mut of_role: BTreeMap<Role, Vec<f64>> = BTreeMap::new();
        let mut tied = Vec::new();
        let mut samples: BTreeMap<Role, [Vec<f64>; PLACES]> = BTreeMap::new();
        for model in models {
            let Outline { n_layers, is_tied } = Outline::of(model.keys());
            let of_layers = |name: &&String| order(name).0 >= 0;
            let sum: f64 = model.keys().filter(of_layers).map(|name| model[name]).sum();
            let mut by_role: BTreeMap<Role, Vec<(i64, f64)>> = BTreeMap::new();
            for (name, harm) in model.iter().filter(|(_, harm)| **harm > 0.0) {
                let ((layer, _), role) = (order(name), role_of(name));
                let share = harm / sum * if layer < 0 { 1.0 } else { n_layers as f64 };
                match role {
                    Role::TokenEmbedding if is_tied => tied.push(share.ln()),
                    _ => by_role.entry(role).or_default().push((layer, share.ln())),
                }
            }
            for (role, logs) in by_role {
                let of_model = mean(logs.iter().map(|(_, log)| *log));
                of_role.entry(role).or_default().push(of_model);
                for (layer, log) in logs.into_iter().filter(|(layer, _)| *layer >= 0) {
                    samples.entry(role).or_default()[place(layer, n_layers)].push(log - of_model);
                }
            }
        }
        let kappa: BTreeMap<Role, f64> =
            of_role.iter().map(|(role, logs)| (*role, mean(logs.iter().copied()).exp())).collect();
        // A few samples are drawn towards no difference.
        let factor = |logs: &Vec<f64>| {
            (mean(logs.iter().copied()) * logs.len() as f64 / (logs.len() as f64 + 2.0)).exp()
        };
        let depth = samples.iter().map(|(role, places)| (*role, places.each_ref().map(factor))).collect();
        let others = mean(kappa.values().map(|kappa| kappa.ln())).exp();
        let known_whole =
            [Role::Output, Role::TokenEmbedding].iter().filter_map(|role| kappa.get(role)).sum();
        let tied_embedding = if tied.is_empty() { known_whole } else { mean(tied).exp() };
        Self { others, tied_embedding, kappa, depth }
    }

    /// Sensitivity of `tensor` in a model of this outline.
    pub fn of(&self, tensor: &str, outline: Outline) -> f64 {
        let role = role_of(tensor);
        if role == Role::TokenEmbedding && outline.is_tied {
            return self.tied_embedding;
        }
        let roles = match self.kappa.contains_key(&role) {
            true => &[role][..],
            false => alike(role),
        };
        let known: Vec<f64> = roles.iter().filter_map(|role| self.kappa.get(role)).map(|k| k.ln()).collect();
        let kappa = if known.is_empty() { self.others } else { mean(known).exp() };
        let (layer, _) = order(tensor);
        if layer < 0 || outline.n_layers == 0 {
            return kappa;
        }
        let at = place(layer, outline.n_layers);
        let factors = roles.iter().filter_map(|role| self.depth.get(role)).map(|factors| factors[at].ln());
        kappa * mean(factors).exp() / outline.n_layers as f64
    }
}

/// 0 of nothing.
fn mean(values: impl IntoIterator<Item = f64>) -> f64 {
    let (sum, n) = values.into_iter().fold((0.0, 0.0), |(sum, n), value| (sum + value, n + 1.0));
    sum / f64::max(n, 1.0)
}

fn place(layer: i64, n_layers: usize) -> usize {
    let (layer, n) = (usize::try_from(layer).unwrap_or(0), n_layers.max(1));
    match layer {
        0 | 1 => layer,
        _ if layer + 1 >= n => PLACES - 1,
        _ => 2 + (layer - 2) * 6 / (n - 3).max(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_role_and_layer_has_a_prior() {
        for name in ["token_embd.weight", "blk.0.attn_v.weight", "blk.11.ffn_down.weight", "strange.weight"] {
            let kappa = Priors::built_in().of(name, Outline { n_layers: 12, is_tied: true });
            assert!(kappa > 0.0 && kappa.is_finite(), "{name}: {kappa}");
        }
        assert!((0..40).all(|layer| (2..=40).all(|n| place(layer, n) < PLACES)));
    }

    #[test]
    fn what_was_learned_is_told_again() {
        let harm = |layer: usize, name: &str| match name {
            "ffn_down" => 0.03 * (1.0 + layer as f64 / 20.0),
            _ => 0.002,
        };
        let model = |n_layers: usize, scale: f64| -> MeasuredModel {
            let names = (0..n_layers).flat_map(|layer| [(layer, "ffn_down"), (layer, "attn_k")]);
            names
                .map(|(layer, name)| (format!("blk.{layer}.{name}.weight"), scale * harm(layer, name)))
                .collect()
        };
        let priors = Priors::learn([&model(20, 1.0), &model(30, 5.0)]);
        let of = |name: &str| priors.of(name, Outline { n_layers: 24, is_tied: false });
        let ratio = of("blk.10.ffn_down.weight") / of("blk.10.attn_k.weight");
        assert!((15.0..30.0).contains(&ratio), "{ratio}");
        assert!(of("blk.23.ffn_down.weight") > of("blk.2.ffn_down.weight"));
        // An unseen role is as one that does the same elsewhere.
        assert_eq!(of("blk.3.ffn_down_exps.weight"), of("blk.3.ffn_down.weight"));
    }
}
