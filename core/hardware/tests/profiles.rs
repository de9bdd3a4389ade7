//! The tables of `hardware-profiles/`: every one parses, matches its own sample and no other entry as well, and says
//! sane things.

#![allow(clippy::unwrap_used)]

use llama_pajamas_hardware::{
    Match, Priors, Subject, Supplied, SuppliedDevice, classes, detect_at, profile, profiles, strongest,
};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::path::Path;

const BACKENDS: [&str; 8] = ["cpu", "cuda", "metal", "vulkan", "rocm", "sycl", "opencl", "mlx"];
const GIB: u64 = 1 << 30;

/// A table as it stands in its file, with what the library leaves out.
#[derive(Deserialize)]
struct Written {
    #[serde(default)]
    r#match: Option<Match>,
    #[serde(default)]
    sample: Option<Match>,
    #[serde(default)]
    prior: Option<Sourced>,
    #[serde(default)]
    chips: Vec<WrittenChip>,
}

#[derive(Deserialize)]
struct Sourced {
    source: String,
}

#[derive(Deserialize)]
struct WrittenChip {
    id: String,
    r#match: Match,
    #[serde(default)]
    sample: Option<Match>,
    source: String,
}

fn written() -> Vec<(String, Written)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../hardware-profiles");
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let tables = paths.filter(|path| path.extension().is_some_and(|e| e == "toml"));
    let tables = tables
        .filter(|path| !["arm_parts", "systems"].map(Some).contains(&path.file_stem().unwrap().to_str()));
    let read = |path: std::path::PathBuf| {
        let table = toml::from_str(&std::fs::read_to_string(&path).unwrap());
        (
            path.file_stem().unwrap().to_str().unwrap().to_string(),
            table.unwrap_or_else(|e| panic!("{path:?}: {e}")),
        )
    };
    tables.map(read).collect()
}

/// Single facts out of a rule: each name it accepts, with the rest of the rule.
fn samples(rule: &Match) -> Vec<Match> {
    let mut samples =
        vec![Match { signature: rule.signature.iter().take(1).cloned().collect(), ..rule.clone() }];
    let mut vary = |names: &[String], set: fn(&mut Match, String)| {
        for name in names.iter().skip(1) {
            let mut sample = rule.clone();
            set(&mut sample, name.clone());
            samples.push(sample);
        }
    };
    vary(&rule.brand, |sample, name| sample.brand = vec![name]);
    vary(&rule.model, |sample, name| sample.model = vec![name]);
    vary(&rule.soc, |sample, name| sample.soc = vec![name]);
    vary(&rule.gpu, |sample, name| sample.gpu = vec![name]);
    vary(&rule.signature, |sample, name| sample.signature = vec![name]);
    vary(&rule.power_mode, |sample, name| sample.power_mode = vec![name]);
    samples
}

