//! Which tensors each layer of a model has, by what their names say in any layer.
//! Knows names in GGUF; must not know buffers.

use families::{Description, Form, Layer, TensorShape};
use std::collections::BTreeMap;

/// Extents of one layer's tensors, by name without the layer's part.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Parts(BTreeMap<String, Vec<u64>>);

impl Parts {
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Rows of a matrix: the width of what it makes.
    pub(super) fn rows(&self, name: &str) -> Option<u64> {
        self.0.get(name)?.get(1).copied()
    }

    /// The first extent.
    pub(super) fn width(&self, name: &str) -> Option<u64> {
        self.0.get(name)?.first().copied()
    }
}

/// Extents of all tensors, by where they stand.
#[derive(Debug, Default)]
pub(super) struct Shapes {
    /// Outside of layers.
    pub(super) top: Parts,
    /// The layers that write, or that read where there are no others.
    pub(super) layers: Vec<Parts>,
    /// Those of an encoder in front of a decoder.
    pub(super) encoder: Vec<Parts>,
    /// Which of both stacks' layers a computation is laid out with: a buffer is as large for two layers of a kind as for
    /// many.
    pub(super) laid_out: [Vec<usize>; 2],
}

/// Layers of a kind that a computation is laid out with.
const OF_A_KIND: usize = 2;

/// The first layers of every kind, and the last layer.
fn laid_out(layers: &[Layer], parts: &[Parts]) -> Vec<usize> {
    let mut kinds: Vec<(usize, usize)> = Vec::new();
    let alike = |a: usize, b: usize| layers[a] == layers[b] && parts.get(a) == parts.get(b);
    let mut chosen = Vec::new();
    for layer in 0..layers.len() {
        let count = match kinds.iter_mut().find(|(first, _)| alike(*first, layer)) {
            Some((_, count)) => {
                *count += 1;
                *count
            }
            None => {
                kinds.push((layer, 1));
                1
            }
        };
        if count <= OF_A_KIND || layer + 1 == layers.len() {
            chosen.push(layer);
        }
    }
    chosen
}

impl Shapes {
    pub(super) fn of(description: &Description) -> Self {
        let mut shapes = Self::default();
        let has_decoder = description.form == Form::EncoderDecoder;
        for TensorShape { name, dims, .. } in description.tensor_shapes() {
            let (is_encoder, rest) = match (name.strip_prefix("enc."), name.strip_prefix("dec.")) {
                (Some(rest), _) if has_decoder => (true, rest),
                (Some(rest), _) | (_, Some(rest)) => (false, rest),
                _ => (false, name.as_str()),
            };
            match place(rest) {
                Some((layer, part)) => {
                    let stack = if is_encoder { &mut shapes.encoder } else { &mut shapes.layers };
                    if stack.len() <= layer {
                        stack.resize_with(layer + 1, Parts::default);
                    }
                    stack[layer].0.insert(part.to_string(), dims);
                }
                None => _ = shapes.top.0.insert(rest.to_string(), dims),
            }
        }
        shapes.laid_out = [
            laid_out(&description.layers, &shapes.layers),
            laid_out(&description.encoder_layers, &shapes.encoder),
        ];
        shapes
    }
}

/// `blk.3.attn_q.weight` → 3, `attn_q.weight`.
pub(super) fn place(name: &str) -> Option<(usize, &str)> {
    let (number, part) = name.strip_prefix("blk.")?.split_once('.')?;
    Some((number.parse().ok().filter(|layer| *layer < 1 << 16)?, part))
}
