//! Limits of control groups, version 1 and 2: of the process's own group and of every ancestor.

use crate::host::Limit;
use crate::root::Root;

/// Values at and above this mean "no limit" in version 1.
const UNLIMITED: u64 = 1 << 60;

/// A controller's folder and the path of the process's group below it.
struct Group {
    mount: String,
    path: String,
    v2: bool,
}

fn group(root: &Root, controller: &str) -> Option<Group> {
    let text = root.text("proc/self/cgroup")?;
    let mut found = None;
    for line in text.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        if controllers.split(',').any(|name| name == controller) {
            let mount = format!("sys/fs/cgroup/{controllers}");
            let mount =
                if root.path(&mount).exists() { mount } else { format!("sys/fs/cgroup/{controller}") };
            return Some(Group { mount, path: path.into(), v2: false });
        }
        if controllers.is_empty() {
            found = Some(Group { mount: "sys/fs/cgroup".into(), path: path.into(), v2: true });
        }
    }
    found
}

impl Group {
    /// Folders from the group up to the mount.
    fn ancestors(&self) -> Vec<String> {
        let mut parts: Vec<&str> =
            self.path.split('/').filter(|part| !part.is_empty() && *part != "..").collect();
        let mut folders = Vec::new();
        loop {
            let below: String = parts.iter().map(|part| format!("/{part}")).collect();
            folders.push(format!("{}{below}", self.mount));
            if parts.pop().is_none() {
                return folders;
            }
        }
    }
}

/// What each ancestor's limit leaves: limit − use + file cache that can be dropped.
pub(crate) fn memory_limits(root: &Root) -> Vec<Limit> {
    let Some(group) = group(root, "memory") else { return Vec::new() };
    let (limit_file, use_file, cache_key) = match group.v2 {
        true => ("memory.max", "memory.current", "inactive_file"),
        false => ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    };
    let mut limits = Vec::new();
    for folder in group.ancestors() {
        let Some(limit) = root.number(&format!("{folder}/{limit_file}")).filter(|limit| *limit < UNLIMITED)
        else {
            continue;
        };
        let used = root.number(&format!("{folder}/{use_file}")).unwrap_or(0);
        let stat = root.text(&format!("{folder}/memory.stat")).unwrap_or_default();
        let cache = stat.lines().find_map(|line| line.strip_prefix(cache_key)?.trim().parse::<u64>().ok());
        let headroom_bytes = limit.saturating_sub(used.saturating_sub(cache.unwrap_or(0)));
        limits.push(Limit { source: format!("/{folder}/{limit_file}"), headroom_bytes });
    }
    limits
}

/// Processors that the tightest quota allows.
pub(crate) fn cpu_quota(root: &Root) -> Option<f64> {
    let group = group(root, "cpu")?;
    let quota = |folder: &String| {
        let (quota, period): (f64, f64) = if group.v2 {
            let text = root.text(&format!("{folder}/cpu.max"))?;
            let (quota, period) = text.trim().split_once(' ')?;
            (quota.parse().ok()?, period.parse().ok()?)
        } else {
            let quota = root.text(&format!("{folder}/cpu.cfs_quota_us"))?.trim().parse().ok()?;
            (quota, root.number(&format!("{folder}/cpu.cfs_period_us"))? as f64)
        };
        (quota > 0.0 && period > 0.0).then(|| quota / period)
    };
    group.ancestors().iter().filter_map(quota).min_by(f64::total_cmp)
}