#[test]
fn every_rule_matches_its_samples_and_no_two_tie() {
    let mut n_chips = 0;
    for (class, table) in written() {
        let sample = table.sample.as_ref().or(table.r#match.as_ref());
        if let Some(sample) = sample {
            assert_eq!(strongest(sample), std::slice::from_ref(&class), "the class {class} for {sample:?}");
        }
        for chip in &table.chips {
            n_chips += 1;
            for sample in samples(chip.sample.as_ref().unwrap_or(&chip.r#match)) {
                assert_eq!(strongest(&sample), std::slice::from_ref(&chip.id), "{sample:?}");
            }
            for sample in samples(&chip.r#match) {
                assert_eq!(strongest(&sample), std::slice::from_ref(&chip.id), "{sample:?}");
            }
        }
    }
    assert!(n_chips >= 120, "{n_chips} chips");
}

#[test]
fn every_table_states_its_source_and_is_carried_whole() {
    let written = written();
    assert_eq!(written.len(), classes().len());
    for (id, table) in &written {
        let class = classes().iter().find(|class| class.id == *id).unwrap();
        assert_eq!(class.chips.len(), table.chips.len(), "{id}");
        assert!(!table.prior.as_ref().unwrap().source.is_empty(), "{id}");
        assert!(table.chips.iter().all(|chip| !chip.source.is_empty()), "{id}");
    }
}

#[test]
fn figures_and_presets_are_sane() {
    let mut ids = BTreeSet::new();
    let range = |what: &str, id: &str, range: Option<[f64; 2]>, low: f64, high: f64| {
        let sane = range.is_none_or(|[a, b]| low <= a && a <= b && b <= high);
        assert!(sane, "{id}: {what} {range:?}, expected within {low} … {high}");
    };
    for class in classes() {
        let prior = &class.prior;
        range("bw_gbs", &class.id, prior.bw_gbs, 2.0, 10_000.0);
        range("core_gbs", &class.id, prior.core_gbs, 1.0, 200.0);
        range("eta_decode", &class.id, prior.eta_decode, 0.1, 1.0);
        range("layer_us", &class.id, prior.layer_us, 0.5, 500.0);
        range("sustained", &class.id, prior.sustained, 0.2, 1.0);
        assert!(
            prior.eta_decode.is_some() && prior.layer_us.is_some() && prior.sustained.is_some(),
            "{}",
            class.id
        );
        assert_eq!(prior.core_gbs.is_some(), class.subject == Subject::Machine, "{}", class.id);
        assert!(
            class.r#match == Match::default() || prior.bw_gbs.is_some(),
            "{}: a default without bandwidth",
            class.id
        );
        let preset = &class.preset;
        assert!(preset.backends.iter().all(|name| BACKENDS.contains(&name.as_str())), "{}", class.id);
        assert!(
            preset.backends.iter().any(|name| name == "cpu"),
            "{}: the processor is always there",
            class.id
        );
        assert!(["fit", "none"].contains(&preset.gpu_layers.as_str()), "{}", class.id);
        let offloads = preset.backends[0] != "cpu" || preset.backends.contains(&"opencl".into());
        assert!(preset.gpu_layers == "none" || offloads, "{}: layers without a device", class.id);
        assert!(preset.n_ubatch.is_power_of_two() && (32..=2048).contains(&preset.n_ubatch), "{}", class.id);
        assert!(["auto", "f16", "q8_0"].contains(&preset.kv.as_str()), "{}", class.id);
        for chip in &class.chips {
            assert!(ids.insert(chip.id.clone()), "{} twice", chip.id);
            assert!(
                chip.id.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'),
                "{}",
                chip.id
            );
            range("bw_gbs", &chip.id, Some(chip.bw_gbs), 2.0, 10_000.0);
            range("eta_decode", &chip.id, chip.eta_decode, 0.1, 1.0);
            range("sustained", &chip.id, chip.sustained, 0.2, 1.0);
            assert!(["published", "derived", "recalled"].contains(&chip.confidence.as_str()), "{}", chip.id);
            let margin = chip.margin_mib.unwrap_or(preset.margin_mib);
            let smallest = chip.ram_gb.iter().min().copied().unwrap_or(u32::MAX / 1024);
            assert!(u64::from(margin) * 4 <= u64::from(smallest) * 1024, "{}: margin {margin} MiB", chip.id);
            assert_eq!(profile(&chip.id).map(|(_, found)| &found.id), Some(&chip.id));
        }
        assert!(!ids.contains(&class.id), "{}", class.id);
    }
    assert_eq!(profiles().count(), ids.len());
}

#[test]
fn what_an_engine_lists_names_the_device() {
    let host = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/desktop-ryzen-7950x-rtx-3060.host");
    let mut host = detect_at(&host).unwrap();
    assert_eq!(
        host.gpus[0].profile.as_ref().unwrap().id,
        "nvidia-geforce",
        "8 and 12 GB differ in bandwidth"
    );
    let name = "NVIDIA GeForce RTX 3060".to_string();
    let device =
        SuppliedDevice { name, memory_bytes: 12 * GIB, free_bytes: 11 * GIB, ..SuppliedDevice::default() };
    host.supply(&Supplied { devices: vec![device], ..Supplied::default() });
    assert_eq!(host.gpus.len(), 1);
    assert_eq!((host.gpus[0].memory_bytes, host.gpus[0].free_bytes), (Some(12 * GIB), Some(11 * GIB)));
    assert_eq!(host.gpus[0].profile.as_ref().unwrap().id, "nvidia-rtx-3060");
    assert_eq!(host.gpus[0].priors.bandwidth_gbs.as_ref().unwrap().range, [360.0, 360.0]);
}

#[test]
fn a_driver_states_bandwidth_and_equal_devices_stay_apart() {
    let host = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/server-xeon-8480-amx.host");
    let mut host = detect_at(&host).unwrap();
    let device = SuppliedDevice {
        name: "NVIDIA H100 80GB HBM3".into(),
        memory_bytes: 80 * GIB,
        architecture: Some("sm_90".into()),
        memory_clock_mhz: Some(2619),
        memory_bus_bits: Some(5120),
        ..SuppliedDevice::default()
    };
    let driver = Supplied { devices: vec![device.clone(), device.clone()], ..Supplied::default() };
    host.supply(&driver);
    // What an engine lists afterwards are the same two.
    let plain = SuppliedDevice { name: device.name, free_bytes: 70 * GIB, ..SuppliedDevice::default() };
    host.supply(&Supplied { devices: vec![plain.clone(), plain], ..Supplied::default() });
    assert_eq!(host.gpus.len(), 2);
    for gpu in &host.gpus {
        let bandwidth = gpu.priors.bandwidth_gbs.as_ref().unwrap();
        assert_eq!(bandwidth.origin.name(), "detected");
        assert!((bandwidth.range[0] - 3352.32).abs() < 0.01, "{bandwidth:?}");
        assert_eq!((gpu.memory_bytes, gpu.free_bytes), (Some(80 * GIB), Some(70 * GIB)));
        assert_eq!((gpu.vendor.as_str(), gpu.architecture.as_deref()), ("nvidia", Some("sm_90")));
        assert_eq!(gpu.profile.as_ref().unwrap().id, "nvidia-h100-sxm");
    }
}

#[test]
fn what_the_app_was_told_bounds_the_budget_and_a_measurement_holds() {
    let host = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/iphone-16-pro.host");
    let mut host = detect_at(&host).unwrap();
    let before = host.memory.budget_bytes;
    let bandwidth = host.priors.bandwidth_gbs.clone().unwrap();
    assert_eq!(bandwidth.origin.name(), "profile");
    let mut measured = Priors { bandwidth_gbs: Some(bandwidth), ..Priors::default() };
    let fact = measured.bandwidth_gbs.as_mut().unwrap();
    (fact.origin, fact.range) = (llama_pajamas_hardware::Origin::Measured, [41.0, 43.0]);
    host.supply(&Supplied { available_memory_bytes: Some(2 * GIB), measured, ..Supplied::default() });
    assert!(host.memory.budget_bytes < before && host.memory.budget_bytes <= 2 * GIB);
    assert_eq!(host.priors.bandwidth_gbs.as_ref().unwrap().range, [41.0, 43.0]);
    host.supply(&Supplied::default());
    assert_eq!(
        host.priors.bandwidth_gbs.as_ref().unwrap().range,
        [41.0, 43.0],
        "a profile never replaces it"
    );
}
