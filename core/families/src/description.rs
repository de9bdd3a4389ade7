//! The description of a model: what detection reports, and what planner and quantizer work from.
//! Owns these types; must not know which file the numbers came from.

mod rope;

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

pub use rope::{Rope, RopeScaling};

/// What a model is. Every number is read from its configuration or file header; what the file leaves
/// out is the documented default of the family's configuration class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Description {
    /// Family id, e.g. `qwen3moe`; `generic` for a plain decoder that no family file names.
    pub family: String,
    /// `model_type` of the configuration (from a GGUF file: the family's first that fits).
    pub model_type: String,
    /// `general.architecture` in GGUF.
    pub architecture: String,
    /// Name the file carries, where it does.
    pub name: Option<String>,
    /// Whether it writes, reads, or reads and then writes.
    #[serde(default)]
    pub form: Form,
    /// Layers: the decoder's, where there is one.
    pub n_layers: u32,
    /// Width of the residual stream.
    pub hidden_size: u64,
    /// Width of the dense feed-forward (of the widest layer).
    pub ffn_size: u64,
    /// Query heads (of the layer with most).
    pub n_heads: u32,
    /// Key and value heads (of the layer with most).
    pub n_kv_heads: u32,
    /// Width of a key head.
    pub head_dim: u32,
    /// One entry per layer, first to last; the decoder's, where there is one.
    pub layers: Vec<Layer>,
    /// Layers of an encoder in front of the decoder, first to last.
    #[serde(default)]
    pub encoder_layers: Vec<Layer>,
    /// Numbers of the family's mechanisms by name, e.g. `kv_rank`: what `data/quantities.toml` lists and the file has.
    pub quantities: BTreeMap<String, u64>,
    /// Routed experts, where there are any.
    pub moe: Option<Moe>,
    /// Rows of the embedding.
    pub vocab_size: u64,
    /// Whether the output shares the embedding's weights.
    pub tied_embeddings: bool,
    /// The true ones of the configuration's fields that decide which tensors there are, e.g. `attention_bias`.
    pub flags: BTreeSet<String>,
    /// How the vectors of a text's tokens become one, where the file says so.
    #[serde(default)]
    pub pooling: Option<Pooling>,
    /// Numbers that the checkpoint's weights are multiplied by on their way to GGUF, by the configuration's field.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub factors: BTreeMap<String, f64>,
    /// Position encoding.
    pub rope: Rope,
    /// Longest context in tokens that the model was made for.
    pub max_context: u64,
    /// Number of weights.
    pub parameters: Parameters,
    /// The quantization that the checkpoint ships in, where it is not plain floats.
    pub native_quantization: Option<NativeQuantization>,
    /// Inputs besides text that the checkpoint declares.
    pub modalities: Modalities,
    /// What a user should know: fallbacks, settings the engine does not apply.
    pub warnings: Vec<String>,
}

impl Description {
    /// Query heads per key-value head.
    pub fn gqa_ratio(&self) -> u32 {
        self.n_heads / self.n_kv_heads.max(1)
    }
}

/// What a model makes of tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// It writes: every token sees those before it.
    #[default]
    Decoder,
    /// It reads: every token sees the whole text, and no cache is kept.
    Encoder,
    /// An encoder reads, and a decoder that sees what it read writes.
    EncoderDecoder,
}

/// How the vectors of a text's tokens become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pooling {
    /// They stay what they are.
    None,
    /// Their mean.
    Mean,
    /// The first token's.
    Cls,
    /// The last token's.
    Last,
    /// Scores of a classifier behind them.
    Rank,
}

impl Pooling {
    const ALL: [Self; 5] = [Self::None, Self::Mean, Self::Cls, Self::Last, Self::Rank];

    /// Its number in GGUF (`enum llama_pooling_type`).
    pub fn number(self) -> u32 {
        Self::ALL.iter().position(|pooling| *pooling == self).expect("all are listed") as u32
    }

    /// What `number` stands for in GGUF.
    pub fn from_number(number: u64) -> Option<Self> {
        Self::ALL.get(usize::try_from(number).ok()?).copied()
    }
}

/// One layer: what mixes tokens, then what works on each token alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// What mixes tokens.
    pub mixer: Mixer,
    /// What follows.
    pub feed_forward: FeedForward,
    /// Whether it predicts tokens beyond the next, and is none of those that every token goes through.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub predicts: bool,
}

impl Layer {
    /// Values of one token in the key and in the value cache.
    pub fn cache_row(&self) -> (u64, u64) {
        match self.mixer {
            Mixer::Attention(Attention { shares_cache: true, .. }) => (0, 0),
            Mixer::Attention(attention) | Mixer::Parallel(attention, _) => {
                let heads = u64::from(attention.n_kv_heads);
                (heads * u64::from(attention.key_dim), heads * u64::from(attention.value_dim))
            }
            // The latent is cached once, as the key with its rotary part; the value is a part of it. Keys of an indexer have
            // a cache of the same type beside it.
            Mixer::Latent(latent) => {
                (latent.kv_rank.saturating_add(latent.rope_dim).saturating_add(latent.indexer_dim), 0)
            }
            Mixer::Recurrent(_) | Mixer::None => (0, 0),
        }
    }

    /// Its attention, where it has a plain one.
    pub fn attention(&self) -> Option<&Attention> {
        match &self.mixer {
            Mixer::Attention(attention) | Mixer::Parallel(attention, _) => Some(attention),
            Mixer::Latent(_) | Mixer::Recurrent(_) | Mixer::None => None,
        }
    }

