//! What is tuned: a setting and its knobs. Knows names and numbers; must not know what an engine does with them.

use serde::{Deserialize, Serialize};

/// What an engine can be told without other weights and without another type of cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Setting {
    /// Threads for single tokens.
    pub n_threads: u32,
    /// Threads for prompts.
    pub n_threads_batch: u32,
    /// Tokens of a prompt that are computed at a time.
    pub n_ubatch: u32,
    /// Layers on a GPU.
    pub gpu_layers: u32,
}

/// One thing that is raced, in the order in which they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Knob {
    /// [`Setting::n_threads`].
    DecodeThreads,
    /// [`Setting::n_threads_batch`].
    BatchThreads,
    /// [`Setting::n_ubatch`].
    Ubatch,
    /// [`Setting::gpu_layers`].
    Placement,
}

/// What a knob does to the numbers that come out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exactness {
    /// Every bit stays.
    BitExact,
    /// The same sums in another order: last digits change, and with them a token where two were as good as equally likely.
    RoundingOnly,
}

impl Knob {
    /// Every knob, in order.
    pub const ALL: [Self; 4] = [Self::DecodeThreads, Self::BatchThreads, Self::Ubatch, Self::Placement];

    /// Its name for people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::DecodeThreads => "decode threads",
            Self::BatchThreads => "batch threads",
            Self::Ubatch => "ubatch",
            Self::Placement => "gpu layers",
        }
    }

    /// Its value in `setting`.
    #[must_use]
    pub fn of(self, setting: &Setting) -> u32 {
        match self {
            Self::DecodeThreads => setting.n_threads,
            Self::BatchThreads => setting.n_threads_batch,
            Self::Ubatch => setting.n_ubatch,
            Self::Placement => setting.gpu_layers,
        }
    }

    /// `setting` with another value of it.
    #[must_use]
    pub fn with(self, mut setting: Setting, value: u32) -> Setting {
        match self {
            Self::DecodeThreads => setting.n_threads = value,
            Self::BatchThreads => setting.n_threads_batch = value,
            Self::Ubatch => setting.n_ubatch = value,
            Self::Placement => setting.gpu_layers = value,
        }
        setting
    }

    /// Whether it is raced by single tokens; else by prompts.
    #[must_use]
    pub fn is_decode(self) -> bool {
        matches!(self, Self::DecodeThreads | Self::Placement)
    }
}
