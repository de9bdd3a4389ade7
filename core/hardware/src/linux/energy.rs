//! Energy that the machine reports: counters of the processor, rails of a Jetson, the battery's current.
//! Reads powercap, hwmon and power_supply; must not know what the energy is spent on.

use crate::energy::{EnergyCounter, EnergyReading};
use crate::root::Root;

pub(crate) fn read(root: &Root) -> Option<EnergyReading> {
    packages(root).or_else(|| rails(root)).or_else(|| battery(root))
}

/// Running average power limit: a counter per processor package. Newer kernels show it to root alone.
fn packages(root: &Root) -> Option<EnergyReading> {
    let folder = "sys/class/powercap";
    let counter = |number: u64| {
        let zone = format!("{folder}/intel-rapl:{number}");
        root.line(&format!("{zone}/name")).filter(|name| name.starts_with("package"))?;
        Some(EnergyCounter {
            microjoules: root.number(&format!("{zone}/energy_uj"))?,
            range_microjoules: root.number(&format!("{zone}/max_energy_range_uj"))?,
        })
    };
    let zones = root.numbered(folder, "intel-rapl:").into_iter();
    let counters: Vec<EnergyCounter> = zones.filter_map(|number| counter(u64::from(number))).collect();
    let source = "processor packages (powercap)".to_string();
    (!counters.is_empty()).then_some(EnergyReading { source, counters, watts: None, is_whole: false })
}

/// Monitors of current on a Jetson's board. The rail of the whole module stands for all; where none is named so, the
/// rails are added up.
fn rails(root: &Root) -> Option<EnergyReading> {
    let folder = "sys/class/hwmon";
    let mut rails = Vec::new();
    for number in root.numbered(folder, "hwmon") {
        let place = format!("{folder}/hwmon{number}");
        if root.line(&format!("{place}/name")).is_none_or(|name| name != "ina3221") {
            continue;
        }
        for channel in 1..=3 {
            let read = |file: String| root.number(&format!("{place}/{file}"));
            let label = root.line(&format!("{place}/in{channel}_label")).unwrap_or_default();
            let millivolts = read(format!("in{channel}_input"));
            let milliamperes = read(format!("curr{channel}_input"));
            if let Some((millivolts, milliamperes)) = millivolts.zip(milliamperes) {
                rails.push((label, millivolts as f64 * milliamperes as f64 / 1e6));
            }
        }
    }
    let whole = rails.iter().find(|(label, _)| label == "VDD_IN" || label == "POM_5V_IN");
    let (source, watts) = match whole {
        Some((label, watts)) => (format!("rail {label}"), *watts),
        None if rails.is_empty() => return None,
        None => ("rails of the board".into(), rails.iter().map(|(_, watts)| watts).sum()),
    };
    // A module has its device on it.
    Some(EnergyReading { source, counters: Vec::new(), watts: Some(watts), is_whole: true })
}

/// What a battery gives while nothing charges it: of the whole machine.
fn battery(root: &Root) -> Option<EnergyReading> {
    let folder = "sys/class/power_supply";
    root.names(folder).into_iter().find_map(|name| {
        let line = |file: &str| root.line(&format!("{folder}/{name}/{file}"));
        let discharging = line("type")? == "Battery" && line("status")? == "Discharging";
        if !discharging || line("scope").is_some_and(|scope| scope == "Device") {
            return None;
        }
        // Micro units; some drivers count what flows out as negative.
        let micro = |file: &str| line(file)?.trim_start_matches('-').parse::<f64>().ok();
        let product = || Some(micro("current_now")? * micro("voltage_now")? / 1e6);
        let watts = micro("power_now").or_else(product)? / 1e6;
        (watts > 0.0).then(|| EnergyReading {
            source: format!("battery {name}"),
            counters: Vec::new(),
            watts: Some(watts),
            is_whole: true,
        })
    })
}
