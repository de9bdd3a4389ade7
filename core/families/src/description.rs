//! The description of a model: what detection reports, and what planner and quantizer work from.

use serde::Serialize;

/// What a model is. Every number is read from its configuration or file header.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Description {
    /// Family id, e.g. `qwen3moe`.
    pub family: String,
    /// `model_type` of the configuration (from a GGUF file: the family's first).
    pub model_type: String,
    /// `general.architecture` in GGUF.
    pub architecture: String,
    /// Name the file carries, where it does.
    pub name: Option<String>,
    /// Decoder layers.
    pub n_layers: u32,
    /// Width of the residual stream.
    pub hidden_size: u64,
    /// Width of the dense feed-forward.
    pub ffn_size: u64,
    /// Query heads.
    pub n_heads: u32,
    /// Key and value heads.
    pub n_kv_heads: u32,
    /// Width of a head.
    pub head_dim: u32,
    /// One entry per decoder layer.
    pub layers: Vec<Layer>,
    /// Routed experts, where there are any.
    pub moe: Option<Moe>,
    /// Rows of the embedding.
    pub vocab_size: u64,
    /// Whether the output shares the embedding's weights.
    pub tied_embeddings: bool,
    /// Whether the attention projections carry biases.
    pub attention_bias: bool,
    /// Position encoding.
    pub rope: Rope,
    /// Longest context in tokens that the model was made for.
    pub max_context: u64,
    /// Number of weights.
    pub parameters: Parameters,
    /// `quantization_config.quant_method` of the checkpoint, where it has one.
    pub native_quantization: Option<String>,
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Layer {
    /// What its attention sees.
    pub attention: AttentionKind,
    /// Whether its feed-forward is routed.
    pub routed: bool,
}

/// What an attention layer sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AttentionKind {
    /// Every earlier token.
    Full,
    /// The last `window` tokens.
    Sliding {
        /// Tokens.
        window: u64,
    },
}

/// A routed feed-forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Moe {
    /// Experts per layer.
    pub n_experts: u32,
    /// Experts that a token uses.
    pub n_active: u32,
    /// Width of one expert.
    pub expert_ffn_size: u64,
}

/// Rotary position encoding.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Rope {
    /// Base of the frequencies.
    pub theta: f64,
    /// How contexts beyond the trained one are reached.
    pub scaling: RopeScaling,
}

/// Kinds of RoPE scaling.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum RopeScaling {
    None,
    Linear { factor: f64 },
    Yarn { factor: f64, original_context: u64 },
    Llama3 { factor: f64, low_freq_factor: f64, high_freq_factor: f64, original_context: u64 },
}

/// Number of weights.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Parameters {
    /// All of them.
    pub total: u64,
    /// Those that one token touches.
    pub active: u64,
}
