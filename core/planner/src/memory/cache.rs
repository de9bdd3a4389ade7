//! Caches and states, layer by layer, as the engine sizes them. Must not know weights.

use families::{Description, Form, Layer, Mixer, Reach};
use formats::gguf::GgmlType;
use serde::{Deserialize, Serialize};

/// Groups of cells in which the engine sizes its caches.
pub(super) const CACHE_GROUP: u64 = 256;
/// Where tensors begin, in bytes.
const ALIGNMENT_BYTES: u64 = 32;
/// Heads are rotated before they are quantized where their width is a multiple of this.
const ROTATION: u64 = 64;

/// Types of cached keys and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CacheTypes {
    /// Of keys.
    #[serde(serialize_with = "serialize", deserialize_with = "deserialize")]
    pub k: GgmlType,
    /// Of values.
    #[serde(serialize_with = "serialize", deserialize_with = "deserialize")]
    pub v: GgmlType,
}

fn serialize<S: serde::Serializer>(ty: &GgmlType, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(ty.name())
}

fn deserialize<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<GgmlType, D::Error> {
    let name = String::deserialize(deserializer)?;
    GgmlType::from_name(&name).ok_or_else(|| serde::de::Error::custom(format!("`{name}` is no tensor type")))
}

impl CacheTypes {
    /// Halves, which lose nothing that counts.
    pub const F16: Self = Self { k: GgmlType::F16, v: GgmlType::F16 };

    /// One type for both.
    pub fn both(ty: GgmlType) -> Self {
        Self { k: ty, v: ty }
    }

    /// `F16`, or `Q8_0 keys, Q4_0 values`.
    pub fn text(self) -> String {
        match self.k == self.v {
            true => self.k.name().to_string(),
            false => format!("{} keys, {} values", self.k.name(), self.v.name()),
        }
    }

    /// Caches and states of a context with these, in bytes; `None` where the engine opens none.
    pub(crate) fn bytes(self, description: &Description, context_tokens: u64, n_ubatch: u64) -> Option<u64> {
        let cells = cells(description, context_tokens, n_ubatch).filter(|_| self.fit(description, true))?;
        Some(layers(description, self, cells, true)?.into_iter().fold(0, u64::saturating_add))
    }

    /// Whether the engine opens a context of `description` with these, and with fused attention where that is on:
    /// blocks need fused attention and heads that they divide; latents hold keys and values in one; biases by distance
    /// are added without fused attention.
    pub fn fit(self, description: &Description, flash_attention: bool) -> bool {
        let is_latent = |layer: &Layer| matches!(layer.mixer, Mixer::Latent(_));
        if description.layers.iter().any(is_latent) && self.k != self.v {
            return false;
        }
        let quantized = |ty: GgmlType| ty.block_len() > 1;
        if !quantized(self.k) && !quantized(self.v) {
            return true;
        }
        let has_biases = description.quantities.contains_key("relative_buckets");
        if !flash_attention || has_biases {
            return false;
        }
        description.layers.iter().all(|layer| {
            let divides = |ty: GgmlType, width: u64| width.is_multiple_of(ty.block_len());
            match (layer.attention(), layer.mixer) {
                (Some(attention), _) => {
                    divides(self.k, attention.key_dim.into()) && divides(self.v, attention.value_dim.into())
                }
                (None, Mixer::Latent(latent)) => {
                    divides(self.k, latent.kv_rank + latent.rope_dim) && divides(self.v, latent.kv_rank)
                }
                (None, _) => true,
            }
        })
    }
}

/// Cells of the cache of layers that see everything, and of those that see a part: whole groups; a window has room for
/// one more batch.
pub(super) fn cells(description: &Description, context_tokens: u64, n_ubatch: u64) -> Option<[u64; 2]> {
    let all = context_tokens.checked_next_multiple_of(CACHE_GROUP)?;
    let window = description.layers.iter().filter_map(|layer| layer.attention()?.reach.bound()).max();
    let part = match window {
        Some(window) => all.min(window.checked_add(n_ubatch)?).checked_next_multiple_of(CACHE_GROUP)?,
        None => all,
    };
    Some([all, part])
}

/// Bytes of cache and state of each layer. `None` where a row does not divide into the type's blocks, or beyond 2^64.
pub(super) fn layers(
    description: &Description,
    types: CacheTypes,
    [all, part]: [u64; 2],
    flash_attention: bool,
) -> Option<Vec<u64>> {
    let layers = match description.form {
        Form::Decoder => &description.layers,
        // The engine gives a cache to encoders with biases by distance, which they never use.
        Form::Encoder if !description.quantities.contains_key("relative_buckets") => {
            return Some(vec![0; description.layers.len()]);
        }
        Form::Encoder => &description.layers,
        // The engine counts the encoder's.
        Form::EncoderDecoder => &description.encoder_layers,
    };
    // Without fused attention values lie transposed, all layers' as wide as the widest's.
    let widest = layers.iter().map(|layer| layer.cache_row().1).max().unwrap_or(0);
    let bytes = |layer: &Layer| {
        let cells = match layer.attention().map(|attention| attention.reach) {
            Some(Reach::Sliding { .. } | Reach::Chunked { .. }) => part,
            Some(Reach::Full) | None => all,
        };
        let (key, value) = layer.cache_row();
        let value = if value > 0 && !flash_attention { widest } else { value };
        let per_token = types.k.row_bytes(key)?.checked_add(types.v.row_bytes(value)?)?;
        let states = layer.recurrent().map_or(Some(0), |recurrent| {
            let state = |numbers: u64| numbers.checked_mul(4)?.checked_next_multiple_of(ALIGNMENT_BYTES);
            state(recurrent.convolution_len)?.checked_add(state(recurrent.state_len)?)
        })?;
        per_token.checked_mul(cells)?.checked_add(states)
    };
    layers.iter().map(bytes).collect()
}

/// Widths of the rotations before quantized keys and values, where the engine makes them: heads alike in all layers,
/// as wide as a multiple of 64; keys turn in the widest power of two times 64 that divides them.
pub(super) fn rotations(description: &Description, types: CacheTypes) -> [Option<u64>; 2] {
    let quantized = |ty: GgmlType| ty.block_len() > 1;
    let mut attentions = description.layers.iter().filter_map(Layer::attention);
    let Some(first) = attentions.next() else { return [None; 2] };
    let alike = |width: fn(&families::Attention) -> u32| {
        let own = width(first);
        let rest = description.layers.iter().filter_map(Layer::attention);
        (rest.clone().all(|attention| width(attention) == own)).then_some(u64::from(own))
    };
    let keys = alike(|attention| attention.key_dim);
    let values = alike(|attention| attention.value_dim);
    let mut of_keys = None;
    if let Some(width) = keys.filter(|width| quantized(types.k) && width.is_multiple_of(ROTATION)) {
        let mut rotation = ROTATION;
        while width.is_multiple_of(2 * rotation) {
            rotation *= 2;
        }
        of_keys = Some(rotation);
    }
    let of_values = values.filter(|width| quantized(types.v) && width.is_multiple_of(ROTATION));
    [of_keys, of_values.map(|_| ROTATION)]
}
