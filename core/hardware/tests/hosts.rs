//! Every recorded machine, against what its own file expects. `UPDATE_EXPECT=1 cargo test` writes the expectations anew:
//! read the difference.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

use llama_pajamas_hardware::{Conditions, FILES, Host, conditions, conditions_at, detect_at, record};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

fn hosts() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut hosts: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|e| e == "host")).collect();
    hosts.sort();
    hosts
}

/// What matters of a description, one fact per line.
fn expectation(host: &Host) -> String {
    let mut text = String::new();
    let mut say = |name: &str, value: String| {
        let _ = writeln!(text, "#> {name}{}{value}", if value.is_empty() { "" } else { " " });
    };
    let (cpu, memory) = (&host.cpu, &host.memory);
    let named = |value: &Option<String>| value.clone().unwrap_or_else(|| "unknown".into());
    say("system", format!("{} {} | {}", host.os, host.arch, named(&host.os_version)));
    say("model", format!("{} | {}", named(&host.model), named(&host.soc)));
    say("cpu", format!("{} | {}", cpu.brand, cpu.signatures.join(" ")));
    say("isa", cpu.isa.join(" "));
    let quota = cpu.quota_cpus.map(|quota| format!(", quota {quota}")).unwrap_or_default();
    let (cores, cpus) = (cpu.physical_cores, cpu.logical_cpus);
    say(
        "cores",
        format!("{cores} with {cpus} threads, usable {} with {}{quota}", cpu.usable_cores, cpu.usable_cpus),
    );
    for class in &cpu.core_classes {
        let mhz = class.max_mhz.map(|mhz| format!(" {mhz} MHz")).unwrap_or_default();
        let name = class.name.as_deref().unwrap_or("cores");
        say("class", format!("{} × {name}, speed {}{mhz}", class.n_cores, class.speed));
    }
    say("memory_bytes", format!("{} available {}", memory.total_bytes, memory.available_bytes));
    for limit in &memory.limits {
        say("limit_bytes", format!("{} {}", limit.headroom_bytes, limit.source));
    }
    say("budget_bytes", memory.budget_bytes.to_string());
    say("nodes", format!("{}{}", host.numa_nodes, if memory.unified { ", unified memory" } else { "" }));
    for gpu in &host.gpus {
        let profile = gpu.profile.as_ref().map_or("none", |profile| &profile.id);
        let memory = gpu.memory_bytes.map_or("unknown".into(), |bytes| bytes.to_string());
        say("gpu", format!("{} | {} | memory {memory} | profile {profile}", gpu.vendor, gpu.name));
    }
    let heat = (host.thermal.hottest_celsius, host.thermal.throttled, host.thermal.clock_share);
    say("thermal", format!("{heat:?} throttles {:?}", host.thermal.throttle_count));
    let power = &host.power;
    say("power", format!("{:?} {:?} {}", power.source, power.battery_percent, named(&power.mode)));
    say("disk", format!("{:?} {}", host.disk.kind, named(&host.disk.device)));
    say("place", format!("{} {}", named(&host.place.container), host.place.virtual_machine));
    say("pressure", format!("{:?} {:?}", host.pressure.memory_some_percent, host.pressure.memory_level));
    if let Some(profile) = &host.profile {
        say("profile", format!("{} ({})", profile.id, profile.origin.name()));
    }
    if let Some(bandwidth) = &host.priors.bandwidth_gbs {
        say("bandwidth_gbs", format!("{:?} ({})", bandwidth.range, bandwidth.origin.name()));
    }
    for unknown in &host.unknown {
        say("unknown", format!("{}: {}", unknown.fact, unknown.reason));
    }
    text
}

