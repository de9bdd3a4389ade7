//! Simulated devices: true speeds, heat, bursts of interference and noise, drawn from a seed.
//! Knows arms and time; must not know how a race decides.

use llama_pajamas_tuner::{Bench, Outcome};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rand_distr::{Distribution, Exp, Normal};
use std::time::Duration;

/// A kind of device. Speeds of six arms differ by a quarter of themselves, which is assumed and not measured.
#[derive(Clone, Copy)]
pub(crate) struct World {
    pub(crate) name: &'static str,
    /// Share of speed that heat takes in the end, with a time constant of 12 s.
    pub(crate) drift: f64,
    /// Standard deviation of the logarithm of one token's time.
    pub(crate) noise: f64,
    /// Bursts per second, each lasting 0.6 s on average and leaving 0.55 of the speed.
    pub(crate) bursts: f64,
}

pub(crate) const QUIET: World = World { name: "desktop, quiet", drift: 0.0, noise: 0.03, bursts: 0.02 };
pub(crate) const NOISY: World = World { name: "laptop, noisy", drift: 0.15, noise: 0.08, bursts: 0.15 };
pub(crate) const THROTTLING: World =
    World { name: "phone, throttling", drift: 0.40, noise: 0.08, bursts: 0.15 };
pub(crate) const SHARED: World = World { name: "shared machine", drift: 0.0, noise: 0.15, bursts: 0.5 };

/// Tokens per second of an arm of speed 1.
const BASE: f64 = 20.0;
const HEATING_S: f64 = 12.0;
const BURST_S: f64 = 0.6;
const BURST_SPEED: f64 = 0.55;

pub(crate) struct Device {
    world: World,
    pub(crate) speeds: Vec<f64>,
    pub(crate) now_s: f64,
    burst_ends_s: f64,
    rng: StdRng,
    /// Longest that a block lasted, in seconds, and how many were broken off.
    pub(crate) longest_s: f64,
    pub(crate) n_late: u32,
}

impl Device {
    /// Six arms; the first, which the prior chose, is a little better than the others on average.
    pub(crate) fn new(world: World, seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let draw =
            |rng: &mut StdRng, mean, deviation| Normal::new(mean, deviation).expect("finite").sample(rng);
        let mut speeds: Vec<f64> = (0..6).map(|_| f64::exp(draw(&mut rng, 0.0, 0.25))).collect();
        speeds[0] = f64::exp(draw(&mut rng, 0.05, 0.15));
        Self::with_speeds(world, speeds, rng)
    }

    pub(crate) fn with_speeds(world: World, speeds: Vec<f64>, rng: StdRng) -> Self {
        Self { world, speeds, now_s: 0.0, burst_ends_s: -1.0, rng, longest_s: 0.0, n_late: 0 }
    }

    fn token_s(&mut self, arm: usize) -> f64 {
        let heat = 1.0 - self.world.drift * (1.0 - f64::exp(-self.now_s / HEATING_S));
        if self.now_s > self.burst_ends_s && self.rng.random::<f64>() < self.world.bursts / BASE {
            let lasts: f64 = Exp::new(1.0 / BURST_S).expect("positive").sample(&mut self.rng);
            self.burst_ends_s = self.now_s + lasts;
        }
        let burst = if self.now_s < self.burst_ends_s { BURST_SPEED } else { 1.0 };
        let noise: f64 = Normal::new(0.0, self.world.noise).expect("finite").sample(&mut self.rng);
        noise.exp() / (BASE * self.speeds[arm] * heat * burst)
    }

    /// Seconds for a block.
    pub(crate) fn run(&mut self, arm: usize, n_tokens: u32, deadline_s: f64) -> Option<f64> {
        let mut total = 0.0;
        for _ in 0..n_tokens {
            let token = self.token_s(arm);
            let lasts = token.min(deadline_s - total);
            self.now_s += lasts;
            total += lasts;
            if lasts < token {
                self.n_late += 1;
                self.longest_s = self.longest_s.max(total);
                return None;
            }
        }
        self.longest_s = self.longest_s.max(total);
        Some(total)
    }
}

impl Bench for Device {
    fn measure(&mut self, arm: usize, n_tokens: u32, deadline: Duration) -> Outcome {
        match self.run(arm, n_tokens, deadline.as_secs_f64()) {
            Some(seconds) => Outcome::Took(Duration::from_secs_f64(seconds)),
            None => Outcome::TooLate,
        }
    }

    fn now(&self) -> Duration {
        Duration::from_secs_f64(self.now_s)
    }
}
