//! Races in simulated worlds: how much speed the chosen arm leaves behind, and whether it ever harms.
//! Knows the public API only. `cargo test -p llama-pajamas-tuner --test worlds -- --nocapture` prints the table.

#![allow(missing_docs, reason = "tests")]

mod device;

use device::{Device, NOISY, QUIET, SHARED, THROTTLING, World};
use llama_pajamas_tuner::{Bench, Halt, Outcome, Race, RaceSettings, RaceStep, Verdict};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use std::ops::ControlFlow;
use std::time::Duration;

const TRIALS: u64 = 1000;

/// In percent of the best arm's speed, but for `harmed`, which is in percent of the trials.
struct Result {
    regret: f64,
    p95: f64,
    /// The choice is more than 5 % slower than the start.
    harmed: f64,
    seconds: f64,
}

fn trials(world: World, choose: impl Fn(&mut Device, u64) -> usize) -> Result {
    let (mut regrets, mut harmed, mut seconds) = (Vec::new(), 0, 0.0);
    for seed in 0..TRIALS {
        let mut device = Device::new(world, seed);
        let chosen = choose(&mut device, seed);
        let best = device.speeds.iter().copied().fold(0.0, f64::max);
        regrets.push(1.0 - device.speeds[chosen] / best);
        harmed += u32::from(device.speeds[chosen] < 0.95 * device.speeds[0]);
        seconds += device.now_s;
    }
    regrets.sort_by(f64::total_cmp);
    let n = TRIALS as f64;
    Result {
        regret: regrets.iter().sum::<f64>() / n * 100.0,
        p95: regrets[(n * 0.95) as usize] * 100.0,
        harmed: f64::from(harmed) / n * 100.0,
        seconds: seconds / n,
    }
}

fn race(budget_s: u64) -> impl Fn(&mut Device, u64) -> usize {
    move |device, seed| {
        let settings =
            RaceSettings { budget: Duration::from_secs(budget_s), seed, ..RaceSettings::default() };
        Race::run(6, &settings, device, &mut |_| ControlFlow::Continue(())).winner
    }
}

/// Five repetitions of each arm in a row, mean of speeds, as benchmarks do.
fn sequential(budget_s: u64) -> impl Fn(&mut Device, u64) -> usize {
    move |device, _| {
        let n = ((budget_s * 20 / 6 / 5) as u32).max(1);
        let mean = |device: &mut Device, arm| {
            (0..5)
                .map(|_| f64::from(n) / device.run(arm, n, f64::INFINITY).expect("no deadline"))
                .sum::<f64>()
        };
        let speeds: Vec<f64> = (0..6).map(|arm| mean(device, arm)).collect();
        (0..6).max_by(|a, b| speeds[*a].total_cmp(&speeds[*b])).expect("six")
    }
}

/// Regret of a sketch of the same race over 400 trials per world, in percent: what the race must come near to.
const SKETCH: [(World, u64, f64); 8] = [
    (QUIET, 12, 0.07),
    (QUIET, 20, 0.07),
    (NOISY, 12, 0.27),
    (NOISY, 20, 0.19),
    (THROTTLING, 12, 0.26),
    (THROTTLING, 20, 0.14),
    (SHARED, 12, 1.05),
    (SHARED, 20, 0.69),
];

#[test]
fn races_leave_little_behind_and_do_no_harm() {
    for (world, budget_s, sketch) in SKETCH {
        let raced = trials(world, race(budget_s));
        println!(
            "{:17} {budget_s} s  regret {:.2} % (sketch {sketch:.2} %)  p95 {:.1} %  harmed {:.2} %  {:.1} s",
            world.name, raced.regret, raced.p95, raced.harmed, raced.seconds
        );
        assert!(raced.regret <= 1.5 * sketch, "{} {budget_s} s: {}", world.name, raced.regret);
        assert!(raced.harmed <= 0.1, "{} {budget_s} s: {}", world.name, raced.harmed);
        assert!(raced.seconds < budget_s as f64, "{} {budget_s} s: {}", world.name, raced.seconds);
    }
}

#[test]
fn benchmarks_in_a_row_are_misled_by_heat() {
    for (world, budget_s) in [(NOISY, 12), (THROTTLING, 12), (THROTTLING, 20)] {
        let (raced, benchmarked) = (trials(world, race(budget_s)), trials(world, sequential(budget_s)));
        println!(
            "{:17} {budget_s} s  in a row: regret {:.2} %  harmed {:.2} %",
            world.name, benchmarked.regret, benchmarked.harmed
        );
        assert!(benchmarked.regret > 3.0 * raced.regret, "{}", world.name);
    }
}

