//! Streams beside each other, of which each layer computes one and predicts the others (AltUp), with a residual of low rank
//! beside attention (Laurel). Must not know how attention is computed.

use super::Network;
use crate::memory::graph::Tensor;
use crate::memory::shapes::Parts;
use families::{FeedForward, Layer};

impl Network<'_> {
    /// One stream's rows.
    fn stream(&mut self, of: Tensor) -> Tensor {
        self.some_streams(of, 1)
    }

    fn some_streams(&mut self, of: Tensor, count: u64) -> Tensor {
        let node = self.graph.node(of);
        let ([width, n, ..], strides) = (node.extents, node.strides);
        self.graph.view(of, [width, n, count, 1], strides)
    }

    /// How long each row is.
    fn lengths(&mut self, of: Tensor) -> Tensor {
        let [_, n, count, _] = self.graph.node(of).extents;
        let squares = self.graph.in_place(&[of]);
        let sums = self.graph.fresh([1, n, count, 1], &[squares]);
        self.graph.in_place(&[sums])
    }

    /// Rows made as long as others.
    fn as_long_as(&mut self, rows: Tensor, lengths: Tensor) -> Tensor {
        let own = self.lengths(rows);
        let scaled = self.graph.in_place(&[rows, lengths]);
        self.graph.in_place(&[scaled, own])
    }

    /// From one stream to all.
    pub(super) fn spread(&mut self, count: u64, first: Tensor) -> Tensor {
        let [width, n, ..] = self.graph.node(first).extents;
        let lengths = self.lengths(first);
        let repeated = self.graph.fresh([width, n, count - 1, 1], &[first]);
        let others = self.project(width, repeated);
        let others = self.as_long_as(others, lengths);
        self.graph.fresh([width, n, count, 1], &[first, others])
    }

    /// From all streams to one, for the tokens whose logits are wanted.
    pub(super) fn merge(&mut self, count: u64, streams: Tensor) -> Tensor {
        let width = self.graph.node(streams).extents[0];
        let first = self.stream(streams);
        let lengths = self.lengths(first);
        let others = self.some_streams(streams, count - 1);
        let others = self.project(width, others);
        let others = self.as_long_as(others, lengths);
        let mut sum = self.stream(streams);
        for _ in 1..count {
            let other = self.stream(others);
            sum = self.graph.in_place(&[sum, other]);
        }
        let mean = self.graph.in_place(&[sum]);
        self.wanted(mean)
    }

    /// What a stream says of how streams mix.
    fn modalities(&mut self, parts: &Parts, count: u64, of: Tensor) -> Tensor {
        let normed = self.norm(parts, "altup_router_norm", of);
        let scaled = self.graph.in_place(&[normed]);
        let routed = self.project(count, scaled);
        self.graph.in_place(&[routed])
    }

    pub(super) fn layer_of_streams(
        &mut self,
        layer: &Layer,
        parts: &Parts,
        count: u64,
        streams: Tensor,
    ) -> Tensor {
        let [width, n, ..] = self.graph.node(streams).extents;
        let predictions = self.predict(parts, count, streams);
        let active = self.stream(predictions);
        let normed = self.norm(parts, "attn_norm", active);
        let low = self.project(parts.rows("laurel_l.weight").unwrap_or(1), normed);
        let back = self.project(width, low);
        let back = self.norm(parts, "laurel_post_norm", back);
        let laurel = self.graph.in_place(&[back, normed]);
        let Some(attention) = layer.attention() else { return streams };
        let mixed = self.attention(attention, parts, normed, true);
        let mixed = self.norm(parts, "post_attention_norm", mixed);
        let mixed = self.graph.in_place(&[mixed, active]);
        let inner = self.graph.in_place(&[mixed, laurel]);
        let inner = self.graph.in_place(&[inner]);
        let normed = self.norm(parts, "ffn_norm", inner);
        let fed = self.sparse(layer, normed);
        let fed = self.norm(parts, "post_ffw_norm", fed);
        let activated = self.graph.in_place(&[fed, inner]);
        let corrected = self.correct(parts, count, predictions, activated);
        let first = self.stream(corrected);
        let first = self.scale_by_weight(first);
        let Some(own) = self.gate_by_embedding(parts, first, false) else { return corrected };
        let first = self.stream(corrected);
        let others = self.some_streams(corrected, count - 1);
        let others = self.graph.fresh([width, n, count - 1, 1], &[others, own]);
        self.graph.fresh([width, n, count, 1], &[first, others])
    }

    /// Every stream from all of them.
    fn predict(&mut self, parts: &Parts, count: u64, streams: Tensor) -> Tensor {
        let [width, n, ..] = self.graph.node(streams).extents;
        let active = self.stream(streams);
        let modalities = self.modalities(parts, count, active);
        let shares = self.project(count * count, modalities);
        let shares = self.graph.reshape(shares, [count, count, n, 1]);
        let turned = self.graph.permute(streams, [1, 2, 0, 3]);
        let turned = self.graph.fresh([count, width, n, 1], &[turned]);
        let mixed = self.graph.fresh([width, count, n, 1], &[turned, shares]);
        let back = self.graph.permute(mixed, [0, 2, 1, 3]);
        let back = self.graph.fresh([width, n, count, 1], &[back]);
        self.graph.in_place(&[back, streams])
    }

    /// What a layer made of one stream, carried to all.
    fn correct(&mut self, parts: &Parts, count: u64, predictions: Tensor, activated: Tensor) -> Tensor {
        let [width, n, ..] = self.graph.node(predictions).extents;
        let modalities = self.modalities(parts, count, activated);
        let active = self.stream(predictions);
        let difference = self.graph.in_place(&[activated, active]);
        let shares = self.project(count, modalities);
        let shares = self.graph.in_place(&[shares]);
        let turned = self.graph.permute(shares, [1, 0, 2, 3]);
        let shares = self.graph.fresh([1, n, count, 1], &[turned]);
        let repeated = self.graph.fresh([width, n, count, 1], &[difference]);
        let scaled = self.graph.in_place(&[repeated, shares]);
        self.graph.in_place(&[scaled, predictions])
    }

    /// A feed-forward whose gates below a cut-off are shut: as wide in the layers where none is.
    fn sparse(&mut self, layer: &Layer, input: Tensor) -> Tensor {
        let [width, n, ..] = self.graph.node(input).extents;
        let FeedForward::Dense { width: inner } = layer.feed_forward else { return input };
        let up = self.project(inner, input);
        let gate = self.project(inner, input);
        let mean = self.graph.fresh([1, n, 1, 1], &[gate]);
        let off = self.graph.in_place(&[gate, mean]);
        let squares = self.graph.in_place(&[off]);
        let sums = self.graph.fresh([1, n, 1, 1], &[squares]);
        let spread = self.graph.in_place(&[sums]);
        let cut_off = self.graph.in_place(&[mean, spread]);
        let above = self.graph.in_place(&[gate, cut_off]);
        let gate = self.graph.in_place(&[above]);
        let gate = self.graph.in_place(&[gate]);
        let gated = self.graph.in_place(&[up, gate]);
        self.project(width, gated)
    }
}
