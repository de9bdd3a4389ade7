//! What calls can be told. `None`, zero, false and empty lists are defaults; every default is the runtime's own.
//!
//! Owns: the records for opening, planning, sessions, tuning and pulling. Must not know: what the runtime does with them.

use std::path::PathBuf;

use llama_pajamas::{PlanRequest, RuntimeSettings, TuneSettings};

use crate::arguments::Options;
use crate::error::Failure;
use crate::session::{lp_session_options, lp_when_full};
use crate::tune::lp_tune_options;

/// How to open.
#[derive(Clone, Debug, uniffi::Record)]
pub struct RuntimeOptions {
    /// The CPU variant to use, e.g. "x64"; none: the best of this processor. A process has one variant.
    #[uniffi(default)]
    pub cpu_variant: Option<String>,
    /// Folder in which what is measured on this device is kept between starts; none: nothing is kept.
    #[uniffi(default)]
    pub tuning_folder: Option<String>,
}

impl RuntimeOptions {
    pub(crate) fn settings(self) -> RuntimeSettings {
        RuntimeSettings {
            cpu_variant: self.cpu_variant,
            tuning_folder: self.tuning_folder.map(PathBuf::from),
            supplied: crate::java::supplied(),
            ..RuntimeSettings::default()
        }
    }
}

/// What a plan is to satisfy.
#[derive(Clone, Debug, uniffi::Record)]
pub struct PlanOptions {
    /// How many tokens of text a session shall hold; none: what fits, at most 4096.
    #[uniffi(default)]
    pub context_tokens: Option<u64>,
    /// Memory that may be used instead of what the device has to spare, in bytes; none: what it has.
    #[uniffi(default)]
    pub memory_budget_bytes: Option<u64>,
    /// Most memory that may be used, in bytes, whatever the device has; none: no cap.
    #[uniffi(default)]
    pub memory_cap_bytes: Option<u64>,
    /// The same for the memory of a graphics device, on which the app draws; none: no cap.
    #[uniffi(default)]
    pub device_memory_cap_bytes: Option<u64>,
    /// Only this variant, by id; none: any.
    #[uniffi(default)]
    pub variant: Option<String>,
    /// Threads that write; none: what suits the device.
    #[uniffi(default)]
    pub n_threads: Option<u32>,
}

impl PlanOptions {
    pub(crate) fn request(self) -> PlanRequest {
        PlanRequest {
            context_tokens: self.context_tokens,
            memory_budget_bytes: self.memory_budget_bytes,
            memory_cap_bytes: self.memory_cap_bytes,
            device_memory_cap_bytes: self.device_memory_cap_bytes,
            variant: self.variant,
            n_threads: self.n_threads,
            ..PlanRequest::default()
        }
    }
}

/// What becomes of an answer, and of a prompt, for which the context has no room.
#[derive(Clone, Copy, Debug, uniffi::Enum)]
pub enum WhenFull {
    /// The answer ends, a prompt is refused with ContextFull.
    Refuse,
    /// The first keep_tokens stay, and the newer half of the rest.
    Shift,
    /// The context becomes longer, up to most_context_tokens, as long as there is memory; then as Shift.
    Grow,
}

/// How to open a session.
#[derive(Clone, Debug, uniffi::Record)]
pub struct SessionOptions {
    /// Tokens that the context holds; none: as planned.
    #[uniffi(default)]
    pub context_tokens: Option<u32>,
    /// Guess tokens by what stood there before and compute them together, as long as that is faster. The same tokens are chosen.
    #[uniffi(default)]
    pub speculate: bool,
    /// None: Refuse.
    #[uniffi(default)]
    pub when_full: Option<WhenFull>,
    /// Longest context to grow to, in tokens.
    #[uniffi(default)]
    pub most_context_tokens: u32,
    /// Tokens at the beginning that stay when others are dropped.
    #[uniffi(default)]
    pub keep_tokens: u64,
    /// No step of a prompt computes for longer than this, in microseconds; 0: no limit.
    #[uniffi(default)]
    pub max_step_us: u64,
}

impl SessionOptions {
    pub(crate) fn told(&self) -> lp_session_options {
        let when_full = match self.when_full {
            None | Some(WhenFull::Refuse) => lp_when_full::LP_WHEN_FULL_REFUSE,
            Some(WhenFull::Shift) => lp_when_full::LP_WHEN_FULL_SHIFT,
            Some(WhenFull::Grow) => lp_when_full::LP_WHEN_FULL_GROW,
        };
        lp_session_options {
            context_tokens: self.context_tokens.unwrap_or(0),
            speculate: self.speculate.into(),
            when_full: when_full as u32,
            most_context_tokens: self.most_context_tokens,
            keep_tokens: self.keep_tokens,
            max_step_us: self.max_step_us,
            ..lp_session_options::defaults()
        }
    }
}

/// How to tune.
#[derive(Clone, Debug, uniffi::Record)]
pub struct TuneOptions {
    /// Most seconds for everything, at most 3600; none: 12.
    #[uniffi(default)]
    pub budget_s: Option<f64>,
    /// Leave alone what changes rounding.
    #[uniffi(default)]
    pub bit_exact: bool,
}

