//! The answer: a choice, its reasons, and why nothing else was chosen.

use crate::{Backend, CacheStep, MemoryEstimate, QualityEstimate, Reason, SpeedEstimate};
use serde::{Deserialize, Serialize};

/// Stable codes of reasons against a variant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Code {
    /// Memory that cannot be evicted does not fit.
    MemHard,
    /// It fits only if weights are paged from storage.
    MemSoft,
    /// One allocation is larger than the backend allows.
    MaxAlloc,
    /// Too slow.
    Speed,
    /// First token too late.
    Ttft,
    /// A feature is missing.
    Feature,
    /// No engine here runs it.
    Engine,
    /// It is better, and holds a much shorter context than another that is good.
    Context,
    /// Another variant is better and fits too.
    QualityDominated,
    /// Another variant is as good and was measured to be faster here.
    Slower,
    /// Not signed by a trusted key.
    Untrusted,
    /// Its files are not here or not whole.
    Missing,
    /// Another variant was asked for.
    NotAsked,
}

/// How well the figures of a plan are founded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Evidence {
    /// On this machine with this model.
    Measured,
    /// On this machine with another model.
    Calibrated,
    /// On machines of this kind.
    Profile,
    /// From a class default.
    Guess,
}

impl Evidence {
    /// 0 for the strongest.
    pub(crate) fn rank(self) -> u8 {
        match self {
            Self::Measured => 0,
            Self::Calibrated => 1,
            Self::Profile => 2,
            Self::Guess => 3,
        }
    }

    /// The name, as it is serialized.
    pub fn name(self) -> &'static str {
        match self {
            Self::Measured => "measured",
            Self::Calibrated => "calibrated",
            Self::Profile => "profile",
            Self::Guess => "guess",
        }
    }
}

/// What to load and how.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Choice {
    /// Id of the variant.
    pub id: String,
    /// Its precision.
    pub precision: String,
    /// What computes.
    pub backend: Backend,
    /// What computes prompts.
    pub prompt_backend: Backend,
    /// Whether it computes them with copies of weights that stay in the host's memory.
    pub copies_weights: bool,
    /// Name in the engine of the device that holds layers or computes prompts.
    pub device: Option<String>,
    /// Layers on the device of the backend.
    pub gpu_layers: u32,
    /// Whether so many were asked for.
    pub layers_asked: bool,
    /// Whether what lies on the device lies in the host's memory.
    pub unified: bool,
    /// Context in tokens.
    pub context_tokens: u64,
    /// Type of cached keys, as ggml names it.
    pub type_k: &'static str,
    /// Type of cached values, as ggml names it.
    pub type_v: &'static str,
    /// The types that the cache could have, from the best, each with what it costs.
    pub cache_steps: Vec<CacheStep>,
    /// Threads for single tokens.
    pub n_threads: u32,
    /// Threads for prompts.
    pub n_threads_batch: u32,
    /// Tokens computed at a time.
    pub n_ubatch: u32,
    /// Bytes of experts that are held in memory, where the others stay in the file until they are chosen.
    pub expert_memory_bytes: Option<u64>,
    /// Memory by part.
    pub memory: MemoryEstimate,
    /// Expected speed.
    pub speed: SpeedEstimate,
    /// Expected quality.
    pub quality: QualityEstimate,
}

/// Why a variant was not chosen.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Rejection {
    /// Id of the variant.
    pub id: String,
    /// Stable code.
    pub code: Code,
    /// Bytes it needs, for the codes of memory.
    pub need_bytes: Option<u64>,
    /// Bytes there are.
    pub have_bytes: Option<u64>,
    /// need − have.
    pub shortfall_bytes: Option<u64>,
    /// What would help, or what was better.
    pub fix: String,
}

/// The nearest plan that would fit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Nearest {
    /// Id of the variant.
    pub id: String,
    /// The context that it takes, where a shorter one is all it takes.
    pub context_tokens: Option<u64>,
    /// Bytes to free first.
    pub shortfall_bytes: u64,
    /// The same in plain text.
    pub text: String,
}

/// The memory that a plan was made for: what a load holds it to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Allowance {
    /// Of the host, in bytes.
    pub host_bytes: u64,
    /// Whether it was asked for, whatever the host has to spare.
    pub asked: bool,
    /// Most of the host's, in bytes, whatever it has to spare.
    pub cap_bytes: Option<u64>,
    /// Most of a device's, in bytes, whatever is free.
    pub device_cap_bytes: Option<u64>,
}

impl Allowance {
    /// What a host that has `budget_bytes` to spare by now allows, in bytes.
    pub fn now_bytes(&self, budget_bytes: u64) -> u64 {
        if self.asked { self.host_bytes } else { budget_bytes.min(self.cap_bytes.unwrap_or(u64::MAX)) }
    }
}

/// A plan.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// What to do; `None` when nothing fits.
    pub chosen: Option<Choice>,
    /// The memory it was made for.
    pub allowance: Allowance,
    /// Reasons for it.
    pub why: Vec<Reason>,
    /// Every other variant.
    pub rejected: Vec<Rejection>,
    /// What would fit, when nothing does for want of memory.
    pub nearest: Option<Nearest>,
    /// What was taken for granted.
    pub assumptions: Vec<Reason>,
    /// How well the figures are founded.
    pub evidence: Evidence,
}

impl Plan {
    /// Why nothing was chosen, in one sentence: the nearest plan, else the first variant that stood in question and what
    /// would help it. `None` when something was chosen.
    pub fn refusal(&self) -> Option<String> {
        if self.chosen.is_some() {
            return None;
        }
        if let Some(nearest) = &self.nearest {
            return Some(nearest.text.clone());
        }
        let asked = self.rejected.iter().find(|rejection| rejection.code != Code::NotAsked);
        Some(match (asked, self.rejected.first()) {
            (Some(rejection), _) => format!("{}: {}", rejection.id, rejection.fix),
            (None, Some(rejection)) => {
                let ids: Vec<&str> = self.rejected.iter().map(|rejection| rejection.id.as_str()).collect();
                format!("{}, there are: {}", rejection.fix, ids.join(", "))
            }
            (None, None) => "there are no variants".into(),
        })
    }
}
