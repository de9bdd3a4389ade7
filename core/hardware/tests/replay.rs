//! Machines replayed from folders of small files.

#![allow(clippy::unwrap_used)]

use llama_pajamas_hardware::{CoreClass, Gpu, Host, detect_at, detect_in};
use std::path::Path;

const GIB: u64 = 1 << 30;
const MIB: u64 = 1 << 20;

fn fixture(name: &str) -> Host {
    detect_at(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name).with_extension("host"))
        .unwrap()
}

fn classes(host: &Host) -> Vec<(u32, u32, u32)> {
    let of = |class: &CoreClass| (class.n_cores, class.n_usable_cores, class.n_usable_cpus);
    host.cpu.core_classes.iter().map(of).collect()
}

fn write(root: &Path, files: &[(&str, &[u8])]) {
    for (name, bytes) in files {
        let path = root.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}

#[test]
fn a_desktop_is_bounded_by_available_memory() {
    let host = fixture("desktop-8-core-gpu");
    assert_eq!((host.os.as_str(), host.arch.as_str(), host.numa_nodes), ("linux", "x86_64", 1));
    assert_eq!(host.cpu.brand, "Desktop Processor 8-Core");
    assert_eq!(host.cpu.isa.first().map(String::as_str), Some("sse4_2"));
    assert!(host.cpu.isa.iter().any(|name| name == "avx512_vnni"));
    assert_eq!((host.cpu.physical_cores, host.cpu.logical_cpus, host.cpu.usable_cpus), (8, 16, 16));
    assert_eq!(classes(&host), [(8, 8, 16)]);
    assert_eq!(host.cpu.core_classes[0].max_mhz, Some(5000));
    let available = 24_000_000 * 1024;
    assert_eq!(host.memory.available_bytes, available);
    assert_eq!(host.memory.limits.len(), 1);
    // 8 % of 22.9 GiB, which lies below the reserve's cap of 2 GiB.
    assert_eq!(host.memory.budget_bytes, available - (available as f64 * 0.08) as u64);
    let gpu = Gpu {
        name: "card0".into(),
        vendor: "amd".into(),
        memory_bytes: Some(17_163_091_968),
        free_bytes: Some(17_163_091_968 - GIB),
        driver: Some("amdgpu".into()),
        profile: host.gpus[0].profile.clone(),
        priors: host.gpus[0].priors.clone(),
        ..Gpu::default()
    };
    assert_eq!(host.gpus, [gpu]);
}

#[test]
fn kinds_of_cores_are_told_apart() {
    let laptop = fixture("hybrid-laptop");
    assert_eq!(classes(&laptop), [(4, 4, 8), (4, 4, 4)]);
    assert_eq!((laptop.cpu.fast_cores, laptop.cpu.physical_cores), (4, 8));
    let phone = fixture("phone-big-little");
    assert_eq!((phone.os.as_str(), phone.arch.as_str()), ("android", "aarch64"));
    assert_eq!(phone.cpu.brand, "Phone Platform 1+3+4");
    assert_eq!(classes(&phone), [(1, 1, 1), (3, 3, 3), (4, 4, 4)]);
    assert_eq!(phone.cpu.core_classes.iter().map(|class| class.speed).collect::<Vec<_>>(), [1024, 870, 340]);
}

#[test]
fn the_tightest_ancestor_of_a_container_wins() {
    let host = fixture("container-v2-nested");
    let limits = &host.memory.limits;
    assert_eq!(limits[0].source, "/sys/fs/cgroup/kubepods/pod7/memory.max");
    // 6 GiB − (2 GiB − 0.75 GiB of file cache that can be dropped).
    assert_eq!(limits[0].headroom_bytes, 6 * GIB - (2 * GIB - 768 * MIB));
    assert_eq!(limits[1].headroom_bytes, 8 * GIB - 1536 * MIB);
    assert_eq!(limits.len(), 4, "app, pod7, kubepods and the machine: {limits:?}");
    assert_eq!((host.cpu.quota_cpus, host.cpu.usable_cpus), (Some(4.0), 4));
    assert_eq!((host.cpu.usable_cores, host.numa_nodes), (64, 2));
}

#[test]
fn version_1_groups_are_found_below_their_mounts() {
    let host = fixture("container-v1");
    let limits = &host.memory.limits;
    assert_eq!(limits[0].source, "/sys/fs/cgroup/memory/memory.limit_in_bytes");
    assert_eq!(limits[0].headroom_bytes, 4 * GIB - (GIB - 512 * MIB));
    assert_eq!(limits[1].headroom_bytes, 8 * GIB - 100 * MIB, "the address space less what is mapped");
    assert_eq!(limits.len(), 3);
    // Three processors in the mask, two and a half by quota.
    assert_eq!((host.cpu.quota_cpus, host.cpu.usable_cpus, host.cpu.usable_cores), (Some(2.5), 2, 3));
}

#[test]
fn a_board_is_named_by_its_device_tree() {
    let host = fixture("raspberry-pi-5");
    assert_eq!(host.cpu.brand, "Raspberry Pi 5 Model B Rev 1.0");
    assert_eq!(host.model.as_deref(), Some("Raspberry Pi 5 Model B Rev 1.0"));
    assert_eq!(host.cpu.isa, ["asimd", "asimdhp", "asimddp"]);
    assert_eq!(classes(&host), [(4, 4, 4)]);
    assert_eq!((host.gpus[0].vendor.as_str(), host.gpus[0].memory_bytes), ("brcm", None));
}

#[test]
fn what_cannot_be_read_is_unknown_with_its_reason() {
    let root = tempfile::tempdir().unwrap();
    let unknown = |root: &Path, fact: &str| {
        let host = detect_at(root).unwrap();
        assert!(host.cpu.usable_cpus >= 1);
        host.unknown.into_iter().find(|unknown| unknown.fact == fact).map(|unknown| unknown.reason)
    };
    assert_eq!(unknown(root.path(), "cpu.brand").unwrap(), "/proc/cpuinfo: no such file or directory");
    assert_eq!(
        unknown(root.path(), "memory.available_bytes").unwrap(),
        "/proc/meminfo: no such file or directory"
    );
    assert!(unknown(root.path(), "memory.budget_bytes").is_some());
    write(root.path(), &[("proc/cpuinfo", b"hello"), ("proc/meminfo", b"nonsense")]);
    assert!(unknown(root.path(), "cpu.logical_cpus").is_some());
    assert!(unknown(root.path(), "memory.total_bytes").unwrap().contains("MemTotal"));
    let huge = b"MemTotal: 99999999999999999999 kB\nMemAvailable: 1000000 kB\n";
    write(root.path(), &[("proc/cpuinfo", b"processor : 0\n"), ("proc/meminfo", huge)]);
    assert!(unknown(root.path(), "memory.total_bytes").is_some());
    assert_eq!(unknown(root.path(), "memory.budget_bytes"), None);
    assert_eq!(unknown(root.path(), "cpu.logical_cpus"), None);
}

#[test]
fn a_root_that_is_no_host_is_named() {
    let root = tempfile::tempdir().unwrap();
    let refused = |name: &str| detect_at(&root.path().join(name)).unwrap_err().to_string();
    assert!(refused("absent.host").contains("absent.host"));
    write(root.path(), &[("wrong.host", b"= a 1\nnonsense\n")]);
    assert!(refused("wrong.host").contains("line 2"), "{}", refused("wrong.host"));
}

#[test]
fn registers_name_the_cores_where_cpuinfo_does_not() {
    let files: [(&str, &[u8]); 4] = [
        ("proc/cpuinfo", b"processor : 0\nprocessor : 1\nFeatures : asimd\n"),
        ("sys/devices/system/cpu/online", b"0-1\n"),
        ("sys/devices/system/cpu/cpu0/regs/identification/midr_el1", b"0x00000000411fd461\n"),
        ("sys/devices/system/cpu/cpu1/regs/identification/midr_el1", b"0x00000000411fd4e0\n"),
    ];
    let host = detect_in(files);
    assert_eq!(host.cpu.signatures, ["0x41/0xd46", "0x41/0xd4e"]);
    let names: Vec<_> = host.cpu.core_classes.iter().map(|class| class.name.as_deref().unwrap()).collect();
    assert_eq!(names, ["Cortex-X3", "Cortex-A510"], "the kinds alone tell which is faster");
}

#[test]
fn the_page_size_stands_in_the_auxiliary_vector() {
    let root = tempfile::tempdir().unwrap();
    let words = [16u64, 1, 6, 16384, 0, 0].map(u64::to_ne_bytes).concat();
    let meminfo = b"MemTotal: 4000 kB\nMemAvailable: 1000 kB\n";
    let files: [(&str, &[u8]); 3] =
        [("proc/cpuinfo", b"processor : 0\n"), ("proc/meminfo", meminfo), ("proc/self/auxv", &words)];
    write(root.path(), &files);
    let host = detect_at(root.path()).unwrap();
    assert_eq!(host.page_bytes, Some(16384));
    assert_eq!((host.memory.budget_bytes, host.cpu.physical_cores), (0, 1), "less than the reserve");
}
