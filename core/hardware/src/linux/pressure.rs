//! Pressure stall information: how long work waits. Reads the process's own group before the whole system.

use super::cgroup;
use crate::host::Pressure;
use crate::root::Root;

pub(crate) fn read(root: &Root) -> Pressure {
    let memory = stall(root, "memory");
    if memory.is_none() {
        root.unknown("pressure", "/proc/pressure/memory: not offered by this kernel or not for this process");
    }
    Pressure {
        memory_some_percent: memory.map(|(some, _)| some),
        memory_full_percent: memory.and_then(|(_, full)| full),
        cpu_some_percent: stall(root, "cpu").map(|(some, _)| some),
        io_some_percent: stall(root, "io").map(|(some, _)| some),
        memory_level: None,
    }
}

/// The larger of the system's figure and the group's own, over ten seconds.
fn stall(root: &Root, resource: &str) -> Option<(f64, Option<f64>)> {
    let own = cgroup::folder_v2(root).map(|folder| format!("{folder}/{resource}.pressure"));
    let files = own.into_iter().chain([format!("proc/pressure/{resource}")]);
    let figures = files.filter_map(|file| {
        let text = root.text(&file)?;
        Some((average(&text, "some")?, average(&text, "full")))
    });
    figures.reduce(|a, b| (a.0.max(b.0), a.1.into_iter().chain(b.1).reduce(f64::max)))
}

/// `some avg10=1.50 avg60=…` → 1.5.
fn average(text: &str, kind: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(kind)?.strip_prefix(' '))?;
    let value: f64 = line.split_whitespace().find_map(|word| word.strip_prefix("avg10="))?.parse().ok()?;
    (0.0..=100.0).contains(&value).then_some(value)
}
