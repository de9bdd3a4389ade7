//! Where an interrupted collection stands, as bytes.
//!
//! Owns the layout: the magic `LPIMPART`, a u32 length, JSON of so many bytes, then the sums as an importance matrix in
//! GGUF. Must not know what drives the collection.

use super::Sums;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::io::Write;

const MAGIC: &[u8; 8] = b"LPIMPART";

/// Where a collection stands.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Partial {
    pub(crate) place: Place,
    pub(crate) sums: Sums,
}

/// How far it came.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    /// What tells this collection from others: model, texts, settings.
    pub(crate) identity: String,
    /// Windows of the plain passes that are read.
    pub(crate) n_windows: usize,
    /// Windows drawn to balance experts, by text.
    pub(crate) drawn: Vec<usize>,
    /// Hits of experts by each text's drawn windows, for the next draw.
    pub(crate) hits: Vec<Vec<u64>>,
}

impl Partial {
    /// Windows that were read.
    pub fn n_windows(&self) -> usize {
        self.place.n_windows + self.place.drawn.iter().sum::<usize>()
    }

    /// Writes it.
    ///
    /// # Errors
    /// Nothing collected yet, what `out` reports.
    pub fn write<W: Write>(&self, mut out: W) -> Result<()> {
        let io = |source| Error::Io { doing: "writing a partial importance matrix", source };
        let text = serde_json::to_vec(&self.place).map_err(|error| io(error.into()))?;
        out.write_all(MAGIC).map_err(io)?;
        out.write_all(&(text.len() as u32).to_le_bytes()).map_err(io)?;
        out.write_all(&text).map_err(io)?;
        formats::imatrix::write_gguf(out, &self.sums.whole())
            .map_err(|error| io(std::io::Error::other(error)))?;
        Ok(())
    }

    /// Reads it from the bytes of a whole file.
    ///
    /// # Errors
    /// What is no such file.
    pub fn read(bytes: &[u8]) -> Result<Self> {
        let refuse = |expected: &str, got: String| Error::request("partial importance matrix", expected, got);
        let Some(rest) = bytes.strip_prefix(MAGIC) else {
            return Err(refuse("the magic LPIMPART", "other bytes".into()));
        };
        let (length, rest) = rest.split_first_chunk().ok_or_else(|| refuse("a length", "the end".into()))?;
        let length = u32::from_le_bytes(*length) as usize;
        let text = rest.get(..length).ok_or_else(|| refuse("more bytes", "the end".into()))?;
        let place: Place = serde_json::from_slice(text).map_err(|error| refuse("JSON", error.to_string()))?;
        let imatrix = formats::imatrix::read_gguf(&rest[length..])
            .map_err(|error| refuse("sums in GGUF", error.to_string()))?;
        Ok(Self { place, sums: Sums::of_imatrix(&imatrix) })
    }
}
