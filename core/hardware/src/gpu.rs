//! Graphics devices that sysfs and the NVIDIA driver's files list.
//! Reads what files say; must not load a driver's library or open a device.

use crate::host::Gpu;
use crate::root::Root;

const VENDORS: [(&str, &str); 6] = [
    ("0x10de", "nvidia"),
    ("0x1002", "amd"),
    ("0x8086", "intel"),
    ("0x13b5", "arm"),
    ("0x5143", "qualcomm"),
    ("0x106b", "apple"),
];

pub(crate) fn read(root: &Root) -> Vec<Gpu> {
    let cards = root.numbered("sys/class/drm", "card");
    let mut gpus: Vec<Gpu> = cards.into_iter().filter_map(|number| card(root, number)).collect();
    // A container can be handed the device without its sysfs entry.
    if !gpus.iter().any(|gpu| gpu.vendor == "nvidia") {
        gpus.extend(nvidia(root));
    }
    gpus
}

fn card(root: &Root, number: u32) -> Option<Gpu> {
    let folder = format!("sys/class/drm/card{number}/device");
    let uevent = root.text(&format!("{folder}/uevent")).unwrap_or_default();
    let driver = uevent.lines().find_map(|line| line.strip_prefix("DRIVER=")).map(str::to_string);
    let vendor = root.text(&format!("{folder}/vendor"));
    let vendor = match (vendor.as_deref().map(str::trim), &driver) {
        (Some(id), _) => VENDORS.iter().find(|(known, _)| *known == id).map_or(id, |(_, name)| name),
        // Devices outside PCI have no vendor number; their device tree names them `vendor,part`.
        (None, Some(_)) => uevent.lines().find_map(|line| {
            line.strip_prefix("OF_COMPATIBLE_0=")?.split_once(',').map(|(vendor, _)| vendor)
        })?,
        (None, None) => return None,
    };
    let memory = |file: &str| root.number(&format!("{folder}/{file}"));
    let memory_bytes = memory("mem_info_vram_total");
    let used = memory("mem_info_vram_used");
    Some(Gpu {
        name: format!("card{number}"),
        vendor: vendor.to_string(),
        memory_bytes,
        free_bytes: memory_bytes.zip(used).map(|(total, used)| total.saturating_sub(used)),
        driver,
    })
}

/// Devices of NVIDIA's own driver, which states neither memory nor use in files.
fn nvidia(root: &Root) -> Vec<Gpu> {
    let folder = "proc/driver/nvidia/gpus";
    let gpu = |address: String| {
        let text = root.text(&format!("{folder}/{address}/information"))?;
        let model = text.lines().find_map(|line| line.strip_prefix("Model:"))?;
        Some(Gpu {
            name: model.trim().to_string(),
            vendor: "nvidia".into(),
            memory_bytes: None,
            free_bytes: None,
            driver: Some("nvidia".into()),
        })
    };
    root.names(folder).into_iter().filter_map(gpu).collect()
}
