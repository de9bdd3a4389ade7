//! What the two processes say to each other: frames of a JSON part and a part of raw bytes, each with its length in front.
//!
//! Owns: the messages and their encoding. Must not know: processes.

use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{AdapterKind, ContextSettings, DeviceInfo, Error, Form, LoadSettings, Logits, MemoryUse, Token};

/// Longest JSON part and longest raw part of a frame, in bytes.
const MAX_JSON: u32 = 256 << 20;
const MAX_RAW: u64 = 64 << 30;

/// What the app's process asks. Answered in order, one [`Answer`] each; [`Ask::Cancel`] has none.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Ask {
    Devices,
    Build,
    Load {
        path: PathBuf,
        settings: LoadSettings,
    },
    Measure {
        path: PathBuf,
        load: LoadSettings,
        context: ContextSettings,
    },
    Open {
        settings: ContextSettings,
    },
    Decode {
        context: u64,
        tokens: Vec<Token>,
        want: Logits,
        how: How,
    },
    Embed {
        context: u64,
        tokens: Vec<Token>,
        how: How,
    },
    Encode {
        context: u64,
        tokens: Vec<Token>,
        how: How,
    },
    Predict {
        context: u64,
        next: Token,
        most: usize,
        least_probability: f32,
        how: How,
    },
    Truncate {
        context: u64,
        to: usize,
    },
    State {
        context: u64,
    },
    /// The state is the raw part.
    Restore {
        context: u64,
    },
    LoadAdapter {
        path: PathBuf,
    },
    /// Those of these files, each multiplied by its number.
    Adapt {
        context: u64,
        adapters: Vec<(PathBuf, f32)>,
    },
    Close {
        context: u64,
    },
    /// Stops the ask of this number.
    Cancel {
        number: u64,
    },
}

/// How a context computes from now on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct How {
    /// For single tokens and for more; `None`: as the context was opened.
    pub(super) threads: Option<(usize, usize)>,
    pub(super) limit: Option<Duration>,
}

/// What the engine's process answers.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    /// Before the answer to a load: the loaded share.
    Progress(f32),
    Devices(Vec<DeviceInfo>),
    Build(String),
    Loaded(Facts),
    Measured(MemoryUse),
    Adapter {
        kind: AdapterKind,
        bytes: u64,
    },
    Opened {
        context: u64,
        n_ctx: usize,
        keeps_after_breaking_off: bool,
        has_predictions: bool,
        memory: MemoryUse,
    },
    /// Logits, vectors, tokens or a state are the raw part.
    Done {
        n_past: usize,
        width: usize,
    },
    Failed {
        fault: Fault,
        n_past: usize,
    },
}

/// What is known of a loaded model.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Facts {
    pub(super) n_vocab: usize,
    pub(super) n_ctx_train: u64,
    pub(super) form: Form,
    pub(super) memory: MemoryUse,
}

