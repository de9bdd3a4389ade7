//! The computation of a model for one batch: which operations, on how much, in the order in which the engine makes them.
//! Follows llama.cpp's `llama-graph.cpp` and `models/*.cpp` by mechanism: what a layer does shows in its tensors. Must
//! not know where tensors lie.

mod attention;
mod feed_forward;
mod indexer;
mod per_layer;
mod recurrent;
mod streams;

use super::engine_graph::EngineGraph;
use super::graph::{F16, F32, Graph, I32, I64, Tensor};
use super::shapes::{Parts, Shapes};
use families::{Description, FeedForward, Form, Layer, Mixer, Recurrence};

/// What decides how much is computed at a time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Batch {
    /// Tokens computed at a time.
    pub(super) n_tokens: u64,
    /// Tokens whose logits are wanted.
    pub(super) n_outputs: u64,
    /// Cells of the cache of layers that see everything, and of those that see a part.
    pub(super) n_cells: [u64; 2],
    /// Fused attention.
    pub(super) flash_attention: bool,
    /// Width of the rotation before quantized keys and values, where there is one.
    pub(super) rotated: [Option<u64>; 2],
    /// Bytes of an element of cached keys, where they are floats.
    pub(super) key_bytes: u64,
    pub(super) engine: EngineGraph,
}

/// What the caller fills in.
struct Inputs {
    positions: Tensor,
    outputs: Tensor,
    /// Masks of layers that see everything, and of those that see a part.
    masks: [Tensor; 2],
    /// Where keys and values go in the caches of both kinds of layers.
    key_places: [Tensor; 2],
    value_places: [Tensor; 2],
    rotations: [Option<Tensor>; 2],
    states: Tensor,
    cross: Option<attention::Cross>,
    /// Kinds of distances between tokens.
    distances: Option<Tensor>,
    indexer: Option<indexer::Inputs>,
}

pub(super) struct Network<'a> {
    graph: Graph,
    description: &'a Description,
    batch: Batch,
    inputs: Inputs,
    habits: Habits,
    /// Vectors in which levels of a picture stand beside the tokens'.
    levels: Option<Tensor>,
    /// An embedding for each layer, one behind the other.
    per_layer: Option<Tensor>,
    /// The tokens that an indexer chose last.
    chosen: Option<Tensor>,
}

/// What the engine does alike in every layer of a model, and no tensor tells.
struct Habits {
    /// Heads are turned by position.
    rotates: bool,
    /// Sums begin with the residual.
    residual_first: bool,
}

impl Habits {
    fn of(description: &Description) -> Self {
        let has = |kind: Recurrence| {
            let of_kind = |layer: &Layer| matches!(layer.mixer, Mixer::Recurrent(own) if own.kind == kind);
            description.layers.iter().any(of_kind)
        };
        Self { rotates: !has(Recurrence::Mamba2), residual_first: has(Recurrence::ShortConvolution) }
    }
}

/// The stack of layers that a computation goes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stack {
    /// The one that writes; of an encoder alone, its own.
    Main,
    /// The encoder in front of a decoder.
    Encoder,
}

/// The computation of a model for one batch.
pub(super) fn build(description: &Description, shapes: &Shapes, batch: Batch, stack: Stack) -> Graph {
    let mut graph = Graph::default();
    let inputs = inputs(&mut graph, description, batch, stack);
    let habits = Habits::of(description);
    let mut network =
        Network { graph, description, batch, inputs, habits, levels: None, per_layer: None, chosen: None };
    let (layers, parts, laid_out) = match stack {
        Stack::Main => (&description.layers, &shapes.layers, &shapes.laid_out[0]),
        Stack::Encoder => (&description.encoder_layers, &shapes.encoder, &shapes.laid_out[1]),
    };
    let has_cache = stack == Stack::Main && description.form != Form::Encoder;
    let mut current = network.embed(&shapes.top);
    network.embed_for_layers(&shapes.top, current);
    let streams = description.quantities.get("streams").copied();
    if let Some(count) = streams {
        current = network.spread(count, current);
    }
    let nothing = Parts::default();
    for index in laid_out.iter().copied() {
        let parts = parts.get(index).unwrap_or(&nothing);
        let is_last = index + 1 == layers.len();
        if let Some(count) = streams {
            current = network.layer_of_streams(&layers[index], parts, count, current);
            continue;
        }
        current = network.layer(&layers[index], parts, current, has_cache, is_last);
        current = network.add_level(index, current);
    }
    if let Some(count) = streams {
        current = network.merge(count, current);
    }
    network.finish(&shapes.top, current, stack);
    network.graph
}

