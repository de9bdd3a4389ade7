//! Processor facts from `/proc/cpuinfo`, topology, affinity and quotas together.
//! Knows the spelling of cpuinfo on the systems that have it; must not decide how many threads to run.

use super::memory::auxiliary;
use super::place::Properties;
use super::{cgroup, topology};
use crate::host::Cpu;
use crate::root::Root;
use std::collections::{BTreeMap, BTreeSet};

/// Flags of cpuinfo that matter to inference: x86, then ARM, then others.
const ISA: [&str; 40] = [
    "sse4_2",
    "avx",
    "avx2",
    "fma",
    "f16c",
    "bmi2",
    "avx_vnni",
    "avx512f",
    "avx512dq",
    "avx512bw",
    "avx512vl",
    "avx512_vnni",
    "avx512vbmi",
    "avx512_vbmi2",
    "avx512_bf16",
    "avx512_fp16",
    "amx_tile",
    "amx_int8",
    "amx_bf16",
    "amx_fp16",
    "neon",
    "asimd",
    "asimdhp",
    "asimddp",
    "asimdfhm",
    "i8mm",
    "bf16",
    "sve",
    "sve2",
    "svei8mm",
    "svebf16",
    "sme",
    "sme2",
    "smei8i32",
    "smef16f32",
    "lsx",
    "lasx",
    "vsx",
    "rvv",
    "zvfh",
];
/// Bits of `AT_HWCAP` (key 16) and `AT_HWCAP2` (key 26) on 64-bit ARM, for systems that close cpuinfo.
const HWCAP: [(u64, u32, &str); 13] = [
    (16, 1, "asimd"),
    (16, 10, "asimdhp"),
    (16, 20, "asimddp"),
    (16, 22, "sve"),
    (16, 23, "asimdfhm"),
    (26, 1, "sve2"),
    (26, 9, "svei8mm"),
    (26, 12, "svebf16"),
    (26, 13, "i8mm"),
    (26, 14, "bf16"),
    (26, 23, "sme"),
    (26, 30, "smei8i32"),
    (26, 37, "sme2"),
];

/// What cpuinfo says.
#[derive(Default)]
struct Cpuinfo {
    /// Numbers of the processors.
    listed: Vec<u32>,
    /// The first value of every field.
    first: BTreeMap<String, String>,
    /// `0x41/0xd4e` by processor, on ARM.
    parts: BTreeMap<u32, String>,
}

/// Reads the processor; its architecture beside it.
pub(crate) fn read(root: &Root, properties: &Properties) -> (Cpu, String) {
    let mut cpuinfo = match root.try_text("proc/cpuinfo") {
        Ok(text) => parse(&text),
        Err(reason) => {
            root.unknown("cpu.brand", reason);
            Cpuinfo::default()
        }
    };
    let arch = arch(root, &cpuinfo);
    let online = topology::online(root, &cpuinfo.listed);
    if online.is_empty() {
        root.unknown(
            "cpu.logical_cpus",
            "neither /proc/cpuinfo nor /sys/devices/system/cpu lists a processor",
        );
    }
    if cpuinfo.parts.is_empty() && arch == "aarch64" {
        cpuinfo.parts = topology::parts(root, &online);
    }
    let field = |names: &[&str]| names.iter().find_map(|name| cpuinfo.first.get(*name)).map(String::as_str);
    let isa = isa(root, &cpuinfo, &arch);
    if isa.is_empty() && field(&["flags", "Features", "isa"]).is_none() {
        root.unknown("cpu.isa", "/proc/cpuinfo: states none");
    }
    let board = || super::place::model(root, properties);
    let brand = field(&["model name", "Hardware", "Model Name", "cpu", "uarch"])
        .map(str::to_string)
        .or_else(|| {
            properties
                .get("ro.soc.manufacturer")
                .zip(properties.get("ro.soc.model"))
                .map(|(m, s)| format!("{m} {s}"))
        })
        .or_else(|| field(&["Model", "Processor"]).map(str::to_string))
        .or_else(board);

    let allowed =
        topology::allowed(root).map(|set| set.intersection(&online).copied().collect::<BTreeSet<u32>>());
    let allowed = allowed.filter(|set| !set.is_empty());
    let classes = topology::core_classes(root, &online, &cpuinfo.parts, allowed.as_ref());
    let logical = online.len().max(1) as u32;
    let in_mask = allowed.map_or(logical, |set| set.len() as u32);
    let quota_cpus = cgroup::cpu_quota(root);
    let cpu = Cpu {
        brand: brand.unwrap_or_else(|| "unknown".into()),
        signatures: signatures(&cpuinfo),
        isa,
        physical_cores: classes.iter().map(|class| class.n_cores).sum::<u32>().max(1),
        logical_cpus: logical,
        usable_cpus: usable(in_mask, quota_cpus),
        usable_cores: classes.iter().map(|class| class.n_usable_cores).sum::<u32>().max(1),
        fast_cores: classes.iter().find(|class| class.n_usable_cores > 0).map_or(1, |c| c.n_usable_cores),
        quota_cpus,
        core_classes: classes,
    };
    (cpu, arch)
}

