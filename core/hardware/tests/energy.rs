//! Energy from the files of machines: counters, rails, batteries.

#![allow(clippy::unwrap_used)]

use llama_pajamas_hardware::{DeviceEnergy, EnergyMeter, EnergyReading, energy_in};
use std::time::Duration;

fn at(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

fn rapl(microjoules: &str) -> Vec<(String, String)> {
    [
        ("intel-rapl:0/name", "package-0"),
        ("intel-rapl:0/energy_uj", microjoules),
        ("intel-rapl:0/max_energy_range_uj", "262143328850"),
        ("intel-rapl:1/name", "psys"),
        ("intel-rapl:1/energy_uj", "5"),
        ("intel-rapl:1/max_energy_range_uj", "262143328850"),
    ]
    .map(|(file, text)| (format!("sys/class/powercap/{file}"), text.to_string()))
    .to_vec()
}

fn read(files: &[(String, String)]) -> Option<llama_pajamas_hardware::EnergyReading> {
    energy_in(files.iter().map(|(path, text)| (path.as_str(), text.as_bytes())))
}

#[test]
fn counters_of_packages_are_followed_around_their_range() {
    let mut meter = EnergyMeter::start(read(&rapl("262143000000")).unwrap(), at(0.0));
    meter.add(read(&rapl("262143328850")).unwrap(), at(1.0));
    assert!((meter.joules() - 0.32885).abs() < 1e-9, "{}", meter.joules());
    meter.add(read(&rapl("671150")).unwrap(), at(2.0));
    assert!((meter.joules() - 1.0).abs() < 1e-9, "{}", meter.joules());
    assert_eq!(meter.source(), "processor packages (powercap)");
}

#[test]
fn the_rail_of_the_module_stands_for_the_others() {
    let files = |milliamperes: &str| {
        [
            ("name", "ina3221"),
            ("in1_label", "VDD_IN"),
            ("in1_input", "5000"),
            ("curr1_input", milliamperes),
            ("in2_label", "VDD_CPU_GPU_CV"),
            ("in2_input", "5000"),
            ("curr2_input", "1000"),
        ]
        .map(|(file, text)| (format!("sys/class/hwmon/hwmon3/{file}"), text.to_string()))
    };
    let mut meter = EnergyMeter::start(read(&files("2000")).unwrap(), at(0.0));
    meter.add(read(&files("3000")).unwrap(), at(4.0));
    assert!((meter.joules() - 12.5 * 4.0).abs() < 1e-9, "{}", meter.joules());
    assert_eq!(meter.source(), "rail VDD_IN");
}

#[test]
fn a_battery_counts_only_while_it_gives() {
    let files = |status: &str| {
        [("type", "Battery"), ("status", status), ("current_now", "-1500000"), ("voltage_now", "4000000")]
            .map(|(file, text)| (format!("sys/class/power_supply/BAT0/{file}"), text.to_string()))
    };
    let reading = read(&files("Discharging")).unwrap();
    assert_eq!((reading.watts, reading.source.as_str()), (Some(6.0), "battery BAT0"));
    assert_eq!(read(&files("Charging")), None);
    assert_eq!(read(&[]), None);
}

#[test]
fn counters_that_root_alone_may_read_are_no_reading() {
    let files: Vec<_> = rapl("1").into_iter().filter(|(path, _)| !path.ends_with("energy_uj")).collect();
    assert_eq!(read(&files), None);
}

#[test]
fn devices_count_beside_the_processor_and_not_beside_the_whole_machine() {
    let device = |millijoules, milliwatts| DeviceEnergy { millijoules, milliwatts };
    let devices = |list: &[DeviceEnergy]| EnergyReading::of_devices("devices", list);
    let both = |microjoules: &str, millijoules| {
        let reading = read(&rapl(microjoules)).unwrap();
        reading.beside(devices(&[device(Some(millijoules), Some(90_000))]))
    };
    let mut meter = EnergyMeter::start(both("1000000", 5_000), at(0.0));
    meter.add(both("3000000", 8_500), at(1.0));
    assert!((meter.joules() - (2.0 + 3.5)).abs() < 1e-9, "{}", meter.joules());
    assert_eq!(meter.source(), "processor packages (powercap) and devices");
    // One that counts nothing makes all of them powers.
    let powers = |first| devices(&[device(Some(1), Some(first)), device(None, Some(20_000))]).unwrap();
    let mut meter = EnergyMeter::start(powers(30_000), at(0.0));
    meter.add(powers(50_000), at(2.0));
    assert!((meter.joules() - 60.0 * 2.0).abs() < 1e-9, "{}", meter.joules());
    assert_eq!((devices(&[]), devices(&[device(None, None)])), (None, None));
    // A battery feeds the devices too.
    let files = [("type", "Battery"), ("status", "Discharging"), ("power_now", "6000000")]
        .map(|(file, text)| (format!("sys/class/power_supply/BAT0/{file}"), text.to_string()));
    let battery = read(&files).unwrap();
    assert_eq!(battery.clone().beside(devices(&[device(Some(1), None)])), battery);
}
