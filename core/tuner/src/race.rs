//! The anchored paired race: which of a few arms is fastest, on a machine whose speed moves while it is measured.
//!
//! Owns: the order of blocks, the comparison, when an arm is out and which one wins. Must not know what an arm is.
//!
//! Arms are measured in short blocks in random order, and the incumbent again after every two: an arm is compared by the
//! logarithm of its speed over the mean of the incumbent's right before and right after. Heat, a clock that falls and a
//! neighbour that comes or goes move both sides alike; a group across which the incumbent itself moved is discarded.

mod report;

pub use report::{ArmReport, RaceReport, RaceStep, Verdict};

use crate::bench::{Bench, Halt, Outcome};
use crate::statistics::{estimate, median, shared_deviation};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use std::ops::ControlFlow;
use std::time::Duration;

/// Blocks that an arm may lose to the deadline before it is out: one may be the machine's fault.
const MAX_LATE: u32 = 2;
/// An incumbent that always moves more than the limit between its blocks is noise and not drift: a group is discarded
/// only where it moved more than this many times its usual.
const USUAL_DRIFTS: f64 = 2.5;
/// Blocks that must count before an arm may win: of fewer nothing is known of how much they scatter, and a machine that
/// stumbled over one block of the incumbent would change the setting.
const BLOCKS_TO_WIN: usize = 3;

/// How to race.
#[derive(Debug, Clone)]
pub struct RaceSettings {
    /// Most time. A group of blocks begins only if one as long as the last would end in time. Default 12 s.
    pub budget: Duration,
    /// Tokens of a block. Default 4.
    pub block_tokens: u32,
    /// Blocks are made longer until they last so long, so that they outlast what the system's scheduler does. Default 0.
    pub min_block: Duration,
    /// Most tokens of a block. Default 64.
    pub max_block_tokens: u32,
    /// An arm wins only if it is surely faster than the incumbent by more than this share. Default 0.03.
    pub min_gain: f64,
    /// A block is broken off after this many times the incumbent's. Default 3.
    pub deadline_factor: f64,
    /// Groups across which the incumbent's speed moved by more than this share are discarded. Default 0.10.
    pub max_drift: f64,
    /// When a block of the incumbent is broken off, which nothing is known of beforehand. Default 2 s.
    pub incumbent_deadline: Duration,
    /// Seed of the order.
    pub seed: u64,
}

impl Default for RaceSettings {
    fn default() -> Self {
        Self {
            budget: Duration::from_secs(12),
            block_tokens: 4,
            min_block: Duration::ZERO,
            max_block_tokens: 64,
            min_gain: 0.03,
            deadline_factor: 3.0,
            max_drift: 0.10,
            incumbent_deadline: Duration::from_secs(2),
            seed: 0,
        }
    }
}

/// A race under way.
pub struct Race<'a> {
    settings: &'a RaceSettings,
    arms: Vec<Arm>,
    incumbent: usize,
    block_tokens: u32,
    /// Between neighbouring blocks of the incumbent.
    drifts: Vec<f64>,
    n_discarded: u32,
    /// When the time is up, by the bench's clock; nothing while the first incumbent is sought.
    ends: Option<Duration>,
}

/// Why no further block is measured.
enum Stop {
    Halted(Halt),
    TimeUp,
}

impl From<Halt> for Stop {
    fn from(halt: Halt) -> Self {
        Self::Halted(halt)
    }
}

#[derive(Default)]
struct Arm {
    /// ln(speed) − ln(incumbent's) of every block that counts.
    ratios: Vec<f64>,
    /// Tokens per second of every block.
    speeds: Vec<f64>,
    late: u32,
    verdict: Verdict,
}

impl Arm {
    fn races(&self) -> bool {
        self.verdict == Verdict::Racing
    }
}

impl<'a> Race<'a> {
    /// Races `n_arms` arms, of which arm 0 is the setting to beat. `on_step` hears of every group and may end the race,
    /// which then tells what is known so far.
    pub fn run(
        n_arms: usize,
        settings: &'a RaceSettings,
        bench: &mut dyn Bench,
        on_step: &mut dyn FnMut(&RaceStep) -> ControlFlow<()>,
    ) -> RaceReport {
        let arms = (0..n_arms.max(1)).map(|_| Arm::default()).collect();
        let block_tokens = settings.block_tokens.max(1);
        let (drifts, n_discarded, ends) = (Vec::new(), 0, None);
        let mut race = Race { settings, arms, incumbent: 0, block_tokens, drifts, n_discarded, ends };
        let start = bench.now();
        let halted = match race.rounds(start, bench, on_step) {
            Err(Stop::Halted(halt)) => Some(halt),
            Err(Stop::TimeUp) | Ok(()) => None,
        };
        race.report(bench.now().saturating_sub(start), halted)
    }

