//! Which cores there are, how fast each kind is, and which of them this process may use.
//! Reads sysfs topology and the affinity mask; must not know quotas or what runs on the cores.

use super::cgroup;
use crate::host::CoreClass;
use crate::profiles;
use crate::root::Root;
use std::collections::{BTreeMap, BTreeSet};

const FOLDER: &str = "sys/devices/system/cpu";
/// Cores within this share of each other's speed count as one kind: turbo bins differ by a few percent.
const SAME_KIND: f64 = 0.9;
/// Lists of processors that the kernel's counters of hybrid processors keep, and what to call the cores.
const HYBRID: [(&str, &str); 3] = [
    ("sys/devices/cpu_core/cpus", "performance"),
    ("sys/devices/cpu_atom/cpus", "efficiency"),
    ("sys/devices/cpu_lowpower/cpus", "low-power"),
];

/// One core: its speed figure and its hardware threads.
#[derive(Default)]
struct Core {
    /// Kinds that must not be joined, the faster the higher; 0 where all cores are of one.
    rank: u64,
    speed: u64,
    name: Option<&'static str>,
    max_mhz: Option<u32>,
    cpus: Vec<u32>,
}

/// Processors that are switched on. `listed` are those of `/proc/cpuinfo`, for systems whose sysfs is closed.
pub(crate) fn online(root: &Root, listed: &[u32]) -> BTreeSet<u32> {
    let mut folders: BTreeSet<u32> = root.numbered(FOLDER, "cpu").into_iter().collect();
    if let Some(online) = root.line(&format!("{FOLDER}/online")).and_then(|list| parse_list(&list)) {
        return if folders.is_empty() { online } else { online.intersection(&folders).copied().collect() };
    }
    // A processor that is switched off keeps its folder and loses its topology.
    folders.retain(|cpu| root.number(&format!("{FOLDER}/cpu{cpu}/online")) != Some(0));
    if folders.is_empty() { listed.iter().copied().collect() } else { folders }
}

/// Kinds of ARM cores from their main identification registers, where cpuinfo names none: `0x41/0xd4e`.
pub(crate) fn parts(root: &Root, online: &BTreeSet<u32>) -> BTreeMap<u32, String> {
    let part = |cpu: &u32| {
        let text = root.line(&format!("{FOLDER}/cpu{cpu}/regs/identification/midr_el1"))?;
        let midr = u64::from_str_radix(text.trim_start_matches("0x"), 16).ok()?;
        Some((*cpu, format!("0x{:02x}/0x{:03x}", midr >> 24 & 0xff, midr >> 4 & 0xfff)))
    };
    online.iter().map_while(part).collect()
}

/// Core classes, fastest first. `parts` names every processor's kind where the system tells.
pub(crate) fn core_classes(
    root: &Root,
    online: &BTreeSet<u32>,
    parts: &BTreeMap<u32, String>,
    allowed: Option<&BTreeSet<u32>>,
) -> Vec<CoreClass> {
    let mut cores: Vec<Core> = cores(root, online, parts).into_values().collect();
    cores.sort_by_key(|core| std::cmp::Reverse((core.rank, core.speed)));
    let mut classes: Vec<CoreClass> = Vec::new();
    let (mut fastest, mut rank) = (0, 0);
    for core in cores {
        if classes.is_empty() || core.rank != rank || (core.speed as f64) < fastest as f64 * SAME_KIND {
            (fastest, rank) = (core.speed, core.rank);
            classes.push(CoreClass { max_mhz: core.max_mhz, speed: core.speed, ..CoreClass::default() });
        }
        let class = classes.last_mut().expect("one was pushed for the first core");
        let usable =
            core.cpus.iter().filter(|cpu| allowed.is_none_or(|set| set.contains(cpu))).count() as u32;
        class.n_cores += 1;
        class.n_usable_cores += u32::from(usable > 0);
        class.n_usable_cpus += usable;
        if let Some(name) = core.name {
            let joined = class.name.get_or_insert_default();
            if !joined.split(" + ").any(|known| known == name) {
                joined.push_str(if joined.is_empty() { "" } else { " + " });
                joined.push_str(name);
            }
        }
    }
    classes
}

