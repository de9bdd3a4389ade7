//! What this process holds in memory, as the kernel counts it.
//! Reads `/proc/self/status`; must not know what the memory is for.

use crate::root::Root;
use serde::Serialize;

/// Memory of this process, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct ProcessMemory {
    /// All of it that is in memory now.
    pub resident_bytes: u64,
    /// What of it no file backs: it cannot be evicted without swap.
    pub anonymous_bytes: u64,
    /// What of it comes from mapped files and shared memory.
    pub file_bytes: u64,
}

pub(crate) fn read(root: &Root) -> Option<ProcessMemory> {
    let status = root.text("proc/self/status")?;
    let kib = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()?.checked_mul(1024)
    };
    Some(ProcessMemory {
        resident_bytes: kib("VmRSS")?,
        anonymous_bytes: kib("RssAnon").unwrap_or(0),
        file_bytes: kib("RssFile").unwrap_or(0).saturating_add(kib("RssShmem").unwrap_or(0)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn the_kernels_lines_become_bytes() {
        let status =
            "VmSize:\t  100 kB\nVmRSS:\t   64 kB\nRssAnon:\t 40 kB\nRssFile:\t 20 kB\nRssShmem:\t 4 kB\n";
        let table = BTreeMap::from([("proc/self/status".to_string(), Ok(status.into()))]);
        let memory = read(&Root::table(table)).expect("a resident size");
        assert_eq!(memory.resident_bytes, 64 << 10);
        assert_eq!((memory.anonymous_bytes, memory.file_bytes), (40 << 10, 24 << 10));
        assert_eq!(read(&Root::table(BTreeMap::new())), None);
    }
}
