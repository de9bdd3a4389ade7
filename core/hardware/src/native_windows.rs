//! This machine, on Windows: memory, processors and names as the system and its registry state them.
//! Knows how to ask; what the answers mean stands in `windows`. Devices come from the engine's list.

pub(crate) use crate::windows::read;

use crate::Conditions;
use crate::isa;
use crate::root::Root;
use crate::windows::{self, TABLE, Windows, WindowsCore, WindowsMemory};
use many_cpus::{EfficiencyClass, SystemHardware};
use std::collections::BTreeMap;
use windows_registry::LOCAL_MACHINE;

const PROCESSOR: &str = r"HARDWARE\DESCRIPTION\System\CentralProcessor\0";
const POWER: &str = r"SYSTEM\CurrentControlSet\Control\Power\User\PowerSchemes";
const BIOS: &str = r"HARDWARE\DESCRIPTION\System\BIOS";

pub(crate) fn root() -> Root {
    let mut system = sysinfo::System::new();
    system.refresh_memory();
    let description = Windows {
        os_version: sysinfo::System::long_os_version(),
        arch: Some(std::env::consts::ARCH.into()),
        brand: registry(PROCESSOR, "ProcessorNameString"),
        identifier: registry(PROCESSOR, "Identifier")
            .zip(registry(PROCESSOR, "VendorIdentifier"))
            .map(|(identifier, vendor)| format!("{identifier}, {vendor}")),
        model: registry(BIOS, "SystemProductName"),
        isa: isa::detected(),
        cores: cores(),
        memory: WindowsMemory {
            total_bytes: Some(system.total_memory()).filter(|bytes| *bytes > 0),
            available_bytes: Some(system.available_memory()).filter(|bytes| *bytes > 0),
            commit_available_bytes: None,
            page_file_bytes: Some(system.total_swap()),
        },
        power: windows::scheme(registry(POWER, "ActivePowerScheme").as_deref()),
        ..Windows::default()
    };
    let text = serde_json::to_string(&description).expect("strings and numbers are JSON");
    Root::table(BTreeMap::new()).with(TABLE, text)
}

fn registry(key: &str, name: &str) -> Option<String> {
    LOCAL_MACHINE.open(key).ok()?.get_string(name).ok()
}

/// Processors that this process may use, by kind; the affinity mask and the job's limits are in the list already.
fn cores() -> Vec<WindowsCore> {
    let processors = SystemHardware::current().processors();
    let kind =
        |class| processors.iter().filter(|processor| processor.efficiency_class() == class).count() as u32;
    let n_cores = sysinfo::System::physical_core_count().map_or(0, |count| count as u32);
    windows::cores(kind(EfficiencyClass::Performance), kind(EfficiencyClass::Efficiency), n_cores)
}

pub(crate) fn conditions(root: &Root) -> Conditions {
    Conditions::of(&read(root))
}
