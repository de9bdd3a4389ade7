//! The pace in a simulated day of a phone: four minutes in which the best count of threads changes, bursts and noise.
//! Knows the public API only. `cargo test -p llama-pajamas-tuner --test regimes -- --nocapture` prints the figures.
//!
//! Regime A has the speeds that were reported for a phone by count of threads (1, 3, 4 and 5; 2 is interpolated); B and C
//! are assumed.

#![allow(missing_docs, reason = "tests")]

use llama_pajamas_tuner::{Pace, PaceSettings, Step};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rand_distr::{Distribution, Exp, Normal};
use std::time::Duration;

const A: [f64; 8] = [18.8, 24.0, 28.2, 23.9, 0.26, 0.26, 0.26, 0.26];
const B: [f64; 8] = [13.0, 15.5, 9.0, 4.0, 0.2, 0.2, 0.2, 0.2];
const C: [f64; 8] = [9.0, 13.0, 17.0, 19.0, 12.0, 8.0, 5.0, 3.0];
const REGIMES: [[f64; 8]; 4] = [A, B, A, C];
const REGIME_S: f64 = 60.0;
const END_S: f64 = 240.0;

struct Phone {
    now_s: f64,
    n_tokens: u32,
    n_late: u32,
    burst_ends_s: f64,
    rng: StdRng,
}

impl Phone {
    fn new(seed: u64) -> Self {
        Self { now_s: 0.0, n_tokens: 0, n_late: 0, burst_ends_s: -1.0, rng: StdRng::seed_from_u64(seed) }
    }

    fn speeds(&self) -> &'static [f64; 8] {
        &REGIMES[((self.now_s / REGIME_S) as usize).min(3)]
    }

    fn step(&mut self, step: Step) -> Option<Duration> {
        if self.now_s > self.burst_ends_s && self.rng.random::<f64>() < 0.01 {
            let lasts: f64 = Exp::new(2.0).expect("positive").sample(&mut self.rng);
            self.burst_ends_s = self.now_s + lasts;
        }
        let burst = if self.now_s < self.burst_ends_s { 0.6 } else { 1.0 };
        let noise: f64 = Normal::new(0.0, 0.08).expect("finite").sample(&mut self.rng);
        let time_s = noise.exp() / (self.speeds()[step.threads as usize - 1] * burst);
        match step.limit.map(|limit| limit.as_secs_f64()) {
            Some(limit_s) if limit_s < time_s => {
                self.now_s += limit_s;
                self.n_late += 1;
                None
            }
            _ => {
                self.now_s += time_s;
                self.n_tokens += 1;
                Some(Duration::from_secs_f64(time_s))
            }
        }
    }
}

/// Mean tokens of a day with threads as `choose` says.
fn day(mut run: impl FnMut(&mut Phone)) -> f64 {
    let days = (0..12).map(|seed| {
        let mut phone = Phone::new(seed);
        run(&mut phone);
        f64::from(phone.n_tokens)
    });
    days.sum::<f64>() / 12.0
}

fn fixed(threads: u32) -> f64 {
    day(|phone| {
        while phone.now_s < END_S {
            phone.step(Step { threads, limit: None });
        }
    })
}

fn oracle() -> f64 {
    day(|phone| {
        while phone.now_s < END_S {
            let speeds = phone.speeds();
            let best = (0..8).max_by(|a, b| speeds[*a].total_cmp(&speeds[*b])).expect("eight");
            phone.step(Step { threads: best as u32 + 1, limit: None });
        }
    })
}

fn paced(threads: u32, max_threads: u32, probes: bool) -> f64 {
    day(|phone| {
        let slowest_expected = Some(Duration::from_millis(100));
        let settings = PaceSettings { max_threads, probes, slowest_expected, ..PaceSettings::new(threads) };
        let mut pace = Pace::new(settings);
        while phone.now_s < END_S {
            match phone.step(pace.next()) {
                Some(time) => pace.took(time),
                None => pace.too_late(),
            };
        }
    })
}

#[test]
fn the_pace_follows_regimes_and_survives_collapses() {
    let oracle = oracle();
    let share = |name: &str, tokens: f64| {
        println!("{name:44} {:5.1} % of the best at every moment", tokens / oracle * 100.0);
        tokens / oracle
    };
    let [three, four, eight] = [3, 4, 8].map(|n| share(&format!("fixed, {n} threads"), fixed(n)));
    let calm = share("paced, from 3, at most 4", paced(3, 4, true));
    let wild = share("paced, from 3, at most 8", paced(3, 8, true));
    let forced = share("paced, from 8, at most 8", paced(8, 8, true));
    let guarded = share("from 8, broken off at deadlines, no tries", paced(8, 8, false));
    assert!(calm > three.max(four) && calm > 0.93, "{calm}");
    assert!(wild > 0.90, "{wild}");
    assert!(forced > 0.80, "{forced}");
    assert!(eight < 0.10 && guarded > 5.0 * eight, "{eight} {guarded}");
}
