//! Processor facts from `/proc/cpuinfo`, sysfs topology, the affinity mask and cgroup quotas.

use crate::host::Cpu;
use crate::root::Root;
use crate::{Error, cgroup};
use std::collections::{BTreeMap, BTreeSet};

/// Flags of cpuinfo that matter to inference.
const ISA: [&str; 22] = [
    "sse4_2",
    "avx",
    "avx2",
    "fma",
    "f16c",
    "bmi2",
    "avx_vnni",
    "avx512f",
    "avx512bw",
    "avx512vl",
    "avx512_vnni",
    "avx512_vbmi",
    "avx512_bf16",
    "amx_int8",
    "amx_bf16",
    "asimd",
    "asimdhp",
    "asimddp",
    "i8mm",
    "bf16",
    "sve",
    "sme",
];

pub(crate) fn read(root: &Root) -> Result<Cpu, Error> {
    let cpuinfo = root.required("proc/cpuinfo")?;
    let field = |names: &[&str]| {
        cpuinfo.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            names.contains(&name.trim()).then(|| value.trim().to_string())
        })
    };
    let logical = cpuinfo.lines().filter(|line| line.starts_with("processor")).count() as u32;
    if logical == 0 {
        let path = root.path("proc/cpuinfo");
        return Err(Error::Content {
            path,
            expected: "lines that start with `processor`",
            got: "none".into(),
        });
    }
    let flags = field(&["flags", "Features"]).unwrap_or_default();
    let flags: BTreeSet<&str> = flags.split_whitespace().collect();
    let cores = cores(root, logical);
    let fastest = cores.values().copied().max().unwrap_or(0);
    let fast_cores = cores.values().filter(|speed| **speed * 10 >= fastest * 9).count() as u32;
    let physical = cores.len().max(1) as u32;
    Ok(Cpu {
        brand: field(&["model name", "Model", "Hardware"]).unwrap_or_else(|| "unknown".into()),
        isa: ISA.iter().filter(|name| flags.contains(**name)).map(|name| name.to_string()).collect(),
        physical_cores: physical,
        logical_cpus: logical,
        usable_cpus: usable(root, logical),
        fast_cores: fast_cores.max(1),
    })
}

/// Speed of each core by (package, core): its capacity or maximal frequency, 1 where the system says nothing.
fn cores(root: &Root, logical: u32) -> BTreeMap<(u64, u64), u64> {
    let mut cores = BTreeMap::new();
    for cpu in 0..logical {
        let number = |file: &str| root.number(&format!("sys/devices/system/cpu/cpu{cpu}/{file}"));
        let core = number("topology/core_id").unwrap_or(cpu.into());
        let package = number("topology/physical_package_id").unwrap_or(0);
        // Clusters of small systems number their cores from zero each.
        let cluster = number("topology/cluster_id").filter(|id| *id < 1 << 16).unwrap_or(0);
        let speed = number("cpu_capacity").or_else(|| number("cpufreq/cpuinfo_max_freq")).unwrap_or(1);
        cores.insert((package << 16 | cluster, core), speed);
    }
    cores
}

fn usable(root: &Root, logical: u32) -> u32 {
    let status = root.text("proc/self/status").unwrap_or_default();
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    let allowed = list.and_then(|list| count_list(list.trim())).unwrap_or(logical).min(logical);
    let quota = cgroup::cpu_quota(root).unwrap_or(f64::INFINITY);
    // A quota of one and a half processors lets one thread run undisturbed.
    (f64::from(allowed).min(quota).floor() as u32).max(1)
}

/// `0-3,7` → 5.
fn count_list(list: &str) -> Option<u32> {
    let mut count = 0u32;
    for part in list.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        count = count.checked_add(last.checked_sub(first)?.checked_add(1)?)?;
    }
    Some(count)
}

#[cfg(test)]
mod tests {
    use super::count_list;

    #[test]
    fn processor_lists_are_counted() {
        assert_eq!(count_list("0-3,7"), Some(5));
        assert_eq!(count_list("5"), Some(1));
        assert_eq!(count_list("3-1"), None);
        assert_eq!(count_list("0-4294967295"), None);
        assert_eq!(count_list("x"), None);
    }
}
