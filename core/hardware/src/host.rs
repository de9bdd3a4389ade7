//! The description of a host, and how its parts come together.
//! Owns the types that others read; must not know where a figure stands on disk.

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
    /// The machine's name, where its device tree states one, e.g. `Raspberry Pi 5 Model B Rev 1.0`.
    pub model: Option<String>,
    /// Bytes of a memory page, where the system says.
    pub page_bytes: Option<u64>,
}

/// A processor.
#[derive(Debug, Clone, PartialEq, Serialize)]
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
    /// Cores of which this process may use at least one hardware thread, quotas not considered.
    pub usable_cores: u32,
    /// Those of the fastest kind that has any.
    pub fast_cores: u32,
    /// Processors' worth of time that control groups grant, where they bound it.
    pub quota_cpus: Option<f64>,
    /// Kinds of cores, fastest first.
    pub core_classes: Vec<CoreClass>,
}

/// Cores of one kind: within a tenth of each other's speed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CoreClass {
    /// Cores of the machine.
    pub n_cores: u32,
    /// Cores that this process may use.
    pub n_usable_cores: u32,
    /// Hardware threads on them that this process may use.
    pub n_usable_cpus: u32,
    /// Highest clock, where the system states it.
    pub max_mhz: Option<u32>,
    /// Relative speed, comparable within one host alone: the kernel's capacity, else the clock in kHz, else 1.
    pub speed: u64,
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
    /// What is free of it in bytes, where the system states it.
    pub free_bytes: Option<u64>,
    /// The kernel's driver, e.g. `amdgpu`.
    pub driver: Option<String>,
}

/// What the processor's file says of the machine as a whole.
pub(crate) struct MachineFacts {
    pub(crate) arch: String,
    pub(crate) model: Option<String>,
}

pub(crate) fn read(root: &Root) -> Result<Host, Error> {
    let (cpu, machine) = cpu::read(root)?;
    // `build.prop` stands on every Android system and on no other.
    let android = ["system/build.prop", "system/bin/app_process64"].iter().any(|f| root.path(f).exists());
    Ok(Host {
        os: if android { "android" } else { "linux" }.into(),
        arch: machine.arch,
        cpu,
        memory: memory::read(root)?,
        gpus: gpu::read(root),
        numa_nodes: root.numbered("sys/devices/system/node", "node").len().max(1) as u32,
        model: machine.model,
        page_bytes: memory::page_bytes(root),
    })
}
