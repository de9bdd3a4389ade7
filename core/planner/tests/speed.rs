//! The speed model: what it learns, what it remembers, and what it never does.

#![allow(clippy::unwrap_used)]

use formats::gguf::GgmlType;
use hardware::{Fact, Host, Origin};
use llama_pajamas_planner::speed::{
    Calibration, Observation, Part, Phase, Prediction, SpeedModel, Tables, Way, Weights, Work,
};
use llama_pajamas_planner::{Backend, Evidence};
use proptest::prelude::*;

fn phone() -> Host {
    let mut host = Host { os: "android".into(), arch: "aarch64".into(), ..Host::default() };
    host.memory.unified = true;
    (host.cpu.usable_cpus, host.cpu.usable_cores, host.cpu.fast_cores) = (8, 8, 6);
    host.priors.bandwidth_gbs =
        Some(Fact { range: [60.0, 60.0], origin: Origin::Profile, source: "test".into() });
    host
}

/// A plain model with all its weights in one type.
fn work(ty: GgmlType, n_layers: u32, n_weights: u64) -> Work {
    let layers = Weights { ty, part: Part::Layers, shorter_side: 2048, n_matrices: n_layers * 7, n_weights };
    let output = Weights { part: Part::Output, n_matrices: 1, n_weights: n_weights / 8, ..layers };
    Work { weights: vec![layers, output], n_layers, kv_bytes_per_token: 0, ..Work::default() }
}

fn decode(model: &SpeedModel, backend: Backend, work: &Work) -> Prediction {
    model.predict(backend, Phase::Decode, ("other", "other"), work, 0.0)
}

fn observed(backend: Backend, phase: Phase, work: &Work, milliseconds: f64) -> Observation {
    let (model, variant) = ("small".to_string(), format!("{:?}", work.weights[0].ty));
    Observation { backend, phase, model, variant, work: work.clone(), n_tokens: 0.0, milliseconds }
}

/// A world in which t = layers · ℓ + bytes / bandwidth: a desktop graphics card. The model is told two times of a small
/// model and nothing of the world.
#[test]
fn a_small_model_tells_how_fast_large_ones_are() {
    let world = |work: &Work| f64::from(work.n_layers) * 0.015 + work.weights_bytes() / 280e9 * 1e3;
    let small = [GgmlType::Q4_K, GgmlType::Q8_0].map(|ty| work(ty, 28, 600_000_000));
    let observations = small.map(|work| observed(Backend::Cuda, Phase::Decode, &work, world(&work)));
    let mut host = Host { arch: "x86_64".into(), ..Host::default() };
    host.priors.bandwidth_gbs =
        Some(Fact { range: [360.0, 360.0], origin: Origin::Profile, source: "test".into() });
    let model = SpeedModel::new(&host, Tables::default()).observed(&observations);
    for (ty, n_layers, n_weights) in
        [(GgmlType::Q4_K, 36, 8e9), (GgmlType::Q8_0, 36, 4e9), (GgmlType::Q4_K, 64, 32e9)]
    {
        let large = work(ty, n_layers, n_weights as u64);
        let prediction = decode(&model, Backend::Cuda, &large);
        let error = (prediction.milliseconds / world(&large)).ln();
        assert!(error.abs() < 0.15, "{ty:?} {n_layers}: {error}");
        let [low, high] = prediction.interval();
        assert!((low..high).contains(&world(&large)), "{ty:?} {n_layers}: {low} {high}");
    }
}

#[test]
fn evidence_grows_and_uncertainty_shrinks() {
    let nothing = Host { arch: "aarch64".into(), ..Host::default() };
    let small = work(GgmlType::Q4_0, 24, 1_000_000_000);
    let of = |model: &SpeedModel| decode(model, Backend::Cpu, &small);
    let guess = of(&SpeedModel::new(&nothing, Tables::default()));
    let blank = SpeedModel::new(&phone(), Tables::default());
    let profile = of(&blank);
    let taught = blank.observed(&[observed(Backend::Cpu, Phase::Decode, &small, 40.0)]);
    let calibrated = of(&taught);
    let measured = taught.predict(Backend::Cpu, Phase::Decode, ("small", "Q4_0"), &small, 0.0);
    let evidence = [guess, profile, calibrated, measured].map(|prediction| prediction.evidence);
    let order = [Evidence::Guess, Evidence::Profile, Evidence::Calibrated, Evidence::Measured];
    assert_eq!(evidence, order);
    assert!(profile.deviation < guess.deviation && calibrated.deviation < profile.deviation / 1.5);
    assert!(measured.deviation < calibrated.deviation);
    assert!((measured.milliseconds - 40.0).abs() < 1e-6, "{measured:?}");
    assert!((calibrated.milliseconds / 40.0).ln().abs() < 0.1, "{calibrated:?}");
}

