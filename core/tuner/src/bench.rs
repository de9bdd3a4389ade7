//! What a race asks of whoever measures. Knows durations; must not know what is measured.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Why measuring stops before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Halt {
    /// Whoever waits asked for it.
    Cancelled,
    /// The device is hot: what is measured now does not hold later, and measuring makes it hotter.
    Heat,
    /// Memory is short.
    Memory,
    /// The user asked to save energy, or the battery is low.
    Energy,
    /// The engine failed.
    Failed,
}

impl Halt {
    /// The reason in words that follow "stopped:".
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Cancelled => "cancelled",
            Self::Heat => "the device is hot",
            Self::Memory => "memory is short",
            Self::Energy => "energy is being saved",
            Self::Failed => "the engine failed",
        }
    }
}

/// What became of one block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was computed, in this time.
    Took(Duration),
    /// It was broken off at the deadline.
    TooLate,
    /// Measuring is over.
    Halted(Halt),
}

/// Measures blocks of tokens with one of several arms. Arm 0 is the setting to beat.
pub trait Bench {
    /// Computes `n_tokens` with `arm`, and breaks off when that takes longer than `deadline`.
    fn measure(&mut self, arm: usize, n_tokens: u32, deadline: Duration) -> Outcome;

    /// Time since any fixed moment, by the clock that counts the budget.
    fn now(&self) -> Duration;

    /// Whether conditions forbid measuring. Asked before the first block and between groups of blocks.
    fn gate(&mut self) -> Option<Halt> {
        None
    }
}
