//! What can go wrong in a download, and which of it another try may cure.
//!
//! Owns the enum and the judgement. The address is added by whoever gives up.

use std::time::Duration;

use crate::transport::TransportError;

/// Why a download failed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// No answer came.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The server refused.
    #[error("server answered {code}{advice}")]
    Status {
        /// HTTP status.
        code: u16,
        /// What to do about it; empty or starts with `: `.
        advice: &'static str,
    },
    /// The server is busy and says when to come back, beyond what this download waits.
    #[error("server answered {code} and asks to wait {}", seconds(after))]
    Busy {
        /// HTTP status.
        code: u16,
        /// The wait it asks for; absent when it does not say.
        after: Option<Duration>,
    },
    /// The connection ended early.
    #[error("connection ended early: expected {expected} bytes, got {got}: {reason}")]
    Truncated {
        /// Bytes announced.
        expected: u64,
        /// Bytes received.
        got: u64,
        /// What reading answered.
        reason: String,
    },
    /// Nothing arrived for long.
    #[error("nothing arrived for {:.1} s", after.as_secs_f64())]
    Stalled {
        /// For how long.
        after: Duration,
    },
    /// The server has another length of the file.
    #[error("expected {expected} bytes, server offers {got}")]
    WrongLength {
        /// Bytes according to the manifest or index.
        expected: u64,
        /// Bytes according to the server.
        got: u64,
    },
    /// The content has another digest.
    #[error("expected {expected}, got {got}")]
    WrongDigest {
        /// Digest according to the manifest or index.
        expected: String,
        /// Digest of what arrived.
        got: String,
    },
    /// The file kept changing on the server.
    #[error("file changed on the server during the download, {times} times")]
    Changed {
        /// How often.
        times: u32,
    },
    /// The answer does not fit the request.
    #[error("server's answer does not fit the request: {reason}")]
    Protocol {
        /// How.
        reason: String,
    },
    /// A redirect that is not followed.
    #[error("redirect refused: {reason}")]
    Redirect {
        /// Why.
        reason: String,
    },
    /// Not an absolute `http` or `https` address.
    #[error("`{url}` is not an http or https address")]
    BadAddress {
        /// The address, without secrets.
        url: String,
    },
    /// A document that is longer than this crate reads.
    #[error("answer is longer than {limit} bytes")]
    TooLong {
        /// The limit.
        limit: u64,
    },
}

impl Problem {
    /// The problem of a status that is neither success nor redirect.
    pub(crate) fn of_status(code: u16, retry_after: Option<Duration>) -> Problem {
        match code {
            408 | 425 | 429 | 500 | 502 | 503 | 504 => Problem::Busy { code, after: retry_after },
            401 | 403 => Problem::Status {
                code,
                advice: ": access needs a token, or the model's terms are not accepted",
            },
            404 => Problem::Status { code, advice: ": no such file, model or revision" },
            _ => Problem::Status { code, advice: "" },
        }
    }

    /// Whether another try may succeed.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Problem::Transport(error) => error.is_transient,
            Problem::Busy { .. }
            | Problem::Truncated { .. }
            | Problem::Stalled { .. }
            | Problem::WrongLength { .. }
            | Problem::Changed { .. }
            | Problem::Protocol { .. } => true,
            Problem::Status { .. }
            | Problem::WrongDigest { .. }
            | Problem::Redirect { .. }
            | Problem::BadAddress { .. }
            | Problem::TooLong { .. } => false,
        }
    }
}

fn seconds(after: &Option<Duration>) -> String {
    match after {
        Some(after) => format!("{} s", after.as_secs()),
        None => "for a time it does not state".to_owned(),
    }
}
