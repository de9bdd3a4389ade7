//! Which cores there are, how fast each kind is, and which of them this process may use.
//! Reads sysfs topology and the affinity mask; must not know quotas or what runs on the cores.

use crate::host::CoreClass;
use crate::root::Root;
use std::collections::{BTreeMap, BTreeSet};

/// Cores within this share of each other's speed count as one kind: turbo bins differ by a few percent.
const SAME_KIND: f64 = 0.9;

/// One core: its speed figure and its hardware threads.
#[derive(Default)]
struct Core {
    speed: u64,
    max_mhz: Option<u32>,
    cpus: Vec<u32>,
}

/// Core classes, fastest first. `listed` are the processors of `/proc/cpuinfo`, for systems whose sysfs is closed.
pub(crate) fn core_classes(root: &Root, listed: &[u32], allowed: Option<&BTreeSet<u32>>) -> Vec<CoreClass> {
    let mut cores: Vec<Core> = cores(root, listed).into_values().collect();
    cores.sort_by_key(|core| std::cmp::Reverse(core.speed));
    let mut classes: Vec<CoreClass> = Vec::new();
    let mut fastest = 0;
    for core in cores {
        if classes.is_empty() || (core.speed as f64) < fastest as f64 * SAME_KIND {
            fastest = core.speed;
            classes.push(CoreClass {
                n_cores: 0,
                n_usable_cores: 0,
                n_usable_cpus: 0,
                max_mhz: core.max_mhz,
                speed: core.speed,
            });
        }
        let class = classes.last_mut().expect("one was pushed for the first core");
        let usable =
            core.cpus.iter().filter(|cpu| allowed.is_none_or(|set| set.contains(cpu))).count() as u32;
        class.n_cores += 1;
        class.n_usable_cores += u32::from(usable > 0);
        class.n_usable_cpus += usable;
    }
    classes
}

/// Cores by (package, cluster, core). Speed is the kernel's capacity (0 … 1024) where all agree to state one, else the
/// maximal frequency in kHz, else 1.
fn cores(root: &Root, listed: &[u32]) -> BTreeMap<(u64, u64, u64), Core> {
    let folder = "sys/devices/system/cpu";
    let mut numbers = root.numbered(folder, "cpu");
    // A processor that is switched off keeps its folder and loses its topology.
    numbers.retain(|cpu| root.number(&format!("{folder}/cpu{cpu}/online")) != Some(0));
    if numbers.is_empty() {
        numbers = listed.to_vec();
    }
    let read = |cpu: u32, file: &str| root.number(&format!("{folder}/cpu{cpu}/{file}"));
    let with_capacity = numbers.iter().all(|cpu| read(*cpu, "cpu_capacity").is_some());
    let mut cores: BTreeMap<_, Core> = BTreeMap::new();
    for cpu in numbers {
        let id = read(cpu, "topology/core_id").unwrap_or(cpu.into());
        let package = read(cpu, "topology/physical_package_id").unwrap_or(0);
        // Some systems number cores from zero in each cluster; 65535 and 2^32 − 1 mean "no cluster".
        let cluster = read(cpu, "topology/cluster_id").filter(|id| *id < 65535).unwrap_or(0);
        let khz = read(cpu, "cpufreq/cpuinfo_max_freq");
        let capacity = read(cpu, "cpu_capacity").filter(|_| with_capacity);
        let core = cores.entry((package, cluster, id)).or_default();
        core.speed = core.speed.max(capacity.or(khz).unwrap_or(1));
        core.max_mhz = khz.and_then(|khz| u32::try_from(khz / 1000).ok());
        core.cpus.push(cpu);
    }
    cores
}

/// Processors that the affinity mask allows (which control groups' cpusets narrow too).
pub(crate) fn allowed(root: &Root) -> Option<BTreeSet<u32>> {
    let status = root.text("proc/self/status")?;
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    parse_list(list.trim())
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