/// Cores by what identifies them. Speed is the kernel's capacity (0 … 1024) where all agree to state one, else the
/// maximal frequency in kHz where all state one, else what the kind of core suggests.
fn cores(root: &Root, online: &BTreeSet<u32>, parts: &BTreeMap<u32, String>) -> BTreeMap<String, Core> {
    let read = |cpu: u32, file: &str| root.number(&format!("{FOLDER}/cpu{cpu}/{file}"));
    let all = |file: &str| {
        // Ends at the first that does not say.
        let figures: Option<BTreeMap<u32, u64>> =
            online.iter().map(|cpu| Some((*cpu, read(*cpu, file)?))).collect();
        figures.filter(|figures| figures.values().all(|figure| *figure > 0))
    };
    let clocks = all("cpufreq/cpuinfo_max_freq");
    let capacities = all("cpu_capacity");
    let hybrid: Vec<(BTreeSet<u32>, &'static str)> = HYBRID
        .iter()
        .filter_map(|(file, name)| Some((parse_list(&root.line(file)?)?, *name)))
        .filter(|(cpus, _)| cpus.len() < online.len())
        .collect();
    let mut cores: BTreeMap<_, Core> = BTreeMap::new();
    let closed = root.numbered(FOLDER, "cpu").is_empty();
    for cpu in online {
        let part = parts.get(cpu).and_then(|part| profiles::arm_part(part));
        let kind = hybrid.iter().position(|(cpus, _)| cpus.contains(cpu));
        let core = cores.entry(if closed { cpu.to_string() } else { identity(root, *cpu) }).or_default();
        // Capacities that are all the same say nothing of clocks, and clocks nothing of kinds that share one.
        core.rank = match (kind, part) {
            (Some(kind), _) => (HYBRID.len() - kind) as u64,
            (None, Some(part)) if capacities.is_none() && clocks.is_none() => {
                if part.little {
                    1
                } else {
                    3
                }
            }
            _ => 0,
        };
        let khz = clocks.as_ref().map(|clocks| clocks[cpu]);
        let capacity = capacities.as_ref().map(|capacities| capacities[cpu]);
        core.speed = core.speed.max(capacity.or(khz).unwrap_or(core.rank.max(1)));
        core.name = kind.map(|kind| hybrid[kind].1).or(part.map(|part| part.name.as_str()));
        core.max_mhz = core.max_mhz.max(khz.and_then(|khz| u32::try_from(khz / 1000).ok()));
        core.cpus.push(*cpu);
    }
    cores
}

/// The hardware threads of a processor's core, as the kernel lists them; where it does not, the numbers of package, die,
/// cluster and core, which some machines count anew in every die.
fn identity(root: &Root, cpu: u32) -> String {
    let lists = ["core_cpus_list", "thread_siblings_list", "core_cpus", "thread_siblings"];
    if let Some(threads) =
        lists.iter().find_map(|list| root.line(&format!("{FOLDER}/cpu{cpu}/topology/{list}")))
    {
        return threads;
    }
    let read = |name: &str| root.number(&format!("{FOLDER}/cpu{cpu}/topology/{name}"));
    let (package, die) = (read("physical_package_id").unwrap_or(0), read("die_id").unwrap_or(0));
    // 65535 and 2^32 − 1 mean "no cluster".
    let cluster = read("cluster_id").filter(|id| *id < 65535).unwrap_or(0);
    let core = read("core_id").unwrap_or(cpu.into());
    format!("{package} {die} {cluster} {core}")
}

/// Processors that the affinity mask allows (which control groups' cpusets narrow too).
pub(crate) fn allowed(root: &Root) -> Option<BTreeSet<u32>> {
    let status = root.text("proc/self/status").unwrap_or_default();
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    let mask = list.and_then(|list| parse_list(list.trim()));
    mask.or_else(|| parse_list(&cgroup::cpuset(root)?))
}

/// `0-3,7` → {0, 1, 2, 3, 7}. `None` where it does not parse or names a processor beyond 65,535.
fn parse_list(list: &str) -> Option<BTreeSet<u32>> {
    let mut numbers = BTreeSet::new();
    for part in list.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
        if last < first {
            return None;
        }
        numbers.extend(u32::from(first)..=u32::from(last));
    }
    Some(numbers)
}

#[cfg(test)]
mod tests {
    use super::parse_list;

    #[test]
    fn processor_lists_are_read() {
        let numbers = |list| parse_list(list).map(|set| set.into_iter().collect::<Vec<_>>());
        assert_eq!(numbers("0-3,7"), Some(vec![0, 1, 2, 3, 7]));
        assert_eq!(numbers("5"), Some(vec![5]));
        assert_eq!(numbers("3-1"), None);
        assert_eq!(numbers("0-4294967295"), None);
        assert_eq!(numbers("x"), None);
    }
}
