//! A Windows machine from a JSON description.
//! Pure: the native reader and a replayed file hand it the same description. Must not ask the system anything.

use crate::host::{CoreClass, Cpu, Gpu, Host, Limit, Memory, Place, Power, PowerSource};
use crate::root::Root;
use serde::{Deserialize, Serialize};

/// The entry that carries the description.
pub(crate) const TABLE: &str = "windows.json";
/// Speed of a core below the highest efficiency class beside 100 of those in it: the system ranks and does not
/// measure. A class default.
const LOWER_SPEED: u64 = 55;

/// What the system's interfaces answer; everything may be missing.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Windows {
    pub(crate) os_version: Option<String>,
    pub(crate) arch: Option<String>,
    /// `ProcessorNameString` of the registry.
    pub(crate) brand: Option<String>,
    /// `PROCESSOR_IDENTIFIER`: `Intel64 Family 6 Model 183 Stepping 1, GenuineIntel`.
    pub(crate) identifier: Option<String>,
    /// Linux's names.
    pub(crate) isa: Vec<String>,
    /// One entry for every core (`GetLogicalProcessorInformationEx`).
    pub(crate) cores: Vec<WindowsCore>,
    pub(crate) numa_nodes: Option<u32>,
    pub(crate) page_bytes: Option<u64>,
    pub(crate) memory: WindowsMemory,
    pub(crate) job: WindowsJob,
    pub(crate) gpus: Vec<WindowsGpu>,
    pub(crate) power: WindowsPower,
    /// `Win32_ComputerSystem` model.
    pub(crate) model: Option<String>,
    pub(crate) virtual_machine: bool,
}

#[derive(Debug, Default, Clone, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct WindowsCore {
    pub(crate) threads: u32,
    /// Threads in the process's affinity mask; `None`: all.
    pub(crate) usable_threads: Option<u32>,
    pub(crate) efficiency_class: u32,
    pub(crate) max_mhz: Option<u32>,
}

/// Cores of both kinds from what is simple to ask: threads on fast and on efficient cores, and cores in all. Efficient
/// cores run one thread each; the fast ones share out theirs evenly.
#[allow(dead_code, reason = "the native reader of this system asks")]
pub(crate) fn cores(n_fast_threads: u32, n_efficient_threads: u32, n_cores: u32) -> Vec<WindowsCore> {
    let n_fast =
        n_cores.saturating_sub(n_efficient_threads).clamp(u32::from(n_fast_threads > 0), n_fast_threads);
    let fast = (0..n_fast).map(|index| WindowsCore {
        threads: n_fast_threads / n_fast + u32::from(index < n_fast_threads % n_fast),
        efficiency_class: 1,
        ..WindowsCore::default()
    });
    let efficient = (0..n_efficient_threads).map(|_| WindowsCore { threads: 1, ..WindowsCore::default() });
    fast.chain(efficient).collect()
}

/// `GlobalMemoryStatusEx`.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct WindowsMemory {
    pub(crate) total_bytes: Option<u64>,
    pub(crate) available_bytes: Option<u64>,
    /// What may still be committed: memory and page files.
    pub(crate) commit_available_bytes: Option<u64>,
    pub(crate) page_file_bytes: Option<u64>,
}

/// Limits of the job that the process stands in.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct WindowsJob {
    pub(crate) memory_left_bytes: Option<u64>,
    /// Hundredths of a percent of all processors, as `JOBOBJECT_CPU_RATE_CONTROL_INFORMATION` counts.
    pub(crate) cpu_rate: Option<u32>,
}

/// A DXGI adapter.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct WindowsGpu {
    pub(crate) name: String,
    pub(crate) vendor_id: u32,
    pub(crate) dedicated_bytes: u64,
    /// `QueryVideoMemoryInfo`: what the process may use now, and uses.
    pub(crate) budget_bytes: Option<u64>,
    pub(crate) usage_bytes: Option<u64>,
}

/// `GetSystemPowerStatus` and the active scheme.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct WindowsPower {
    /// 0 battery, 1 mains, 255 unknown.
    pub(crate) line: Option<u8>,
    pub(crate) battery_percent: Option<u8>,
    pub(crate) saver: Option<bool>,
    pub(crate) scheme: Option<String>,
}

/// The power schemes that every Windows has, by their fixed numbers.
const SCHEMES: [(&str, &str); 4] = [
    ("a1841308-3541-4fab-bc81-f71556f20b4a", "power saver"),
    ("381b4222-f694-41f0-9685-ff5bb260df2e", "balanced"),
    ("8c5e7fda-e8bf-4a96-9a85-a6e23a8c635c", "high performance"),
    ("e9a42b02-d5df-448d-aa00-03f14749eb61", "ultimate performance"),
];

