//! JSON into typed tables, with errors that name the field.
//! Owns where an error lies, as a path; must not know any table.
//!
//! The path is found only once a document was refused, from the byte at which reading stopped: readers that keep track of it
//! on the way are made anew for every type, a tenth of a megabyte for a manifest.

mod path;

use serde::de::Visitor;
use serde::{Deserialize, Deserializer};
use std::fmt::{self, Display};

/// Why a document was refused.
#[derive(Debug, thiserror::Error)]
#[error("{field}: {message} at line {line} column {column}")]
pub struct Error {
    /// The field at fault, e.g. `variants[2].quality`; `.` is the whole document.
    pub field: String,
    /// What is wrong with it.
    pub message: String,
    /// Where reading stopped, from 1; 0 in an empty document.
    pub line: usize,
    /// Where reading stopped in that line, in bytes from 1.
    pub column: usize,
    /// Where reading stopped in the document, in bytes from 0.
    pub offset: usize,
}

/// Reads a document. It must be one value, with nothing but space behind it.
///
/// # Errors
/// Where the document is no JSON or no `T`, and why.
pub fn from_slice<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Result<T, Error> {
    serde_json::from_slice(json).map_err(|error| located(json, &error))
}

/// Names the field of an error that reading `json` gave.
pub fn located(json: &[u8], error: &serde_json::Error) -> Error {
    let (line, column) = (error.line(), error.column());
    let text = error.to_string();
    let message = text.strip_suffix(&format!(" at line {line} column {column}")).unwrap_or(&text).to_owned();
    let before: usize =
        json.split_inclusive(|byte| *byte == b'\n').take(line.saturating_sub(1)).map(<[u8]>::len).sum();
    let read = (before + column).min(json.len());
    // A mark that must not stand where it does was looked at and not read.
    let accepted = read.saturating_sub(usize::from(error.is_syntax()));
    Error { field: path::at_end(&json[..accepted]), message, line, column, offset: read.saturating_sub(1) }
}

/// Reads what a text stands for, so that an error of `parse` lies at the text and not behind what follows it.
///
/// # Errors
/// The value is no text, or `parse` refuses it.
pub fn text<'de, D: Deserializer<'de>, T, E: Display>(
    deserializer: D,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Result<T, D::Error> {
    struct Text<P>(P);

    impl<T, E: Display, P: FnOnce(&str) -> Result<T, E>> Visitor<'_> for Text<P> {
        type Value = T;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("a string")
        }

        fn visit_str<F: serde::de::Error>(self, text: &str) -> Result<T, F> {
            (self.0)(text).map_err(F::custom)
        }
    }

    deserializer.deserialize_str(Text(parse))
}