    fn rounds(
        &mut self,
        start: Duration,
        bench: &mut dyn Bench,
        on_step: &mut dyn FnMut(&RaceStep) -> ControlFlow<()>,
    ) -> Result<(), Stop> {
        if let Some(halt) = bench.gate() {
            return Err(halt.into());
        }
        if self.arms.len() == 1 {
            return Ok(());
        }
        let mut rng = StdRng::seed_from_u64(self.settings.seed);
        let Some(mut before) = self.open(start, bench)? else { return Ok(()) };
        self.ends = Some(start + self.settings.budget);
        while self.n_racing() > 0 {
            let mut order: Vec<usize> = (0..self.arms.len()).filter(|arm| self.arms[*arm].races()).collect();
            order.shuffle(&mut rng);
            for group in order.chunks(2) {
                let begin = bench.now();
                let after = self.group(group, before, bench)?;
                let Some(after) =
                    after.map_or_else(|| self.replace(start, bench), |after| Ok(Some(after)))?
                else {
                    return Ok(());
                };
                before = after;
                let elapsed = bench.now().saturating_sub(start);
                let step = RaceStep { elapsed, arms: self.arm_reports() };
                if on_step(&step).is_break() {
                    return Err(Halt::Cancelled.into());
                }
                if let Some(halt) = bench.gate() {
                    return Err(halt.into());
                }
                // Another group like this one has to fit.
                if elapsed + bench.now().saturating_sub(begin) > self.settings.budget {
                    return Ok(());
                }
            }
            self.judge();
        }
        Ok(())
    }

    /// The incumbent's first speed, in tokens per second. Where the setting to beat does not finish a block at all, the
    /// next arm that does takes its place; `None` where none does. Two are tried whatever the budget.
    fn open(&mut self, start: Duration, bench: &mut dyn Bench) -> Result<Option<f64>, Stop> {
        let untried = (0..self.arms.len()).filter(|arm| self.arms[*arm].verdict != Verdict::TooLate);
        for (tried, arm) in untried.collect::<Vec<_>>().into_iter().enumerate() {
            if tried > 1 && bench.now().saturating_sub(start) >= self.settings.budget {
                break;
            }
            if let Some(speed) = self.block(arm, self.settings.incumbent_deadline, bench)? {
                self.incumbent = arm;
                self.arms[arm].verdict = Verdict::Incumbent;
                self.lengthen(speed);
                if let Some(speed) = self.anchor(bench)? {
                    return Ok(Some(speed));
                }
            }
            self.arms[arm].verdict = Verdict::TooLate;
        }
        self.incumbent = 0;
        Ok(None)
    }

    /// The incumbent does not finish its blocks any more: the fastest arm that does takes its place, and everything is
    /// compared with that one from here on.
    fn replace(&mut self, start: Duration, bench: &mut dyn Bench) -> Result<Option<f64>, Stop> {
        loop {
            self.arms[self.incumbent].verdict = Verdict::TooLate;
            self.arms.iter_mut().for_each(|arm| arm.ratios.clear());
            self.drifts.clear();
            let speed = |arm: &usize| median(&self.arms[*arm].speeds);
            let finished = |arm: &usize| {
                self.arms[*arm].verdict != Verdict::TooLate && !self.arms[*arm].speeds.is_empty()
            };
            let fastest = (0..self.arms.len()).filter(finished).max_by(|a, b| speed(a).total_cmp(&speed(b)));
            let Some(arm) = fastest else { return self.open(start, bench) };
            // Also where no time is left to race the others: one that finished is better than one that does not.
            self.incumbent = arm;
            self.arms[arm].verdict = Verdict::Incumbent;
            if let Some(speed) = self.anchor(bench)? {
                return Ok(Some(speed));
            }
        }
    }

    /// Blocks that last as long as the settings ask for.
    fn lengthen(&mut self, tokens_per_s: f64) {
        let wanted = (tokens_per_s * self.settings.min_block.as_secs_f64()).ceil();
        let most = self.settings.max_block_tokens.max(self.block_tokens);
        self.block_tokens = (wanted as u32).clamp(self.block_tokens, most);
    }