fn inputs(graph: &mut Graph, description: &Description, batch: Batch, stack: Stack) -> Inputs {
    let n = batch.n_tokens;
    let mask_bytes = if batch.flash_attention { F16 } else { F32 };
    let reads = stack == Stack::Encoder || description.form == Form::Encoder;
    let cells = if reads { [n, n] } else { batch.n_cells };
    // Without fused attention values are stored one by one, transposed.
    let widest = description.layers.iter().map(|layer| layer.cache_row().1).max().unwrap_or(0);
    let values = if batch.flash_attention { n } else { n.saturating_mul(widest) };
    // As many numbers as any kind of position has.
    let mut row = |bytes, count| graph.input(bytes, [count, 1, 1, 1]);
    let positions = row(I32, n * 4);
    let outputs = row(I32, batch.n_outputs);
    let key_places = [row(I64, n), row(I64, n)];
    let value_places = [row(I64, values), row(I64, values)];
    let states = row(I32, 1);
    Inputs {
        positions,
        outputs,
        key_places,
        value_places,
        states,
        masks: cells.map(|cells| {
            if batch.flash_attention && batch.engine.masks_are_cast {
                let floats = graph.input(F32, [cells, n, 1, 1]);
                return graph.fresh_of(F16, [cells, n, 1, 1], &[floats]);
            }
            graph.input(mask_bytes, [cells, n, 1, 1])
        }),
        rotations: batch.rotated.map(|width| width.map(|width| graph.input(F32, [width, width, 1, 1]))),
        cross: (stack == Stack::Main && description.form == Form::EncoderDecoder)
            .then(|| attention::Cross::new(graph, description, batch)),
        distances: description
            .quantities
            .contains_key("relative_buckets")
            .then(|| graph.input(I32, [cells[0], n, 1, 1])),
        indexer: indexer::Inputs::new(graph, description, n, cells[0]),
    }
}

