//! `hardware --json` on this machine against lscpu, nproc, getconf and the kernel's own files: whole, pinned to one
//! processor, with an address space limit, and in control groups made for the purpose.
//! Knows the command line; making control groups needs the right to, and is skipped with a printed line without it.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests that print what they compare")]

use llama_pajamas_tests::{repository, run};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

const GIB: u64 = 1 << 30;
const KIB: u64 = 1 << 10;

/// Builds the command that is tested, beside this test.
fn binary() -> PathBuf {
    run(Command::new(env!("CARGO"))
        .args(["build", "--quiet", "-p", "llama-pajamas-cli"])
        .current_dir(repository()));
    let test = std::env::current_exe().unwrap();
    test.parent().and_then(Path::parent).unwrap().join("llama-pajamas")
}

/// The description, with the command started by `wrapper`.
fn host(wrapper: &[&str]) -> Value {
    let binary = binary();
    let mut words: Vec<&str> = wrapper.to_vec();
    words.extend([binary.to_str().unwrap(), "hardware", "--json"]);
    let text = run(Command::new(words[0]).args(&words[1..]));
    serde_json::from_str::<Value>(&text).unwrap()["host"].take()
}

fn lscpu() -> Vec<(String, String)> {
    let json: Value = serde_json::from_str(&run(Command::new("lscpu").arg("--json"))).unwrap();
    let mut fields = Vec::new();
    flatten(&json["lscpu"], &mut fields);
    fields
}

/// Newer versions nest what belongs together.
fn flatten(list: &Value, fields: &mut Vec<(String, String)>) {
    for entry in list.as_array().into_iter().flatten() {
        let text = |name: &str| entry[name].as_str().unwrap_or_default().to_string();
        fields.push((text("field").trim_end_matches(':').to_string(), text("data")));
        flatten(&entry["children"], fields);
    }
}

fn meminfo(name: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name}:"))).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * KIB
}

fn number(text: &str) -> u64 {
    text.trim().parse().unwrap_or_else(|_| panic!("no number: {text}"))
}

#[test]
fn the_processor_is_what_lscpu_says() {
    let host = host(&["env"]);
    let fields = lscpu();
    let field = |name: &str| fields.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str());
    let cpu = &host["cpu"];
    assert_eq!(host["arch"], field("Architecture").unwrap());
    assert_eq!(cpu["brand"], field("Model name").unwrap());
    assert_eq!(cpu["logical_cpus"], number(field("CPU(s)").unwrap()));
    let (cores, sockets) =
        (number(field("Core(s) per socket").unwrap()), number(field("Socket(s)").unwrap()));
    assert_eq!(cpu["physical_cores"], cores * sockets);
    assert_eq!(host["numa_nodes"], number(field("NUMA node(s)").unwrap_or("1")));
    assert_eq!(host["place"]["virtual_machine"], field("Hypervisor vendor").is_some());
    let flags: Vec<&str> = field("Flags").unwrap().split(' ').collect();
    let isa: Vec<&str> = cpu["isa"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    assert!(!isa.is_empty() && isa.iter().all(|name| flags.contains(name)), "{isa:?} of {flags:?}");
    for name in ["avx2", "fma", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm", "sve"] {
        assert_eq!(isa.contains(&name), flags.contains(&name), "{name}");
    }
    let (vendor, family, model) = (field("Vendor ID").unwrap(), field("CPU family"), field("Model").unwrap());
    if let Some(family) = family {
        assert_eq!(cpu["signatures"][0], format!("{vendor} {family}/{model}"));
    }
    println!("{} cores, {} threads, {}", cpu["physical_cores"], cpu["logical_cpus"], cpu["brand"]);
}

#[test]
fn memory_and_pages_are_what_the_kernel_says() {
    let before = meminfo("MemAvailable");
    let host = host(&["env"]);
    let after = meminfo("MemAvailable");
    let memory = &host["memory"];
    assert_eq!(memory["total_bytes"], meminfo("MemTotal"));
    assert_eq!(memory["swap_bytes"], meminfo("SwapTotal"));
    assert_eq!(host["page_bytes"], number(&run(Command::new("getconf").arg("PAGE_SIZE"))));
    let available = memory["available_bytes"].as_u64().unwrap();
    let near = before.min(after) / 20;
    assert!(before.min(after) - near <= available && available <= before.max(after) + near, "{available}");
    assert!(memory["budget_bytes"].as_u64().unwrap() < available);
    println!("{} of {} bytes for a model", memory["budget_bytes"], memory["total_bytes"]);
}

