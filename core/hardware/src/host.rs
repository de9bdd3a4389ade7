//! The description of a host: the shape that planners, commands and apps read. Fields are added, not renamed.
//! Owns the types; must not know where a figure stands on a system.
//!
//! Everything stated here was **detected** on the host, unless it stands in [`Priors`], where every figure carries its
//! own [`Origin`](crate::Origin). A fact that could not be read is `None` (or 0, or empty, where its type has no
//! `None`) and is listed with its reason in [`Host::unknown`].

use crate::priors::Priors;
use crate::profiles::Matched;
use serde::Serialize;

/// A machine, as this process sees it.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Host {
    /// Operating system: `linux`, `android`, `macos`, `ios`, `windows`.
    pub os: String,
    /// Its version, where it states one.
    pub os_version: Option<String>,
    /// Processor architecture, e.g. `x86_64`.
    pub arch: String,
    /// Processor.
    pub cpu: Cpu,
    /// Memory.
    pub memory: Memory,
    /// Graphics devices that the system lists; engines may see more ([`crate::Supplied`]).
    pub gpus: Vec<Gpu>,
    /// NUMA nodes, at least 1.
    pub numa_nodes: u32,
    /// The machine's name, where it states one: `Raspberry Pi 5 Model B Rev 1.0`, `Mac14,2`, `SM-S911B`.
    pub model: Option<String>,
    /// The system on chip, where the system names one: `SM8550`, `nvidia,tegra234`, `brcm,bcm2712`.
    pub soc: Option<String>,
    /// Bytes of a memory page, where the system says.
    pub page_bytes: Option<u64>,
    /// Time that work lately waited for memory, processors and disks.
    pub pressure: Pressure,
    /// Temperatures and what they have slowed down.
    pub thermal: Thermal,
    /// Where the energy comes from and how it is spent.
    pub power: Power,
    /// The disk that models are read from.
    pub disk: Disk,
    /// What this process runs inside of.
    pub place: Place,
    /// What the profiles know of this machine.
    pub profile: Option<Matched>,
    /// Figures that a description alone does not give: bandwidth and how much of it an engine reaches.
    pub priors: Priors,
    /// Facts that could not be read, and why.
    pub unknown: Vec<Unknown>,
}

/// A fact that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unknown {
    /// The field, e.g. `memory.budget_bytes`.
    pub fact: String,
    /// The file or interface, and what it answered.
    pub reason: String,
}

/// A processor.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Cpu {
    /// Name, as the system states it.
    pub brand: String,
    /// What identifies its kinds of cores: `GenuineIntel 6/143` (vendor, family, model) or `0x41/0xd4e` (implementer,
    /// part), each once, in the order of the processors.
    pub signatures: Vec<String>,
    /// Instruction sets that matter to inference, e.g. `avx2`, as Linux names them.
    pub isa: Vec<String>,
    /// Cores, not counting hardware threads.
    pub physical_cores: u32,
    /// Hardware threads that are switched on.
    pub logical_cpus: u32,
    /// Hardware threads that this process may use: affinity and quota considered. At least 1.
    pub usable_cpus: u32,
    /// Cores of which this process may use at least one hardware thread, quotas not considered. At least 1.
    pub usable_cores: u32,
    /// Those of the fastest kind that has any. At least 1.
    pub fast_cores: u32,
    /// Processors' worth of time that control groups or jobs grant, where they bound it.
    pub quota_cpus: Option<f64>,
    /// Kinds of cores, fastest first.
    pub core_classes: Vec<CoreClass>,
}

/// Cores of one kind: within a tenth of each other's speed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct CoreClass {
    /// What the cores are, where parts or the system name them: `Cortex-A715 + Cortex-A710`, `performance`.
    pub name: Option<String>,
    /// Cores of the machine.
    pub n_cores: u32,
    /// Cores that this process may use.
    pub n_usable_cores: u32,
    /// Hardware threads on them that this process may use.
    pub n_usable_cpus: u32,
    /// Highest clock, where the system states it.
    pub max_mhz: Option<u32>,
    /// Relative speed, comparable within one host alone: the kernel's capacity, else the clock in kHz, else a rank.
    pub speed: u64,
}

/// Memory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// Installed, in bytes; 0 where unknown.
    pub total_bytes: u64,
    /// Free or reclaimable without swapping, in bytes; 0 where unknown.
    pub available_bytes: u64,
    /// What a model may take, in bytes: the tightest limit less a reserve for everything else. 0 where nothing is
    /// known, which admits nothing: an app that knows better states its own budget.
    pub budget_bytes: u64,
    /// Every limit that was found, the tightest first.
    pub limits: Vec<Limit>,
    /// Swap space, in bytes, where the system states it. Never part of the budget.
    pub swap_bytes: Option<u64>,
    /// Whether graphics devices share this memory.
    pub unified: bool,
}

