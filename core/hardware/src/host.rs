//! The description of a host, and how its parts come together.

use crate::root::Root;
use crate::{Error, cpu, gpu, memory};
use serde::Serialize;

/// A machine.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Host {
    /// Operating system, e.g. `linux`.
    pub os: String,
    /// Processor architecture, e.g. `x86_64`.
    pub arch: String,
    /// Processor.
    pub cpu: Cpu,
    /// Memory.
    pub memory: Memory,
    /// Graphics devices that the system lists; engines may see more.
    pub gpus: Vec<Gpu>,
    /// NUMA nodes, at least 1.
    pub numa_nodes: u32,
}

/// A processor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cpu {
    /// Name, as the system states it.
    pub brand: String,
    /// Instruction sets that matter to inference, e.g. `avx2`.
    pub isa: Vec<String>,
    /// Cores, not counting hardware threads.
    pub physical_cores: u32,
    /// Hardware threads.
    pub logical_cpus: u32,
    /// Hardware threads that this process may use: affinity and quota considered.
    pub usable_cpus: u32,
    /// Cores of the fastest kind, where there are several kinds.
    pub fast_cores: u32,
}

/// Memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// Installed, in bytes.
    pub total_bytes: u64,
    /// Free or reclaimable without swapping, in bytes.
    pub available_bytes: u64,
    /// What a model may take, in bytes: the tightest limit less a reserve for everything else.
    pub budget_bytes: u64,
    /// Every limit that was found, the tightest first.
    pub limits: Vec<Limit>,
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Gpu {
    /// Name in the system, e.g. `card0`.
    pub name: String,
    /// PCI vendor, e.g. `nvidia`.
    pub vendor: String,
    /// Its own memory in bytes, where the system states it.
    pub memory_bytes: Option<u64>,
}

pub(crate) fn read(root: &Root) -> Result<Host, Error> {
    let nodes = root.names("sys/devices/system/node");
    let numa_nodes =
        nodes.iter().filter(|name| name.strip_prefix("node").is_some_and(|n| n.parse::<u32>().is_ok()));
    Ok(Host {
        os: std::env::consts::OS.into(),
        arch: std::env::consts::ARCH.into(),
        cpu: cpu::read(root)?,
        memory: memory::read(root)?,
        gpus: gpu::read(root),
        numa_nodes: numa_nodes.count().max(1) as u32,
    })
}
