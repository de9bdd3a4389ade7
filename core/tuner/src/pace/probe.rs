//! Trying a thread more or less between ordinary steps: blocks of three, each compared with one of the current count right
//! before it.

use crate::statistics::{deviation, median};

const ROUNDS: usize = 3;
const BLOCK: usize = 3;
/// A try is broken off after so many times the current count's step.
const LATE_FACTOR: f64 = 3.0;
/// Least logarithm of the gain that makes the move worth it, beyond one standard error.
const HYSTERESIS: f64 = 0.04;

#[derive(Debug, Clone)]
pub(super) struct Probe {
    current: u32,
    candidates: Vec<u32>,
    /// Whether steps had become slower, which is why it is tried.
    pub(super) alarmed: bool,
    place: usize,
    current_block: Vec<f64>,
    candidate_block: Vec<f64>,
    gains: Vec<f64>,
    best: Option<(f64, u32)>,
}

pub(super) enum Probed {
    Goes,
    /// With the better count, if one was found.
    Ended(Option<u32>),
}

impl Probe {
    /// `None` without candidates.
    pub(super) fn new(current: u32, candidates: Vec<u32>, alarmed: bool) -> Option<Self> {
        let (current_block, candidate_block, gains) = Default::default();
        let probe = Self {
            current,
            candidates,
            alarmed,
            place: 0,
            current_block,
            candidate_block,
            gains,
            best: None,
        };
        (!probe.candidates.is_empty()).then_some(probe)
    }

    /// Threads, and the limit in seconds where it is a try.
    pub(super) fn next(&self) -> (u32, Option<f64>) {
        if self.current_block.len() < BLOCK {
            return (self.current, None);
        }
        (self.candidates[self.place], Some(LATE_FACTOR * median(&self.current_block)))
    }

    pub(super) fn took(&mut self, seconds: f64) -> Probed {
        if self.current_block.len() < BLOCK {
            self.current_block.push(seconds);
            return Probed::Goes;
        }
        self.candidate_block.push(seconds);
        if self.candidate_block.len() < BLOCK {
            return Probed::Goes;
        }
        self.gains.push((median(&self.current_block) / median(&self.candidate_block)).ln());
        self.current_block.clear();
        self.candidate_block.clear();
        if self.gains.len() < ROUNDS {
            return Probed::Goes;
        }
        let middle = self.gains.iter().sum::<f64>() / ROUNDS as f64;
        let error = deviation(&self.gains) / (ROUNDS as f64).sqrt();
        if middle - error > HYSTERESIS && self.best.is_none_or(|(best, _)| middle > best) {
            self.best = Some((middle, self.candidates[self.place]));
        }
        self.next_candidate()
    }

    /// A try was broken off: it is out. The current count was too late by its own limit: nothing can be compared now.
    pub(super) fn too_late(&mut self) -> Probed {
        if self.current_block.len() < BLOCK {
            return Probed::Ended(None);
        }
        self.next_candidate()
    }

    fn next_candidate(&mut self) -> Probed {
        self.place += 1;
        self.current_block.clear();
        self.candidate_block.clear();
        self.gains.clear();
        match self.place < self.candidates.len() {
            true => Probed::Goes,
            false => Probed::Ended(self.best.map(|(_, threads)| threads)),
        }
    }
}