impl Network<'_> {
    fn n(&self) -> u64 {
        self.batch.n_tokens
    }

    /// A matrix times a row per token.
    fn project(&mut self, rows: u64, of: Tensor) -> Tensor {
        let [_, b, c, d] = self.graph.node(of).extents;
        let weight = self.graph.external();
        self.graph.fresh([rows, b, c, d], &[weight, of])
    }

    /// The same, with a bias where the layer has one.
    fn project_biased(&mut self, parts: &Parts, name: &str, rows: u64, of: Tensor) -> Tensor {
        let product = self.project(rows, of);
        if !parts.has(&format!("{name}.bias")) {
            return product;
        }
        self.scale_by_weight(product)
    }

    /// A number per column, added or multiplied.
    fn scale_by_weight(&mut self, of: Tensor) -> Tensor {
        let weight = self.graph.external();
        self.graph.in_place(&[of, weight])
    }

    /// Normalised rows, times a weight and plus a bias where the model has them.
    fn norm(&mut self, parts: &Parts, name: &str, of: Tensor) -> Tensor {
        let has_bias = parts.has(&format!("{name}.bias"));
        let mut current = if has_bias {
            // Means are taken off: a kind of norm that is not computed in place.
            let extents = self.graph.node(of).extents;
            self.graph.fresh(extents, &[of])
        } else {
            self.graph.in_place(&[of])
        };
        if parts.has(&format!("{name}.weight")) || parts.has(name) {
            current = self.scale_by_weight(current);
        }
        if has_bias {
            current = self.scale_by_weight(current);
        }
        current
    }

    /// The rows of the tokens whose logits are wanted.
    fn wanted(&mut self, of: Tensor) -> Tensor {
        let width = self.graph.node(of).extents[0];
        self.graph.fresh([width, self.batch.n_outputs, 1, 1], &[of, self.inputs.outputs])
    }

    /// Rows of the embedding: from tokens, from vectors, or from both, of which one way is gone.
    fn embed(&mut self, top: &Parts) -> Tensor {
        let (n, width) = (self.n(), self.description.hidden_size);
        let levels = self.description.quantities.get("deepstack_layers").copied().unwrap_or(0);
        let wide = [width.saturating_mul(levels + 1), n, 1, 1];
        let tokens = self.graph.input(I32, [n, 1, 1, 1]);
        let vectors = self.graph.input(F32, wide);
        let looked_up = self.look_up(tokens, wide);
        for way in [looked_up, vectors] {
            self.graph.expand(way);
        }
        if self.batch.engine.batches_mix {
            let mixed_tokens = self.graph.input(I32, [n, 1, 1, 1]);
            let places = self.graph.input(I64, [n, 1, 1, 1]);
            let mixed_vectors = self.graph.input(F32, wide);
            let copy = self.graph.fresh(wide, &[mixed_vectors]);
            let rows = self.look_up(mixed_tokens, wide);
            let mixed = self.graph.write(copy, &[rows, places, copy]);
            self.graph.expand(mixed);
        }
        let mut current = looked_up;
        if levels > 0 {
            self.levels = Some(looked_up);
            current = self.graph.part(current, width);
        }
        for kind in ["token_types.weight", "position_embd.weight"] {
            if top.has(kind) {
                current = self.scale_by_weight(current);
            }
        }
        if top.has("token_embd_norm.weight") && self.description.form == Form::Encoder {
            current = self.norm(top, "token_embd_norm", current);
        }
        current
    }

    /// Behind the first layers a picture's levels are added.
    fn add_level(&mut self, layer: usize, current: Tensor) -> Tensor {
        let levels = self.description.quantities.get("deepstack_layers").copied().unwrap_or(0);
        let Some(vectors) = self.levels.filter(|_| (layer as u64) < levels) else { return current };
        let level = self.graph.part(vectors, self.description.hidden_size);
        self.graph.in_place(&[current, level])
    }

    /// A sum with the residual.
    fn add(&mut self, to_add: Tensor, residual: Tensor) -> Tensor {
        match self.habits.residual_first {
            true => self.graph.in_place(&[residual, to_add]),
            false => self.graph.in_place(&[to_add, residual]),
        }
    }

    fn look_up(&mut self, tokens: Tensor, wide: [u64; 4]) -> Tensor {
        let weight = self.graph.external();
        let width = self.description.hidden_size;
        let rows = self.graph.fresh([width, wide[1], 1, 1], &[weight, tokens]);
        if wide[0] == width { rows } else { self.graph.fresh(wide, &[rows]) }
    }

    fn layer(
        &mut self,
        layer: &Layer,
        parts: &Parts,
        input: Tensor,
        has_cache: bool,
        is_last: bool,
    ) -> Tensor {
        // Norms that only hold for what comes after the mixer or the feed-forward.
        let norms_after = !parts.has("attn_norm.weight") && parts.has("post_attention_norm.weight");
        let reads = parts.has("attn_output_norm.weight");
        let plain = norms_after || reads || layer.attention().is_some_and(|attention| attention.without_norm);
        let normed = if plain { input } else { self.norm(parts, "attn_norm", input) };
        let mixed = match layer.mixer {
            Mixer::Attention(attention) => self.attention(&attention, parts, normed, has_cache),
            Mixer::Latent(latent) => self.latent(latent, parts, normed),
            Mixer::Recurrent(recurrent) => self.recurrence(recurrent.kind, parts, normed),
            Mixer::Parallel(attention, recurrent) => {
                let attended = self.attention(&attention, parts, normed, has_cache);
                let again = self.norm(parts, "attn_norm", input);
                let remembered = self.recurrence(recurrent.kind, parts, again);
                self.graph.in_place(&[attended, remembered])
            }
            Mixer::None => {
                let fed = self.feed_forward(layer, parts, normed);
                return self.graph.in_place(&[fed, input]);
            }
        };
        let select = is_last && layer.feed_forward != FeedForward::None;
        let [mut mixed, mut residual, mut normed] = [mixed, input, normed];
        if select {
            mixed = self.wanted(mixed);
            residual = self.wanted(residual);
        }
        let has_ffn_norm = parts.has("ffn_norm.weight") || parts.has("ffn_norm");
        if (has_ffn_norm || norms_after) && parts.has("post_attention_norm.weight") {
            mixed = self.norm(parts, "post_attention_norm", mixed);
        }
        if layer.feed_forward == FeedForward::None {
            return self.graph.in_place(&[mixed, residual]);
        }
        let beside = !has_ffn_norm
            && !parts.has("post_attention_norm.weight")
            && parts.has("attn_norm.weight")
            && !reads;
        if beside {
            if select {
                normed = self.wanted(normed);
            }
            let fed = self.feed_forward(layer, parts, normed);
            let sum = self.graph.in_place(&[fed, residual]);
            return self.graph.in_place(&[sum, mixed]);
        }
        let mut inner = match self.cross_attention(parts, mixed, residual) {
            Some(crossed) => crossed,
            None => self.add(mixed, residual),
        };
        if reads {
            inner = self.norm(parts, "attn_output_norm", inner);
        }
        let normed = match (norms_after || reads, has_ffn_norm) {
            (true, _) => inner,
            (false, true) => self.norm(parts, "ffn_norm", inner),
            (false, false) => self.norm(parts, "post_attention_norm", inner),
        };
        let mut fed = match parts.has("pre_ffw_norm_2.weight") {
            true => self.dense_beside_routed(parts, inner, normed),
            false => self.feed_forward(layer, parts, normed),
        };
        if parts.has("post_ffw_norm.weight") {
            fed = self.norm(parts, "post_ffw_norm", fed);
        }
        // Where gate and up stand in one matrix and no norm follows, the sum begins with the residual.
        let joined = parts.rows("ffn_up.weight").is_some_and(|rows| feed_forward::is_joined(parts, "", rows));
        let sum = match joined && !parts.has("post_ffw_norm.weight") {
            true => self.graph.in_place(&[inner, fed]),
            false => self.add(fed, inner),
        };
        let sum = self.add_own_embedding(parts, sum, select);
        if reads { self.norm(parts, "layer_output_norm", sum) } else { sum }
    }

    /// What comes after the last layer.
    fn finish(&mut self, top: &Parts, current: Tensor, stack: Stack) {
        let mut current = current;
        if self.description.form != Form::Encoder || top.has("output_norm.weight") {
            current = self.norm(top, "output_norm", current);
        }
        self.graph.keep(current);
        if self.graph.node(current).extents[1] != self.batch.n_outputs {
            current = self.wanted(current);
            self.graph.keep(current);
        }
        if self.description.form != Form::Encoder && stack == Stack::Main {
            current = self.project(self.description.vocab_size, current);
            self.graph.keep(current);
        }
        self.graph.expand(current);
    }
}
