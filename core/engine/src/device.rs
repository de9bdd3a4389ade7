//! Devices as an engine sees them.
//!
//! Owns: [`DeviceInfo`]. May know: nothing else. Must not know: the host's own view of its
//! hardware (crate `hardware`), which is the truth about CPU memory.

use serde::{Deserialize, Serialize};

/// What kind of device computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceKind {
    /// The processor and its memory.
    Cpu,
    /// A GPU with memory of its own.
    Gpu,
    /// A GPU that shares the processor's memory.
    IntegratedGpu,
    /// A helper of the CPU that uses its memory (BLAS, AMX).
    Accelerator,
}

/// A device that an engine can put layers on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceInfo {
    /// The engine's name for it, unique: `CPU`, `Vulkan0`, `CUDA0`.
    pub name: String,
    /// The maker's name: `AMD Ryzen 9 7950X`, `NVIDIA GeForce RTX 3060`.
    pub description: String,
    /// What kind of device it is.
    pub kind: DeviceKind,
    /// Its memory in bytes, as the driver reports it; 0 when unknown.
    pub memory_total_bytes: u64,
    /// Its free memory in bytes, as the driver reports it. For the CPU this equals the total on
    /// some systems: ask the operating system instead.
    pub memory_free_bytes: u64,
    /// Largest single allocation in bytes, where the driver bounds it: no tensor may be larger.
    pub max_allocation_bytes: Option<u64>,
}
