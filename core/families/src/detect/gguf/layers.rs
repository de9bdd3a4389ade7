//! The layers of a GGUF file: which tensors each of them has tells what it does.
//! Knows keys and names; must not know families.

use crate::detect::gguf::keys::Keys;
use crate::detect::schedule::recurrent;
use crate::{Attention, Error, FeedForward, Latent, Layer, Mixer, Reach, Recurrence};
use formats::gguf::{Array, TensorInfo, Value};
use std::collections::BTreeMap;

/// What the layers of a file have in common.
#[derive(Clone, Copy)]
pub(crate) struct Layers<'k> {
    pub(crate) keys: &'k Keys<'k>,
    /// What stands before their numbers in names.
    pub(crate) blocks: &'k str,
    pub(crate) n_layers: u64,
    pub(crate) hidden_size: u64,
    pub(crate) ffn_sizes: &'k [u64],
    pub(crate) quantities: &'k BTreeMap<String, u64>,
    /// Length of the groups of layers whose last one alone sees everything, where the file does not state it.
    pub(crate) window_group: Option<u64>,
    /// It is the first layer of a group that sees everything.
    pub(crate) full_first: bool,
    /// No norm stands before the attention of the first layer.
    pub(crate) first_without_norm: bool,
    /// Tokens of a chunk that the others see, where the file does not state it.
    pub(crate) chunk: Option<u64>,
}

/// What the names of a layer's tensors say.
#[derive(Debug, Clone, Copy, Default)]
struct Parts {
    attention: bool,
    latent: bool,
    indexer: bool,
    values: bool,
    own_bias: bool,
    recurrence: Option<Recurrence>,
    feed_forward: bool,
    router: bool,
    predicts: bool,
}

impl Parts {
    fn see(&mut self, part: &str) {
        match part.strip_suffix(".weight").unwrap_or(part) {
            "attn_kv_a_mqa" => self.latent = true,
            "indexer.attn_k" => self.indexer = true,
            "shortconv.conv" => self.recurrence = Some(Recurrence::ShortConvolution),
            "ssm_x" => self.recurrence = Some(Recurrence::Mamba1),
            "ssm_ba" | "ssm_alpha" | "ssm_beta" => self.recurrence = Some(Recurrence::GatedDelta),
            // Mamba-1 has this one as well, and its own beside it.
            "ssm_in" if self.recurrence.is_none() => self.recurrence = Some(Recurrence::Mamba2),
            "attn_v" => (self.attention, self.values) = (true, true),
            "attn_qkv" => (self.attention, self.values) = (true, true),
            "attn_q" | "attn_k" => self.attention = true,
            "attn_rel_b" => self.own_bias = true,
            "nextn.eh_proj" => self.predicts = true,
            "ffn_gate_inp" => self.router = true,
            "ffn_up" | "ffn_gate" | "ffn_down" => self.feed_forward = true,
            _ => {}
        }
    }
}

