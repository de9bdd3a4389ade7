//! Graphics devices that sysfs and the NVIDIA driver's files list.
//! Reads what files say; must not load a driver's library or open a device.

use crate::host::Gpu;
use crate::root::Root;

const VENDORS: [(&str, &str); 7] = [
    ("0x10de", "nvidia"),
    ("0x1002", "amd"),
    ("0x8086", "intel"),
    ("0x13b5", "arm"),
    ("0x5143", "qualcomm"),
    ("0x106b", "apple"),
    ("0x1ae0", "google"),
];
/// Display controllers of servers and virtual machines: they draw, and compute nothing.
const DRAWS_ONLY: [&str; 9] = [
    "ast",
    "mgag200",
    "bochs-drm",
    "bochs",
    "virtio_gpu",
    "vmwgfx",
    "hyperv_drm",
    "simple-framebuffer",
    "cirrus",
];

pub(crate) fn read(root: &Root, soc: Option<&str>) -> Vec<Gpu> {
    let cards = root.numbered("sys/class/drm", "card");
    let mut gpus: Vec<Gpu> = cards.into_iter().filter_map(|number| card(root, number)).collect();
    // A container can be handed the device without its sysfs entry; the driver's files also know the names.
    let named = nvidia(root);
    if named.len() >= gpus.iter().filter(|gpu| gpu.vendor == "nvidia").count() && !named.is_empty() {
        gpus.retain(|gpu| gpu.vendor != "nvidia");
        gpus.extend(named);
    }
    if let Some(tegra) = soc.filter(|soc| soc.starts_with("nvidia,tegra")) {
        gpus.retain(|gpu| gpu.vendor != "nvidia");
        gpus.push(Gpu {
            name: format!("integrated ({tegra})"),
            vendor: "nvidia".into(),
            unified: true,
            ..Gpu::default()
        });
    }
    if let Some(model) = root.line("sys/class/kgsl/kgsl-3d0/gpu_model") {
        gpus.retain(|gpu| gpu.vendor != "qualcomm");
        let driver = Some("kgsl".into());
        gpus.push(Gpu { name: model, vendor: "qualcomm".into(), unified: true, driver, ..Gpu::default() });
    }
    name_amd_generations(root, &mut gpus);
    gpus
}

fn card(root: &Root, number: u32) -> Option<Gpu> {
    let folder = format!("sys/class/drm/card{number}/device");
    let uevent = root.text(&format!("{folder}/uevent")).unwrap_or_default();
    let driver = uevent.lines().find_map(|line| line.strip_prefix("DRIVER=")).map(str::to_string);
    if driver.as_deref().is_some_and(|driver| DRAWS_ONLY.contains(&driver)) {
        return None;
    }
    let vendor = root.line(&format!("{folder}/vendor"));
    let vendor = match (vendor.as_deref(), &driver) {
        (Some(id), _) => VENDORS.iter().find(|(known, _)| *known == id).map_or(id, |(_, name)| name),
        // Devices outside PCI have no vendor number; their device tree names them `vendor,part`.
        (None, Some(_)) => uevent.lines().find_map(|line| {
            line.strip_prefix("OF_COMPATIBLE_0=")?.split_once(',').map(|(vendor, _)| vendor)
        })?,
        (None, None) => return None,
    };
    let memory = |file: &str| root.number(&format!("{folder}/{file}"));
    // amdgpu's names, then i915's, which stand beside `device`.
    let memory_bytes = memory("mem_info_vram_total").or_else(|| memory("../lmem_total_bytes"));
    let used = memory("mem_info_vram_used");
    let free = memory("../lmem_avail_bytes");
    let name = root.line(&format!("{folder}/product_name")).unwrap_or_else(|| format!("card{number}"));
    // A device outside PCI is a part of the chip.
    let unified = root.line(&format!("{folder}/vendor")).is_none();
    Some(Gpu {
        name,
        vendor: vendor.to_string(),
        memory_bytes,
        free_bytes: memory_bytes.zip(used).map(|(total, used)| total.saturating_sub(used)).or(free),
        driver,
        unified,
        ..Gpu::default()
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
            driver: Some("nvidia".into()),
            ..Gpu::default()
        })
    };
    root.names(folder).into_iter().filter_map(gpu).collect()
}

/// The generations that amdgpu's compute driver states, in the order of the cards: `110000` → `gfx1100`.
fn name_amd_generations(root: &Root, gpus: &mut [Gpu]) {
    let folder = "sys/class/kfd/kfd/topology/nodes";
    let generations = root.numbered(folder, "").into_iter().filter_map(|node| {
        let text = root.text(&format!("{folder}/{node}/properties"))?;
        let line = text.lines().find_map(|line| line.strip_prefix("gfx_target_version "))?;
        let version: u32 = line.trim().parse().ok().filter(|version| *version > 0)?;
        Some(format!("gfx{}{:x}{:x}", version / 10_000, version / 100 % 100, version % 100))
    });
    for (gpu, generation) in gpus.iter_mut().filter(|gpu| gpu.vendor == "amd").zip(generations) {
        gpu.architecture = Some(generation);
    }
}