/// 3 threads at 28 tokens/s and 5 at 0.26: what happened to a phone.
#[test]
fn an_arm_that_collapses_costs_two_deadlines() {
    for seed in 0..200 {
        let speeds = [28.2, 24.0, 23.9, 0.26, 0.26, 0.26].map(|speed| speed / 28.2);
        let mut device = Device::with_speeds(NOISY, speeds.to_vec(), StdRng::seed_from_u64(seed));
        let settings = RaceSettings { seed, ..RaceSettings::default() };
        let report = Race::run(6, &settings, &mut device, &mut |_| ControlFlow::Continue(()));
        assert_eq!(report.winner, 0);
        assert!(report.arms[3..].iter().all(|arm| arm.verdict == Verdict::TooLate && arm.n_late == 2));
        // Another one may be broken off by the end of the time.
        assert!((6..=7).contains(&device.n_late), "{}", device.n_late);
        // A block of the incumbent takes 0.2 s, in a burst 0.4 s, and some more or less.
        assert!(device.longest_s < 1.5, "{}", device.longest_s);
        assert!(device.now_s < 12.001, "{}", device.now_s);
    }
}

/// The start itself has collapsed: any arm that finishes a block takes its place.
#[test]
fn a_start_that_collapsed_is_replaced() {
    let speeds = vec![0.01, 0.9, 1.0];
    let mut device = Device::with_speeds(QUIET, speeds, StdRng::seed_from_u64(1));
    let report = Race::run(3, &RaceSettings::default(), &mut device, &mut |_| ControlFlow::Continue(()));
    assert_eq!((report.winner, report.arms[0].verdict), (2, Verdict::TooLate));
}

/// The start stumbles over two blocks, and there is time for no more: nothing is known, nothing changes.
#[test]
fn a_stumble_of_the_start_changes_nothing() {
    struct Stumbling(Device);
    impl Bench for Stumbling {
        fn measure(&mut self, arm: usize, n_tokens: u32, deadline: Duration) -> Outcome {
            self.0.speeds[0] = if self.0.now_s < 7.0 { 0.1 } else { 1.0 };
            self.0.measure(arm, n_tokens, deadline)
        }

        fn now(&self) -> Duration {
            self.0.now()
        }
    }

    let settings = RaceSettings {
        budget: Duration::from_secs(6),
        incumbent_deadline: Duration::from_secs(9),
        ..RaceSettings::default()
    };
    for seed in 0..50 {
        let device = Device::with_speeds(QUIET, vec![1.0, 0.9, 0.9, 0.9], StdRng::seed_from_u64(seed));
        let report = Race::run(4, &settings, &mut Stumbling(device), &mut |_| ControlFlow::Continue(()));
        assert_eq!(report.winner, 0, "seed {seed}: {:?}", report.arms);
    }
}

/// The start collapses while it is raced: two processors are taken away.
#[test]
fn a_start_that_collapses_later_is_replaced() {
    struct Collapsing(Device);
    impl Bench for Collapsing {
        fn measure(&mut self, arm: usize, n_tokens: u32, deadline: Duration) -> Outcome {
            if self.0.now_s > 1.0 {
                self.0.speeds[0] = 0.01;
            }
            self.0.measure(arm, n_tokens, deadline)
        }

        fn now(&self) -> Duration {
            self.0.now()
        }
    }
    let device = Device::with_speeds(QUIET, vec![1.0, 0.5, 0.7], StdRng::seed_from_u64(1));
    let settings = RaceSettings::default();
    let mut device = Collapsing(device);
    let report = Race::run(3, &settings, &mut device, &mut |_| ControlFlow::Continue(()));
    assert_eq!((report.winner, report.halted), (2, None));
    assert_eq!(report.arms[0].verdict, Verdict::TooLate);
    assert!(report.elapsed < Duration::from_secs(14), "{:?}", report.elapsed);
}

/// The same at the end of the budget: what has finished a block is taken, and where nothing has, one more is tried.
#[test]
fn a_start_that_collapses_for_good_is_left_whatever_the_time() {
    for budget_ms in [500, 1500, 3000] {
        let speeds = vec![0.01, 0.9];
        let mut device = Device::with_speeds(QUIET, speeds, StdRng::seed_from_u64(budget_ms));
        let budget = Duration::from_millis(budget_ms);
        let settings = RaceSettings { budget, ..RaceSettings::default() };
        let report = Race::run(2, &settings, &mut device, &mut |_| ControlFlow::Continue(()));
        assert_eq!(report.winner, 1, "{budget_ms} ms");
    }
}

#[test]
fn a_race_that_is_stopped_keeps_the_start_unless_it_knows_better() {
    let mut device = Device::new(NOISY, 3);
    let mut first = |_: &RaceStep| ControlFlow::Break(());
    let report = Race::run(6, &RaceSettings::default(), &mut device, &mut first);
    assert_eq!((report.winner, report.halted), (0, Some(Halt::Cancelled)));
}
