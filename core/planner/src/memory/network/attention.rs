//! Attention: grouped heads, latents, what an encoder left. Must not know feed-forwards.

use super::{Batch, Network};
use crate::memory::graph::{F16, F32, Graph, Tensor};
use crate::memory::shapes::Parts;
use families::{Attention, Description, Latent, Reach};

/// What an encoder left for the decoder.
pub(super) struct Cross {
    vectors: Tensor,
    mask: Tensor,
    n_tokens: u64,
}

impl Cross {
    /// The engine keeps room for as many tokens as the model was made for.
    pub(super) fn new(graph: &mut Graph, description: &Description, batch: Batch) -> Self {
        let n_tokens = description.max_context;
        let mask_bytes = if batch.flash_attention { F16 } else { F32 };
        Self {
            vectors: graph.input(F32, [description.hidden_size, n_tokens, 1, 1]),
            mask: graph.input(mask_bytes, [n_tokens, batch.n_tokens, 1, 1]),
            n_tokens,
        }
    }
}

/// Extents of one attention.
struct Heads {
    queries: u64,
    keys: u64,
    key_width: u64,
    value_width: u64,
}

/// Where keys and values come from.
#[derive(Clone, Copy)]
enum Source {
    /// The cache; `true`: values lie in it transposed.
    Cache { values_turned: bool },
    /// What was just computed, so many tokens of it.
    Fresh { keys: Tensor, values: Tensor, n_tokens: u64 },
}

