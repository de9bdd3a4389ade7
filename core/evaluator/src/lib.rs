//! What a model does on text, measured.
//!
//! Owns divergence from a reference ([`divergence`]), its store of logits ([`mod@reference`]), statistics, the words for
//! quality ([`grade`]), the importance of weights ([`importance`]) and the choice of experts ([`routing`]). May know the engine's traits and the formats' tables; text comes as tokens or through a
//! [`Vocabulary`]. Must not know bundles, plans or files on disk: bytes are read from and written to what is handed in.

pub mod calibration;
pub mod divergence;
pub mod drift;
mod error;
pub mod grade;
pub mod importance;
pub mod needle;
mod progress;
pub mod reference;
pub mod report;
pub mod routing;
pub mod seed;
pub mod statistics;
pub mod suite;
pub mod text;
mod validation;

pub use error::{Error, Result};
pub use progress::{Progress, Watch};
pub use text::Vocabulary;
pub use validation::{Validation, overall};
