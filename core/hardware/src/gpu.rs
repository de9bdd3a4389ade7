//! Graphics devices that sysfs lists.

use crate::host::Gpu;
use crate::root::Root;

const VENDORS: [(&str, &str); 4] =
    [("0x10de", "nvidia"), ("0x1002", "amd"), ("0x8086", "intel"), ("0x13b5", "arm")];

pub(crate) fn read(root: &Root) -> Vec<Gpu> {
    let cards = root.names("sys/class/drm");
    let cards =
        cards.into_iter().filter(|name| name.strip_prefix("card").is_some_and(|n| n.parse::<u32>().is_ok()));
    let gpu = |name: String| {
        let vendor = root.text(&format!("sys/class/drm/{name}/device/vendor"))?;
        let vendor =
            VENDORS.iter().find(|(id, _)| *id == vendor.trim()).map_or(vendor.trim(), |(_, name)| name);
        let memory_bytes = root.number(&format!("sys/class/drm/{name}/device/mem_info_vram_total"));
        Some(Gpu { vendor: vendor.to_string(), memory_bytes, name })
    };
    cards.filter_map(gpu).collect()
}
