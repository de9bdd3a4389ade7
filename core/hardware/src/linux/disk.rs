//! The disk below the root (or Android's data) and its kind.
//! Reads the mount table and sysfs; must not touch the disk itself.

use crate::host::{Disk, DiskKind};
use crate::root::Root;

pub(crate) fn read(root: &Root, android: bool) -> Disk {
    let place = if android { "/data" } else { "/" };
    match find(root, place, android) {
        Ok(disk) => disk,
        Err(reason) => {
            root.unknown("disk.kind", reason);
            Disk::default()
        }
    }
}

fn find(root: &Root, place: &str, android: bool) -> Result<Disk, String> {
    let mounts = root.try_text("proc/self/mountinfo")?;
    let (number, system) =
        mount(&mounts, place).ok_or(format!("/proc/self/mountinfo: no mount at {place}"))?;
    if ["nfs", "nfs4", "cifs", "9p", "virtiofs", "ceph", "fuse.sshfs"].contains(&system) {
        return Ok(Disk { device: None, kind: Some(DiskKind::Network) });
    }
    if number.starts_with("0:") {
        return Err(format!("the file system at {place} is {system}, which has no device of its own"));
    }
    let uevent = root.try_text(&format!("sys/dev/block/{number}/uevent"))?;
    let name =
        uevent.lines().find_map(|line| line.strip_prefix("DEVNAME=")).ok_or("a device without a name")?;
    let base = below(root, name);
    let kind = kind(root, &base, android);
    Ok(Disk { device: Some(base), kind: Some(kind) })
}

/// Device number and file system of the last mount at a place, or of the root. Fields as in proc(5).
fn mount<'a>(mounts: &'a str, place: &str) -> Option<(&'a str, &'a str)> {
    let at = |wanted: &str| {
        let of = |line: &'a str| {
            let (left, right) = line.split_once(" - ")?;
            let mut fields = left.split(' ').skip(2);
            let (number, point) = (fields.next()?, fields.nth(1)?);
            (point == wanted).then_some((number, right.split(' ').next()?))
        };
        mounts.lines().filter_map(of).next_back()
    };
    at(place).or_else(|| at("/"))
}

/// The whole disk under a partition or a mapping, as far as the names tell.
fn below(root: &Root, name: &str) -> String {
    let mut name = name.to_string();
    for _ in 0..4 {
        let folder = format!("sys/block/{name}/slaves");
        let mut slaves = root.names(&folder).into_iter();
        // The read leaves the name in a recording, which keeps files and not folders.
        match slaves.find(|slave| root.bytes(&format!("{folder}/{slave}/dev")).is_some()) {
            Some(slave) => name = slave,
            None => break,
        }
    }
    let digits = name.trim_end_matches(|c: char| c.is_ascii_digit());
    let numbered = ["nvme", "mmcblk", "loop", "nbd"].iter().any(|kind| name.starts_with(kind));
    let whole = match digits.strip_suffix('p') {
        Some(disk) if numbered && disk.ends_with(|c: char| c.is_ascii_digit()) => disk,
        _ if numbered || name.starts_with("dm-") || name.starts_with("zram") => &name,
        _ => digits,
    };
    whole.to_string()
}

fn kind(root: &Root, disk: &str, android: bool) -> DiskKind {
    let rotates = root.number(&format!("sys/block/{disk}/queue/rotational"));
    match disk {
        _ if disk.starts_with("nvme") => DiskKind::Nvme,
        _ if disk.starts_with("mmcblk") => {
            match root.line(&format!("sys/block/{disk}/device/type")).as_deref() {
                Some("SD") => DiskKind::SdCard,
                _ => DiskKind::Emmc,
            }
        }
        _ if disk.starts_with("vd") || disk.starts_with("xvd") => DiskKind::Virtual,
        _ if disk.starts_with("sd") && android => DiskKind::Ufs,
        _ if rotates == Some(1) => DiskKind::Rotating,
        _ if android => DiskKind::Ufs,
        _ => DiskKind::Ssd,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[track_caller]
    fn check(name: &str, expected: &str) {
        assert_eq!(below(&Root::table(BTreeMap::new()), name), expected);
    }

    #[test]
    fn partitions_lead_to_their_disks() {
        check("nvme0n1p3", "nvme0n1");
        check("nvme1n1", "nvme1n1");
        check("mmcblk0p2", "mmcblk0");
        check("sda17", "sda");
        check("vda", "vda");
        check("dm-3", "dm-3");
    }

    #[test]
    fn mounts_are_found_by_their_place() {
        let mounts = "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 0:5 / /proc rw shared:1 - proc proc rw\n\
                      3 1 254:7 / /data rw - f2fs /dev/block/dm-7 rw\n";
        assert_eq!(mount(mounts, "/data"), Some(("254:7", "f2fs")));
        assert_eq!(mount(mounts, "/elsewhere"), Some(("8:1", "ext4")));
        assert_eq!(mount("nonsense", "/"), None);
    }
}
