//! The description of a model: what detection reports, and what planner and quantizer work from.
//! Owns these types; must not know which file the numbers came from.

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

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
    /// Decoder layers.
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
    /// One entry per decoder layer, first to last.
    pub layers: Vec<Layer>,
    /// Routed experts, where there are any.
    pub moe: Option<Moe>,
    /// Rows of the embedding.
    pub vocab_size: u64,
    /// Whether the output shares the embedding's weights.
    pub tied_embeddings: bool,
    /// The true ones of the configuration's fields that decide which tensors there are, e.g. `attention_bias`.
    pub flags: BTreeSet<String>,
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

/// One decoder layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// What its attention sees.
    pub attention: AttentionKind,
    /// Query heads.
    pub n_heads: u32,
    /// Key and value heads.
    pub n_kv_heads: u32,
    /// Width of a key head.
    pub key_dim: u32,
    /// Width of a value head.
    pub value_dim: u32,
    /// Width of the dense feed-forward; of one expert where `routed`.
    pub ffn_size: u64,
    /// Whether its feed-forward is routed.
    pub routed: bool,
}

/// What an attention layer sees, and so what its cache holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttentionKind {
    /// Every earlier token.
    Full,
    /// The last `window` tokens.
    Sliding {
        /// Tokens, the current one included.
        window: u64,
    },
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
    /// Layers at the start without a router.
    pub n_leading_dense: u32,
}

/// Rotary position encoding.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rope {
    /// Base of the frequencies.
    pub theta: f64,
    /// How contexts beyond the trained one are reached.
    pub scaling: RopeScaling,
}

/// Kinds of RoPE scaling.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RopeScaling {
    /// Frequencies as trained.
    None,
    /// Every frequency divided by `factor`.
    Linear {
        /// Multiple of the trained context.
        factor: f64,
    },
    /// Frequencies interpolated by wavelength (Peng et al. 2023).
    Yarn {
        /// Multiple of the trained context.
        factor: f64,
        /// Trained context in tokens.
        original_context: u64,
    },
    /// Llama 3.1's interpolation: wavelengths above `original_context / low_freq_factor` stretch by `factor`,
    /// those below `original_context / high_freq_factor` stay, smooth between.
    Llama3 {
        /// Multiple of the trained context.
        factor: f64,
        /// See above.
        low_freq_factor: f64,
        /// See above.
        high_freq_factor: f64,
        /// Trained context in tokens.
        original_context: u64,
    },
    /// Factors per dimension stored with the weights (a GGUF's `rope_freqs`).
    Stored,
    /// A kind that is not applied; its name in the file.
    Other {
        /// `rope_type` as written.
        kind: String,
    },
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
    /// `quant_method` as written: `fp8`, `mxfp4`, `gptq` …
    pub method: String,
    /// Bits per weight, where the file says so.
    pub bits: Option<u32>,
}

/// Inputs besides text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Modalities {
    /// A vision encoder is declared.
    pub vision: bool,
    /// An audio encoder is declared.
    pub audio: bool,
}