impl Network<'_> {
    pub(super) fn attention(
        &mut self,
        attention: &Attention,
        parts: &Parts,
        input: Tensor,
        has_cache: bool,
    ) -> Tensor {
        let n = self.n();
        let heads = Heads {
            queries: attention.n_heads.into(),
            keys: attention.n_kv_heads.into(),
            key_width: attention.key_dim.into(),
            value_width: attention.value_dim.into(),
        };
        if attention.shares_cache && has_cache {
            return self.attention_to_shared(&heads, attention, parts, input);
        }
        let [q, k, v] = self.queries_keys_values(&heads, parts, input);
        let gate = (parts.rows("attn_q.weight") == Some(2 * heads.queries * heads.key_width)).then(|| {
            let gate = self.graph.view(q, [heads.key_width, heads.queries, n, 1], {
                let row = 8 * heads.key_width;
                [4, row, row * heads.queries, row * heads.queries * n]
            });
            self.graph.fresh([heads.queries * heads.key_width, n, 1, 1], &[gate])
        });
        let [q, k] =
            [(q, heads.queries, "attn_q_norm"), (k, heads.keys, "attn_k_norm")].map(|(rows, count, norm)| {
                self.heads_of(rows, count, heads.key_width, norm, parts, gate.is_some())
            });
        let v = self.as_heads(v, heads.value_width, heads.keys);
        let kind = usize::from(attention.reach != Reach::Full);
        let mixed = if has_cache {
            self.through_cache(&heads, [q, k, v], kind, attention)
        } else {
            for rows in [q, k, v] {
                self.graph.expand(rows);
            }
            let source = Source::Fresh { keys: k, values: v, n_tokens: n };
            let bias = self.distance_bias(heads.queries);
            self.attend(&heads, q, source, self.inputs.masks[kind], bias)
        };
        let mixed = match gate {
            Some(gate) => {
                let share = self.graph.in_place(&[gate]);
                self.graph.in_place(&[mixed, share])
            }
            None => mixed,
        };
        let output = if parts.has("attn_o.weight") { "attn_o" } else { "attn_output" };
        self.project_biased(parts, output, self.description.hidden_size, mixed)
    }

    /// Attention to what an earlier layer left in the cache.
    fn attention_to_shared(
        &mut self,
        heads: &Heads,
        attention: &Attention,
        parts: &Parts,
        input: Tensor,
    ) -> Tensor {
        let q = self.project_biased(parts, "attn_q", heads.queries * heads.key_width, input);
        let mut q = self.heads_of(q, heads.queries, heads.key_width, "attn_q_norm", parts, false);
        let [turn_keys, turn_values] = self.inputs.rotations;
        if let Some(rotation) = turn_keys {
            q = self.rotate(q, rotation);
        }
        self.graph.expand(q);
        let kind = usize::from(attention.reach != Reach::Full);
        let values_turned = !self.batch.flash_attention;
        let mask = self.inputs.masks[kind];
        let mut mixed = self.attend(heads, q, Source::Cache { values_turned }, mask, None);
        if let Some(rotation) = turn_values {
            mixed = self.rotate(mixed, rotation);
        }
        self.project_biased(parts, "attn_output", self.description.hidden_size, mixed)
    }

    /// Through the cache: the new rows go there, all of it is attended to.
    fn through_cache(
        &mut self,
        heads: &Heads,
        [q, k, v]: [Tensor; 3],
        kind: usize,
        _attention: &Attention,
    ) -> Tensor {
        let n = self.n();
        let [turn_keys, turn_values] = self.inputs.rotations;
        let [mut q, mut k, mut v] = [q, k, v];
        if let Some(rotation) = turn_keys {
            q = self.rotate(q, rotation);
            k = self.rotate(k, rotation);
        }
        if let Some(rotation) = turn_values {
            v = self.rotate(v, rotation);
        }
        for rows in [q, v, k] {
            self.graph.expand(rows);
        }
        let places = (self.inputs.key_places[kind], self.inputs.value_places[kind]);
        let values_turned = !self.batch.flash_attention;
        for (rows, width, place) in
            [(k, heads.keys * heads.key_width, places.0), (v, heads.keys * heads.value_width, places.1)]
        {
            let rows = self.graph.reshape(rows, [width, n, 1, 1]);
            let cache = self.graph.external();
            let written = self.graph.write(cache, &[rows, place, cache]);
            self.graph.expand(written);
        }
        let bias = self.distance_bias(heads.queries);
        let mask = self.inputs.masks[kind];
        let mut mixed = self.attend(heads, q, Source::Cache { values_turned }, mask, bias);
        if let Some(rotation) = turn_values {
            mixed = self.rotate(mixed, rotation);
        }
        mixed
    }

    fn queries_keys_values(&mut self, heads: &Heads, parts: &Parts, input: Tensor) -> [Tensor; 3] {
        let widths =
            [heads.queries * heads.key_width, heads.keys * heads.key_width, heads.keys * heads.value_width];
        if parts.has("attn_qkv.weight") {
            let all = self.project_biased(parts, "attn_qkv", widths.iter().sum(), input);
            return widths.map(|width| self.graph.part(all, width));
        }
        let names = ["attn_q", "attn_k", "attn_v"];
        let mut projected = names.iter().zip(widths).map(|(name, width)| {
            let rows = parts.rows(&format!("{name}.weight")).unwrap_or(width);
            self.project_biased(parts, name, rows, input)
        });
        [(); 3].map(|()| projected.next().expect("three of them"))
    }

    /// Rows as heads, normed where the layer does that, turned by position.
    fn heads_of(
        &mut self,
        rows: Tensor,
        count: u64,
        width: u64,
        norm: &str,
        parts: &Parts,
        gated: bool,
    ) -> Tensor {
        let n = self.n();
        let over_all = parts.width(&format!("{norm}.weight")).is_some_and(|over| over != width);
        let mut rows = rows;
        if over_all {
            rows = self.norm(parts, norm, rows);
        }
        rows = if gated && self.graph.node(rows).extents[0] != count * width {
            let row = 8 * width;
            self.graph.view(rows, [width, count, n, 1], [4, row, row * count, row * count * n])
        } else {
            self.as_heads(rows, width, count)
        };
        if !over_all && parts.has(&format!("{norm}.weight")) {
            rows = self.norm(parts, norm, rows);
        }
        match self.habits.rotates {
            true => self.graph.in_place(&[rows, self.inputs.positions]),
            false => rows,
        }
    }

    fn as_heads(&mut self, rows: Tensor, width: u64, count: u64) -> Tensor {
        let n = self.graph.node(rows).extents[1];
        let strides = self.graph.node(rows).strides;
        self.graph.view(rows, [width, count, n, 1], [4, 4 * width, strides[1], strides[2]])
    }

    fn rotate(&mut self, rows: Tensor, rotation: Tensor) -> Tensor {
        let extents = self.graph.node(rows).extents;
        let width = self.graph.node(rotation).extents[0];
        let count = extents.iter().product::<u64>() / width.max(1);
        let flat = self.graph.reshape(rows, [width, count, 1, 1]);
        let turned = self.graph.fresh([width, count, 1, 1], &[rotation, flat]);
        self.graph.reshape(turned, extents)
    }

    /// Biases by the distance of two tokens, per head.
    fn distance_bias(&mut self, n_heads: u64) -> Option<Tensor> {
        let distances = self.inputs.distances?;
        let [cells, n, ..] = self.graph.node(distances).extents;
        let flat = self.graph.reshape(distances, [cells * n, 1, 1, 1]);
        let weight = self.graph.external();
        let rows = self.graph.fresh([n_heads, cells * n, 1, 1], &[weight, flat]);
        let rows = self.graph.reshape(rows, [n_heads, cells, n, 1]);
        let turned = self.graph.permute(rows, [2, 0, 1, 3]);
        Some(self.graph.fresh([cells, n, n_heads, 1], &[turned]))
    }

    fn attend(
        &mut self,
        heads: &Heads,
        queries: Tensor,
        source: Source,
        mask: Tensor,
        bias: Option<Tensor>,
    ) -> Tensor {
        let n = self.graph.node(queries).extents[2];
        let (width, count) = (heads.value_width, heads.queries);
        let queries = self.graph.permute(queries, [0, 2, 1, 3]);
        let cells = match source {
            Source::Cache { .. } => self.graph.node(mask).extents[0],
            Source::Fresh { n_tokens, .. } => n_tokens,
        };
        let (keys, values) = match source {
            Source::Cache { .. } => (self.graph.external(), self.graph.external()),
            Source::Fresh { keys, values, .. } => {
                (self.graph.permute(keys, [0, 2, 1, 3]), self.graph.permute(values, [0, 2, 1, 3]))
            }
        };
        let mixed = if self.batch.flash_attention && bias.is_none() {
            let [keys, values] = [keys, values].map(|rows| match source {
                Source::Cache { .. } => rows,
                // Fused attention takes halves.
                Source::Fresh { .. } => {
                    let extents = self.graph.node(rows).extents;
                    self.graph.fresh_of(F16, extents, &[rows])
                }
            });
            let fused = self.graph.fresh([width, count, n, 1], &[queries, keys, values, mask]);
            self.graph.reshape(fused, [width * count, n, 1, 1])
        } else {
            let scores = self.graph.fresh([cells, n, count, 1], &[keys, queries]);
            let scores = match bias {
                Some(bias) => self.graph.in_place(&[scores, bias]),
                None => scores,
            };
            let shares = self.graph.in_place(&[scores, mask]);
            let values = match source {
                Source::Cache { values_turned: true } => values,
                Source::Cache { values_turned: false } => {
                    self.graph.fresh_of(self.batch.key_bytes, [cells, width, heads.keys, 1], &[values])
                }
                Source::Fresh { .. } => self.graph.fresh([cells, width, heads.keys, 1], &[values]),
            };
            let sums = self.graph.fresh([width, n, count, 1], &[values, shares]);
            let turned = self.graph.permute(sums, [0, 2, 1, 3]);
            self.graph.fresh([width * count, n, 1, 1], &[turned])
        };
        self.graph.expand(mixed);
        mixed
    }

    /// A decoder's attention to what its encoder read, after the residual; `None` where it has none.
    pub(super) fn cross_attention(
        &mut self,
        parts: &Parts,
        mixed: Tensor,
        residual: Tensor,
    ) -> Option<Tensor> {
        let (vectors, mask, n_cross) = {
            let cross = self.inputs.cross.as_ref()?;
            (cross.vectors, cross.mask, cross.n_tokens)
        };
        let attention = *self.description.layers.first()?.attention()?;
        let inner = self.graph.in_place(&[mixed, residual]);
        let normed = self.norm(parts, "cross_attn_norm", inner);
        let heads = Heads {
            queries: attention.n_heads.into(),
            keys: attention.n_kv_heads.into(),
            key_width: attention.key_dim.into(),
            value_width: attention.value_dim.into(),
        };
        let q = self.project(heads.queries * heads.key_width, normed);
        let k = self.project(heads.keys * heads.key_width, vectors);
        let v = self.project(heads.keys * heads.value_width, vectors);
        let q = self.as_heads(q, heads.key_width, heads.queries);
        let k = self.as_heads(k, heads.key_width, heads.keys);
        let v = self.as_heads(v, heads.value_width, heads.keys);
        for rows in [q, k, v] {
            self.graph.expand(rows);
        }
        let source = Source::Fresh { keys: k, values: v, n_tokens: n_cross };
        let attended = self.attend(&heads, q, source, mask, None);
        let output = self.project(self.description.hidden_size, attended);
        Some(self.graph.in_place(&[output, inner]))
    }

    /// Attention over a latent: one key per token for all heads, values a part of it.
    pub(super) fn latent(&mut self, latent: Latent, parts: &Parts, input: Tensor) -> Tensor {
        let n = self.n();
        let (count, rank, rope) = (u64::from(latent.n_heads), latent.kv_rank, latent.rope_dim);
        let number = |name: &str| self.description.quantities.get(name).copied().unwrap_or(0);
        let (key_width, value_width) = (number("mla_key_dim"), number("mla_value_dim"));
        let plain = key_width.saturating_sub(rope);
        let q = match parts.rows("attn_q_a.weight") {
            Some(rank) => {
                let low = self.project(rank, input);
                let low = self.norm(parts, "attn_q_a_norm", low);
                self.choose(parts, low, input);
                self.project(key_width * count, low)
            }
            None => self.project(key_width * count, input),
        };
        let q = self.as_heads(q, key_width, count);
        let both = self.project(rank + rope, input);
        let (kept, turned) = (self.graph.part(both, rank), self.graph.part(both, rope));
        let turned = self.graph.in_place(&[turned, self.inputs.positions]);
        let kept = self.norm(parts, "attn_kv_a_norm", kept);
        let (q_plain, q_turned) = (self.graph.part(q, plain), self.graph.part(q, rope));
        let q_turned = self.graph.in_place(&[q_turned, self.inputs.positions]);
        let q_plain = self.graph.permute(q_plain, [0, 2, 1, 3]);
        let absorbed = self.project(rank, q_plain);
        let absorbed = self.graph.permute(absorbed, [0, 2, 1, 3]);
        let q = self.graph.fresh([rank + rope, count, n, 1], &[absorbed, q_turned]);
        let kept = self.graph.reshape(kept, [rank, 1, n, 1]);
        let k = self.graph.fresh([rank + rope, 1, n, 1], &[kept, turned]);
        for rows in [q, kept, k] {
            self.graph.expand(rows);
        }
        let rows = self.graph.reshape(k, [rank + rope, n, 1, 1]);
        let cache = self.graph.external();
        let written = self.graph.write(cache, &[rows, self.inputs.key_places[0], cache]);
        self.graph.expand(written);
        let mixed = self.attend_latent([rank, count, value_width], q);
        self.project_biased(parts, "attn_output", self.description.hidden_size, mixed)
    }

    fn attend_latent(&mut self, [rank, count, value_width]: [u64; 3], queries: Tensor) -> Tensor {
        let n = self.n();
        let mask = self.mask_of_chosen(self.inputs.masks[0]);
        let cells = self.graph.node(self.inputs.masks[0]).extents[0];
        let queries = self.graph.permute(queries, [0, 2, 1, 3]);
        let (keys, values) = (self.graph.external(), self.graph.external());
        let sums = if self.batch.flash_attention {
            let fused = self.graph.fresh([rank, count, n, 1], &[queries, keys, values, mask]);
            self.graph.permute(fused, [0, 2, 1, 3])
        } else {
            let scores = self.graph.fresh([cells, n, count, 1], &[keys, queries]);
            let shares = self.graph.in_place(&[scores, mask]);
            let values = self.graph.fresh_of(self.batch.key_bytes, [cells, rank, 1, 1], &[values]);
            self.graph.fresh([rank, n, count, 1], &[values, shares])
        };
        let values = self.project(value_width, sums);
        let turned = self.graph.permute(values, [0, 2, 1, 3]);
        let mixed = self.graph.fresh([value_width * count, n, 1, 1], &[turned]);
        self.graph.expand(mixed);
        mixed
    }
}
