//! How many tokens each expert of each layer has seen. Knows counts; must not know texts or models.

use super::Sums;
use formats::gguf::layer_of;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Upper ends of the histogram's classes, in tokens; the last class is open.
const EDGES: [u64; 6] = [1, 16, 64, 256, 1024, 4096];

/// Tokens seen by the experts of one layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerCoverage {
    /// Number of the layer.
    pub layer: u32,
    /// Tokens by expert.
    pub counts: Vec<u64>,
}

/// Tokens seen by all experts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage {
    /// By layer, in order; empty for models without experts.
    pub layers: Vec<LayerCoverage>,
}

impl Coverage {
    /// Of sums. The stacks of a layer see the same tokens: one stands for all.
    pub fn of(sums: &Sums) -> Self {
        let mut layers = BTreeMap::new();
        for (name, counts) in sums.experts() {
            if let Some(layer) = layer_of(name) {
                layers.entry(layer).or_insert_with(|| counts.to_vec());
            }
        }
        let layers = layers.into_iter().map(|(layer, counts)| LayerCoverage { layer, counts });
        Self { layers: layers.collect() }
    }

    /// Experts there are.
    pub fn n_experts(&self) -> usize {
        self.layers.iter().map(|layer| layer.counts.len()).sum()
    }

    /// Share of experts that saw at least `need` tokens; 1 where there are none.
    pub fn share(&self, need: u64) -> f64 {
        let covered =
            self.layers.iter().flat_map(|layer| &layer.counts).filter(|count| **count >= need).count();
        covered as f64 / self.n_experts().max(1) as f64 + f64::from(u8::from(self.layers.is_empty()))
    }

    /// How many experts saw how many tokens: the classes' names, in rising order, with their counts.
    pub fn histogram(&self) -> Vec<(String, usize)> {
        let class = |count: u64| EDGES.iter().position(|edge| count < *edge).unwrap_or(EDGES.len());
        let mut classes = vec![0; EDGES.len() + 1];
        self.layers.iter().flat_map(|layer| &layer.counts).for_each(|count| classes[class(*count)] += 1);
        let name = |class: usize| match class {
            0 => "none".to_string(),
            class if class == EDGES.len() => format!("{} or more", EDGES[class - 1]),
            class => format!("{} to {}", EDGES[class - 1], EDGES[class] - 1),
        };
        classes.into_iter().enumerate().map(|(number, count)| (name(number), count)).collect()
    }
}
