//! For what and under which conditions a measurement holds. Texts that whoever measures makes; compared, never read.

use crate::setting::Setting;
use serde::{Deserialize, Serialize};

/// What a measurement is of. Two are of the same only if every part is equal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// Processor and its kinds of cores.
    pub topology: String,
    /// What the process may use of it: affinity and quota.
    pub quota: String,
    /// Graphics devices and their drivers.
    pub devices: String,
    /// The power mode that was chosen.
    pub power_mode: String,
    /// Engine, version and kernels.
    pub engine: String,
    /// Digest of the model's file.
    pub model: String,
    /// Length of the context, rounded up to a power of two.
    pub context_bucket: u32,
    /// The setting that was to be beaten: what the plan chose or the user asked for.
    pub start: Setting,
}

impl Key {
    /// The names of the parts that differ.
    #[must_use]
    pub fn differences(&self, other: &Self) -> Vec<&'static str> {
        let parts = [
            ("topology", self.topology != other.topology),
            ("quota", self.quota != other.quota),
            ("devices", self.devices != other.devices),
            ("power mode", self.power_mode != other.power_mode),
            ("engine", self.engine != other.engine),
            ("model", self.model != other.model),
            ("context length", self.context_bucket != other.context_bucket),
            ("start setting", self.start != other.start),
        ];
        parts.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
    }
}

/// Where the energy comes from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the names say it")]
pub enum PowerFrom {
    #[default]
    Unknown,
    Mains,
    Battery,
}

/// How hot the device is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Heat {
    /// Nothing is slowed down.
    #[default]
    Cool,
    /// Something is, or soon will be.
    Warm,
    /// Everything has to be done to cool down.
    Hot,
}

/// Conditions that change from hour to hour.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Conditions {
    /// Where the energy comes from.
    pub power: PowerFrom,
    /// How hot the device is.
    pub heat: Heat,
}
