//! One file of a download as the coordinator sees it: what is there, what is under way, how often it failed.
//!
//! Owns the decisions about the next part and about failures. Must not touch the network or threads.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::attempt::Failure;
use super::partial::{Gate, Partial};
use super::problem::Problem;
use super::ranges::Ranges;
use super::{Job, Options, retry};
use crate::error::{Error, Result};

/// How often a file may change on the server before that is an error.
const MAX_CHANGES: u32 = 3;
/// How often the content may have the wrong digest: fetched once more, then an error.
const MAX_WRONG_DIGESTS: u32 = 2;

/// A connection under way.
#[derive(Debug)]
pub(super) struct Active {
    pub(super) id: u64,
    /// Start of what is not written yet.
    pub(super) position: u64,
    pub(super) end: u64,
    pub(super) started: Instant,
    pub(super) last_byte: Instant,
    pub(super) gate: Arc<Gate>,
}

/// What the file is waiting for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Fetching,
    Checking,
    Done,
}

/// Whether the server sends parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Parts {
    Unknown,
    Sent,
    /// It sends the whole file in any case: one connection at a time.
    Ignored,
}

#[derive(Debug)]
pub(super) struct FileState<'a> {
    pub(super) job: &'a Job,
    pub(super) partial: Arc<Partial>,
    pub(super) stage: Stage,
    pub(super) active: Vec<Active>,
    pub(super) done: Ranges,
    etag: Option<String>,
    parts: Parts,
    /// Failures in a row.
    failures: u32,
    /// Most bytes that ever were there: only more than that is progress.
    best_bytes: u64,
    changes: u32,
    wrong_digests: u32,
    last_failure: Option<Instant>,
    wait_until: Option<Instant>,
}