    /// The same, to be changed.
    pub fn attention_mut(&mut self) -> Option<&mut Attention> {
        match &mut self.mixer {
            Mixer::Attention(attention) | Mixer::Parallel(attention, _) => Some(attention),
            Mixer::Latent(_) | Mixer::Recurrent(_) | Mixer::None => None,
        }
    }

    /// Its recurrence, where it has one.
    pub fn recurrent(&self) -> Option<&Recurrent> {
        match &self.mixer {
            Mixer::Recurrent(recurrent) | Mixer::Parallel(_, recurrent) => Some(recurrent),
            Mixer::Attention(_) | Mixer::Latent(_) | Mixer::None => None,
        }
    }

    /// Whether its feed-forward is routed.
    pub fn is_routed(&self) -> bool {
        self.feed_forward == FeedForward::Routed
    }
}

/// What mixes the tokens of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mixer {
    /// Multi-head, grouped-query or multi-query attention.
    Attention(Attention),
    /// Attention over a compressed latent (DeepSeek-V2's MLA).
    Latent(Latent),
    /// A recurrence with a state of fixed size.
    Recurrent(Recurrent),
    /// Attention and a recurrence beside each other (Falcon-H1).
    Parallel(Attention, Recurrent),
    /// Nothing: the layer is a feed-forward alone.
    None,
}

/// Heads of an attention layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attention {
    /// What it sees.
    pub reach: Reach,
    /// Query heads.
    pub n_heads: u32,
    /// Key and value heads.
    pub n_kv_heads: u32,
    /// Width of a key head.
    pub key_dim: u32,
    /// Width of a value head.
    pub value_dim: u32,
    /// Whether it has biases by the distance of two tokens, which layers without take over from the first.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub own_bias: bool,
    /// Whether no norm stands before it: what it gets was normalised already.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub without_norm: bool,
    /// Whether its keys are its values as well, each with a norm of its own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keys_as_values: bool,
    /// Whether it sees the keys and values of an earlier layer, and caches none.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shares_cache: bool,
}

/// What an attention layer sees, and so what its cache holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reach {
    /// Every earlier token.
    Full,
    /// The last `window` tokens.
    Sliding {
        /// Tokens, the current one included.
        window: u64,
    },
    /// The tokens of the current chunk.
    Chunked {
        /// Tokens of a chunk.
        chunk: u64,
    },
}

impl Reach {
    /// Tokens that the cache holds at most, where there is a bound.
    pub fn bound(self) -> Option<u64> {
        match self {
            Self::Full => None,
            Self::Sliding { window } => Some(window),
            Self::Chunked { chunk } => Some(chunk),
        }
    }
}

/// Widths of latent attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latent {
    /// Query heads.
    pub n_heads: u32,
    /// Width of the latent that keys and values come from.
    pub kv_rank: u64,
    /// Width of the rotary part of a key.
    pub rope_dim: u64,
    /// Width of the keys of an indexer that chooses which tokens are seen; 0 without one.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub indexer_dim: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// A recurrence and the size of its state, per sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recurrent {
    /// What it computes.
    pub kind: Recurrence,
    /// Numbers of its convolution's last inputs; the engine holds 32-bit floats.
    pub convolution_len: u64,
    /// Numbers of its state; the engine holds 32-bit floats.
    pub state_len: u64,
}

/// Kinds of recurrences.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Recurrence {
    /// Selective state space with a state per channel (Gu & Dao 2023).
    Mamba1,
    /// Selective state space with heads and groups (Dao & Gu 2024).
    Mamba2,
    /// Linear attention by the gated delta rule (Yang et al. 2024).
    GatedDelta,
    /// A gated convolution over a few tokens (LFM2).
    ShortConvolution,
}

/// What a layer does with each token alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FeedForward {
    /// One feed-forward.
    Dense {
        /// Its width.
        width: u64,
    },
    /// Experts behind a router ([`Description::moe`] has their numbers).
    Routed,
    /// Nothing.
    None,
}

/// A routed feed-forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moe {
    /// Experts per routed layer.
    pub n_experts: u32,
    /// Experts that a token uses.
    pub n_active: u32,
    /// Width of one expert.
    pub expert_ffn_size: u64,
    /// Width of the experts that every token uses, all together; 0 without any.
    pub shared_ffn_size: u64,
}

/// Number of weights.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parameters {
    /// All of them; an output that shares the embedding counts once, generated factors not at all.
    pub total: u64,
    /// Those that one token touches: all but the experts it does not use.
    pub active: u64,
}

/// The quantization that a checkpoint ships in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NativeQuantization {
    /// `quant_method` in lower case: `fp8`, `mxfp4`, `gptq` …
    pub method: String,
    /// The variant of the method, where the file says so: `e4m3`, `gptq_v2`, `pack-quantized`, `nvfp4` …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// Bits per weight, where the file says so.
    pub bits: Option<u32>,
    /// Weights of a row that share a scale, where the file says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_size: Option<u32>,
    /// Rows and columns that share a scale, where the file says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block: Option<[u64; 2]>,
}

/// Inputs besides text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Modalities {
    /// A vision encoder is declared.
    pub vision: bool,
    /// An audio encoder is declared.
    pub audio: bool,
}
