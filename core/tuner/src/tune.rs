//! Tuning: one race per knob, in order, within one budget.
//!
//! Owns: the order, the shares of the budget, what is skipped and why. Must not know how anything is measured. Weights and
//! the types of the cache are no knobs: what is tuned computes the same model.

mod confirm;

use crate::arms::MAX_ARMS;
use crate::bench::{Bench, Halt, Outcome};
use crate::race::{Race, RaceReport, RaceSettings, RaceStep};
use crate::setting::{Exactness, Knob, Setting};
use serde::Serialize;
use std::ops::ControlFlow;
use std::time::Duration;

/// Shares of what is left of the budget.
const WEIGHTS: [(Knob, u32); 4] =
    [(Knob::DecodeThreads, 4), (Knob::BatchThreads, 3), (Knob::Ubatch, 2), (Knob::Placement, 3)];
/// And the share of running close races once more.
const CONFIRMATIONS: f64 = 2.0;
/// Blocks that a race needs at least to decide anything: three rounds of two arms and their incumbents.
const LEAST_BLOCKS: f64 = 10.0;
/// Of the budget: what is broken off at its end is so between two operations, which on a crowded machine take their time.
const USED: f64 = 0.95;

/// How to tune.
#[derive(Debug, Clone)]
pub struct TuneSettings {
    /// Most time for everything. A group of blocks begins only if one as long as the last would end in time. Default 12 s.
    pub budget: Duration,
    /// Whether knobs may be turned that change rounding. Default true.
    pub allow_rounding: bool,
    /// A value wins only if it is surely faster by more than this share. Default 0.03.
    pub min_gain: f64,
    /// Least length of a block of single tokens. Default 40 ms: a dozen slices of a scheduler.
    pub min_block: Duration,
    /// Least length of a block of a prompt. Default 120 ms: threads that wait for one whose processor another program has
    /// do so for several slices, which shorter blocks often miss and real prompts do not.
    pub min_prompt_block: Duration,
    /// Seed of the order of blocks.
    pub seed: u64,
}

impl Default for TuneSettings {
    fn default() -> Self {
        Self {
            budget: Duration::from_secs(12),
            allow_rounding: true,
            min_gain: 0.03,
            min_block: Duration::from_millis(40),
            min_prompt_block: Duration::from_millis(120),
            seed: 0,
        }
    }
}

/// A knob and the values to race, the start's first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnobArms {
    /// The knob.
    pub knob: Knob,
    /// At most [`MAX_ARMS`] values; further ones are left out.
    pub values: Vec<u32>,
    /// What turning it does to the numbers that come out.
    pub exactness: Exactness,
}

/// Measures settings.
pub trait TuneBench {
    /// Computes `n_tokens` with `setting`, one by one where the knob is of decoding, else as a prompt; breaks off when
    /// that takes longer than `deadline`.
    fn measure(&mut self, setting: &Setting, knob: Knob, n_tokens: u32, deadline: Duration) -> Outcome;

    /// Time since any fixed moment.
    fn now(&self) -> Duration;

    /// Whether conditions forbid measuring.
    fn gate(&mut self) -> Option<Halt> {
        None
    }
}

/// Why a knob was left as it is without a race.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Skipped {
    /// There is one value.
    NoChoice,
    /// It changes rounding, which was not allowed.
    Rounding,
    /// A race would take longer than what is left of the budget.
    NoTime,
    /// Tuning was stopped before.
    Halted,
}

/// What became of a knob.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct KnobReport {
    /// The knob.
    pub knob: Knob,
    /// What turning it does to the numbers that come out.
    pub exactness: Exactness,
    /// The values, the start's first, as the race's arms.
    pub values: Vec<u32>,
    /// The value from now on.
    pub chosen: u32,
    /// The race, where there was one.
    pub race: Option<RaceReport>,
    /// Why there was none.
    pub skipped: Option<Skipped>,
    /// A second race behind all others, between the value that won and the one closest to it.
    pub confirmation: Option<RaceReport>,
}

/// What tuning found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TuneReport {
    /// The setting to beat.
    pub start: Setting,
    /// The setting from now on.
    pub setting: Setting,
    /// Every knob, in order.
    pub knobs: Vec<KnobReport>,
    /// How long it took.
    pub elapsed: Duration,
    /// Why it ended before its time, where it did.
    pub halted: Option<Halt>,
}

impl TuneReport {
    /// Tokens per second of the chosen value in the race of `knob`.
    #[must_use]
    pub fn tokens_per_s(&self, knob: Knob) -> Option<f64> {
        let report = self.knobs.iter().find(|report| report.knob == knob)?;
        let race = report.race.as_ref()?;
        let arm = report.values.iter().position(|value| *value == report.chosen)?;
        let speed = race.arms.get(arm)?.tokens_per_s;
        (speed > 0.0).then_some(speed)
    }
}

/// A race under way.
#[derive(Debug, Clone, PartialEq)]
pub struct TuneStep<'a> {
    /// Its knob.
    pub knob: Knob,
    /// The values, in the order of the race's arms.
    pub values: &'a [u32],
    /// Since tuning began.
    pub elapsed: Duration,
    /// The race.
    pub race: &'a RaceStep,
}