    /// Two arms at most and the incumbent behind them, whose speed is returned; `None` where it finished no block.
    fn group(&mut self, group: &[usize], before: f64, bench: &mut dyn Bench) -> Result<Option<f64>, Stop> {
        let usual = f64::from(self.block_tokens) / before;
        let deadline = Duration::from_secs_f64(usual * self.settings.deadline_factor);
        let mut speeds = Vec::with_capacity(group.len());
        for &arm in group {
            match self.block(arm, deadline, bench)? {
                Some(speed) => speeds.push((arm, speed)),
                None => {
                    self.arms[arm].late += 1;
                    if self.arms[arm].late >= MAX_LATE {
                        self.arms[arm].verdict = Verdict::TooLate;
                    }
                }
            }
        }
        let Some(after) = self.anchor(bench)? else { return Ok(None) };
        let drift = (after / before).ln().abs();
        self.drifts.push(drift);
        if drift > self.settings.max_drift.max(USUAL_DRIFTS * median(&self.drifts)) {
            self.n_discarded += 1;
            return Ok(Some(after));
        }
        let incumbent = (before.ln() + after.ln()) / 2.0;
        for (arm, speed) in speeds {
            self.arms[arm].ratios.push(speed.ln() - incumbent);
        }
        Ok(Some(after))
    }

    /// A block of the incumbent, which gets a second chance.
    fn anchor(&mut self, bench: &mut dyn Bench) -> Result<Option<f64>, Stop> {
        for _ in 0..MAX_LATE {
            let speed = self.block(self.incumbent, self.settings.incumbent_deadline, bench)?;
            if speed.is_some() {
                return Ok(speed);
            }
            self.arms[self.incumbent].late += 1;
        }
        Ok(None)
    }

    /// Tokens per second of one block; `None` where it was broken off at its deadline.
    fn block(&mut self, arm: usize, deadline: Duration, bench: &mut dyn Bench) -> Result<Option<f64>, Stop> {
        let left = self.ends.map_or(Duration::MAX, |ends| ends.saturating_sub(bench.now()));
        if left.is_zero() {
            return Err(Stop::TimeUp);
        }
        match bench.measure(arm, self.block_tokens, deadline.min(left)) {
            Outcome::Took(time) => {
                let speed = f64::from(self.block_tokens) / time.as_secs_f64().max(1e-9);
                self.arms[arm].speeds.push(speed);
                Ok(Some(speed))
            }
            Outcome::TooLate if left < deadline => Err(Stop::TimeUp),
            Outcome::TooLate => Ok(None),
            Outcome::Halted(halt) => Err(halt.into()),
        }
    }

    /// Middle of an arm's ratios and its error.
    fn estimate(&self, arm: usize) -> (f64, f64) {
        estimate(&self.arms[arm].ratios, shared_deviation(self.arms.iter().map(|arm| arm.ratios.as_slice())))
    }

    fn n_racing(&self) -> usize {
        self.arms.iter().filter(|arm| arm.races()).count()
    }

    /// Takes out arms that are surely slower than the best, or surely not fast enough to win; ends the race of an arm
    /// that is alone and surely wins.
    fn judge(&mut self) {
        let gain = self.settings.min_gain;
        let racing = || (0..self.arms.len()).filter(|arm| self.arms[*arm].races());
        let best = racing()
            .filter(|arm| !self.arms[*arm].ratios.is_empty())
            .max_by(|a, b| self.estimate(*a).0.total_cmp(&self.estimate(*b).0));
        let Some(best) = best else { return };
        let (best_middle, best_error) = self.estimate(best);
        let floor = (best_middle - 2.0 * best_error).max(0.0);
        for index in 0..self.arms.len() {
            let (middle, error) = self.estimate(index);
            let arm = &mut self.arms[index];
            if !arm.races() {
                continue;
            }
            let n = arm.ratios.len();
            let high = middle + 2.0 * error;
            if n > 2 && index != best && high < floor {
                arm.verdict = Verdict::Slower;
            } else if n > 3 && high < gain {
                arm.verdict = Verdict::NotWorthIt;
            }
        }
        // The fewer blocks, the surer it must be.
        let errors = match self.arms[best].ratios.len() {
            0..BLOCKS_TO_WIN => return,
            BLOCKS_TO_WIN | 4 => 3.0,
            _ => 2.0,
        };
        if self.n_racing() == 1 && best_middle - errors * best_error > gain {
            self.arms[best].verdict = Verdict::Finished;
        }
    }

    /// The arm that wins: the fastest of those that are likely faster than the incumbent by more than the least gain.
    fn winner(&self) -> usize {
        let worth = |arm: &usize| {
            let (middle, error) = self.estimate(*arm);
            self.arms[*arm].verdict != Verdict::TooLate
                && self.arms[*arm].ratios.len() >= BLOCKS_TO_WIN
                && middle - error > self.settings.min_gain
        };
        let middle = |arm: usize| self.estimate(arm).0;
        let others = (0..self.arms.len()).filter(|arm| *arm != self.incumbent).filter(worth);
        others.max_by(|a, b| middle(*a).total_cmp(&middle(*b))).unwrap_or(self.incumbent)
    }
}
