//! What a race tells. Holds figures; must not decide.

use super::Race;
use crate::bench::Halt;
use crate::statistics::median;
use serde::Serialize;
use std::time::Duration;

/// What became of an arm.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Not decided yet.
    #[default]
    Racing,
    /// The setting that the others are compared with.
    Incumbent,
    /// Surely slower than the best.
    Slower,
    /// Surely not faster than the incumbent by more than the least gain.
    NotWorthIt,
    /// Broken off at the deadline.
    TooLate,
    /// Surely the fastest.
    Finished,
    /// It won.
    Won,
}

/// One arm's figures.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ArmReport {
    /// Median tokens per second over its blocks; 0 of none.
    pub tokens_per_s: f64,
    /// Speed over the incumbent's of the same moments.
    pub ratio: f64,
    /// Standard error of the ratio's logarithm; 1 where fewer than three blocks count.
    pub error: f64,
    /// Blocks that count.
    pub n_blocks: u32,
    /// Blocks that were broken off.
    pub n_late: u32,
    /// What became of it.
    pub verdict: Verdict,
}

/// A race under way, after a group of blocks.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RaceStep {
    /// Since the race began.
    pub elapsed: Duration,
    /// Every arm, in the order in which they were handed in.
    pub arms: Vec<ArmReport>,
}

/// How a race ended.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RaceReport {
    /// The arm to use from now on.
    pub winner: usize,
    /// Every arm, in the order in which they were handed in.
    pub arms: Vec<ArmReport>,
    /// Groups of blocks that were discarded because the incumbent's speed moved.
    pub n_discarded: u32,
    /// Tokens of a block.
    pub block_tokens: u32,
    /// How long it took.
    pub elapsed: Duration,
    /// Why it ended before its time, where it did.
    pub halted: Option<Halt>,
}

impl Race<'_> {
    pub(super) fn arm_reports(&self) -> Vec<ArmReport> {
        let report = |(index, arm): (usize, &super::Arm)| {
            let (ratio, error) = match index == self.incumbent {
                true => (0.0, 0.0),
                false => self.estimate(index),
            };
            ArmReport {
                tokens_per_s: median(&arm.speeds),
                ratio: ratio.exp(),
                error,
                n_blocks: arm.ratios.len() as u32,
                n_late: arm.late,
                verdict: arm.verdict,
            }
        };
        self.arms.iter().enumerate().map(report).collect()
    }

    pub(super) fn report(&self, elapsed: Duration, halted: Option<Halt>) -> RaceReport {
        let winner = self.winner();
        let mut arms = self.arm_reports();
        if winner != 0 {
            arms[winner].verdict = Verdict::Won;
        }
        let (n_discarded, block_tokens) = (self.n_discarded, self.block_tokens);
        RaceReport { winner, arms, n_discarded, block_tokens, elapsed, halted }
    }
}