/// An error on the wire: those that callers act upon whole, the others in words.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Fault {
    Cancelled,
    EmptyBatch,
    NothingRead,
    TimeLimit { n_past: usize, limit: Duration },
    ContextFull { n_past: usize, n_tokens: usize, n_ctx: usize },
    TokenOutOfRange { index: usize, token: Token, n_vocab: usize },
    TextTooLong { n_tokens: usize, max: usize },
    TooManyLogits { wanted: usize, max: usize },
    Decode { n_past: usize, code: i32, reason: String },
    Load { path: PathBuf, reason: String },
    InvalidFile { path: PathBuf, reason: String },
    Truncate { to: usize, n_past: usize },
    Context { reason: String },
    State { reason: String },
    Other(String),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        match error {
            Error::Cancelled => Self::Cancelled,
            Error::EmptyBatch => Self::EmptyBatch,
            Error::NothingRead => Self::NothingRead,
            Error::TimeLimit { n_past, limit } => Self::TimeLimit { n_past, limit },
            Error::ContextFull { n_past, n_tokens, n_ctx } => Self::ContextFull { n_past, n_tokens, n_ctx },
            Error::TokenOutOfRange { index, token, n_vocab } => {
                Self::TokenOutOfRange { index, token, n_vocab }
            }
            Error::TextTooLong { n_tokens, max } => Self::TextTooLong { n_tokens, max },
            Error::TooManyLogits { wanted, max } => Self::TooManyLogits { wanted, max },
            Error::Decode { n_past, code, reason } => Self::Decode { n_past, code, reason },
            Error::Load { path, reason } => Self::Load { path, reason },
            Error::InvalidFile { path, reason } => Self::InvalidFile { path, reason },
            Error::Truncate { to, n_past, .. } => Self::Truncate { to, n_past },
            Error::Context { reason } => Self::Context { reason },
            Error::State { reason } => Self::State { reason },
            other => Self::Other(other.to_string()),
        }
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Cancelled => Self::Cancelled,
            Fault::EmptyBatch => Self::EmptyBatch,
            Fault::NothingRead => Self::NothingRead,
            Fault::TimeLimit { n_past, limit } => Self::TimeLimit { n_past, limit },
            Fault::ContextFull { n_past, n_tokens, n_ctx } => Self::ContextFull { n_past, n_tokens, n_ctx },
            Fault::TokenOutOfRange { index, token, n_vocab } => {
                Self::TokenOutOfRange { index, token, n_vocab }
            }
            Fault::TextTooLong { n_tokens, max } => Self::TextTooLong { n_tokens, max },
            Fault::TooManyLogits { wanted, max } => Self::TooManyLogits { wanted, max },
            Fault::Decode { n_past, code, reason } => Self::Decode { n_past, code, reason },
            Fault::Load { path, reason } => Self::Load { path, reason },
            Fault::InvalidFile { path, reason } => Self::InvalidFile { path, reason },
            Fault::Truncate { to, n_past } => {
                Self::Truncate { to, n_past, reason: "the memory of the engine's process cannot go back" }
            }
            Fault::Context { reason } => Self::Context { reason },
            Fault::State { reason } => Self::State { reason },
            Fault::Other(reason) => Self::Process { reason },
        }
    }
}

/// A message and the bytes behind it.
pub(super) type Frame<T> = (T, Vec<u8>);

/// Writes a frame and sends it off.
pub(super) fn send(out: &mut impl Write, message: &impl Serialize, raw: &[u8]) -> io::Result<()> {
    let json = serde_json::to_vec(message)?;
    let length = u32::try_from(json.len()).ok().filter(|length| *length <= MAX_JSON);
    let length = length.ok_or_else(|| io::Error::other("a message that is too long"))?;
    out.write_all(&length.to_le_bytes())?;
    out.write_all(&(raw.len() as u64).to_le_bytes())?;
    out.write_all(&json)?;
    out.write_all(raw)?;
    out.flush()
}

/// Reads a frame; `None` at the end of the stream.
pub(super) fn receive<T: DeserializeOwned>(from: &mut impl Read) -> io::Result<Option<Frame<T>>> {
    let mut length = [0; 4];
    match from.read_exact(&mut length) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        outcome => outcome?,
    }
    let mut raw_length = [0; 8];
    from.read_exact(&mut raw_length)?;
    let (length, raw_length) = (u32::from_le_bytes(length), u64::from_le_bytes(raw_length));
    if length > MAX_JSON || raw_length > MAX_RAW {
        return Err(io::Error::other(format!("a frame of {length} and {raw_length} bytes")));
    }
    // As much as comes is kept, whatever length was said.
    let (mut json, mut raw) = (Vec::new(), Vec::new());
    from.take(length.into()).read_to_end(&mut json)?;
    from.take(raw_length).read_to_end(&mut raw)?;
    if json.len() as u64 != u64::from(length) || raw.len() as u64 != raw_length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Some((serde_json::from_slice(&json)?, raw)))
}

/// Numbers as raw bytes, and back.
pub(super) fn to_raw(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

pub(super) fn from_raw(raw: &[u8]) -> Vec<f32> {
    raw.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_back_and_cut_ones_are_errors() {
        let mut bytes = Vec::new();
        let raw = to_raw(&[1.5, f32::NEG_INFINITY]);
        send(&mut bytes, &Ask::Close { context: 7 }, &raw).expect("a buffer");
        let read = |bytes: &[u8]| receive::<Ask>(&mut &*bytes);
        let (ask, back) = read(&bytes).expect("whole").expect("one frame");
        assert!(matches!(ask, Ask::Close { context: 7 }) && from_raw(&back) == [1.5, f32::NEG_INFINITY]);
        assert!(read(&[]).expect("an end").is_none());
        for cut in [5, bytes.len() - 1] {
            assert!(read(&bytes[..cut]).is_err(), "{cut}");
        }
        bytes[3] = 0xff;
        assert!(read(&bytes).is_err(), "a length beyond all bounds");
    }
}
