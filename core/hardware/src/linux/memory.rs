//! The memory budget: the tightest of what the system has, what groups allow and what the process may map.
//! Owns the reserve; must not know what the memory is for.

use super::cgroup;
use crate::host::{Limit, Memory};
use crate::root::Root;

/// Share of the tightest headroom that is left to everything else (the app's own growth, the kernel, other programs),
/// and its bounds in bytes. A choice, not a measurement: large enough that a plan at its edge does not start swapping,
/// small enough that an 8 GiB machine still offers 7.4 GiB.
const RESERVE_SHARE: f64 = 0.08;
const RESERVE_BYTES: (u64, u64) = (128 << 20, 2 << 30);

pub(crate) fn read(root: &Root, soc: Option<&str>) -> Memory {
    let mut memory = system(root);
    memory.limits.extend(cgroup::memory_limits(root));
    memory.limits.extend(address_space(root));
    // Chips whose graphics device has no memory of its own.
    memory.unified = soc.is_some_and(|soc| soc.starts_with("nvidia,tegra"));
    memory.close(root)
}

impl Memory {
    /// Sorts the limits and takes the budget from the tightest.
    pub(crate) fn close(mut self, root: &Root) -> Self {
        self.limits.sort_by_key(|limit| limit.headroom_bytes);
        match self.limits.first() {
            Some(limit) => self.budget_bytes = budget(limit.headroom_bytes),
            None => root.unknown("memory.budget_bytes", "nothing states what is available"),
        }
        self
    }
}

/// What the kernel states of the whole machine.
fn system(root: &Root) -> Memory {
    let mut memory = Memory::default();
    let meminfo = match root.try_text("proc/meminfo") {
        Ok(text) => text,
        Err(reason) => {
            root.unknown("memory.total_bytes", reason.clone());
            root.unknown("memory.available_bytes", reason);
            return memory;
        }
    };
    let kib = |name: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()?.checked_mul(1024)
    };
    match kib("MemTotal") {
        Some(total) => memory.total_bytes = total,
        None => root.unknown("memory.total_bytes", "/proc/meminfo: no line `MemTotal: … kB`"),
    }
    // Kernels before 3.14 have no estimate of their own.
    let older =
        || Some((kib("MemFree")?.checked_add(kib("Cached")?)?, "MemFree and Cached of /proc/meminfo"));
    match kib("MemAvailable").map(|bytes| (bytes, "MemAvailable of /proc/meminfo")).or_else(older) {
        Some((bytes, source)) => {
            memory.available_bytes = bytes;
            memory.limits.push(Limit { source: source.into(), headroom_bytes: bytes });
        }
        None => root.unknown("memory.available_bytes", "/proc/meminfo: no line `MemAvailable: … kB`"),
    }
    memory.swap_bytes = kib("SwapTotal");
    memory
}

/// What a headroom leaves to a model, in bytes.
pub(crate) fn budget(headroom: u64) -> u64 {
    let reserve = ((headroom as f64 * RESERVE_SHARE) as u64).clamp(RESERVE_BYTES.0, RESERVE_BYTES.1);
    headroom.saturating_sub(reserve)
}

/// What `ulimit -v` leaves.
fn address_space(root: &Root) -> Option<Limit> {
    let limits = root.text("proc/self/limits")?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max address space"))?;
    let limit: u64 = line.split_whitespace().next()?.parse().ok()?;
    let status = root.text("proc/self/status").unwrap_or_default();
    let mapped = status.lines().find_map(|line| line.strip_prefix("VmSize:"));
    let mapped =
        mapped.and_then(|text| text.trim().trim_end_matches("kB").trim().parse::<u64>().ok()).unwrap_or(0);
    let headroom_bytes = limit.saturating_sub(mapped.saturating_mul(1024));
    Some(Limit { source: "address space limit of the process".into(), headroom_bytes })
}

/// Page size from the auxiliary vector: pairs of native 64-bit words, `AT_PAGESZ` is 6.
pub(crate) fn page_bytes(root: &Root) -> Option<u64> {
    let page = auxiliary(root, 6);
    if page.is_none() {
        root.unknown("page_bytes", "/proc/self/auxv: no page size");
    }
    page
}

/// A word of the auxiliary vector by its key.
pub(crate) fn auxiliary(root: &Root, wanted: u64) -> Option<u64> {
    let bytes = root.bytes("proc/self/auxv")?;
    let words: Vec<u64> = bytes.as_chunks::<8>().0.iter().map(|word| u64::from_ne_bytes(*word)).collect();
    words.as_chunks::<2>().0.iter().find(|[key, _]| *key == wanted).map(|[_, value]| *value)
}

/// NUMA nodes that are there, with or without processors.
pub(crate) fn numa_nodes(root: &Root) -> u32 {
    let folder = "sys/devices/system/node";
    // The read leaves every node in a recording, which keeps files and not folders.
    let files = ["cpulist", "cpumap", "meminfo"];
    let there =
        |node: &u32| files.iter().any(|file| root.bytes(&format!("{folder}/node{node}/{file}")).is_some());
    let nodes = root.numbered(folder, "node").iter().filter(|node| there(node)).count();
    u32::try_from(nodes).unwrap_or(u32::MAX).max(1)
}
