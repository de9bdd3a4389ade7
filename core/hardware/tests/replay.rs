//! Machines replayed from folders of small files, made here.

#![allow(clippy::unwrap_used)]

use hardware::detect_at;
use llama_pajamas_hardware as hardware;
use std::path::Path;

fn write(root: &Path, files: &[(&str, &str)]) {
    for (name, text) in files {
        let path = root.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
}

const CPUINFO: &str = "processor\t: 0\nmodel name\t: Test CPU\nflags\t\t: fpu avx2 fma\n\nprocessor\t: 1\nprocessor\t: 2\nprocessor\t: 3\n";
const MEMINFO: &str = "MemTotal: 16777216 kB\nMemFree: 1000 kB\nMemAvailable: 8388608 kB\n";
const GIB: u64 = 1 << 30;

#[test]
fn a_plain_machine_is_bounded_by_available_memory() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), &[("proc/cpuinfo", CPUINFO), ("proc/meminfo", MEMINFO)]);
    let host = detect_at(root.path()).unwrap();
    assert_eq!(host.cpu.brand, "Test CPU");
    assert_eq!(host.cpu.isa, ["avx2", "fma"]);
    assert_eq!((host.cpu.logical_cpus, host.cpu.usable_cpus), (4, 4));
    assert_eq!(host.memory.available_bytes, 8 * GIB);
    assert_eq!(host.memory.budget_bytes, 8 * GIB - (8.0 * GIB as f64 * 0.08) as u64);
}

#[test]
fn the_tightest_ancestor_of_a_container_wins() {
    let root = tempfile::tempdir().unwrap();
    write(
        root.path(),
        &[
            ("proc/cpuinfo", CPUINFO),
            ("proc/meminfo", MEMINFO),
            ("proc/self/cgroup", "0::/a/b\n"),
            ("proc/self/status", "Cpus_allowed_list:\t0-2\n"),
            ("sys/fs/cgroup/a/memory.max", "2147483648"),
            ("sys/fs/cgroup/a/memory.current", "1610612736"),
            ("sys/fs/cgroup/a/memory.stat", "active_file 5\ninactive_file 1073741824\n"),
            ("sys/fs/cgroup/a/b/memory.max", "max"),
            ("sys/fs/cgroup/a/b/cpu.max", "150000 100000"),
        ],
    );
    let host = detect_at(root.path()).unwrap();
    assert_eq!(host.memory.limits[0].headroom_bytes, 2 * GIB - GIB / 2);
    assert!(host.memory.limits[0].source.ends_with("/a/memory.max"));
    assert_eq!(host.cpu.usable_cpus, 1);
}

#[test]
fn version_1_groups_and_big_little_cores_are_read() {
    let root = tempfile::tempdir().unwrap();
    let mut files = vec![
        ("proc/cpuinfo".to_string(), CPUINFO.to_string()),
        ("proc/meminfo".into(), MEMINFO.into()),
        ("proc/self/cgroup".into(), "5:memory:/x\n4:cpu,cpuacct:/\n".into()),
        ("sys/fs/cgroup/memory/x/memory.limit_in_bytes".into(), "1073741824".into()),
        ("sys/fs/cgroup/memory/memory.limit_in_bytes".into(), "9223372036854771712".into()),
        ("sys/fs/cgroup/cpu/cpu.cfs_quota_us".into(), "-1".into()),
    ];
    for cpu in 0..4 {
        let capacity = if cpu == 3 { "1024" } else { "400" };
        files.push((format!("sys/devices/system/cpu/cpu{cpu}/cpu_capacity"), capacity.into()));
        files.push((format!("sys/devices/system/cpu/cpu{cpu}/topology/core_id"), cpu.to_string()));
    }
    write(root.path(), &files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect::<Vec<_>>());
    let host = detect_at(root.path()).unwrap();
    assert_eq!(host.memory.limits[0].headroom_bytes, GIB);
    assert_eq!((host.cpu.fast_cores, host.cpu.physical_cores, host.cpu.usable_cpus), (1, 4, 4));
}

#[test]
fn a_missing_or_empty_file_is_named() {
    let root = tempfile::tempdir().unwrap();
    assert!(detect_at(root.path()).unwrap_err().to_string().contains("cpuinfo"));
    write(root.path(), &[("proc/cpuinfo", CPUINFO), ("proc/meminfo", "nonsense")]);
    assert!(detect_at(root.path()).unwrap_err().to_string().contains("MemTotal"));
}
