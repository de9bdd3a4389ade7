//! Any bytes as the files that describe a machine, parts between NULs: an error with a file, or a host whose budget no
//! limit denies. Knows the public API alone.
#![no_main]

use libfuzzer_sys::fuzz_target;

/// The files, with a control group of each version.
const FILES: [&str; 16] = [
    "proc/cpuinfo",
    "proc/meminfo",
    "proc/self/cgroup",
    "proc/self/mountinfo",
    "proc/self/status",
    "proc/self/limits",
    "proc/self/auxv",
    "proc/device-tree/model",
    "sys/fs/cgroup/a/memory.max",
    "sys/fs/cgroup/a/memory.current",
    "sys/fs/cgroup/a/memory.stat",
    "sys/fs/cgroup/a/cpu.max",
    "sys/fs/cgroup/memory/memory.limit_in_bytes",
    "sys/devices/system/cpu/cpu0/topology/core_id",
    "sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq",
    "sys/class/drm/card0/device/uevent",
];

fuzz_target!(|bytes: &[u8]| {
    let root = tempfile::tempdir().expect("a place for temporary files");
    for (file, part) in FILES.iter().zip(bytes.split(|byte| *byte == 0)) {
        if part.is_empty() {
            continue;
        }
        let path = root.path().join(file);
        std::fs::create_dir_all(path.parent().expect("in a folder")).expect("room");
        std::fs::write(path, part).expect("room");
    }
    match hardware::detect_at(root.path()) {
        Ok(host) => {
            let limits = &host.memory.limits;
            assert!(limits.iter().all(|limit| host.memory.budget_bytes <= limit.headroom_bytes));
            assert!(host.cpu.usable_cpus >= 1 && host.cpu.usable_cpus <= host.cpu.logical_cpus);
            assert!(host.cpu.fast_cores >= 1);
        }
        Err(error) => assert!(error.to_string().contains("/proc/"), "{error}"),
    }
});
