//! Indexers: what chooses the tokens that latent attention sees. Must not know what is done with them.

use super::Network;
use crate::memory::graph::{F16, F32, Graph, I32, I64, Tensor};
use crate::memory::shapes::Parts;
use families::Description;

/// What the caller fills in.
pub(super) struct Inputs {
    /// Where keys go in the indexer's cache.
    places: Tensor,
    /// Halves, as fused scores take them.
    mask: Tensor,
    /// What queries and keys are turned by.
    rotation: Tensor,
}

impl Inputs {
    /// `None` where the model has no indexer.
    pub(super) fn new(graph: &mut Graph, description: &Description, n: u64, cells: u64) -> Option<Self> {
        let width = *description.quantities.get("indexer_dim")?;
        Some(Self {
            places: graph.input(I64, [n, 1, 1, 1]),
            mask: graph.input(F16, [cells, n, 1, 1]),
            rotation: graph.input(F32, [width, width, 1, 1]),
        })
    }
}

impl Network<'_> {
    /// Scores every token in the cache for every new one, and keeps the best; layers without an indexer take what an earlier
    /// one chose. `low` is what queries are made of.
    pub(super) fn choose(&mut self, parts: &Parts, low: Tensor, input: Tensor) {
        let number = |name: &str| self.description.quantities.get(name).copied().unwrap_or(0);
        let (width, heads, kept) = (number("indexer_dim"), number("indexer_heads"), number("indexer_top_k"));
        let Some(inputs) = &self.inputs.indexer else { return };
        let (places, mask, rotation) = (inputs.places, inputs.mask, inputs.rotation);
        if !parts.has("indexer.attn_k.weight") {
            return;
        }
        let n = self.n();
        let q = self.project(width * heads, low);
        let q = self.graph.reshape(q, [width, heads, n, 1]);
        let q = self.graph.in_place(&[q, self.inputs.positions]);
        let k = self.project(width, input);
        let k = self.norm(parts, "indexer.k_norm", k);
        let k = self.graph.reshape(k, [width, 1, n, 1]);
        let k = self.graph.in_place(&[k, self.inputs.positions]);
        let q = self.graph.fresh([width, heads, n, 1], &[rotation, q]);
        let k = self.graph.fresh([width, 1, n, 1], &[rotation, k]);
        let rows = self.graph.reshape(k, [width, n, 1, 1]);
        let cache = self.graph.external();
        let written = self.graph.write(cache, &[rows, places, cache]);
        self.graph.expand(written);
        let weights = self.project(heads, input);
        let weights = self.graph.in_place(&[weights]);
        let cells = self.graph.node(mask).extents[0];
        let scores = self.graph.fresh([cells, n, 1, 1], &[q, cache, weights, mask]);
        let best = self.graph.fresh_of(I32, [kept.min(cells), n, 1, 1], &[scores]);
        self.chosen = Some(self.graph.fresh_of(I32, [kept.min(cells), n, 1, 1], &[best]));
    }

    /// The mask that shows the chosen tokens alone, where an indexer chose.
    pub(super) fn mask_of_chosen(&mut self, mask: Tensor) -> Tensor {
        let Some(chosen) = self.chosen else { return mask };
        let [cells, n, ..] = self.graph.node(mask).extents;
        let [kept, ..] = self.graph.node(chosen).extents;
        let hidden = self.graph.in_place(&[mask]);
        let bytes = self.graph.node(mask).element_bytes;
        let single = |count: u64| [bytes, bytes, bytes * count, bytes * count * n];
        let rows = self.graph.view(hidden, [1, cells, n, 1], single(cells));
        let places = self.graph.reshape(chosen, [kept, n, 1, 1]);
        let zeros = self.graph.input(F32, [1, kept, n, 1]);
        let zeros = self.graph.in_place(&[zeros]);
        let shown = self.graph.write(rows, &[zeros, places, rows]);
        let shown = self.graph.reshape(shown, [cells, n, 1, 1]);
        self.graph.in_place(&[shown, mask])
    }
}
