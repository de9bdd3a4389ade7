//! A Mac, iPhone or iPad from the table that `sysctl -a` prints (`name: value`).
//! Pure: the native reader and a replayed file hand it the same table. Must not ask the system anything.

use crate::host::{CoreClass, Cpu, Gpu, Host, Level, Limit, Memory, Place, Power, Pressure, Thermal};
use crate::root::Root;
use std::collections::BTreeMap;

/// The entry that carries the table.
pub(crate) const TABLE: &str = "sysctl.txt";

/// Names to ask the system for; `perflevelN` stands for every level. All that [`read`] looks at.
#[allow(dead_code, reason = "the native reader of these systems asks for them")]
pub(crate) const NAMES: [&str; 43] = [
    "kern.osproductversion",
    "kern.memorystatus_level",
    "kern.memorystatus_vm_pressure_level",
    "kern.hv_vmm_present",
    "hw.model",
    "hw.machine",
    "hw.memsize",
    "hw.pagesize",
    "hw.ncpu",
    "hw.logicalcpu",
    "hw.physicalcpu",
    "hw.nperflevels",
    "hw.perflevel0.name",
    "hw.perflevel0.physicalcpu",
    "hw.perflevel0.logicalcpu",
    "hw.perflevel1.name",
    "hw.perflevel1.physicalcpu",
    "hw.perflevel1.logicalcpu",
    "hw.perflevel2.name",
    "hw.perflevel2.physicalcpu",
    "hw.perflevel2.logicalcpu",
    "hw.cpufrequency_max",
    "hw.optional.arm64",
    "hw.optional.neon",
    "hw.optional.AdvSIMD",
    "hw.optional.neon_fp16",
    "hw.optional.arm.FEAT_FP16",
    "hw.optional.arm.FEAT_DotProd",
    "hw.optional.arm.FEAT_FHM",
    "hw.optional.arm.FEAT_I8MM",
    "hw.optional.arm.FEAT_BF16",
    "hw.optional.arm.FEAT_SME",
    "hw.optional.arm.FEAT_SME2",
    "hw.optional.arm.SME_I8I32",
    "hw.optional.sse4_2",
    "hw.optional.avx1_0",
    "hw.optional.avx2_0",
    "hw.optional.fma",
    "hw.optional.f16c",
    "hw.optional.avx512f",
    "machdep.cpu.brand_string",
    "machdep.xcpm.cpu_thermal_level",
    "iogpu.wired_limit_mb",
];

/// Switches of the table, and Linux's names for what they say.
const ISA: [(&str, &str); 18] = [
    ("hw.optional.sse4_2", "sse4_2"),
    ("hw.optional.avx1_0", "avx"),
    ("hw.optional.avx2_0", "avx2"),
    ("hw.optional.fma", "fma"),
    ("hw.optional.f16c", "f16c"),
    ("hw.optional.avx512f", "avx512f"),
    ("hw.optional.AdvSIMD", "asimd"),
    ("hw.optional.neon", "asimd"),
    ("hw.optional.arm64", "asimd"),
    ("hw.optional.arm.FEAT_FP16", "asimdhp"),
    ("hw.optional.neon_fp16", "asimdhp"),
    ("hw.optional.arm.FEAT_DotProd", "asimddp"),
    ("hw.optional.arm.FEAT_FHM", "asimdfhm"),
    ("hw.optional.arm.FEAT_I8MM", "i8mm"),
    ("hw.optional.arm.FEAT_BF16", "bf16"),
    ("hw.optional.arm.FEAT_SME", "sme"),
    ("hw.optional.arm.FEAT_SME2", "sme2"),
    ("hw.optional.arm.SME_I8I32", "smei8i32"),
];
/// Speed of an efficiency core beside 100 of the others: the system states no clocks. A class default.
const EFFICIENCY_SPEED: u64 = 35;

/// More of anything is no count.
const MOST: u32 = 4096;

/// The table's figures.
struct Table<'a>(BTreeMap<&'a str, &'a str>);

impl Table<'_> {
    fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).copied().filter(|value| !value.is_empty())
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.text(name)?.parse().ok()
    }

    fn count(&self, name: &str) -> Option<u32> {
        self.number(name)
            .and_then(|number| u32::try_from(number).ok())
            .filter(|count| (1..=MOST).contains(count))
    }
}

