//! What lies between files of pictures or sound and a session's tensors: pixels in the model's form, spectrograms, steps of sound,
//! boxes out of a detector's outputs. Knows pixels, samples and the models' own small configurations; must not know files or
//! sessions.

mod boxes;
mod frames;
mod mel;
mod picture;
mod resize;

pub use boxes::{Detection, Suppression, corners, suppress};
pub use frames::Frames;
pub use mel::{Mel, Spectrogram};
pub use picture::PictureRule;
pub use resize::{Filter, resize};

use crate::Error;

/// A field of a configuration that is not as it must be.
fn wrong(field: &'static str, expected: impl Into<String>, got: impl ToString) -> Error {
    Error::Setting { field, expected: expected.into(), got: got.to_string() }
}