/// One bound on memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Limit {
    /// Where it comes from.
    pub source: String,
    /// Bytes that it leaves.
    pub headroom_bytes: u64,
}

/// A graphics device.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Gpu {
    /// Name: the maker's where it is known, else the system's, e.g. `card0`.
    pub name: String,
    /// Vendor, e.g. `nvidia`.
    pub vendor: String,
    /// Its own memory in bytes, where the system states it.
    pub memory_bytes: Option<u64>,
    /// What is free of it in bytes, where the system states it.
    pub free_bytes: Option<u64>,
    /// The kernel's driver, e.g. `amdgpu`.
    pub driver: Option<String>,
    /// Its generation, where the system states it: `gfx1100`, `sm_89`.
    pub architecture: Option<String>,
    /// Whether it uses the host's memory.
    pub unified: bool,
    /// What the profiles know of it.
    pub profile: Option<Matched>,
    /// Bandwidth and what an engine reaches of it.
    pub priors: Priors,
}

/// Share of the last ten seconds in which work waited, in percent; as in Linux's pressure stall information.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Pressure {
    /// Some work waited for memory.
    pub memory_some_percent: Option<f64>,
    /// All work waited for memory.
    pub memory_full_percent: Option<f64>,
    /// Some work waited for a processor.
    pub cpu_some_percent: Option<f64>,
    /// Some work waited for a disk.
    pub io_some_percent: Option<f64>,
    /// What the system itself says of memory.
    pub memory_level: Option<Level>,
}

/// A system's own judgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Level {
    /// Nothing to do.
    Normal,
    /// Slow down, drop what can be made again.
    Warning,
    /// Processes are about to be ended.
    Critical,
}

/// Temperatures and what they have slowed down.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Thermal {
    /// The hottest zone of the processor, the graphics device or the case, in °C.
    pub hottest_celsius: Option<f64>,
    /// Its name, e.g. `cpu-thermal`.
    pub hottest_zone: Option<String>,
    /// How often the processor or core that was slowed down most was, for heat, since the system started.
    pub throttle_count: Option<u64>,
    /// Whether something is slowed down now, where the system says.
    pub throttled: Option<bool>,
    /// Highest clock that is allowed now as a share of the highest there is, over the fastest cores.
    pub clock_share: Option<f64>,
    /// What the system itself says.
    pub level: Option<Level>,
}

/// Where the energy comes from and how it is spent.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Power {
    /// Source, where the system states it.
    pub source: Option<PowerSource>,
    /// Charge, where there is a battery.
    pub battery_percent: Option<u8>,
    /// The mode that was chosen: `MAXN`, `25W`, `balanced`, `performance`.
    pub mode: Option<String>,
    /// The rule by which the kernel chooses clocks, e.g. `schedutil`.
    pub governor: Option<String>,
    /// Whether the user asked to save energy, where the system says.
    pub saver: Option<bool>,
}

/// Where energy comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the names say it")]
pub enum PowerSource {
    Mains,
    Battery,
}

/// The disk that models are read from.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Disk {
    /// Its name in the system, e.g. `nvme0n1`.
    pub device: Option<String>,
    /// What it is.
    pub kind: Option<DiskKind>,
}

/// Kinds of disks by what they read in a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
#[allow(missing_docs, reason = "the names say it")]
pub enum DiskKind {
    Nvme,
    Ufs,
    Ssd,
    Emmc,
    SdCard,
    Rotating,
    Virtual,
    Network,
}

impl DiskKind {
    /// Sequential reading in GB/s, from the slow ones of the kind to the fast: a class default, not a measurement.
    pub fn read_gbs(self) -> [f64; 2] {
        match self {
            Self::Nvme => [1.0, 7.0],
            Self::Ufs => [0.5, 4.0],
            Self::Ssd => [0.25, 0.55],
            Self::Emmc => [0.08, 0.3],
            Self::SdCard => [0.02, 0.09],
            Self::Rotating => [0.08, 0.25],
            Self::Virtual => [0.1, 3.0],
            Self::Network => [0.01, 1.0],
        }
    }
}

/// What this process runs inside of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Place {
    /// The kind of container, where signs of one were found: `docker`, `podman`, `kubernetes`, `lxc`, `container`.
    pub container: Option<String>,
    /// Whether the processor says that it is a virtual one.
    pub virtual_machine: bool,
}