/// Races the knobs from `start` on, each with what the ones before it found; with the time that is left the closest of
/// these races are run once more. `on_step` hears of every group of blocks and
/// may stop the tuning, which keeps what is known so far.
pub fn tune(
    start: Setting,
    knobs: &[KnobArms],
    settings: &TuneSettings,
    bench: &mut dyn TuneBench,
    on_step: &mut dyn FnMut(&TuneStep<'_>) -> ControlFlow<()>,
) -> TuneReport {
    let began = bench.now();
    let mut report =
        TuneReport { start, setting: start, knobs: Vec::new(), elapsed: Duration::ZERO, halted: None };
    for (index, arms) in knobs.iter().enumerate() {
        let elapsed = bench.now().saturating_sub(began);
        let left = settings.budget.mul_f64(USED).saturating_sub(elapsed);
        let share = left.mul_f64(share(&knobs[index..], settings));
        let skipped = skip(arms, &report, settings, share);
        let mut knob = KnobReport {
            knob: arms.knob,
            exactness: arms.exactness,
            values: arms.values.iter().copied().take(MAX_ARMS).collect(),
            chosen: arms.knob.of(&report.setting),
            race: None,
            skipped,
            confirmation: None,
        };
        if skipped.is_none() {
            let values = knob.values.clone();
            let mut one = OneKnob { bench, base: report.setting, knob: knob.knob, values: &values };
            let race = race_settings(arms, settings, share);
            let mut step = |race: &RaceStep| {
                let elapsed = elapsed + race.elapsed;
                on_step(&TuneStep { knob: arms.knob, values: &values, elapsed, race })
            };
            let race = Race::run(values.len(), &race, &mut one, &mut step);
            knob.chosen = values[race.winner];
            report.setting = knob.knob.with(report.setting, knob.chosen);
            report.halted = race.halted;
            knob.race = Some(race);
        }
        report.knobs.push(knob);
    }
    for arms in knobs {
        let left = settings.budget.mul_f64(USED).saturating_sub(bench.now().saturating_sub(began));
        confirm::confirm(&mut report, arms, settings, left, bench);
    }
    report.elapsed = bench.now().saturating_sub(began);
    report
}

/// The first knob's share of what is left, among those that can be raced and what comes behind them.
fn share(knobs: &[KnobArms], settings: &TuneSettings) -> f64 {
    let weight = |arms: &KnobArms| {
        let raced =
            arms.values.len() > 1 && (settings.allow_rounding || arms.exactness == Exactness::BitExact);
        let weight = WEIGHTS.iter().find(|(knob, _)| *knob == arms.knob).map_or(1, |(_, weight)| *weight);
        f64::from(if raced { weight } else { 0 })
    };
    let all: f64 = knobs.iter().map(weight).sum();
    let all = all + CONFIRMATIONS;
    if all > CONFIRMATIONS { weight(&knobs[0]) / all } else { 0.0 }
}

fn skip(arms: &KnobArms, report: &TuneReport, settings: &TuneSettings, share: Duration) -> Option<Skipped> {
    if arms.values.len() < 2 {
        return Some(Skipped::NoChoice);
    }
    if arms.exactness == Exactness::RoundingOnly && !settings.allow_rounding {
        return Some(Skipped::Rounding);
    }
    if report.halted.is_some() {
        return Some(Skipped::Halted);
    }
    // Blocks of a race over ubatch are as long as the longest; how fast prompts are is known from the race before.
    let speed = report.tokens_per_s(Knob::BatchThreads);
    let block_s = speed.map_or(0.0, |speed| f64::from(least_tokens(arms)) / speed);
    let least_s = block_s.max(min_block(arms.knob, settings).as_secs_f64()) * LEAST_BLOCKS;
    (least_s > share.as_secs_f64()).then_some(Skipped::NoTime)
}

fn race_settings(arms: &KnobArms, settings: &TuneSettings, budget: Duration) -> RaceSettings {
    let (block_tokens, min_block) = (least_tokens(arms), min_block(arms.knob, settings));
    let max_block_tokens = match arms.knob {
        Knob::DecodeThreads | Knob::Placement => 256,
        Knob::BatchThreads => 512,
        Knob::Ubatch => block_tokens,
    };
    RaceSettings {
        budget,
        block_tokens,
        max_block_tokens,
        min_block,
        min_gain: settings.min_gain,
        incumbent_deadline: (budget / 6).max(min_block),
        seed: settings.seed,
        ..RaceSettings::default()
    }
}

fn min_block(knob: Knob, settings: &TuneSettings) -> Duration {
    match knob.is_decode() {
        true => settings.min_block,
        false => settings.min_prompt_block,
    }
}

fn least_tokens(arms: &KnobArms) -> u32 {
    match arms.knob {
        Knob::DecodeThreads | Knob::Placement => 4,
        Knob::BatchThreads => 32,
        Knob::Ubatch => arms.values.iter().copied().max().unwrap_or(1),
    }
}

/// The race's view of a bench for settings.
struct OneKnob<'a> {
    bench: &'a mut dyn TuneBench,
    base: Setting,
    knob: Knob,
    values: &'a [u32],
}

impl Bench for OneKnob<'_> {
    fn measure(&mut self, arm: usize, n_tokens: u32, deadline: Duration) -> Outcome {
        self.bench.measure(&self.knob.with(self.base, self.values[arm]), self.knob, n_tokens, deadline)
    }

    fn now(&self) -> Duration {
        self.bench.now()
    }

    fn gate(&mut self) -> Option<Halt> {
        self.bench.gate()
    }
}
