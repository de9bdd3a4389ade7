//! What a typical machine of a class looks like, what systems leave of its memory, and which formats suit it.
//! Owns the shape of these tables; must not build a host of them.

use super::chip::Match;
use serde::{Deserialize, Serialize};

/// A typical member of a class of machines; for a class of devices, the machine around one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TypicalMachine {
    /// A row of `systems.toml`.
    pub system: String,
    /// Architecture.
    pub arch: String,
    /// Instruction sets that all members have, as Linux names them.
    pub isa: Vec<String>,
    /// Cores by kind, the fastest first, for chips that say nothing of their own.
    pub cores: Vec<u32>,
    /// Speed of the slowest kind as a share of the fastest's; kinds between lie evenly between.
    #[serde(default = "one")]
    pub slowest_core: f64,
    /// Hardware threads per core.
    #[serde(default = "one_thread")]
    pub threads_per_core: u32,
    /// Memory in GB for chips that say nothing of their own; the first is taken where none is asked for.
    pub ram_gb: Vec<u32>,
    /// Whether memory stands in sockets or is granted, so that any size may be there.
    #[serde(default)]
    pub any_ram: bool,
    /// The graphics device that shares the memory, where there is one that computes.
    #[serde(default)]
    pub gpu: Option<SharedGpu>,
}

/// A graphics device without memory of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SharedGpu {
    /// Vendor, e.g. `apple`.
    pub vendor: String,
    /// The system's name for it.
    pub name: String,
}

/// What a system leaves of the memory that is installed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct System {
    /// Operating system, as [`crate::Host::os`] names it.
    pub os: String,
    /// Name for people.
    pub title: String,
    /// Whether it is a container.
    #[serde(default)]
    pub container: bool,
    /// What it sees of what is installed.
    pub seen_share: f64,
    /// What it and other programs hold at rest, in GiB.
    pub used_gb: f64,
    /// The same as a share of what is seen; both are added.
    pub used_share: f64,
    /// From each size in GiB up: the share of shared memory that a graphics device may take.
    #[serde(default)]
    pub gpu_share: Vec<[f64; 2]>,
    /// What others hold of a device's own memory, in GiB.
    #[serde(default)]
    pub gpu_used_gb: f64,
}

/// Precisions that suit a class better than others of the same quality.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preference {
    /// Ids of model families; empty: any.
    #[serde(default)]
    pub families: Vec<String>,
    /// The precisions, as manifests name them.
    pub precisions: Vec<String>,
    /// Members that it holds for; without keys: all.
    #[serde(default, skip_serializing)]
    pub when: Match,
    /// Why, in words for the user.
    pub reason: String,
}

fn one() -> f64 {
    1.0
}

fn one_thread() -> u32 {
    1
}