/// What the number of the active scheme says: its name, and whether energy is to be saved. One that was added says neither.
#[allow(dead_code, reason = "the native reader of this system asks")]
pub(crate) fn scheme(number: Option<&str>) -> WindowsPower {
    let number = number.map(|number| number.trim_matches(['{', '}']).to_ascii_lowercase());
    let known = number.and_then(|number| SCHEMES.iter().find(|(guid, _)| *guid == number));
    let name = known.map(|(_, name)| *name);
    WindowsPower {
        saver: name.map(|name| name == "power saver"),
        scheme: name.map(str::to_string),
        ..WindowsPower::default()
    }
}

pub(crate) fn read(root: &Root) -> Host {
    let text = root.text(TABLE).unwrap_or_default();
    let windows: Windows = serde_json::from_str(&text).unwrap_or_else(|error| {
        root.unknown("cpu.brand", format!("{TABLE}: {error}"));
        Windows::default()
    });
    let unified =
        windows.gpus.iter().all(|gpu| gpu.dedicated_bytes < UNIFIED_BELOW) && !windows.gpus.is_empty();
    let memory = memory(root, &windows, unified);
    for (fact, missing) in [
        ("cpu.core_classes", windows.cores.is_empty()),
        ("cpu.isa", windows.isa.is_empty()),
        ("power.source", windows.power.line.is_none_or(|line| line > 1)),
    ] {
        if missing {
            root.unknown(fact, format!("{TABLE}: the system did not say"));
        }
    }
    root.unknown("disk.kind", "not asked for on this system");
    root.unknown("thermal.hottest_celsius", "this system states no temperatures");
    Host {
        os: "windows".into(),
        os_version: windows.os_version.clone(),
        arch: windows.arch.clone().unwrap_or_else(|| "unknown".into()),
        cpu: cpu(&windows),
        memory,
        gpus: windows.gpus.iter().filter(|gpu| gpu.vendor_id != SOFTWARE_VENDOR).map(gpu).collect(),
        numa_nodes: windows.numa_nodes.unwrap_or(1).max(1),
        model: windows.model.clone(),
        page_bytes: windows.page_bytes,
        power: power(&windows.power),
        place: Place { container: None, virtual_machine: windows.virtual_machine },
        ..Host::default()
    }
}

/// Adapters with less memory of their own than this use the host's.
const UNIFIED_BELOW: u64 = 1 << 30;
/// Microsoft's own adapters draw in software.
const SOFTWARE_VENDOR: u32 = 0x1414;
const VENDORS: [(u32, &str); 5] =
    [(0x10de, "nvidia"), (0x1002, "amd"), (0x8086, "intel"), (0x5143, "qualcomm"), (0x4d4f_4351, "qualcomm")];

fn cpu(windows: &Windows) -> Cpu {
    let highest = windows.cores.iter().map(|core| core.efficiency_class).max().unwrap_or(0);
    let mut classes: Vec<(u32, CoreClass)> = Vec::new();
    let mut cores = windows.cores.clone();
    cores.sort_by_key(|core| std::cmp::Reverse(core.efficiency_class));
    for core in &cores {
        let fast = core.efficiency_class == highest;
        let uniform = cores.iter().all(|other| other.efficiency_class == highest);
        if classes.last().is_none_or(|(class, _)| *class != core.efficiency_class) {
            let name = (!uniform).then(|| if fast { "performance" } else { "efficiency" }.to_string());
            let speed = if fast { 100 } else { LOWER_SPEED };
            classes.push((
                core.efficiency_class,
                CoreClass { name, speed, max_mhz: core.max_mhz, ..CoreClass::default() },
            ));
        }
        let (_, class) = classes.last_mut().expect("one was pushed for the first core");
        let threads = core.threads.clamp(1, 64);
        let usable = core.usable_threads.unwrap_or(threads).min(threads);
        class.n_cores += 1;
        class.n_usable_cores += u32::from(usable > 0);
        class.n_usable_cpus += usable;
    }
    let classes: Vec<CoreClass> = classes.into_iter().map(|(_, class)| class).collect();
    let logical = windows.cores.iter().map(|core| core.threads.clamp(1, 64)).sum::<u32>().max(1);
    let usable: u32 = classes.iter().map(|class| class.n_usable_cpus).sum();
    let quota = windows.job.cpu_rate.filter(|rate| (1..10_000).contains(rate));
    let quota_cpus = quota.map(|rate| f64::from(rate) / 10_000.0 * f64::from(logical));
    let usable_cpus = f64::from(usable.max(1)).min(quota_cpus.unwrap_or(f64::INFINITY)).floor() as u32;
    Cpu {
        brand: windows.brand.as_deref().map_or("unknown", str::trim).into(),
        signatures: windows.identifier.as_deref().and_then(signature).into_iter().collect(),
        isa: windows.isa.clone(),
        physical_cores: (windows.cores.len() as u32).max(1),
        logical_cpus: logical,
        usable_cpus: usable_cpus.max(1),
        usable_cores: classes.iter().map(|class| class.n_usable_cores).sum::<u32>().max(1),
        fast_cores: classes
            .iter()
            .find(|class| class.n_usable_cores > 0)
            .map_or(1, |class| class.n_usable_cores),
        quota_cpus,
        core_classes: classes,
    }
}

