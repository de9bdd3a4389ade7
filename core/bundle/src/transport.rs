//! How bytes come over a network: the interface that an app can implement.
//!
//! Owns request, response and the trait. Must not know what is fetched, retry, or read the environment.

use std::io::Read;
use std::ops::Range;

/// One GET request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Request {
    /// Absolute address, `http` or `https`.
    pub url: String,
    /// Bytes wanted, end excluded: to be sent as `Range: bytes=start-(end - 1)`. Absent: the whole.
    pub range: Option<Range<u64>>,
    /// Further headers, in order. May contain a secret (`Authorization`).
    pub headers: Vec<(String, String)>,
}

/// The answer to a request, of any status. The body is read as it arrives.
pub struct Response {
    /// HTTP status.
    pub status: u16,
    /// Headers.
    pub headers: Headers,
    /// The body as sent, without a content coding. Reading must end with an error when the connection ends early or
    /// nothing arrives for long; a clean end before `Content-Length` is noticed by the reader.
    pub body: Box<dyn Read + Send>,
}

/// Response headers; names are compared without case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers(Vec<(String, String)>);

/// Gets bytes over a network. Shared by threads.
///
/// An implementation makes one exchange per call: it returns a redirect (3xx) like any other status instead of
/// following it, or drops `Authorization` when it follows one to another host. It uses timeouts of its own for
/// connecting and for reading; a call or read that hangs is abandoned, and its thread ends when it returns.
pub trait Transport: Send + Sync {
    /// Sends `request` and returns when the headers of the answer are there.
    ///
    /// # Errors
    /// When no HTTP answer came.
    fn get(&self, request: &Request) -> Result<Response, TransportError>;
}

/// No answer came.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct TransportError {
    /// What happened, in lowercase, without secrets.
    pub message: String,
    /// Whether another try may succeed: a broken connection does, an address that cannot be parsed does not.
    pub is_transient: bool,
}

impl Headers {
    /// Adds a header.
    pub fn push(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.0.push((name.into(), value.into()));
    }

    /// The first value of a header.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Headers {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(headers: I) -> Headers {
        Headers(headers.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

impl std::fmt::Debug for Response {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Response").field("status", &self.status).field("headers", &self.headers).finish()
    }
}
