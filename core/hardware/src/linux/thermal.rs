//! Temperatures, throttle counters and the clocks that are allowed now.
//! Reads thermal zones, hardware monitors and cpufreq; must not know what to do about heat.

use crate::host::Thermal;
use crate::root::Root;

/// Zones and monitors whose names tell that they stand at the processor, the graphics device or the case.
const RELEVANT: [&str; 18] = [
    "cpu",
    "gpu",
    "soc",
    "skin",
    "x86_pkg_temp",
    "coretemp",
    "k10temp",
    "zenpower",
    "acpitz",
    "tj",
    "package",
    "cluster",
    "big",
    "quiet",
    "shell",
    "back_therm",
    "tboard",
    "acpi",
];
/// Zones that are read at most: phones have a hundred, and some take a millisecond each.
const MAX_ZONES: usize = 12;
/// Sensors that answer nonsense while their part sleeps are left out.
const PLAUSIBLE_CELSIUS: std::ops::RangeInclusive<f64> = -40.0..=150.0;

pub(crate) fn read(root: &Root) -> Thermal {
    let zones = zones(root).into_iter().chain(monitors(root));
    let hottest = zones.max_by(|a, b| a.1.total_cmp(&b.1));
    if hottest.is_none() {
        root.unknown(
            "thermal.hottest_celsius",
            "/sys/class/thermal and /sys/class/hwmon: no zone that answers",
        );
    }
    let counters = counters(root);
    let clock_share = clock_share(root);
    Thermal {
        hottest_celsius: hottest.as_ref().map(|(_, celsius)| *celsius),
        hottest_zone: hottest.map(|(name, _)| name),
        throttle_count: counters,
        throttled: throttled_now(root),
        clock_share,
        level: None,
    }
}

fn relevant(name: &str) -> bool {
    let name = name.to_lowercase();
    RELEVANT.iter().any(|part| name.contains(part))
}

/// A temperature in thousandths of a degree, as both interfaces state it.
fn celsius(root: &Root, file: &str) -> Option<f64> {
    let value = root.text(file)?.trim().parse::<f64>().ok()? / 1000.0;
    PLAUSIBLE_CELSIUS.contains(&value).then_some(value)
}

fn zones(root: &Root) -> Vec<(String, f64)> {
    let folder = "sys/class/thermal";
    let named = root.numbered(folder, "thermal_zone").into_iter().filter_map(|number| {
        let kind = root.line(&format!("{folder}/thermal_zone{number}/type"))?;
        relevant(&kind).then_some((number, kind))
    });
    let read = |(number, kind): (u32, String)| {
        Some((kind, celsius(root, &format!("{folder}/thermal_zone{number}/temp"))?))
    };
    named.take(MAX_ZONES).filter_map(read).collect()
}

fn monitors(root: &Root) -> Vec<(String, f64)> {
    let folder = "sys/class/hwmon";
    let named = root.numbered(folder, "hwmon").into_iter().filter_map(|number| {
        let name = root.line(&format!("{folder}/hwmon{number}/name"))?;
        (relevant(&name) || name == "amdgpu").then_some((number, name))
    });
    let read = |(number, name): (u32, String)| {
        Some((name, celsius(root, &format!("{folder}/hwmon{number}/temp1_input"))?))
    };
    named.take(MAX_ZONES).filter_map(read).collect()
}

/// The highest counter of any core or package: every thread of a core, and every core of a package, states the same one.
fn counters(root: &Root) -> Option<u64> {
    let folder = "sys/devices/system/cpu";
    let read = |cpu: u32, kind: &str| {
        root.number(&format!("{folder}/cpu{cpu}/thermal_throttle/{kind}_throttle_count"))
    };
    read(0, "core")?;
    let cpus = root.numbered(folder, "cpu");
    cpus.iter().flat_map(|cpu| ["core", "package"].map(|kind| read(*cpu, kind))).flatten().max()
}

/// A Raspberry Pi's flags, or a cooling device that limits processors.
fn throttled_now(root: &Root) -> Option<bool> {
    let flags = [
        "sys/devices/platform/soc/soc:firmware/get_throttled",
        "sys/devices/platform/soc@107c000000/soc@107c000000:firmware/get_throttled",
    ];
    if let Some(text) = flags.iter().find_map(|file| root.line(file)) {
        // Bits 0 … 3: too little voltage, clock capped, throttled, soft limit – now; higher bits: since the start.
        let flags = u32::from_str_radix(text.trim_start_matches("0x"), 16).ok()?;
        return Some(flags & 0xf != 0);
    }
    let folder = "sys/class/thermal";
    let mut states = root.numbered(folder, "cooling_device").into_iter().filter_map(|number| {
        let kind = root.line(&format!("{folder}/cooling_device{number}/type"))?.to_lowercase();
        let limits = kind.contains("cpufreq")
            || kind.contains("devfreq")
            || kind == "processor"
            || kind.contains("throttle");
        if limits { root.number(&format!("{folder}/cooling_device{number}/cur_state")) } else { None }
    });
    let first = states.next()?;
    Some(first > 0 || states.any(|state| state > 0))
}

/// Allowed now ÷ possible, over the policies with the highest clocks.
fn clock_share(root: &Root) -> Option<f64> {
    let folder = "sys/devices/system/cpu/cpufreq";
    let clocks = root.numbered(folder, "policy").into_iter().filter_map(|policy| {
        let most = root.number(&format!("{folder}/policy{policy}/cpuinfo_max_freq"))?;
        let now = root.number(&format!("{folder}/policy{policy}/scaling_max_freq"))?;
        Some((most, now))
    });
    let clocks: Vec<(u64, u64)> = clocks.collect();
    let fastest = clocks.iter().map(|(most, _)| *most).max().filter(|most| *most > 0)?;
    let of_fastest = clocks.iter().filter(|(most, _)| *most == fastest).map(|(_, now)| *now);
    Some((of_fastest.max()? as f64 / fastest as f64).min(1.0))
}