/// Hardware threads that the process may use now, of those that the system lists; 0 where it lists none.
pub(crate) fn usable_now(root: &Root) -> u32 {
    let online = topology::online(root, &[]);
    let allowed = topology::allowed(root).map(|set| match online.is_empty() {
        true => set.len(),
        false => set.intersection(&online).count(),
    });
    match allowed.filter(|count| *count > 0).unwrap_or(online.len()) {
        0 => 0,
        in_mask => usable(in_mask as u32, cgroup::cpu_quota(root)),
    }
}

/// Rounded down: a quota of one and a half processors lets one thread run undisturbed.
fn usable(in_mask: u32, quota_cpus: Option<f64>) -> u32 {
    let usable = f64::from(in_mask).min(quota_cpus.unwrap_or(f64::INFINITY)).floor() as u32;
    usable.max(1)
}

fn parse(text: &str) -> Cpuinfo {
    let mut found = Cpuinfo::default();
    let (mut number, mut implementer) = (None, String::new());
    for line in text.lines() {
        // s390 writes `processor 0: version = …`.
        if let Some(rest) = line.strip_prefix("processor ")
            && let Some((n, _)) = rest.split_once(':')
            && let Ok(n) = n.trim().parse()
        {
            found.listed.push(n);
            continue;
        }
        let Some((name, value)) = line.split_once(':') else { continue };
        let (name, value) = (name.trim(), value.trim());
        match name {
            "processor" => {
                number = value.parse().ok();
                found.listed.extend(number);
            }
            "CPU implementer" => implementer = value.to_lowercase(),
            "CPU part" => {
                // Old kernels state the part once, after all processors.
                let part = format!("{implementer}/{}", value.to_lowercase());
                found.parts.insert(number.unwrap_or(0), part);
            }
            _ => {}
        }
        if !value.is_empty() && !found.first.contains_key(name) {
            found.first.insert(name.into(), value.into());
        }
    }
    found
}

fn arch(root: &Root, cpuinfo: &Cpuinfo) -> String {
    let has = |name: &str, flag: &str| {
        cpuinfo.first.get(name).is_some_and(|flags| flags.split_whitespace().any(|found| found == flag))
    };
    let known = |name: &str| cpuinfo.first.get(name);
    let text = match () {
        () if has("flags", "lm") => "x86_64",
        () if known("cpu family").is_some() && known("flags").is_some() => "x86",
        () if known("CPU Family").is_some_and(|f| f.starts_with("Loongson-64")) => "loongarch64",
        () if has("Features", "asimd") => "aarch64",
        () if known("CPU implementer").is_some() || has("Features", "neon") => "arm",
        () if known("isa").is_some_and(|isa| isa.starts_with("rv64")) => "riscv64",
        () if known("cpu").is_some_and(|cpu| cpu.starts_with("POWER")) => "powerpc64",
        () if known("vendor_id").is_some_and(|vendor| vendor.starts_with("IBM/S390")) => "s390x",
        () if root.is_this_machine() => std::env::consts::ARCH,
        () => {
            root.unknown("arch", "/proc/cpuinfo: neither flags nor an instruction set that is known");
            "unknown"
        }
    };
    text.into()
}

fn isa(root: &Root, cpuinfo: &Cpuinfo, arch: &str) -> Vec<String> {
    let flags = ["flags", "Features"].iter().find_map(|name| cpuinfo.first.get(*name));
    let mut found: BTreeSet<&str> = flags.map(|flags| flags.split_whitespace().collect()).unwrap_or_default();
    if found.is_empty() && arch == "aarch64" {
        let set = |key: u64, bit: u32| auxiliary(root, key).is_some_and(|word| word >> bit & 1 == 1);
        found.extend(HWCAP.iter().filter(|(key, bit, _)| set(*key, *bit)).map(|(_, _, name)| *name));
    }
    if let Some(isa) = cpuinfo.first.get("isa").filter(|_| arch == "riscv64") {
        let mut parts = isa.trim_start_matches("rv64").split('_');
        if parts.next().is_some_and(|base| base.contains('v')) {
            found.insert("rvv");
        }
        found.extend(parts.filter(|part| *part == "zvfh"));
    }
    if cpuinfo
        .first
        .get("cpu")
        .is_some_and(|cpu| ["POWER7", "POWER8", "POWER9", "POWER10"].iter().any(|p| cpu.starts_with(p)))
    {
        found.insert("vsx");
    }
    ISA.iter().filter(|name| found.contains(**name)).map(|name| name.to_string()).collect()
}

fn signatures(cpuinfo: &Cpuinfo) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    if let (Some(vendor), Some(family)) = (cpuinfo.first.get("vendor_id"), cpuinfo.first.get("cpu family")) {
        let model = cpuinfo.first.get("model").map_or("?", String::as_str);
        found.push(format!("{vendor} {family}/{model}"));
    }
    for part in cpuinfo.parts.values() {
        if !found.contains(part) {
            found.push(part.clone());
        }
    }
    found
}
