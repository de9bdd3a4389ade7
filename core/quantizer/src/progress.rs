//! Progress of long work: bytes, rate and time left, and the caller's wish to stop.

use crate::{Error, Result};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

/// Where the work stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress<'a> {
    /// What is being written.
    pub label: &'a str,
    /// Source bytes done.
    pub done_bytes: u64,
    /// Source bytes in all.
    pub total_bytes: u64,
    /// Time left at the rate so far, once there is one.
    pub eta: Option<Duration>,
}

/// The callback that hears of progress; [`ControlFlow::Break`] cancels.
pub type Watch<'a> = dyn FnMut(Progress<'_>) -> ControlFlow<()> + 'a;

pub(crate) struct Meter<'a, 'b> {
    watch: &'a mut Watch<'b>,
    label: String,
    /// What was done before this run, which says nothing about its rate.
    before_bytes: u64,
    done_bytes: u64,
    total_bytes: u64,
    start: Instant,
}

impl<'a, 'b> Meter<'a, 'b> {
    pub(crate) fn new(watch: &'a mut Watch<'b>, label: &str, total_bytes: u64) -> Self {
        Self {
            watch,
            label: label.into(),
            before_bytes: 0,
            done_bytes: 0,
            total_bytes,
            start: Instant::now(),
        }
    }

    /// Counts what an earlier run finished.
    pub(crate) fn skip(&mut self, bytes: u64) {
        self.before_bytes += bytes;
        self.done_bytes += bytes;
    }

    /// Adds finished bytes and tells the caller.
    pub(crate) fn add(&mut self, bytes: u64) -> Result<()> {
        self.done_bytes += bytes;
        let now = self.done_bytes - self.before_bytes;
        let left = self.total_bytes.saturating_sub(self.done_bytes);
        let eta = (now > 0).then(|| self.start.elapsed().mul_f64(left as f64 / now as f64));
        let progress =
            Progress { label: &self.label, done_bytes: self.done_bytes, total_bytes: self.total_bytes, eta };
        match (self.watch)(progress) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(Error::Cancelled),
        }
    }
}
