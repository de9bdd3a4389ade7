//! Feed-forwards: dense, and experts behind a router. Must not know what mixes tokens.

use super::Network;
use crate::memory::graph::{I32, Tensor};
use crate::memory::shapes::Parts;
use families::{FeedForward, Layer};

/// Whether gate and up stand in one matrix, of so many `rows`.
pub(super) fn is_joined(parts: &Parts, suffix: &str, rows: u64) -> bool {
    !parts.has(&format!("ffn_gate{suffix}.weight"))
        && parts.width(&format!("ffn_down{suffix}.weight")).is_some_and(|inner| rows == 2 * inner)
}

impl Network<'_> {
    pub(super) fn feed_forward(&mut self, layer: &Layer, parts: &Parts, input: Tensor) -> Tensor {
        match layer.feed_forward {
            FeedForward::Dense { width } => self.dense(parts, "", width, input),
            FeedForward::Routed => self.routed(parts, input, input),
            FeedForward::None => input,
        }
    }

    /// One feed-forward; its tensors' names end in `suffix`.
    fn dense(&mut self, parts: &Parts, suffix: &str, width: u64, input: Tensor) -> Tensor {
        let name = |part: &str| format!("ffn_{part}{suffix}");
        let rows = parts.rows(&format!("{}.weight", name("up"))).unwrap_or(width);
        let up = self.project_biased(parts, &name("up"), rows, input);
        let inner = if parts.has(&format!("{}.weight", name("gate"))) {
            let gate = self.project_biased(parts, &name("gate"), rows, input);
            let extents = self.graph.node(gate).extents;
            self.graph.fresh(extents, &[gate, up])
        } else if is_joined(parts, suffix, rows) {
            let [_, rest @ ..] = self.graph.node(up).extents;
            self.graph.fresh([rows / 2, rest[0], rest[1], rest[2]], &[up])
        } else {
            self.graph.in_place(&[up])
        };
        self.project_biased(parts, &name("down"), self.graph.node(input).extents[0], inner)
    }

    /// A dense feed-forward and experts with norms of their own; the router reads what no norm has weighed.
    pub(super) fn dense_beside_routed(&mut self, parts: &Parts, inner: Tensor, normed: Tensor) -> Tensor {
        let dense = self.dense(parts, "", self.description.ffn_size, normed);
        let dense = self.norm(parts, "post_ffw_norm_1", dense);
        let experts_input = self.norm(parts, "pre_ffw_norm_2", inner);
        let read = self.graph.in_place(&[inner]);
        let read = self.graph.in_place(&[read]);
        let read = self.scale_by_weight(read);
        let routed = self.routed(parts, experts_input, read);
        let routed = self.norm(parts, "post_ffw_norm_2", routed);
        self.graph.in_place(&[dense, routed])
    }

    /// Experts that a router chooses for each token; `read` is what it reads.
    fn routed(&mut self, parts: &Parts, input: Tensor, read: Tensor) -> Tensor {
        let Some(moe) = self.description.moe else { return input };
        let (n_experts, used) = (u64::from(moe.n_experts), u64::from(moe.n_active));
        let n = self.graph.node(input).extents[1];
        let mut inner_input = input;
        if let Some(latent) = parts.rows("ffn_latent_down.weight") {
            inner_input = self.project(latent, input);
        }
        let width = self.graph.node(inner_input).extents[0];
        let scores = self.project_biased(parts, "ffn_gate_inp", n_experts, read);
        let shares = self.graph.in_place(&[scores]);
        let biased = if parts.has("exp_probs_b.bias") { self.scale_by_weight(shares) } else { shares };
        let sorted = self.graph.fresh_of(I32, [n_experts, n, 1, 1], &[biased]);
        let chosen = self.graph.part(sorted, used);
        let columns = self.graph.reshape(shares, [1, n_experts, n, 1]);
        let weights = self.graph.fresh([1, used, n, 1], &[columns, chosen]);
        self.graph.expand(weights);

        let spread = self.graph.reshape(inner_input, [width, 1, n, 1]);
        let mut experts_input = spread;
        let weighs_before = self.weighs_before();
        if weighs_before {
            let repeated = self.graph.fresh([width, used, n, 1], &[spread]);
            experts_input = self.graph.in_place(&[repeated, weights]);
        }
        let up_rows = parts.rows("ffn_up_exps.weight").unwrap_or(moe.expert_ffn_size);
        let project = |network: &mut Self, name: &str, rows, of| {
            let weight = network.graph.external();
            let product = network.graph.fresh([rows, used, n, 1], &[weight, of, chosen]);
            match parts.has(&format!("{name}.bias")) {
                true => network.graph.in_place(&[product, weight, chosen]),
                false => product,
            }
        };
        let inner = if let Some(rows) = parts.rows("ffn_gate_up_exps.weight") {
            let both = project(self, "ffn_gate_up_exps", rows, experts_input);
            self.graph.fresh([rows / 2, used, n, 1], &[both])
        } else {
            let up = project(self, "ffn_up_exps", up_rows, experts_input);
            match parts.has("ffn_gate_exps.weight") {
                true => {
                    let gate = project(self, "ffn_gate_exps", up_rows, experts_input);
                    self.graph.fresh([up_rows, used, n, 1], &[gate, up])
                }
                false => self.graph.in_place(&[up]),
            }
        };
        let mut outputs = project(self, "ffn_down_exps", width, inner);
        if parts.has("ffn_down_exps.scale") {
            let scale = self.graph.external();
            let repeated = self.graph.fresh([1, n_experts, n, 1], &[scale]);
            let scales = self.graph.fresh([1, used, n, 1], &[repeated, chosen]);
            outputs = self.graph.in_place(&[outputs, scales]);
        }
        if !weighs_before {
            outputs = self.graph.in_place(&[outputs, weights]);
        }
        self.graph.expand(outputs);
        let mut sum = self.sum_of_experts(outputs, width, used, n);
        if parts.has("ffn_latent_up.weight") {
            sum = self.project(self.graph.node(input).extents[0], sum);
        }
        if moe.shared_ffn_size == 0 {
            return sum;
        }
        let mut shared = self.dense(parts, "_shexp", moe.shared_ffn_size, input);
        if parts.has("ffn_gate_inp_shexp.weight") {
            let gate = self.project(1, input);
            let share = self.graph.in_place(&[gate]);
            shared = self.graph.in_place(&[shared, share]);
        }
        self.graph.in_place(&[sum, shared])
    }

    /// The experts' outputs stand side by side and are added one after the other.
    fn sum_of_experts(&mut self, outputs: Tensor, width: u64, used: u64, n: u64) -> Tensor {
        let strides = self.graph.node(outputs).strides;
        let row = [strides[0], strides[2], strides[3], strides[3]];
        let views: Vec<Tensor> = (0..used.max(1))
            .map(|_| {
                let view = self.graph.view(outputs, [width, n, 1, 1], row);
                self.graph.expand(view);
                view
            })
            .collect();
        if let [alone] = views[..] {
            return self.graph.fresh([width, n, 1, 1], &[alone]);
        }
        let mut sum = views[0];
        for view in &views[1..] {
            sum = self.graph.in_place(&[sum, *view]);
            self.graph.expand(sum);
        }
        sum
    }

    /// Whether tokens are weighed before the experts see them, each of which then gets its own copy.
    fn weighs_before(&self) -> bool {
        self.description.quantities.contains_key("chunk")
    }
}
