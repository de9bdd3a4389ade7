//! What the machine is called, what chip it is built on, and what this process runs inside of.
//! Reads the device tree, DMI, Android's properties and the signs that containers leave.

use super::PROPERTIES;
use crate::host::Place;
use crate::root::Root;
use std::collections::BTreeMap;

/// Android's system properties.
pub(crate) type Properties = BTreeMap<String, String>;

/// From `getprop`'s form (`[name]: [value]`) or that of `build.prop` (`name=value`); later files do not overrule
/// earlier ones.
pub(crate) fn properties(root: &Root) -> Properties {
    let mut properties = Properties::new();
    for file in [PROPERTIES, "system/build.prop", "vendor/build.prop"] {
        for line in root.text(file).unwrap_or_default().lines() {
            let pair = match line.strip_prefix('[') {
                Some(rest) => rest.trim_end().trim_end_matches(']').split_once("]: ["),
                None => line.split_once('=').filter(|_| !line.starts_with('#')),
            };
            if let Some((name, value)) = pair.filter(|(_, value)| !value.trim().is_empty()) {
                properties.entry(name.trim().into()).or_insert_with(|| value.trim().into());
            }
        }
    }
    properties
}

/// The machine's name.
pub(crate) fn model(root: &Root, properties: &Properties) -> Option<String> {
    let dmi = || {
        let name = root.line("sys/class/dmi/id/product_name")?;
        // What makers leave there who had nothing to say.
        let blank = ["To Be Filled", "System Product Name", "Default string", "None"]
            .iter()
            .any(|b| name.starts_with(b));
        (!blank).then_some(name)
    };
    properties.get("ro.product.model").cloned().or_else(|| device_tree(root, "model")).or_else(dmi)
}

/// The system on chip: Android's property, what Qualcomm's driver says, or the last (most general) entry of the device tree's `compatible`.
pub(crate) fn soc(root: &Root, properties: &Properties) -> Option<String> {
    let names = ["ro.soc.model", "ro.board.platform", "ro.hardware"];
    if let Some(name) = names.iter().find_map(|name| properties.get(*name)) {
        return Some(name.clone());
    }
    // Qualcomm's driver names its chip to everyone.
    if let Some(name) = root.line("sys/devices/soc0/machine") {
        return Some(name);
    }
    let compatible = ["proc/device-tree/compatible", "sys/firmware/devicetree/base/compatible"]
        .iter()
        .find_map(|file| root.bytes(file))?;
    let text = String::from_utf8_lossy(&compatible).into_owned();
    text.trim_end().split('\0').rfind(|name| !name.is_empty()).map(str::to_string)
}

pub(crate) fn os_version(root: &Root, properties: &Properties) -> Option<String> {
    if let Some(release) = properties.get("ro.build.version.release") {
        return Some(release.clone());
    }
    let release = root.text("etc/os-release").or_else(|| root.text("usr/lib/os-release"));
    let name = release.as_deref().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
        Some(line.trim_matches('"').to_string())
    });
    name.or_else(|| Some(format!("kernel {}", root.line("proc/sys/kernel/osrelease")?)))
}

/// A string of the device tree, which ends in a zero byte.
fn device_tree(root: &Root, name: &str) -> Option<String> {
    root.line(&format!("proc/device-tree/{name}"))
        .or_else(|| root.line(&format!("sys/firmware/devicetree/base/{name}")))
}

pub(crate) fn read(root: &Root, android: bool) -> Place {
    // Long on large machines, where the first processor says it all.
    let cpuinfo = root.text("proc/cpuinfo").unwrap_or_default();
    let flags = cpuinfo.lines().find(|line| line.starts_with("flags")).unwrap_or_default();
    Place {
        container: if android { None } else { container(root) },
        virtual_machine: flags.split_whitespace().any(|flag| flag == "hypervisor"),
    }
}

fn container(root: &Root) -> Option<String> {
    let group = root.text("proc/self/cgroup").unwrap_or_default();
    let mounts = root.text("proc/self/mountinfo").unwrap_or_default();
    let named = [("kubepods", "kubernetes"), ("/docker", "docker"), ("libpod", "podman"), ("/lxc", "lxc")];
    if let Some((_, kind)) = named.iter().find(|(sign, _)| group.contains(sign)) {
        return Some((*kind).into());
    }
    // Read and not looked for: a recording keeps what was read.
    let stands = |file: &str| root.bytes(file).is_some();
    if stands("run/secrets/kubernetes.io/serviceaccount/namespace") {
        return Some("kubernetes".into());
    }
    if stands("run/.containerenv") {
        return Some("podman".into());
    }
    if stands(".dockerenv") || mounts.contains("/docker/overlay2/") {
        return Some("docker".into());
    }
    // systemd writes what it was started in.
    root.line("run/systemd/container")
}