impl<'a> FileState<'a> {
    pub(super) fn new(job: &'a Job, partial: Partial, done: Ranges, etag: Option<String>) -> FileState<'a> {
        let best_bytes = done.bytes();
        FileState {
            job,
            partial: Arc::new(partial),
            stage: Stage::Fetching,
            active: Vec::new(),
            done,
            etag,
            parts: Parts::Unknown,
            failures: 0,
            best_bytes,
            changes: 0,
            wrong_digests: 0,
            last_failure: None,
            wait_until: None,
        }
    }

    /// Version of the source that the bytes belong to.
    pub(super) fn etag(&self) -> Option<&str> {
        self.etag.as_deref()
    }

    /// Bytes that are there.
    pub(super) fn done_bytes(&self) -> u64 {
        match self.stage {
            Stage::Done => self.job.bytes,
            Stage::Fetching | Stage::Checking => self.done.bytes(),
        }
    }

    /// Whether every byte is there.
    pub(super) fn is_complete(&self) -> bool {
        self.done.first_gap(self.job.bytes).is_none()
    }

    /// The next part to ask for, if another connection makes sense now.
    pub(super) fn next_part(&self, options: &Options, now: Instant) -> Option<Range<u64>> {
        let waiting = self.wait_until.is_some_and(|until| now < until);
        let single = self.parts != Parts::Sent && !self.active.is_empty();
        if self.stage != Stage::Fetching || waiting || single {
            return None;
        }
        let mut taken = self.done.clone();
        self.active.iter().for_each(|active| taken.insert(active.position..active.end));
        let gap = taken.first_gap(self.job.bytes)?;
        // Two parts of nearly equal length are better than a full one and a scrap.
        let end = match gap.end - gap.start {
            length if length <= options.part_bytes => gap.end,
            length if length < 2 * options.part_bytes => gap.start + length.div_ceil(2),
            _ => gap.start + options.part_bytes,
        };
        Some(gap.start..end)
    }

    /// A connection got an answer that fits.
    pub(super) fn answered(&mut self, id: u64, etag: Option<String>, is_whole: bool) {
        self.etag = self.etag.take().or(etag);
        let asked_for_part =
            self.active.iter().any(|a| a.id == id && !(a.position == 0 && a.end == self.job.bytes));
        if is_whole {
            self.parts = Parts::Ignored;
            self.close(|active| active.id != id);
            self.active.iter_mut().for_each(|active| active.end = self.job.bytes);
        } else if asked_for_part {
            self.parts = Parts::Sent;
        }
    }

    /// A connection wrote more bytes.
    pub(super) fn received(&mut self, id: u64, bytes: u64, now: Instant) {
        let Some(active) = self.active.iter_mut().find(|active| active.id == id) else { return };
        self.done.insert(active.position..active.position + bytes);
        active.position += bytes;
        active.last_byte = now;
        let done_bytes = self.done.bytes();
        if done_bytes > self.best_bytes {
            self.best_bytes = done_bytes;
            self.failures = 0;
        }
    }

    /// Withdraws the right to write from the connections that `which` names.
    pub(super) fn close(&mut self, which: impl Fn(&Active) -> bool) {
        self.active.retain(|active| {
            let closes = which(active);
            if closes {
                active.gate.close();
            }
            !closes
        });
    }

    /// A connection that began at `started` failed. Decides when to go on.
    ///
    /// # Errors
    /// When it makes no sense to go on.
    pub(super) fn failed(&mut self, failure: Failure, started: Instant, options: &Options) -> Result<()> {
        let problem = match failure {
            Failure::Closed => return Ok(()),
            Failure::Write(source) => return Err(Error::io("write", self.partial.path(), source)),
            Failure::Changed => {
                self.changes += 1;
                let problem = Problem::Changed { times: self.changes };
                if self.changes > MAX_CHANGES {
                    return Err(self.error(problem));
                }
                self.restart()?;
                problem
            }
            Failure::Problem(problem) => problem,
        };
        if self.parts == Parts::Ignored {
            self.parts = Parts::Unknown;
        }
        let asked = match &problem {
            Problem::Busy { after, .. } => after.unwrap_or_default(),
            _ => Duration::ZERO,
        };
        // Connections that were under way when another failed share its cause.
        if self.last_failure.is_none_or(|last| started > last) {
            self.failures += 1;
        }
        if !problem.is_transient() || self.failures >= options.max_failures || asked > options.max_retry_after
        {
            return Err(self.error(problem));
        }
        let now = Instant::now();
        self.last_failure = Some(now);
        let wait = asked.max(retry::backoff(options, self.failures));
        self.wait_until = self.wait_until.max(Some(now + wait));
        tracing::debug!(file = self.job.name, %problem, failures = self.failures, ?wait, "trying again");
        Ok(())
    }

    /// The complete content had the wrong digest. Starts anew, once.
    ///
    /// # Errors
    /// The second time; nothing is then left of the file.
    pub(super) fn wrong_digest(&mut self, problem: Problem) -> Result<()> {
        self.wrong_digests += 1;
        if self.wrong_digests >= MAX_WRONG_DIGESTS {
            self.done = Ranges::default();
            self.partial.discard();
            return Err(self.error(problem));
        }
        tracing::warn!(file = self.job.name, %problem, "discarded; fetching once more");
        self.stage = Stage::Fetching;
        self.restart()
    }

    /// Forgets everything that is there.
    fn restart(&mut self) -> Result<()> {
        self.close(|_| true);
        self.done = Ranges::default();
        self.etag = None;
        self.best_bytes = 0;
        self.parts = Parts::Unknown;
        self.partial.reset()
    }

    /// Notes what is there for a later run.
    pub(super) fn save(&self) -> Result<()> {
        match self.stage {
            Stage::Done => Ok(()),
            Stage::Fetching | Stage::Checking => {
                self.partial.save(self.job.bytes, self.etag.as_deref(), &self.done)
            }
        }
    }

    fn error(&self, problem: Problem) -> Error {
        Error::Download { url: super::address::shown(&self.job.url), problem }
    }
}