/// `Intel64 Family 6 Model 183 Stepping 1, GenuineIntel` → `GenuineIntel 6/183`.
fn signature(identifier: &str) -> Option<String> {
    let after = |name: &str| {
        let mut words = identifier.split([' ', ',']);
        words.find(|word| *word == name)?;
        words.next().and_then(|word| word.parse::<u32>().ok())
    };
    let vendor = identifier.rsplit(", ").next()?.trim();
    Some(format!("{vendor} {}/{}", after("Family")?, after("Model")?))
}

fn memory(root: &Root, windows: &Windows, unified: bool) -> Memory {
    let stated = &windows.memory;
    let limits = [
        ("available physical memory", stated.available_bytes),
        ("memory that may still be committed", stated.commit_available_bytes),
        ("limit of the process's job", windows.job.memory_left_bytes),
    ];
    if stated.total_bytes.is_none() {
        root.unknown("memory.total_bytes", format!("{TABLE}: the system did not say"));
    }
    let limits = limits.into_iter().filter_map(|(source, bytes)| {
        bytes.map(|headroom_bytes| Limit { source: source.into(), headroom_bytes })
    });
    Memory {
        total_bytes: stated.total_bytes.unwrap_or(0),
        available_bytes: stated.available_bytes.unwrap_or(0),
        limits: limits.collect(),
        swap_bytes: stated.page_file_bytes,
        unified,
        ..Memory::default()
    }
    .close(root)
}

fn gpu(adapter: &WindowsGpu) -> Gpu {
    let unified = adapter.dedicated_bytes < UNIFIED_BELOW;
    let free = adapter.budget_bytes.map(|budget| budget.saturating_sub(adapter.usage_bytes.unwrap_or(0)));
    Gpu {
        name: adapter.name.clone(),
        vendor: VENDORS
            .iter()
            .find(|(id, _)| *id == adapter.vendor_id)
            .map_or("unknown", |(_, name)| name)
            .into(),
        memory_bytes: (!unified).then_some(adapter.dedicated_bytes),
        free_bytes: free,
        unified,
        ..Gpu::default()
    }
}

fn power(stated: &WindowsPower) -> Power {
    Power {
        source: match stated.line {
            Some(0) => Some(PowerSource::Battery),
            Some(1) => Some(PowerSource::Mains),
            _ => None,
        },
        battery_percent: stated.battery_percent.filter(|percent| *percent <= 100),
        mode: stated.scheme.clone(),
        saver: stated.saver,
        governor: None,
    }
}

#[cfg(test)]
mod tests {
    use super::{cores, scheme, signature};

    #[test]
    fn threads_are_shared_out_to_cores() {
        let threads = |fast, efficient, all| {
            cores(fast, efficient, all)
                .iter()
                .map(|core| (core.efficiency_class, core.threads))
                .collect::<Vec<_>>()
        };
        assert_eq!(threads(4, 2, 4), [(1, 2), (1, 2), (0, 1), (0, 1)]);
        assert_eq!(threads(4, 0, 2), [(1, 2), (1, 2)]);
        assert_eq!(threads(3, 0, 3), [(1, 1), (1, 1), (1, 1)]);
        assert_eq!(threads(2, 2, 0), [(1, 2), (0, 1), (0, 1)], "cores that were not counted");
        assert_eq!(threads(0, 0, 0), []);
    }

    #[test]
    fn schemes_have_names() {
        let of = |number| {
            let power = scheme(number);
            (power.scheme, power.saver)
        };
        assert_eq!(
            of(Some("{A1841308-3541-4FAB-BC81-F71556F20B4A}")),
            (Some("power saver".into()), Some(true))
        );
        let balanced = of(Some("381b4222-f694-41f0-9685-ff5bb260df2e"));
        assert_eq!(balanced, (Some("balanced".into()), Some(false)));
        assert_eq!((of(Some("0")), of(None)), ((None, None), (None, None)));
    }

    #[test]
    fn identifiers_become_signatures() {
        let intel = "Intel64 Family 6 Model 183 Stepping 1, GenuineIntel";
        assert_eq!(signature(intel).as_deref(), Some("GenuineIntel 6/183"));
        assert_eq!(
            signature("ARMv8 (64-bit) Family 8 Model 1 Revision 201, Qualcomm Technologies Inc").as_deref(),
            Some("Qualcomm Technologies Inc 8/1")
        );
        assert_eq!(signature("nonsense"), None);
    }
}
