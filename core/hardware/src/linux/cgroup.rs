//! Limits of control groups, version 1 and 2: of the process's own group and of every ancestor.
//! Reads `/proc/self/cgroup`, `/proc/self/mountinfo` and the groups' files; must not know what the limits are for.

use crate::host::Limit;
use crate::root::Root;

/// Values at and above this mean "no limit" in version 1.
const UNLIMITED: u64 = 1 << 60;

/// A controller's folder and the path of the process's group below it.
struct Group {
    mount: String,
    path: String,
    v2: bool,
    /// The mount was made outside the process's namespace: what lies between its top and the group has no name here.
    hidden: bool,
}

/// Where a hierarchy is mounted, and which of its groups the mount shows as its root.
struct Mount {
    folder: String,
    shown: String,
}

fn group(root: &Root, controller: &str) -> Option<Group> {
    let text = root.text("proc/self/cgroup")?;
    let mounts = root.text("proc/self/mountinfo").unwrap_or_default();
    let mut found = None;
    for line in text.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        if controllers.split(',').any(|name| name == controller) {
            let mount = mount_of(&mounts, "cgroup", |options| options.split(',').any(|o| o == controller))
                .unwrap_or_else(|| usual_mount(root, controllers, controller));
            return Some(mount.group(path, false));
        }
        if controllers.is_empty() {
            let mount = mount_of(&mounts, "cgroup2", |_| true)
                .unwrap_or_else(|| Mount { folder: "sys/fs/cgroup".into(), shown: "/".into() });
            found = Some(mount.group(path, true));
        }
    }
    found
}

/// The first mount of a kind whose superblock options are right. Fields as in proc(5): id, parent, device, root, mount
/// point, options, optional fields, `-`, kind, source, superblock options.
fn mount_of(mounts: &str, kind: &str, right: impl Fn(&str) -> bool) -> Option<Mount> {
    mounts.lines().find_map(|line| {
        let (place, system) = line.split_once(" - ")?;
        let mut system = system.split(' ');
        let (found, options) = (system.next()?, system.nth(1)?);
        let mut place = place.split(' ').skip(3);
        let (shown, folder) = (place.next()?, place.next()?);
        let folder = folder.trim_start_matches('/').to_string();
        (found == kind && right(options)).then(|| Mount { folder, shown: shown.into() })
    })
}

/// Where version 1 controllers stand by convention.
fn usual_mount(root: &Root, controllers: &str, controller: &str) -> Mount {
    let joint = format!("sys/fs/cgroup/{controllers}");
    let folder = if root.exists(&joint) { joint } else { format!("sys/fs/cgroup/{controller}") };
    Mount { folder, shown: "/".into() }
}

impl Mount {
    /// A container may see its own group as the root of the mount while the process's path counts from the host's.
    fn group(self, path: &str, v2: bool) -> Group {
        let rest = path.strip_prefix(self.shown.trim_end_matches('/'));
        let below = rest.filter(|rest| rest.is_empty() || rest.starts_with('/')).unwrap_or(path);
        let hidden = self.shown.split('/').any(|part| part == "..");
        Group { mount: self.folder, path: below.into(), v2, hidden }
    }
}

impl Group {
    /// Folders from the group up to the mount.
    fn ancestors(&self) -> Vec<String> {
        let mut parts: Vec<&str> =
            self.path.split('/').filter(|part| !part.is_empty() && *part != "." && *part != "..").collect();
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

/// What each ancestor's limit leaves: limit − use + file cache that can be dropped. Version 2 also throttles above
/// `memory.high`, which serves no model either.
pub(crate) fn memory_limits(root: &Root) -> Vec<Limit> {
    let Some(group) = group(root, "memory") else { return Vec::new() };
    if group.hidden {
        root.unknown(
            "memory.limits",
            "/proc/self/mountinfo: shows groups above the process's own without naming it",
        );
    }
    let (limit_files, use_file, cache_key): (&[&str], _, _) = match group.v2 {
        true => (&["memory.max", "memory.high"], "memory.current", "inactive_file"),
        false => (&["memory.limit_in_bytes"], "memory.usage_in_bytes", "total_inactive_file"),
    };
    let mut limits = Vec::new();
    for folder in group.ancestors() {
        let bound = |file: &&str| {
            let limit = root.number(&format!("{folder}/{file}")).filter(|limit| *limit < UNLIMITED)?;
            Some((limit, format!("/{folder}/{file}")))
        };
        let stat = root.text(&format!("{folder}/memory.stat")).unwrap_or_default();
        let figure = |wanted: &str| {
            stat.lines().find_map(|line| {
                let (key, value) = line.split_once(' ')?;
                if key == wanted { value.trim().parse::<u64>().ok() } else { None }
            })
        };
        // Version 1 states the tightest limit of all ancestors, those above the mount too.
        let above = figure("hierarchical_memory_limit").filter(|limit| !group.v2 && *limit < UNLIMITED);
        let above = above.map(|limit| (limit, format!("/{folder}/memory.stat")));
        let Some((limit, source)) =
            limit_files.iter().filter_map(bound).chain(above).min_by_key(|(limit, _)| *limit)
        else {
            continue;
        };
        let used = root.number(&format!("{folder}/{use_file}")).unwrap_or(0);
        let cache = figure(cache_key);
        let headroom_bytes = limit.saturating_sub(used.saturating_sub(cache.unwrap_or(0)));
        limits.push(Limit { source, headroom_bytes });
    }
    limits
}

/// The folder of the process's own group in version 2.
pub(crate) fn folder_v2(root: &Root) -> Option<String> {
    // No controller of version 1 has this name.
    let group = group(root, "pressure").filter(|group| group.v2)?;
    group.ancestors().into_iter().next()
}

/// Processors that the process's group allows, where that is stated.
pub(crate) fn cpuset(root: &Root) -> Option<String> {
    let group = group(root, "cpuset")?;
    let file = if group.v2 { "cpuset.cpus.effective" } else { "cpuset.effective_cpus" };
    group.ancestors().iter().find_map(|folder| root.line(&format!("{folder}/{file}")))
}

/// Processors that the tightest quota allows, e.g. 1.5.
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
