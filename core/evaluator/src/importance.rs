//! Importance: sums of squared activations per column of every weight, while a model reads a text.
//!
//! Owns the collector that watches a model, its interruptible run, coverage of experts and drawing further text until
//! they are covered, merging, and the shrinkage of experts that saw little. Must not know how quantizers use a matrix.
//!
//! Logits are asked for after every token, so that the last layer is computed for all of them and the output is seen.

mod balance;
mod collector;
mod coverage;
mod merge;
mod partial;
mod run;

pub use balance::{Balance, Balanced};
pub use collector::Sums;
pub use coverage::{Coverage, LayerCoverage};
pub use merge::{merge, shrink};
pub use partial::Partial;
pub use run::{Run, Stage};

#[cfg(test)]
mod tests;
