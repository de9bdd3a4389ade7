//! Systems without `/proc`: processor count from the standard library, memory unknown until a caller states it.

use crate::{Cpu, Error, Host, Memory};

pub(crate) fn detect() -> Result<Host, Error> {
    let cpus = std::thread::available_parallelism().map_or(1, |n| n.get() as u32);
    Ok(Host {
        os: std::env::consts::OS.into(),
        arch: std::env::consts::ARCH.into(),
        cpu: Cpu {
            brand: "unknown".into(),
            isa: Vec::new(),
            physical_cores: cpus,
            logical_cpus: cpus,
            usable_cpus: cpus,
            fast_cores: cpus,
        },
        memory: Memory { total_bytes: 0, available_bytes: 0, budget_bytes: 0, limits: Vec::new() },
        gpus: Vec::new(),
        numa_nodes: 1,
    })
}
