//! Recurrences: state spaces, gated delta nets, short convolutions. Must not know caches of attention.

use super::Network;
use crate::memory::graph::Tensor;
use crate::memory::shapes::Parts;
use families::Recurrence;

/// Numbers of a recurrence.
struct Widths {
    kernel: u64,
    inner: u64,
    state: u64,
    groups: u64,
    heads: u64,
}

impl Network<'_> {
    pub(super) fn recurrence(&mut self, kind: Recurrence, parts: &Parts, input: Tensor) -> Tensor {
        let number = |name: &str| self.description.quantities.get(name).copied().unwrap_or(0);
        let widths = Widths {
            kernel: number("conv_kernel").max(number("short_conv")).max(1),
            inner: number("ssm_inner"),
            state: number("ssm_state"),
            groups: number("ssm_groups"),
            heads: number("ssm_heads").max(1),
        };
        match kind {
            Recurrence::Mamba1 => self.mamba1(&widths, parts, input),
            Recurrence::Mamba2 => self.mamba2(&widths, parts, input),
            Recurrence::GatedDelta => self.gated_delta(&widths, parts, input),
            Recurrence::ShortConvolution => self.short_convolution(&widths, parts, input),
        }
    }

    /// A state out of the cache.
    fn state(&mut self, numbers: u64) -> Tensor {
        let cache = self.graph.external();
        let rows = self.graph.fresh([numbers, 1, 1, 1], &[cache, self.inputs.states]);
        let state = self.graph.part(rows, numbers);
        self.graph.expand(state);
        state
    }

    /// The last inputs of a convolution and the new ones, of which the last go back into the cache; then the convolution.
    fn convolve(&mut self, kernel: u64, channels: u64, input: Tensor) -> Tensor {
        let before = kernel.saturating_sub(1);
        let state = self.state(before.saturating_mul(channels));
        let state = self.graph.reshape(state, [before, channels, 1, 1]);
        let turned = self.graph.permute(input, [1, 0, 2, 3]);
        let n = self.graph.node(turned).extents[0];
        let both = self.graph.fresh([before + n, channels, 1, 1], &[state, turned]);
        self.store(both, before);
        let weight = self.graph.external();
        self.graph.fresh([channels, n, 1, 1], &[both, weight])
    }

    /// The end of `of` goes into a cache.
    fn store(&mut self, of: Tensor, width: u64) {
        let end = self.graph.part(of, width);
        let cache = self.graph.external();
        let written = self.graph.write(cache, &[end, cache]);
        self.graph.expand(written);
    }

    fn mamba1(&mut self, w: &Widths, parts: &Parts, input: Tensor) -> Tensor {
        let n = self.n();
        let both = self.project(2 * w.inner, input);
        let (x, z) = (self.graph.part(both, w.inner), self.graph.part(both, w.inner));
        let x = self.convolve(w.kernel, w.inner, x);
        let x = self.scale_by_weight(x);
        let x = self.graph.in_place(&[x]);
        let steps = self.project(parts.rows("ssm_x.weight").unwrap_or(w.heads + 2 * w.state), x);
        let rank = parts.width("ssm_dt.weight").unwrap_or(w.heads);
        let (dt, b) = (self.graph.part(steps, rank), self.graph.part(steps, w.state));
        let dt = self.graph.fresh([rank, n, 1, 1], &[dt]);
        let dt = self.project(w.inner, dt);
        let dt = self.scale_by_weight(dt);
        let heads = self.graph.reshape(x, [1, w.inner, n, 1]);
        let scanned = self.scan(w, &[heads, dt, b]);
        self.store(scanned, w.state.saturating_mul(w.inner));
        let y = self.graph.view(scanned, [w.inner, n, 1, 1], self.graph.node(x).strides);
        let skip = self.scale_by_weight(x);
        let y = self.graph.in_place(&[y, skip]);
        let z = self.graph.fresh([w.inner, n, 1, 1], &[z]);
        let y = self.graph.fresh([w.inner, n, 1, 1], &[z, y]);
        self.project(self.description.hidden_size, y)
    }

    /// The scan's outputs, with the last state behind them.
    fn scan(&mut self, w: &Widths, operands: &[Tensor]) -> Tensor {
        let cache = self.graph.external();
        let numbers = w.inner.saturating_mul(self.n() + w.state);
        let operands = [&[cache], operands, &[self.inputs.states]].concat();
        let scanned = self.graph.fresh([numbers, 1, 1, 1], &operands);
        self.graph.expand(scanned);
        scanned
    }

    fn mamba2(&mut self, w: &Widths, parts: &Parts, input: Tensor) -> Tensor {
        let n = self.n();
        let channels = w.inner + 2 * w.groups * w.state;
        let rows = w.inner + channels + w.heads;
        let all = self.project(rows, input);
        let (z, x) = (self.graph.part(all, w.inner), self.graph.part(all, channels));
        let dt = self.graph.part(all, w.heads);
        let x = self.convolve(w.kernel, channels, x);
        let x = if parts.has("ssm_conv1d.bias") { self.scale_by_weight(x) } else { x };
        let convolved = self.graph.in_place(&[x]);
        let (x, b) = (self.graph.part(convolved, w.inner), self.graph.part(convolved, w.state));
        let c = self.graph.part(convolved, w.state);
        let dt = self.graph.fresh([w.heads, n, 1, 1], &[dt]);
        let dt = self.scale_by_weight(dt);
        let scanned = self.scan(w, &[x, dt, b, c]);
        self.store(scanned, w.state.saturating_mul(w.inner));
        let rows = [w.inner, n, 1, 1];
        let y = self.graph.reshape(scanned, rows);
        let weight = self.graph.external();
        let skip = self.graph.fresh(rows, &[x, weight]);
        let y = self.graph.in_place(&[y, skip]);
        let z = self.graph.fresh(rows, &[z]);
        let mut y = self.graph.fresh(rows, &[z, y]);
        if parts.has("ssm_norm.weight") {
            let grouped = self.graph.reshape(y, rows);
            y = self.norm(parts, "ssm_norm", grouped);
        }
        let y = self.graph.reshape(y, rows);
        self.project(self.description.hidden_size, y)
    }

    fn gated_delta(&mut self, w: &Widths, parts: &Parts, input: Tensor) -> Tensor {
        let n = self.n();
        let (keys, width) = (w.groups * w.state, w.inner / w.heads);
        let channels = 2 * keys + w.inner;
        let mixed = self.project(channels, input);
        let z = self.project(w.inner, input);
        let (beta, alpha) = if parts.has("ssm_ba.weight") {
            let both = self.project(2 * w.heads, input);
            let (b, a) = (self.graph.part(both, w.heads), self.graph.part(both, w.heads));
            (self.graph.fresh([w.heads, n, 1, 1], &[b]), self.graph.fresh([w.heads, n, 1, 1], &[a]))
        } else {
            (self.project(w.heads, input), self.project(w.heads, input))
        };
        let beta = self.graph.in_place(&[beta]);
        let alpha = self.scale_by_weight(alpha);
        let gate = self.graph.in_place(&[alpha]);
        let gate = self.scale_by_weight(gate);
        let convolved = self.convolve(w.kernel, channels, mixed);
        let state = self.state(w.state.saturating_mul(w.inner));
        let convolved = self.graph.in_place(&[convolved]);
        let part = |network: &mut Self, width: u64, heads: u64| {
            let strides = network.graph.node(convolved).strides;
            network.graph.view(convolved, [width, heads, n, 1], [4, 4 * width, strides[1], strides[2]])
        };
        let (q, k) = (part(self, w.state, w.groups), part(self, w.state, w.groups));
        let v = part(self, width, w.heads);
        let [q, k] = [q, k].map(|rows| {
            let normed = self.graph.in_place(&[rows]);
            self.graph.in_place(&[normed])
        });
        let result = self.graph.fresh([w.inner, n + width, 1, 1], &[q, k, v, gate, beta, state]);
        let cache = self.graph.external();
        let last = self.graph.part(result, w.inner);
        let output = self.graph.view(result, [width, w.heads, n, 1], {
            [4, 4 * width, 4 * width * w.heads, 4 * width * w.heads * n]
        });
        let written = self.graph.write(cache, &[last, cache]);
        self.graph.expand(written);
        let normed = self.norm(parts, "ssm_norm", output);
        let z = self.graph.reshape(z, [width, w.heads, n, 1]);
        let z = self.graph.in_place(&[z]);
        let gated = self.graph.in_place(&[normed, z]);
        let gated = self.graph.reshape(gated, [w.inner, n, 1, 1]);
        self.project(self.description.hidden_size, gated)
    }

    fn short_convolution(&mut self, w: &Widths, _parts: &Parts, input: Tensor) -> Tensor {
        let width = self.description.hidden_size;
        let all = self.project(3 * width, input);
        let [b, c, x] = [(); 3].map(|()| self.graph.part(all, width));
        let extents = self.graph.node(b).extents;
        let product = self.graph.fresh(extents, &[b, x]);
        let convolved = self.convolve(w.kernel, width, product);
        let gated = self.graph.in_place(&[c, convolved]);
        self.project(width, gated)
    }
}
