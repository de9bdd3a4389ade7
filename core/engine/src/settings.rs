//! Settings of a load and of a context, each with a value of our own choosing.
//!
//! Owns: [`LoadSettings`], [`ContextSettings`], [`KvType`] and their defaults. May know: errors.
//! Must not know: hardware; the planner chooses values for a device.

use crate::Error;
use serde::{Deserialize, Serialize};

/// How to load a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadSettings {
    /// How many layers to put on GPUs, counted from the last; more than the model has means all.
    /// Default 0.
    pub gpu_layers: u32,
    /// Names of the GPUs to use (see [`crate::DeviceInfo::name`]), in order; `None`: all of them.
    pub devices: Option<Vec<String>>,
    /// Keep GPUs open that hold no layer, so that they compute large batches with weights copied from the host's memory
    /// ([`ContextSettings::offload_ops`]); only weights that are not rearranged (`repack`) are copied. Default false.
    pub batches_on_gpus: bool,
    /// Map the file into memory instead of reading it, so that the system can evict and share the
    /// weights. Default true.
    pub mmap: bool,
    /// Rearrange weights for the CPU where that computes faster. The rearranged copy is anonymous
    /// memory, which cannot be evicted. Default true.
    pub repack: bool,
    /// Look for not-a-number values in every tensor while loading: slow. Default false.
    pub check_tensors: bool,
    /// Keep the vocabulary that the file has, which [`crate::Model::open_projector`] needs; a file whose vocabulary the
    /// engine does not know is refused then. Default false.
    pub vocabulary: bool,
    /// Keep at most so many bytes of experts in memory, and read the others from the file when a token chooses them: for
    /// mixtures of experts that are larger than the memory. What every token needs is read by the load. At least the
    /// experts of one layer; needs `mmap`, no `repack`, no GPU, and Linux or Android. Nothing to a model without experts.
    /// Answers are the same. Default `None`: experts are treated as all weights are.
    #[serde(default)]
    pub expert_memory_bytes: Option<u64>,
}

impl Default for LoadSettings {
    fn default() -> Self {
        Self {
            gpu_layers: 0,
            devices: None,
            batches_on_gpus: false,
            mmap: true,
            repack: true,
            check_tensors: false,
            vocabulary: false,
            expert_memory_bytes: None,
        }
    }
}

/// What a context computes of its tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Purpose {
    /// Logits: [`crate::Context::decode`].
    #[default]
    Logits,
    /// Vectors of whole texts, pooled so or (`None`) as the model's file says: [`crate::Context::embed`].
    Vectors(Option<Pooling>),
}

/// How the vectors of a text's tokens become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pooling {
    /// They stay one per token.
    None,
    /// Their mean.
    Mean,
    /// The first token's.
    Cls,
    /// The last token's.
    Last,
    /// Scores of the model's classifier behind them.
    Rank,
}

/// How to open a context. No value is left to the engine's own defaults.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ContextSettings {
    /// What it computes. Default logits.
    pub purpose: Purpose,
    /// How many tokens a sequence holds, `1 ..= i32::MAX`. Default 4096.
    pub n_ctx: u32,
    /// Sequences that are computed together ([`crate::Model::new_sequences`]), `1 ..= 256`; a context has one. Default 1.
    pub n_sequences: u32,
    /// How many tokens are handed to the engine at a time; cancelling between them is free.
    /// Default 2048.
    pub n_batch: u32,
    /// How many tokens are computed at a time, which sizes the compute buffers. Texts whose vectors are asked for, and
    /// prompts of an encoder, are computed at a time, and so may not be longer. Default 512.
    pub n_ubatch: u32,
    /// For how many tokens of one sequence and decode logits can be kept ([`crate::Logits::All`]); each costs
    /// `4 · n_vocab` bytes. At most `n_batch`. Default 1.
    pub n_outputs_max: u32,
    /// Threads for single tokens. Default 2.
    pub n_threads: u32,
    /// Threads for batches. Default 2.
    pub n_threads_batch: u32,
    /// Most threads that [`crate::Context::set_threads`] may set; the greater of the two above where it is less. Default 0.
    pub max_threads: u32,
    /// Type of the cached attention keys; a quantized type needs flash attention. Default F16.
    pub type_k: KvType,
    /// Type of the cached attention values; a quantized type needs flash attention. Default F16.
    pub type_v: KvType,
    /// Fused attention: on, off, or (`None`, the default) on where the devices support it.
    pub flash_attention: Option<bool>,
    /// Keep the whole context for sliding-window layers too, so that [`crate::Context::truncate`]
    /// can go back further than the window; costs memory in proportion to `n_ctx`. Default false.
    pub full_window_cache: bool,
    /// Let the model's own prediction layers ("multi-token prediction") read along, so that they can guess
    /// ([`crate::Context::predict`]); nothing where it has none. Costs a cache of those layers and one of them for every
    /// token. Default false.
    pub prediction_layers: bool,
    /// Keep the attention cache on the GPU for layers that are there. Default true.
    pub offload_kv: bool,
    /// Let a GPU help with large batches of layers that are not on it. Default true.
    pub offload_ops: bool,
    /// How eagerly idle threads of the pool poll for work, 0 (sleep) to 100 (spin). Polling saves
    /// wake-up time between layers and tokens, and costs power. Default 50.
    pub poll_percent: u32,
}

impl ContextSettings {
    /// For engines whose contexts hold one sequence and give logits.
    ///
    /// # Errors
    /// [`Error::Purpose`] for vectors, [`Error::Setting`] for lengths that are no `1 ..= i32::MAX` or more sequences than one.
    pub fn check_one_sequence(&self) -> Result<(), Error> {
        if self.purpose != Purpose::Logits {
            return Err(Error::Purpose { asked: "vectors", purpose: "logits" });
        }
        for (name, value) in [("n_ctx", self.n_ctx), ("n_batch", self.n_batch), ("n_ubatch", self.n_ubatch)] {
            if value == 0 || value > i32::MAX as u32 {
                return Err(Error::setting(name, value, "1 ..= 2147483647"));
            }
        }
        if self.n_sequences != 1 {
            return Err(Error::setting("n_sequences", self.n_sequences, "1"));
        }
        Ok(())
    }
}

impl Default for ContextSettings {
    fn default() -> Self {
        Self {
            purpose: Purpose::Logits,
            n_ctx: 4096,
            n_sequences: 1,
            n_batch: 2048,
            n_ubatch: 512,
            n_outputs_max: 1,
            n_threads: 2,
            n_threads_batch: 2,
            max_threads: 0,
            type_k: KvType::F16,
            type_v: KvType::F16,
            flash_attention: None,
            full_window_cache: false,
            prediction_layers: false,
            offload_kv: true,
            offload_ops: true,
            poll_percent: 50,
        }
    }
}

/// Types that the attention cache can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the names are ggml's")]
pub enum KvType {
    F32,
    F16,
    Bf16,
    Q8_0,
    Q5_1,
    Q5_0,
    Q4_1,
    Q4_0,
    Iq4Nl,
}

impl KvType {
    /// Whether it is a block format: these need flash attention.
    #[must_use]
    pub fn is_quantized(self) -> bool {
        !matches!(self, Self::F32 | Self::F16 | Self::Bf16)
    }
}
