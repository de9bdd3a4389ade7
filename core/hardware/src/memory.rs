//! The memory budget: the tightest of what the system has, what groups allow and what the process may map.
//! Owns the reserve; must not know what the memory is for.

use crate::host::{Limit, Memory};
use crate::root::Root;
use crate::{Error, cgroup};

/// Share of the tightest headroom that is left to everything else (the app's own growth, the kernel, other programs),
/// and its bounds in bytes. A choice, not a measurement: large enough that a plan at its edge does not start swapping,
/// small enough that an 8 GiB machine still offers 7.4 GiB.
const RESERVE_SHARE: f64 = 0.08;
const RESERVE_BYTES: (u64, u64) = (128 << 20, 2 << 30);

pub(crate) fn read(root: &Root) -> Result<Memory, Error> {
    let meminfo = root.required("proc/meminfo")?;
    let kib = |name: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()?.checked_mul(1024)
    };
    let missing =
        |expected| Error::Content { path: root.path("proc/meminfo"), expected, got: "nothing of it".into() };
    let total_bytes = kib("MemTotal").ok_or_else(|| missing("a line MemTotal: … kB"))?;
    // Kernels before 3.14 have no estimate of their own.
    let available_bytes = kib("MemAvailable")
        .or_else(|| kib("MemFree")?.checked_add(kib("Cached")?))
        .ok_or_else(|| missing("a line MemAvailable: … kB"))?;
    let mut limits =
        vec![Limit { source: "MemAvailable of /proc/meminfo".into(), headroom_bytes: available_bytes }];
    limits.extend(cgroup::memory_limits(root));
    limits.extend(address_space(root));
    limits.sort_by_key(|limit| limit.headroom_bytes);
    let headroom = limits[0].headroom_bytes;
    Ok(Memory { total_bytes, available_bytes, budget_bytes: budget(headroom), limits })
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
    const AT_PAGESZ: u64 = 6;
    let bytes = root.bytes("proc/self/auxv")?;
    let words: Vec<u64> = bytes.as_chunks::<8>().0.iter().map(|word| u64::from_ne_bytes(*word)).collect();
    words.as_chunks::<2>().0.iter().find(|[key, _]| *key == AT_PAGESZ).map(|[_, value]| *value)
}