impl Layers<'_> {
    /// The layers, first to last; without `tensors`, what the keys alone lead to.
    ///
    /// # Errors
    /// A missing or wrong key.
    pub(crate) fn read(
        &self,
        is_routed: bool,
        tensors: &[TensorInfo],
        warnings: &mut Vec<String>,
    ) -> Result<Vec<Layer>, Error> {
        let heads = self.keys.heads(self.n_layers, self.hidden_size)?;
        let windows = self.windows(warnings)?;
        let parts = self.parts(is_routed, tensors);
        let shared = self.quantities.get("shared_caches").copied().unwrap_or(0);
        let with_cache = self.n_layers.saturating_sub(shared);
        let layer = |(index, parts): (usize, Parts)| {
            let slides = windows[index] != Reach::Full;
            let shares_cache = index as u64 >= with_cache;
            let attention = |own_bias| Attention {
                reach: windows[index],
                n_heads: heads.query[index],
                n_kv_heads: heads.key_value[index],
                key_dim: if slides { heads.sliding_key_dim } else { heads.key_dim },
                value_dim: if slides { heads.sliding_value_dim } else { heads.value_dim },
                own_bias,
                without_norm: self.first_without_norm && index == 0,
                keys_as_values: !parts.values && !shares_cache,
                shares_cache,
            };
            let mixer = match parts {
                Parts { latent: true, .. } => Mixer::Latent(Latent {
                    n_heads: heads.query[index],
                    kv_rank: self.quantity("kv_rank")?,
                    rope_dim: self.quantity("rope_dim")?,
                    indexer_dim: if parts.indexer { self.quantity("indexer_dim")? } else { 0 },
                }),
                Parts { recurrence: Some(kind), attention: attends, .. } => {
                    let recurrent = recurrent(kind, self.hidden_size, |name| self.quantity(name))?;
                    // What projects to a delta net's queries, keys and values goes by attention's name.
                    match attends && kind == Recurrence::Mamba2 {
                        true => Mixer::Parallel(attention(false), recurrent),
                        false => Mixer::Recurrent(recurrent),
                    }
                }
                Parts { attention: true, .. } if heads.query[index] == 0 => {
                    return Err(self.keys.wrong("attention.head_count", "a number above 0", "0".into()));
                }
                Parts { attention: true, own_bias, .. } => Mixer::Attention(attention(own_bias)),
                _ => Mixer::None,
            };
            let feed_forward = match parts {
                Parts { router: true, .. } => FeedForward::Routed,
                Parts { feed_forward: true, .. } => FeedForward::Dense { width: self.ffn_sizes[index] },
                _ => FeedForward::None,
            };
            Ok(Layer { mixer, feed_forward, predicts: parts.predicts })
        };
        parts.into_iter().enumerate().map(layer).collect()
    }

    fn parts(&self, is_routed: bool, tensors: &[TensorInfo]) -> Vec<Parts> {
        let mut parts = vec![Parts::default(); self.n_layers as usize];
        for tensor in tensors {
            let place = tensor.name.strip_prefix(self.blocks).and_then(|rest| rest.split_once('.'));
            if let Some((layer, part)) = place
                && let Some(parts) = layer.parse().ok().and_then(|layer: usize| parts.get_mut(layer))
            {
                parts.see(part);
            }
        }
        if tensors.is_empty() {
            let leading = self.quantities.get("leading_dense").copied().unwrap_or(0) as usize;
            for (index, parts) in parts.iter_mut().enumerate() {
                (parts.attention, parts.values, parts.feed_forward) = (true, true, true);
                parts.router = is_routed && index >= leading;
            }
        }
        parts
    }

    fn quantity(&self, name: &str) -> Result<u64, Error> {
        let quantity = crate::detect::quantities::quantities().get(name);
        let key = quantity.and_then(|quantity| quantity.key.as_deref()).unwrap_or(name);
        self.quantities.get(name).copied().ok_or_else(|| self.keys.missing(key))
    }

    /// What each layer's attention sees: `attention.sliding_window` and its pattern, layers in groups of `n` of which
    /// the last sees everything, or one flag per layer.
    fn windows(&self, warnings: &mut Vec<String>) -> Result<Vec<Reach>, Error> {
        let stated = self.keys.number("attention.sliding_window")?;
        if let (Some(group), Some(chunk), None) = (self.window_group, self.chunk, stated) {
            let reach =
                |layer| if layer % group + 1 < group { Reach::Chunked { chunk } } else { Reach::Full };
            return Ok((0..self.n_layers).map(reach).collect());
        }
        let Some(window) = stated.filter(|window| *window > 0) else {
            return Ok(vec![Reach::Full; self.n_layers as usize]);
        };
        let name = "attention.sliding_window_pattern";
        let slides: Vec<bool> = match self.keys.metadata.get(&self.keys.full(name)) {
            Some(Value::Array(Array::Bool(flags))) if flags.len() as u64 == self.n_layers => flags.clone(),
            Some(Value::Array(Array::I32(flags))) if flags.len() as u64 == self.n_layers => {
                flags.iter().map(|flag| *flag != 0).collect()
            }
            Some(Value::Array(_)) => {
                return Err(self.keys.wrong(
                    name,
                    &format!("{} flags", self.n_layers),
                    "another array".into(),
                ));
            }
            _ => match self.keys.number(name)?.or(self.window_group) {
                Some(group) if group > 0 => {
                    let full = if self.full_first { 0 } else { group - 1 };
                    (0..self.n_layers).map(|layer| layer % group != full).collect()
                }
                _ => {
                    warnings.push(format!(
                        "which layers slide by {window} tokens is not stated: all are taken to see the full context"
                    ));
                    vec![false; self.n_layers as usize]
                }
            },
        };
        let kind = |slides: bool| if slides { Reach::Sliding { window } } else { Reach::Full };
        Ok(slides.into_iter().map(kind).collect())
    }
}