#[test]
fn what_is_remembered_predicts_the_same() {
    let small = work(GgmlType::Q4_0, 24, 1_000_000_000);
    let blank = SpeedModel::new(&phone(), Tables::default());
    let observations = [
        observed(Backend::Cpu, Phase::Decode, &small, 55.0),
        observed(Backend::Opencl, Phase::Decode, &small, 45.0),
    ];
    let taught = blank.clone().observed(&observations);
    let kept: Vec<Calibration> = Backend::ALL.map(|backend| taught.calibration(backend)).to_vec();
    let text = serde_json::to_string(&kept).unwrap();
    let read: Vec<Calibration> = serde_json::from_str(&text).unwrap();
    let again = blank.clone().calibrated(&read);
    let large = work(GgmlType::Q4_0, 32, 3_800_000_000);
    for backend in [Backend::Cpu, Backend::Opencl, Backend::Hexagon] {
        let (now, then) = (decode(&taught, backend, &large), decode(&again, backend, &large));
        assert!((now.milliseconds / then.milliseconds - 1.0).abs() < 1e-9, "{backend:?}");
        assert_eq!(now.evidence, then.evidence);
    }
    // A broken one is as good as none.
    let broken = text.replace("\"means\":[", "\"means\":[0.0,");
    let broken: Vec<Calibration> = serde_json::from_str(&broken).unwrap();
    let ignored = decode(&blank.clone().calibrated(&broken), Backend::Cpu, &large);
    assert_eq!(ignored, decode(&blank, Backend::Cpu, &large));
}

#[test]
fn fewer_bytes_are_not_always_faster() {
    let model = SpeedModel::new(&phone(), Tables::default());
    let time = |backend, ty| decode(&model, backend, &work(ty, 28, 1_500_000_000)).milliseconds;
    assert!(time(Backend::Cpu, GgmlType::IQ2_S) > 2.0 * time(Backend::Cpu, GgmlType::Q4_0));
    assert!(time(Backend::Cuda, GgmlType::IQ2_S) < time(Backend::Cuda, GgmlType::Q4_0));
}

#[test]
fn what_a_device_does_not_hold_is_computed_by_the_processor() {
    let model = SpeedModel::new(&phone(), Tables::default());
    let held = work(GgmlType::Q4_0, 28, 1_500_000_000);
    let other = work(GgmlType::Q2_K, 28, 1_500_000_000);
    let time = |backend, work| decode(&model, backend, work).milliseconds;
    assert!(time(Backend::Opencl, &other) > time(Backend::Cpu, &other), "crossings come on top");
    assert!(time(Backend::Opencl, &held) < 2.0 * time(Backend::Cpu, &held));
    let recurrent = Work { n_recurrent_layers: 18, state_elements: 4_718_592, ..held.clone() };
    let extra = |backend| time(backend, &recurrent) - time(backend, &held);
    assert!(extra(Backend::Hexagon) > 5.0 * extra(Backend::Cpu), "it computes no recurrences");
}

#[test]
fn what_can_teach_nothing_is_not_measured() {
    let model = SpeedModel::new(&phone(), Tables::default());
    let small = work(GgmlType::Q4_0, 24, 1_000_000_000);
    let way = |backend| Way { variant: "Q4_0", backend, work: &small };
    let ask = |model: &SpeedModel, ways: &[Way<'_>]| {
        model.probe("small", ways, &[(0..ways.len()).collect()], &[Phase::Decode], (0.0, 256.0))
    };
    assert_eq!(ask(&model, &[way(Backend::Cpu)]), None);
    let ways = [way(Backend::Cpu), way(Backend::Opencl)];
    let mut taught = model;
    for milliseconds in [50.0, 40.0] {
        let place = ask(&taught, &ways).unwrap();
        taught = taught.observed(&[observed(ways[place].backend, Phase::Decode, &small, milliseconds)]);
    }
    let (fastest, prediction) = taught.fastest(Phase::Decode, "small", &ways, 0.0).unwrap();
    assert_eq!(prediction.evidence, Evidence::Measured);
    assert!((prediction.milliseconds - 40.0).abs() < 1e-6, "{fastest}");
}

#[test]
fn longer_prompts_are_read_at_a_rate_that_saturates() {
    let model = SpeedModel::new(&phone(), Tables::default());
    let small = work(GgmlType::Q4_0, 24, 1_000_000_000);
    let rate = |n: f64| {
        let name = ("small", "Q4_0");
        n / model.predict(Backend::Opencl, Phase::Prefill, name, &small, n).milliseconds
    };
    assert!(rate(8.0) < rate(64.0) && rate(64.0) < rate(1024.0));
    assert!(rate(4096.0) / rate(2048.0) < 1.02);
}

proptest! {
    #[test]
    fn predictions_are_finite_whatever_is_asked_and_learnt(
        place in 0..GgmlType::ALL.len(), n_layers in 0u32..200, n_weights in 0u64..1 << 42, n_tokens in 0.0..1e6,
        seen in prop::collection::vec((0usize..6, 1e-6..1e9f64, 0..GgmlType::ALL.len()), 0..6),
    ) {
        let observations: Vec<Observation> = seen.into_iter().map(|(backend, milliseconds, ty)| {
            let work = work(GgmlType::ALL[ty], 24, 1_000_000_000);
            observed(Backend::ALL[backend], Phase::Decode, &work, milliseconds)
        }).collect();
        let model = SpeedModel::new(&phone(), Tables::default()).observed(&observations);
        let work = work(GgmlType::ALL[place], n_layers, n_weights);
        for backend in Backend::ALL {
            for phase in Phase::ALL {
                let prediction = model.predict(backend, phase, ("small", "other"), &work, n_tokens);
                prop_assert!(prediction.milliseconds.is_finite() && prediction.milliseconds >= 0.0);
                prop_assert!(prediction.deviation.is_finite() && prediction.deviation >= 0.0);
            }
        }
    }
}
