//! Which text to read next, so that experts that saw little see more.
//! Owns the choice; must not read.

use super::Coverage;
use super::partial::Place;
use crate::text::Pass;
use serde::{Deserialize, Serialize};

/// When experts are covered, and how much may be read for it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Balance {
    /// Tokens that an expert is to see. Default 64.
    pub need: u64,
    /// Share of experts that are to see so many. Default 0.99.
    pub share: f64,
    /// Most windows to draw for it. Default 1024.
    pub most_windows: usize,
}

impl Default for Balance {
    fn default() -> Self {
        Self { need: 64, share: 0.99, most_windows: 1024 }
    }
}

/// What drawing came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Balanced {
    /// Windows drawn, by text.
    pub drawn: Vec<(String, usize)>,
    /// Tokens that experts saw before.
    pub before: Coverage,
    /// And after.
    pub after: Coverage,
    /// Whether enough experts saw enough.
    pub reached: bool,
}

/// The number of the text whose next window promises the cold experts most, by what its windows gave so far; each text
/// is tried once first. `None` where no text has a window left.
pub(super) fn draw(pool: &[Pass], place: &Place, coverage: &Coverage, need: u64) -> Option<usize> {
    let left = |text: &usize| place.drawn[*text] < pool[*text].windows.len();
    let untried = (0..pool.len()).filter(left).find(|text| place.drawn[*text] == 0);
    if untried.is_some() {
        return untried;
    }
    let missing: Vec<f64> = coverage
        .layers
        .iter()
        .flat_map(|layer| &layer.counts)
        .map(|count| need.saturating_sub(*count) as f64)
        .collect();
    let promise = |text: usize| -> f64 {
        let n_windows = place.drawn[text].max(1) as f64;
        let hits = place.hits[text].iter().map(|hits| *hits as f64 / n_windows);
        hits.zip(&missing).map(|(rate, missing)| rate.min(*missing)).sum()
    };
    // The first of equals, so that a collection that goes on draws what it would have drawn.
    let best = |best: usize, text: usize| if promise(text) > promise(best) { text } else { best };
    (0..pool.len()).filter(left).reduce(best)
}
