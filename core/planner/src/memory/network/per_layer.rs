//! Embeddings that each layer has for itself. Must not know what layers do besides.

use super::Network;
use crate::memory::graph::{I32, Tensor};
use crate::memory::shapes::Parts;

impl Network<'_> {
    /// Looks up all layers' embeddings and adds what the first vectors say of them; `current` are those vectors.
    pub(super) fn embed_for_layers(&mut self, top: &Parts, current: Tensor) {
        let Some(all) = top.width("per_layer_token_embd.weight") else { return };
        let n = self.n();
        let width = self.description.quantities.get("per_layer_input").copied().unwrap_or(all).max(1);
        let n_layers = all / width;
        let apart = [width, n_layers, n, 1];
        let tokens = self.graph.input(I32, [n, 1, 1, 1]);
        let weight = self.graph.external();
        let rows = self.graph.fresh([all, n, 1, 1], &[weight, tokens]);
        let rows = self.graph.reshape(rows, apart);
        let rows = self.graph.in_place(&[rows]);
        self.graph.expand(rows);
        let projected = self.project(all, current);
        let projected = self.graph.in_place(&[projected]);
        let projected = self.graph.reshape(projected, apart);
        let projected = self.norm(top, "per_layer_proj_norm", projected);
        let sum = self.graph.in_place(&[projected, rows]);
        let sum = self.graph.in_place(&[sum]);
        let turned = self.graph.permute(sum, [0, 2, 1, 3]);
        self.per_layer = Some(self.graph.fresh([width, n, n_layers, 1], &[turned]));
    }

    /// One layer's part of it.
    fn own_embedding(&mut self) -> Option<Tensor> {
        let [width, n, ..] = self.graph.node(self.per_layer?).extents;
        let strides = self.graph.node(self.per_layer?).strides;
        Some(self.graph.view(self.per_layer?, [width, n, 1, 1], strides))
    }

    /// What a layer's own embedding makes of `of`, before it is added to anything.
    pub(super) fn gate_by_embedding(&mut self, parts: &Parts, of: Tensor, select: bool) -> Option<Tensor> {
        let mut own = self.own_embedding()?;
        let width = self.graph.node(own).extents[0];
        let gate = self.project(width, of);
        let gate = self.graph.in_place(&[gate]);
        if select {
            own = self.wanted(own);
        }
        let gated = self.graph.in_place(&[gate, own]);
        let back = self.project(self.description.hidden_size, gated);
        Some(self.norm(parts, "post_norm", back))
    }

    /// The same, added to the layer's output; that itself where there is no such embedding.
    pub(super) fn add_own_embedding(&mut self, parts: &Parts, output: Tensor, select: bool) -> Tensor {
        match self.gate_by_embedding(parts, output, select) {
            Some(own) => self.graph.in_place(&[output, own]),
            None => output,
        }
    }
}
