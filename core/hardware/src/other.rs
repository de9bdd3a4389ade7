//! Systems without `/proc`: what their own interfaces say of memory and processor, through `sysinfo`.
//! Core kinds, quotas and graphics devices are not read here: engines list their devices themselves.

use crate::host::CoreClass;
use crate::{Cpu, Error, Host, Limit, Memory, isa, memory};

pub(crate) fn detect() -> Result<Host, Error> {
    let mut system = sysinfo::System::new();
    system.refresh_memory();
    system.refresh_cpu_list(sysinfo::CpuRefreshKind::nothing());
    let usable = std::thread::available_parallelism().map_or(1, |n| n.get() as u32);
    let logical = (system.cpus().len() as u32).max(usable);
    let physical = sysinfo::System::physical_core_count().map_or(logical, |count| count as u32).max(1);
    let available_bytes = system.available_memory();
    let source = "available memory of the system".to_string();
    let class = CoreClass {
        n_cores: physical,
        n_usable_cores: physical.min(usable),
        n_usable_cpus: usable,
        max_mhz: None,
        speed: 1,
    };
    Ok(Host {
        os: std::env::consts::OS.into(),
        arch: std::env::consts::ARCH.into(),
        cpu: Cpu {
            brand: system.cpus().first().map_or("unknown", |cpu| cpu.brand()).into(),
            isa: isa::detected(),
            physical_cores: physical,
            logical_cpus: logical,
            usable_cpus: usable,
            usable_cores: physical.min(usable),
            fast_cores: physical.min(usable),
            quota_cpus: None,
            core_classes: vec![class],
        },
        memory: Memory {
            total_bytes: system.total_memory(),
            available_bytes,
            budget_bytes: memory::budget(available_bytes),
            limits: vec![Limit { source, headroom_bytes: available_bytes }],
        },
        gpus: Vec::new(),
        numa_nodes: 1,
        model: None,
        page_bytes: None,
    })
}
