//! Energy: mains or battery, the chosen mode, the rule for clocks.
//! Reads power_supply, platform profiles and a Jetson's nvpmodel files; runs no program.

use crate::host::{Power, PowerSource};
use crate::root::Root;

pub(crate) fn read(root: &Root) -> Power {
    let supplies = supplies(root);
    let source = source(&supplies);
    if source.is_none() {
        root.unknown("power.source", "/sys/class/power_supply: no supply that says");
    }
    let battery = supplies.iter().find(|supply| supply.kind == "Battery" && supply.whole);
    let profile = root.line("sys/firmware/acpi/platform_profile");
    let mode = nvpmodel(root).or_else(|| profile.clone());
    Power {
        source,
        battery_percent: battery.and_then(|supply| supply.percent).map(|percent| percent.min(100)),
        saver: profile.map(|profile| profile == "low-power"),
        governor: root.line("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        mode,
    }
}

struct Supply {
    kind: String,
    online: Option<bool>,
    status: String,
    percent: Option<u8>,
    /// Feeds the machine and not a mouse.
    whole: bool,
}

fn supplies(root: &Root) -> Vec<Supply> {
    let folder = "sys/class/power_supply";
    let read = |name: String| {
        let line = |file: &str| root.line(&format!("{folder}/{name}/{file}"));
        Some(Supply {
            kind: line("type")?,
            online: line("online").map(|text| text != "0"),
            status: line("status").unwrap_or_default(),
            percent: line("capacity").and_then(|text| text.parse().ok()),
            whole: line("scope").is_none_or(|scope| scope != "Device"),
        })
    };
    root.names(folder).into_iter().filter_map(read).collect()
}

/// A charger that is plugged in, else what the battery does. A machine without a battery says nothing here.
fn source(supplies: &[Supply]) -> Option<PowerSource> {
    let whole = || supplies.iter().filter(|supply| supply.whole);
    if whole().any(|supply| supply.kind != "Battery" && supply.online == Some(true)) {
        return Some(PowerSource::Mains);
    }
    let battery = whole().find(|supply| supply.kind == "Battery")?;
    match battery.status.as_str() {
        "Discharging" => Some(PowerSource::Battery),
        "Charging" | "Full" | "Not charging" => Some(PowerSource::Mains),
        _ => None,
    }
}

/// The name of a Jetson's power mode: its number stands in a status file, the names in the configuration.
fn nvpmodel(root: &Root) -> Option<String> {
    let status = root.line("var/lib/nvpmodel/status")?;
    let number: u32 = status.rsplit(':').next()?.trim().parse().ok()?;
    let conf = root.text("etc/nvpmodel.conf").unwrap_or_default();
    let name = conf.lines().find_map(|line| {
        let rest = line.trim().strip_prefix("< POWER_MODEL ")?.trim_end_matches('>');
        let field =
            |name: &str| rest.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        (field("ID")?.parse() == Ok(number)).then(|| field("NAME").map(str::to_string))?
    });
    name.or_else(|| Some(format!("mode {number}")))
}
