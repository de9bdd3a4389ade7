//! Detection reads whatever stands in its files without a panic, and promises no memory that a limit denies.

#![allow(clippy::unwrap_used)]

use llama_pajamas_hardware::detect_at;
use proptest::prelude::*;

/// Every file that detection reads, with a cgroup of each version to choose from.
const FILES: [&str; 22] = [
    "proc/cpuinfo",
    "proc/meminfo",
    "proc/self/cgroup",
    "proc/self/mountinfo",
    "proc/self/status",
    "proc/self/limits",
    "proc/self/auxv",
    "proc/device-tree/model",
    "sys/fs/cgroup/a/memory.max",
    "sys/fs/cgroup/a/memory.high",
    "sys/fs/cgroup/a/memory.current",
    "sys/fs/cgroup/a/memory.stat",
    "sys/fs/cgroup/a/cpu.max",
    "sys/fs/cgroup/memory/memory.limit_in_bytes",
    "sys/fs/cgroup/cpu/cpu.cfs_quota_us",
    "sys/fs/cgroup/cpu/cpu.cfs_period_us",
    "sys/devices/system/cpu/cpu0/topology/core_id",
    "sys/devices/system/cpu/cpu0/topology/cluster_id",
    "sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq",
    "sys/devices/system/cpu/cpu0/cpu_capacity",
    "sys/class/drm/card0/device/uevent",
    "sys/class/drm/card0/device/mem_info_vram_total",
];

/// Pieces that real files are made of, in any order, between random bytes.
const PIECES: [&str; 30] = [
    "processor\t: 0\n",
    "processor\t: 4294967295\n",
    "flags : lm avx2\n",
    "MemTotal: 1000000 kB\n",
    "MemAvailable: 500000 kB\n",
    "MemAvailable: 18446744073709551615 kB\n",
    "0::/a\n",
    "0::/../../a/./b\n",
    "3:memory:/\n",
    "4:cpu,cpuacct:/a\n",
    "1 2 0:1 / /sys/fs/cgroup rw - cgroup2 x rw\n",
    "1 2 0:1 /a /sys/fs/cgroup/memory rw - cgroup x rw,memory\n",
    " - ",
    "Cpus_allowed_list:\t0-65535\n",
    "Cpus_allowed_list:\t7-2,\n",
    "VmSize: 18446744073709551615 kB\n",
    "Max address space 0 0 bytes\n",
    "Max address space",
    "max 100000",
    "-1 0",
    "1e308 1e-308",
    "NaN inf",
    "inactive_file 18446744073709551615\n",
    "18446744073709551615",
    "123456789",
    "0",
    "DRIVER=\nOF_COMPATIBLE_0=,\n",
    ":",
    "\n",
    "\0",
];

fn content() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => prop::sample::select(&PIECES[..]).prop_map(|piece| piece.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..12),
    ];
    prop::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn malformed_files_never_panic(files in prop::collection::btree_map(0..FILES.len(), content(), 0..14), whole in any::<bool>()) {
        let root = tempfile::tempdir().unwrap();
        let mut files: Vec<(&str, Vec<u8>)> = files.into_iter().map(|(i, bytes)| (FILES[i], bytes)).collect();
        if whole {
            files.push(("proc/cpuinfo", b"processor : 0\nprocessor : 1\n".to_vec()));
            files.push(("proc/meminfo", b"MemTotal: 1000000 kB\nMemAvailable: 500000 kB\n".to_vec()));
        }
        for (name, bytes) in &files {
            let path = root.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
        match detect_at(root.path()) {
            Ok(host) => {
                prop_assert!(host.memory.limits.iter().all(|limit| host.memory.budget_bytes <= limit.headroom_bytes));
                prop_assert!(host.memory.limits.is_sorted_by_key(|limit| limit.headroom_bytes));
                prop_assert!(host.cpu.usable_cpus >= 1 && host.cpu.usable_cpus <= host.cpu.logical_cpus);
                prop_assert!(host.cpu.fast_cores >= 1);
            }
            Err(error) => {
                prop_assert!(!whole, "{error}");
                prop_assert!(error.to_string().contains("/proc/"), "{error}");
            }
        }
    }
}
