//! This machine, on Windows: memory and processor as the system states them.
//! Knows how to ask; what the answers mean stands in `windows`. Devices come from the engine's list.

use crate::isa;
use crate::root::Root;
use crate::windows::{TABLE, Windows, WindowsCore, WindowsMemory};
use std::collections::BTreeMap;

pub(crate) fn root() -> Root {
    let mut system = sysinfo::System::new();
    system.refresh_memory();
    system.refresh_cpu_list(sysinfo::CpuRefreshKind::nothing());
    let logical = (system.cpus().len() as u32).max(1);
    let physical =
        sysinfo::System::physical_core_count().map_or(logical, |count| count as u32).clamp(1, logical);
    let usable = std::thread::available_parallelism().map_or(logical, |n| n.get() as u32);
    // Threads are spread evenly: which core has one and which two is not asked for.
    let core = |index: u32| WindowsCore {
        threads: logical / physical + u32::from(index < logical % physical),
        usable_threads: Some(usable / physical + u32::from(index < usable % physical)),
        ..WindowsCore::default()
    };
    let description = Windows {
        os_version: sysinfo::System::long_os_version(),
        arch: Some(std::env::consts::ARCH.into()),
        brand: system.cpus().first().map(|cpu| cpu.brand().to_string()),
        isa: isa::detected(),
        cores: (0..physical).map(core).collect(),
        memory: WindowsMemory {
            total_bytes: Some(system.total_memory()).filter(|bytes| *bytes > 0),
            available_bytes: Some(system.available_memory()).filter(|bytes| *bytes > 0),
            commit_available_bytes: None,
            page_file_bytes: Some(system.total_swap()),
        },
        ..Windows::default()
    };
    let text = serde_json::to_string(&description).expect("strings and numbers are JSON");
    Root::table(BTreeMap::new()).with(TABLE, text)
}