#[test]
fn every_machine_is_what_its_file_says() {
    let mut wrong = Vec::new();
    for path in hosts() {
        let text = std::fs::read_to_string(&path).unwrap().replace("\r\n", "\n");
        let now = expectation(&detect_at(&path).unwrap());
        let stated: String =
            text.lines().filter(|line| line.starts_with("#>")).map(|l| format!("{l}\n")).collect();
        if stated == now {
            continue;
        }
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            let (head, body): (Vec<&str>, Vec<&str>) =
                text.lines().filter(|line| !line.starts_with("#>")).partition(|line| line.starts_with("# "));
            std::fs::write(&path, format!("{}\n{now}{}\n", head.join("\n"), body.join("\n"))).unwrap();
        } else {
            wrong.push(format!("{}: expected\n{stated}got\n{now}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "UPDATE_EXPECT=1 writes these anew:\n{}", wrong.join("\n"));
}

/// What util-linux's own tests expect of lscpu on the same dumps: processors, and sockets × cores per socket.
const LSCPU: [(&str, u32, u32); 6] = [
    ("board-exynos-5250", 2, 2),
    ("laptop-dell-e4310", 4, 2),
    ("server-epyc-7451", 96, 2 * 24),
    ("server-xeon-x7550", 64, 4 * 8),
    ("vm-virtualbox", 2, 2),
    ("vm-vmware-opteron", 16, 2 * 4),
];

#[test]
fn dumps_of_util_linux_are_what_lscpu_makes_of_them() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    for (name, n_cpus, n_cores) in LSCPU {
        let cpu = detect_at(&folder.join(name).with_extension("host")).unwrap().cpu;
        assert_eq!((cpu.logical_cpus, cpu.physical_cores), (n_cpus, n_cores), "{name}");
    }
}

#[test]
fn every_machine_states_its_origin_and_licence() {
    let hosts = hosts();
    let mut real = 0;
    for path in &hosts {
        let text = std::fs::read_to_string(path).unwrap();
        let line = |name: &str| text.lines().find_map(|line| line.strip_prefix(&format!("# {name}: ")));
        let origin = line("origin").unwrap_or_default();
        real += usize::from(origin.starts_with("real dump: "));
        assert!(
            origin.starts_with("real dump: ") || origin.starts_with("written by hand"),
            "{}",
            path.display()
        );
        assert!(line("licence").is_some(), "{}", path.display());
        assert!(text.len() < 8192, "{}: {} bytes", path.display(), text.len());
    }
    assert!(hosts.len() >= 30 && real >= 12, "{} hosts, {real} of them real", hosts.len());
}

#[test]
fn what_is_recorded_describes_the_same_machine() {
    let folder = tempfile::tempdir().unwrap();
    for path in hosts() {
        let (host, text) = record(Some(&path)).unwrap();
        let copy = folder.path().join("copy.host");
        std::fs::write(&copy, text).unwrap();
        assert_eq!(expectation(&detect_at(&copy).unwrap()), expectation(&host), "{}", path.display());
    }
}

/// `sys/devices/system/cpu/cpu12/online` → `sys/devices/system/cpu/cpu#/online`, so that one entry stands for all.
fn kind_of(path: &str) -> String {
    let mut kind = String::new();
    for part in path.split('/') {
        let name = part.trim_end_matches(|c: char| c.is_ascii_digit());
        let _ = write!(kind, "/{name}{}", if name == part { "" } else { "#" });
    }
    kind
}

/// Files whose place is a name of the machine's own: groups, disks, supplies, addresses.
fn own_name(path: &str) -> bool {
    let own = [
        "sys/fs/cgroup/",
        "sys/block/",
        "sys/dev/block/",
        "sys/class/power_supply/",
        "proc/driver/nvidia/gpus/",
    ];
    own.iter().any(|folder| path.starts_with(folder))
}

#[test]
fn the_list_of_files_names_every_kind_that_is_read() {
    let listed: BTreeSet<String> = FILES.iter().map(|path| kind_of(path)).collect();
    let endings: BTreeSet<&str> = FILES.iter().filter_map(|path| path.rsplit('/').next()).collect();
    let mut read = BTreeSet::new();
    for path in hosts() {
        let (_, text) = record(Some(&path)).unwrap();
        let entries = text.lines().filter_map(|line| {
            let rest = ["= ", "== ", "! "].iter().find_map(|mark| line.strip_prefix(mark))?;
            rest.split(' ').next()
        });
        for entry in entries {
            let entry = match (entry.split_once('{'), entry.split_once('}')) {
                (Some((before, _)), Some((_, after))) => format!("{before}0{after}"),
                _ => entry.to_string(),
            };
            read.insert(entry);
        }
    }
    let known = |path: &String| match own_name(path) {
        true => endings.contains(path.rsplit('/').next().unwrap()),
        false => listed.contains(&kind_of(path)),
    };
    let missing: Vec<&String> = read.iter().filter(|path| !known(path)).collect();
    assert!(missing.is_empty(), "read and not in the list of files: {missing:#?}");
}

/// The short way sees what the long one sees.
#[test]
fn conditions_are_those_of_the_whole_description() {
    let mut n_counted = 0;
    for path in hosts() {
        let (host, now) = (detect_at(&path).unwrap(), conditions_at(&path).unwrap());
        let whole = Conditions::of(&host);
        let name = path.display();
        assert_eq!(now.memory.limits, whole.memory.limits, "{name}");
        assert_eq!(now.memory.budget_bytes, whole.memory.budget_bytes, "{name}");
        assert_eq!((&now.pressure, &now.thermal), (&whole.pressure, &whole.thermal), "{name}");
        assert_eq!(now.power, whole.power, "{name}");
        // Where only /proc/cpuinfo lists processors, the short way does not say.
        assert!([0, whole.usable_cpus].contains(&now.usable_cpus), "{name}: {}", now.usable_cpus);
        n_counted += usize::from(now.usable_cpus > 0);
    }
    assert!(n_counted > 40, "{n_counted}");
}

/// This machine, many times: a watch does it every few seconds.
#[test]
fn conditions_are_read_in_a_moment() {
    let begin = std::time::Instant::now();
    (0..20).for_each(|_| _ = std::hint::black_box(conditions()));
    let each = begin.elapsed() / 20;
    println!("{each:?}");
    assert!(each < std::time::Duration::from_millis(30), "{each:?}");
}