pub(crate) fn read(root: &Root) -> Host {
    let text = root.text(TABLE).unwrap_or_default();
    let table = Table(
        text.lines().filter_map(|line| line.split_once(':')).map(|(n, v)| (n.trim(), v.trim())).collect(),
    );
    let machine = table.text("hw.machine").unwrap_or_default();
    let mobile = ["iPhone", "iPad", "iPod"].iter().any(|kind| machine.starts_with(kind));
    let arm = mobile || machine.starts_with("arm64") || table.number("hw.optional.arm64") == Some(1);
    for (fact, name) in [("memory.total_bytes", "hw.memsize"), ("cpu.logical_cpus", "hw.logicalcpu")] {
        if table.number(name).is_none() {
            root.unknown(fact, format!("sysctl {name}: no number"));
        }
    }
    root.unknown("power.source", "no sysctl says: the app can state it");
    root.unknown("thermal.level", "no sysctl says: the app can state it");
    root.unknown("disk.kind", "no sysctl says");
    let memory = memory(&table, arm).close(root);
    Host {
        os: if mobile { "ios" } else { "macos" }.into(),
        os_version: table.text("kern.osproductversion").map(str::to_string),
        arch: if arm { "aarch64" } else { "x86_64" }.into(),
        cpu: cpu(root, &table),
        gpus: gpu(&table, arm),
        memory,
        numa_nodes: 1,
        model: if mobile { Some(machine.into()) } else { table.text("hw.model").map(str::to_string) },
        soc: None,
        page_bytes: table.number("hw.pagesize"),
        pressure: Pressure { memory_level: pressure(&table), ..Pressure::default() },
        thermal: Thermal {
            // Intel's frequency controller: 0 is cool, 100 and more is throttled.
            throttled: table.number("machdep.xcpm.cpu_thermal_level").map(|level| level >= 100),
            ..Thermal::default()
        },
        power: Power::default(),
        place: Place { container: None, virtual_machine: table.number("kern.hv_vmm_present") == Some(1) },
        ..Host::default()
    }
}

fn cpu(root: &Root, table: &Table<'_>) -> Cpu {
    let logical = table.count("hw.logicalcpu").or_else(|| table.count("hw.ncpu")).unwrap_or(1);
    let physical = table.count("hw.physicalcpu").unwrap_or(logical).min(logical);
    let mhz = table.number("hw.cpufrequency_max").and_then(|hz| u32::try_from(hz / 1_000_000).ok());
    let level = |index: u32| {
        let n_cores = table.count(&format!("hw.perflevel{index}.physicalcpu"))?;
        let name = table.text(&format!("hw.perflevel{index}.name")).unwrap_or("").to_lowercase();
        Some(CoreClass {
            speed: if name == "efficiency" { EFFICIENCY_SPEED } else { 100 },
            n_usable_cpus: table.count(&format!("hw.perflevel{index}.logicalcpu")).unwrap_or(n_cores),
            name: (!name.is_empty()).then_some(name),
            n_cores,
            n_usable_cores: n_cores,
            max_mhz: mhz,
        })
    };
    let mut classes: Vec<CoreClass> =
        (0..table.count("hw.nperflevels").unwrap_or(0).min(8)).filter_map(level).collect();
    if classes.is_empty() {
        let all = CoreClass {
            n_cores: physical,
            n_usable_cores: physical,
            n_usable_cpus: logical,
            ..CoreClass::default()
        };
        classes.push(CoreClass { max_mhz: mhz, speed: 100, ..all });
    }
    let mut isa: Vec<String> = Vec::new();
    for (name, feature) in ISA {
        if table.number(name) == Some(1) && !isa.iter().any(|known| known == feature) {
            isa.push(feature.into());
        }
    }
    if isa.is_empty() {
        root.unknown("cpu.isa", "sysctl hw.optional: no feature that is known");
    }
    Cpu {
        brand: table.text("machdep.cpu.brand_string").unwrap_or("unknown").into(),
        isa,
        physical_cores: classes.iter().map(|class| class.n_cores).sum(),
        logical_cpus: logical.max(classes.iter().map(|class| class.n_usable_cpus).sum()),
        usable_cpus: classes.iter().map(|class| class.n_usable_cpus).sum::<u32>().max(1),
        usable_cores: classes.iter().map(|class| class.n_usable_cores).sum(),
        fast_cores: classes.first().map_or(1, |class| class.n_cores),
        core_classes: classes,
        ..Cpu::default()
    }
}

/// What is available is the kernel's own percentage, by which it ends processes; else the pages that are free.
fn memory(table: &Table<'_>, unified: bool) -> Memory {
    let total_bytes = table.number("hw.memsize").unwrap_or(0);
    let by_level = || {
        let percent = table.number("kern.memorystatus_level").filter(|percent| *percent <= 100)?;
        Some((total_bytes / 100 * percent, "kern.memorystatus_level of hw.memsize"))
    };
    let by_system = || Some((table.number("native.available_bytes")?, "available memory of the system"));
    let found = by_level().filter(|_| total_bytes > 0).into_iter().chain(by_system()).min();
    let limits = found.map(|(headroom_bytes, source)| Limit { source: source.into(), headroom_bytes });
    Memory {
        total_bytes,
        available_bytes: limits.as_ref().map_or(0, |limit| limit.headroom_bytes),
        limits: limits.into_iter().collect(),
        unified,
        ..Memory::default()
    }
}

fn pressure(table: &Table<'_>) -> Option<Level> {
    match table.number("kern.memorystatus_vm_pressure_level")? {
        1 => Some(Level::Normal),
        2 => Some(Level::Warning),
        4 => Some(Level::Critical),
        _ => None,
    }
}

/// The device of Apple's own chips. Metal states how much of the memory it may take; the table only where that was set.
fn gpu(table: &Table<'_>, arm: bool) -> Vec<Gpu> {
    if !arm {
        return Vec::new();
    }
    let set = table.number("iogpu.wired_limit_mb").filter(|mib| *mib > 0);
    vec![Gpu {
        name: format!("integrated ({})", table.text("machdep.cpu.brand_string").unwrap_or("Apple")),
        vendor: "apple".into(),
        memory_bytes: set.and_then(|mib| mib.checked_mul(1 << 20)),
        unified: true,
        ..Gpu::default()
    }]
}
