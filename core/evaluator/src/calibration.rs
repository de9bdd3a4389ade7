//! Calibration texts: documents of several kinds, in the shares of a mix, from templates and a seed or from given texts.
//!
//! Owns the mixes and templates (`data/calibration_*.toml`), the draw and the split that is held out. Must not know
//! files or tokens.

mod generate;
mod mix;
mod template;

pub use generate::{Calibration, Wish, generate};
pub use mix::{Kind, Mix, mix_of_family, mixes};
