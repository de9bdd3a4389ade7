//! Detection reads whatever stands in its files without a panic, and promises no memory that a limit denies.

#![allow(clippy::unwrap_used)]

use llama_pajamas_hardware::{FILES, detect_at, detect_in};
use proptest::prelude::*;

/// Pieces that real files are made of, in any order, between random bytes.
const PIECES: [&str; 44] = [
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
    "some avg10=101.0 avg60=NaN\nfull avg10=-1\n",
    "[ro.soc.model]: [SM8550]\n",
    "ro.product.model=\n",
    "pmode:0002",
    "< POWER_MODEL ID=2 NAME=MAXN >\n",
    "DEVNAME=nvme0n1p2\n",
    "DEVNAME=",
    "hw.memsize: 18446744073709551615\nkern.memorystatus_level: 100\n",
    "hw.nperflevels: 4294967295\nhw.perflevel0.physicalcpu: 4294967295\nhw.perflevel1.physicalcpu: 4294967295\n",
    "hw.machine: iPhone16,1\n",
    "{\"cores\":[{\"threads\":4294967295,\"usable_threads\":0}],\"memory\":{\"available_bytes\":1}}",
    "{\"job\":{\"cpu_rate\":1},\"gpus\":[{\"dedicated_bytes\":18446744073709551615}]}",
    "gfx_target_version 4294967295\n",
    "-9223372036854775808",
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
    #![proptest_config(ProptestConfig::with_cases(128))]

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
        let host = detect_at(root.path()).unwrap();
        prop_assert!(host.memory.limits.iter().all(|limit| host.memory.budget_bytes <= limit.headroom_bytes));
        prop_assert!(host.memory.limits.is_sorted_by_key(|limit| limit.headroom_bytes));
        let cpu = &host.cpu;
        prop_assert!(cpu.usable_cpus >= 1 && cpu.usable_cpus <= cpu.logical_cpus);
        prop_assert!(cpu.fast_cores >= 1 && cpu.physical_cores >= 1 && cpu.usable_cores >= 1);
        let known = |fact: &str| !host.unknown.iter().any(|unknown| unknown.fact == fact);
        prop_assert!(host.memory.budget_bytes == 0 || known("memory.budget_bytes"));
        prop_assert!(serde_json::to_string(&host).is_ok());
        let table = files.iter().map(|(name, bytes)| (*name, bytes.as_slice()));
        let same = detect_in(table);
        prop_assert_eq!(same.cpu, host.cpu);
        prop_assert_eq!(same.memory, host.memory);
    }
}
