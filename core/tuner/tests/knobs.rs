//! Tuning over several knobs against a device without noise: order, budget, gates, what is skipped.
//! Knows the public API only.

#![allow(missing_docs, reason = "tests")]

use llama_pajamas_tuner::{
    Exactness, Halt, Knob, KnobArms, Outcome, Setting, Skipped, TuneBench, TuneReport, TuneSettings, tune,
};
use std::ops::ControlFlow;
use std::time::Duration;

const START: Setting = Setting { n_threads: 4, n_threads_batch: 4, n_ubatch: 512, gpu_layers: 0 };

/// Decodes best with 2 threads and reads best with 8, at any ubatch.
#[derive(Default)]
struct Device {
    now: Duration,
    /// From this moment on the device is hot.
    hot_from: Option<Duration>,
    asked: Vec<(Knob, Setting)>,
}

impl TuneBench for Device {
    fn measure(&mut self, setting: &Setting, knob: Knob, n_tokens: u32, deadline: Duration) -> Outcome {
        self.asked.push((knob, *setting));
        let tokens_per_s = match knob.is_decode() {
            true => 40.0 / f64::from(1 + setting.n_threads.abs_diff(2)),
            false => 100.0 * f64::from(setting.n_threads_batch.min(8)),
        };
        let took = Duration::from_secs_f64(f64::from(n_tokens) / tokens_per_s);
        self.now += took.min(deadline);
        if took > deadline { Outcome::TooLate } else { Outcome::Took(took) }
    }

    fn now(&self) -> Duration {
        self.now
    }

    fn gate(&mut self) -> Option<Halt> {
        self.hot_from.filter(|hot| self.now >= *hot).map(|_| Halt::Heat)
    }
}

fn knobs() -> Vec<KnobArms> {
    let arms = |knob, values: &[u32], exactness| KnobArms { knob, values: values.to_vec(), exactness };
    vec![
        arms(Knob::DecodeThreads, &[4, 3, 2, 1], Exactness::BitExact),
        arms(Knob::BatchThreads, &[4, 8, 2], Exactness::BitExact),
        arms(Knob::Ubatch, &[512, 256], Exactness::RoundingOnly),
        arms(Knob::Placement, &[0], Exactness::RoundingOnly),
    ]
}

fn tuned(device: &mut Device, settings: &TuneSettings) -> TuneReport {
    tune(START, &knobs(), settings, device, &mut |_| ControlFlow::Continue(()))
}

#[test]
fn each_knob_is_raced_with_what_the_ones_before_found() {
    let mut device = Device::default();
    let report = tuned(&mut device, &TuneSettings::default());
    assert_eq!(report.setting, Setting { n_threads: 2, n_threads_batch: 8, ..START });
    let skipped: Vec<_> = report.knobs.iter().map(|knob| knob.skipped).collect();
    assert_eq!(skipped, [None, None, Some(Skipped::NoTime), Some(Skipped::NoChoice)]);
    assert!(device.asked.iter().all(|(knob, s)| *knob == Knob::DecodeThreads || s.n_threads == 2));
    assert!(report.elapsed <= Duration::from_secs(12), "{:?}", report.elapsed);
    assert_eq!(report.tokens_per_s(Knob::DecodeThreads), Some(40.0));
}

#[test]
fn what_changes_rounding_can_be_left_alone() {
    let settings =
        TuneSettings { allow_rounding: false, budget: Duration::from_secs(60), ..TuneSettings::default() };
    let report = tuned(&mut Device::default(), &settings);
    assert_eq!(report.knobs[2].skipped, Some(Skipped::Rounding));
    let settings = TuneSettings { allow_rounding: true, ..settings };
    let report = tuned(&mut Device::default(), &settings);
    // Equally fast: the start stays.
    assert_eq!((report.knobs[2].skipped, report.setting.n_ubatch), (None, 512));
}

#[test]
fn a_hot_device_is_not_measured() {
    let mut device = Device { hot_from: Some(Duration::ZERO), ..Device::default() };
    let report = tuned(&mut device, &TuneSettings::default());
    assert_eq!((report.setting, report.halted, device.asked.len()), (START, Some(Halt::Heat), 0));
    let mut device = Device { hot_from: Some(Duration::from_millis(500)), ..Device::default() };
    let report = tuned(&mut device, &TuneSettings::default());
    assert_eq!(report.halted, Some(Halt::Heat));
    assert!(report.knobs[1..].iter().all(|knob| knob.skipped.is_some()));
    assert!(report.elapsed < Duration::from_secs(2));
}

/// Reads faster with 4 threads while the races run, and much faster with 2 behind them.
struct Shared {
    now: Duration,
    turns: Duration,
}

impl TuneBench for Shared {
    fn measure(&mut self, setting: &Setting, knob: Knob, n_tokens: u32, deadline: Duration) -> Outcome {
        let tokens_per_s = match (knob.is_decode(), setting.n_threads_batch) {
            (true, _) => 40.0,
            (false, 4) if self.now < self.turns => 2000.0,
            (false, 4) => 500.0,
            (false, _) => 1500.0,
        };
        let took = Duration::from_secs_f64(f64::from(n_tokens) / tokens_per_s);
        self.now += took.min(deadline);
        if took > deadline { Outcome::TooLate } else { Outcome::Took(took) }
    }

    fn now(&self) -> Duration {
        self.now
    }
}

#[test]
fn a_close_race_is_run_again_at_another_time() {
    let knobs = [
        KnobArms { knob: Knob::BatchThreads, values: vec![4, 2], exactness: Exactness::BitExact },
        KnobArms { knob: Knob::Ubatch, values: vec![512, 256], exactness: Exactness::RoundingOnly },
    ];
    let settings = TuneSettings::default();
    let run = |turns| {
        let mut device = Shared { now: Duration::ZERO, turns };
        tune(START, &knobs, &settings, &mut device, &mut |_| ControlFlow::Continue(()))
    };
    let report = run(Duration::from_secs(4));
    assert_eq!((report.setting.n_threads_batch, report.setting.n_ubatch), (2, 512));
    assert_eq!(report.knobs[0].chosen, 2);
    assert!(report.knobs[0].confirmation.is_some() && report.knobs[1].confirmation.is_none());
    assert!(report.elapsed <= settings.budget, "{:?}", report.elapsed);
    let report = run(Duration::from_secs(60));
    assert_eq!(report.setting.n_threads_batch, 4);
    assert!(report.knobs[0].confirmation.is_some());
}