#[test]
fn affinity_and_limits_of_the_process_are_seen() {
    assert_eq!(host(&["env"])["cpu"]["usable_cpus"], number(&run(&mut Command::new("nproc"))));
    assert_eq!(host(&["taskset", "--cpu-list", "0"])["cpu"]["usable_cpus"], 1);
    let bounded = host(&["prlimit", &format!("--as={}", 4 * GIB)]);
    let limits = bounded["memory"]["limits"].as_array().unwrap();
    let limit = limits.iter().find(|limit| limit["source"] == "address space limit of the process").unwrap();
    let headroom = limit["headroom_bytes"].as_u64().unwrap();
    assert!((3 * GIB..4 * GIB).contains(&headroom), "4 GiB less what is mapped: {headroom}");
    assert!(bounded["memory"]["budget_bytes"].as_u64().unwrap() <= headroom);
}

/// Groups under every hierarchy that has the file; removed again at the end, the deepest first.
struct Groups(Vec<PathBuf>);

impl Groups {
    /// Three groups within each other. `None` without the right to make them.
    fn make(top: &Path) -> Option<Self> {
        let name = format!("llama-pajamas-test-{}", std::process::id());
        let folders = [name.clone(), format!("{name}/a"), format!("{name}/a/b")].map(|name| top.join(name));
        let mut made = Self(Vec::new());
        for folder in folders {
            std::fs::create_dir(&folder).ok()?;
            made.0.insert(0, folder);
        }
        Some(made)
    }

    /// Sets a file of the group at a depth; false where it cannot be.
    fn set(&self, depth: usize, file: &str, value: u64) -> bool {
        std::fs::write(self.0[2 - depth].join(file), value.to_string()).is_ok()
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        for folder in &self.0 {
            let _ = std::fs::remove_dir(folder);
        }
    }
}

/// Starts the command from within a group.
fn host_in(groups: &[&Groups]) -> Value {
    let joins: Vec<String> =
        groups.iter().map(|groups| format!("echo $$ > '{}/cgroup.procs'", groups.0[0].display())).collect();
    host(&["sh", "-c", &format!("{} && exec \"$@\"", joins.join(" && ")), "sh"])
}

#[test]
fn limits_of_version_1_groups_at_any_depth_are_seen() {
    let made =
        ["memory", "cpu"].map(|controller| Groups::make(&Path::new("/sys/fs/cgroup").join(controller)));
    let [Some(memory), Some(cpu)] = made else {
        println!("skipped: no version 1 hierarchies for memory and cpu in which groups can be made");
        return;
    };
    assert!(
        memory.set(1, "memory.limit_in_bytes", 2 * GIB) && memory.set(2, "memory.limit_in_bytes", 3 * GIB)
    );
    assert!(cpu.set(0, "cpu.cfs_quota_us", 150_000));
    let host = host_in(&[&memory, &cpu]);
    let limit = &host["memory"]["limits"][0];
    assert!(
        limit["source"].as_str().unwrap().ends_with("/a/memory.limit_in_bytes"),
        "the middle one: {limit}"
    );
    let headroom = limit["headroom_bytes"].as_u64().unwrap();
    assert!((2 * GIB - GIB / 4..=2 * GIB).contains(&headroom), "{headroom}");
    let usable = number(&run(&mut Command::new("nproc"))).min(1);
    assert_eq!((&host["cpu"]["quota_cpus"], &host["cpu"]["usable_cpus"]), (&1.5.into(), &usable.into()));
    println!("2 GiB in the middle of three groups: {} bytes for a model", host["memory"]["budget_bytes"]);
}

#[test]
fn limits_of_version_2_groups_at_any_depth_are_seen() {
    let top = Path::new("/sys/fs/cgroup");
    let is_version_2 = top.join("cgroup.controllers").exists();
    let Some(groups) = is_version_2.then(|| Groups::make(top)).flatten() else {
        println!("skipped: no version 2 hierarchy in which groups can be made");
        return;
    };
    let _ = std::fs::write(top.join("cgroup.subtree_control"), "+memory +cpu");
    for folder in groups.0.iter().skip(1) {
        let _ = std::fs::write(folder.join("cgroup.subtree_control"), "+memory +cpu");
    }
    if !(groups.set(1, "memory.max", 2 * GIB) && groups.set(2, "memory.max", 3 * GIB)) {
        println!("skipped: version 2 groups here have no limits on memory");
        return;
    }
    let host = host_in(&[&groups]);
    let limit = &host["memory"]["limits"][0];
    assert!(limit["source"].as_str().unwrap().ends_with("/a/memory.max"), "the middle one: {limit}");
    let headroom = limit["headroom_bytes"].as_u64().unwrap();
    assert!((2 * GIB - GIB / 4..=2 * GIB).contains(&headroom), "{headroom}");
}
