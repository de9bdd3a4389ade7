//! What the governor hears and what it says.

use crate::cache::{Heat, PowerFrom};
use serde::Serialize;

/// What is new of the device. `None`: nothing new, or not known on this system.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Signals {
    /// Thermal state.
    pub heat: Option<Heat>,
    /// How much memory is left, as the system judges.
    pub memory: Option<MemoryLevel>,
    /// Hardware threads that the process may use now.
    pub usable_cpus: Option<u32>,
    /// Where the energy comes from.
    pub power: Option<PowerFrom>,
    /// Whether the user asked to save energy.
    pub saver: Option<bool>,
    /// Whether the app is in the background.
    pub background: Option<bool>,
}

/// How short memory is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MemoryLevel {
    /// Not short.
    #[default]
    Enough,
    /// What can be made again should go.
    Low,
    /// Processes are about to be ended.
    Critical,
}

/// Why the governor did something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The device is hot.
    Heat,
    /// Memory is short.
    Memory,
    /// The process may use fewer processors.
    Affinity,
    /// Energy is to be saved.
    Energy,
    /// The app is in the background.
    Background,
    /// Nothing is amiss any more.
    Calm,
}

impl Cause {
    /// The reason as a clause.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Heat => "the device is hot",
            Self::Memory => "memory is short",
            Self::Affinity => "the process may use fewer processors",
            Self::Energy => "energy is to be saved",
            Self::Background => "the app is in the background",
            Self::Calm => "nothing is amiss any more",
        }
    }
}

/// Something that the governor did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reaction {
    /// Another most of threads.
    Threads {
        /// Before.
        from: u32,
        /// Now.
        to: u32,
        /// Why.
        because: Cause,
    },
    /// Speculation is paused or allowed again.
    Speculation {
        /// Whether it is allowed.
        allowed: bool,
        /// Why.
        because: Cause,
    },
    /// Prompts are computed in other chunks.
    PromptChunk {
        /// Before.
        from_tokens: u32,
        /// Now.
        to_tokens: u32,
        /// Why.
        because: Cause,
    },
    /// What was computed for earlier prompts is to be dropped, and not to be kept.
    DropPrefixes {
        /// Why.
        because: Cause,
    },
    /// It may be kept again.
    KeepPrefixes,
    /// New work is refused.
    RefuseWork {
        /// Why.
        because: Cause,
    },
    /// New work is taken again.
    AcceptWork,
}