impl TuneOptions {
    pub(crate) fn settings(&self) -> Result<TuneSettings, Failure> {
        let plain = lp_tune_options::defaults();
        let budget_s = self.budget_s.unwrap_or(plain.budget_s);
        lp_tune_options { budget_s, bit_exact: self.bit_exact.into(), ..plain }.settings()
    }
}

/// How to pull.
#[derive(Clone, Debug, uniffi::Record)]
pub struct PullOptions {
    /// Ids of the wanted variants; those that they need come along. None: all that are GGUF files.
    #[uniffi(default)]
    pub variants: Vec<String>,
    /// Folder of public keys, one of which must have signed the manifest; none: any manifest is taken.
    #[uniffi(default)]
    pub trust_folder: Option<String>,
    /// The header `Authorization` for the manifest's host alone.
    #[uniffi(default)]
    pub authorization: Option<String>,
    /// Address of an HTTP proxy; the environment is not read.
    #[uniffi(default)]
    pub proxy: Option<String>,
    /// Most bytes that the bundles beside the destination and it may take; those used least recently are evicted. None: no cap.
    #[uniffi(default)]
    pub cap_bytes: Option<u64>,
}

/// How to make a variant on this device.
#[derive(Clone, Debug, uniffi::Record)]
pub struct RequantizeOptions {
    /// The text on which the new variant is held against the one it is made of: some pages of what the app is about.
    pub text: String,
    /// What to make: a type of llama.cpp's, or "high", "balanced" or "extreme"; none: "Q4_K_M".
    #[uniffi(default)]
    pub precision: Option<String>,
    /// Id of the variant to make it of; none: the finest of F32, BF16, F16 and Q8_0 that is here.
    #[uniffi(default)]
    pub parent: Option<String>,
    /// Id of a variant that goes when the new one has passed.
    #[uniffi(default)]
    pub replaces: Option<String>,
    /// File of an importance matrix.
    #[uniffi(default)]
    pub imatrix: Option<String>,
    /// Greatest mean divergence from the parent, in nats, with which the new variant is published; none: 0.1.
    #[uniffi(default)]
    pub max_kld: Option<f64>,
    /// Tokens that are compared at a time; none: 512.
    #[uniffi(default)]
    pub n_ctx: Option<u32>,
    /// Most such windows; none: 16.
    #[uniffi(default)]
    pub max_windows: Option<u32>,
    /// Threads; none: 1.
    #[uniffi(default)]
    pub n_threads: Option<u32>,
    /// Wait while the device runs on its battery; none: yes.
    #[uniffi(default)]
    pub wait_for_mains: Option<bool>,
    /// Memory that may be used, in bytes; none: what is needed.
    #[uniffi(default)]
    pub memory_budget_bytes: Option<u64>,
    /// Seconds after which the work stops until the next call, pauses included; none: as long as it takes.
    #[uniffi(default)]
    pub time_budget_s: Option<f64>,
}

/// What to make of a model.
#[derive(Clone, Debug, uniffi::Record)]
pub struct QuantizeOptions {
    /// "gguf" or "mlx"; none: "gguf".
    #[uniffi(default)]
    pub format: Option<String>,
    /// What to make, a variant each. In GGUF: types of llama.cpp's, or "high", "balanced", "extreme", which choose by role. In MLX:
    /// "4bit", "3bit-g32", "4bit-mixed", "mxfp4", … or the same three. None, where there are no sizes and plans either: "balanced".
    #[uniffi(default)]
    pub precisions: Vec<String>,
    /// Sizes of files in bytes to fit as well as possible, a variant each: needs `sensitivity`.
    #[uniffi(default)]
    pub target_bytes: Vec<u64>,
    /// Files of plans to carry out, a variant each. GGUF alone.
    #[uniffi(default)]
    pub plans: Vec<String>,
    /// Low-rank adapters to merge into a checkpoint first, in order: folders as `peft` writes them.
    #[uniffi(default)]
    pub adapters: Vec<String>,
    /// File that the command's `sensitivity` wrote of this model.
    #[uniffi(default)]
    pub sensitivity: Option<String>,
    /// File that its `moments` wrote: blocks are then rounded with error feedback.
    #[uniffi(default)]
    pub moments: Option<String>,
    /// File of an importance matrix.
    #[uniffi(default)]
    pub imatrix: Option<String>,
    /// The model's id in the manifest; none: the name of its folder or file.
    #[uniffi(default)]
    pub model_id: Option<String>,
    /// Memory that the work may take, in bytes; none: what the device has to spare.
    #[uniffi(default)]
    pub memory_budget_bytes: Option<u64>,
    /// Threads; none: all cores.
    #[uniffi(default)]
    pub n_threads: Option<u32>,
    /// Take a GGUF file that is quantized already; otherwise such a file is refused, since its errors stay.
    #[uniffi(default)]
    pub allow_requantize: bool,
    /// Tell types, sizes and memory, and write nothing.
    #[uniffi(default)]
    pub dry_run: bool,
}
