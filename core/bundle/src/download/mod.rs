//! Downloads: several files at once, each in several parts, resumed, checked, and published only when right.
//!
//! Owns scheduling, retries and partial files. Must not know hubs or manifests. The network is a [`Transport`] that it
//! is handed.
//!
//! Each connection is a thread that reports to a coordinator on the caller's thread. A connection that hangs is
//! abandoned: its right to write is withdrawn, another takes its place, and its thread ends when the transport gives
//! up. Cancelling therefore never waits for the network.

pub(crate) mod address;

mod attempt;
mod content;
mod coordinator;
mod document;
mod partial;
mod probe;
mod problem;
mod ranges;
mod redirect;
mod retry;
mod state;

use std::fmt;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub use content::ContentDigest;
pub use probe::Probe;
pub use problem::Problem;

use crate::error::Result;
use crate::lock::LockFile;
use crate::transport::Transport;
use crate::verify::Progress;

/// Limits and times of a download.
#[derive(Debug, Clone)]
pub struct Options {
    /// Connections at once, over all files. Default: 6.
    pub max_connections: usize,
    /// Bytes of a part that one connection fetches; a smaller file is fetched in one. Default: 32 MiB.
    pub part_bytes: u64,
    /// Time without a byte after which a connection is abandoned. Default: 30 s.
    pub stall_timeout: Duration,
    /// Failures of a file in a row, without a new byte between them, after which the download fails. Default: 8.
    pub max_failures: u32,
    /// Wait after the first failure; doubles with each. Default: 0.5 s.
    pub backoff_base: Duration,
    /// Longest wait that is not asked for by the server. Default: 30 s.
    pub backoff_limit: Duration,
    /// Longest `Retry-After` that is obeyed; a longer one is an error. Default: 5 min.
    pub max_retry_after: Duration,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            max_connections: 6,
            part_bytes: 32 << 20,
            stall_timeout: Duration::from_secs(30),
            max_failures: 8,
            backoff_base: Duration::from_millis(500),
            backoff_limit: Duration::from_secs(30),
            max_retry_after: Duration::from_secs(300),
        }
    }
}

/// One file to fetch.
#[derive(Debug, Clone)]
pub struct Job {
    /// Absolute address.
    pub url: String,
    /// Headers for this address, e.g. `Authorization`; dropped when a redirect leads to another host.
    pub headers: Vec<(String, String)>,
    /// Name in progress reports.
    pub name: String,
    /// Where the verified file appears. On the same filesystem as the directory of partial files.
    pub target: PathBuf,
    /// Length of the file.
    pub bytes: u64,
    /// Digest of the content. Without one, only the length is checked, and an interrupted transfer starts anew.
    pub digest: Option<ContentDigest>,
}

/// Fetches files and documents over a transport.
#[derive(Clone)]
pub struct Downloader {
    transport: Arc<dyn Transport>,
    options: Options,
}

impl Downloader {
    /// A downloader over `transport`.
    pub fn new(transport: Arc<dyn Transport>, options: Options) -> Downloader {
        Downloader { transport, options }
    }

    /// Fetches all `jobs`, several at a time. Partial files live in `partials`, which is created; an interrupted or
    /// cancelled fetch continues from them. A file appears under its target only after its length and digest are
    /// checked. A file with the wrong digest is discarded and fetched once more from the start.
    ///
    /// `progress` is called about ten times a second; `Break` cancels.
    ///
    /// # Errors
    /// [`crate::Error::Download`] with the address and the last problem; [`crate::Error::DiskSpace`] before the first
    /// byte; [`crate::Error::Locked`] when another process uses `partials`; [`crate::Error::Cancelled`];
    /// [`crate::Error::Io`].
    pub fn fetch(
        &self,
        jobs: &[Job],
        partials: &Path,
        progress: &mut dyn FnMut(Progress<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        let lock = LockFile::exclusive(&partials.join("lock"), partials)?;
        let result = coordinator::fetch(self, jobs, partials, progress);
        let only_lock = fs::read_dir(partials).is_ok_and(|entries| entries.count() == 1);
        if only_lock && fs::remove_file(lock.path()).is_ok() {
            // Stays when another process has just begun to use it.
            let _ = fs::remove_dir(partials);
        }
        result
    }

    /// Fetches a document of at most `max_bytes` into memory; `None` when the server says that there is none (404).
    /// `proceed` is asked several times a second; `Break` cancels.
    ///
    /// # Errors
    /// [`crate::Error::Download`] and [`crate::Error::Cancelled`].
    pub fn document(
        &self,
        url: &str,
        headers: &[(String, String)],
        max_bytes: u64,
        proceed: &mut dyn FnMut() -> ControlFlow<()>,
    ) -> Result<Option<Vec<u8>>> {
        document::fetch(self, url, headers, max_bytes, proceed)
    }

    /// What the server says about a file without sending it; `None` when there is none (404).
    ///
    /// # Errors
    /// As [`Downloader::document`].
    pub fn probe(
        &self,
        url: &str,
        headers: &[(String, String)],
        proceed: &mut dyn FnMut() -> ControlFlow<()>,
    ) -> Result<Option<Probe>> {
        probe::probe(self, url, headers, proceed)
    }
}

impl fmt::Debug for Downloader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Downloader").field("options", &self.options).finish_non_exhaustive()
    }
}
