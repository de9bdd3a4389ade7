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
    done_bytes: u64,
    total_bytes: u64,
    start: Instant,
}

impl<'a, 'b> Meter<'a, 'b> {
    pub(crate) fn new(watch: &'a mut Watch<'b>, label: &str, total_bytes: u64) -> Self {
        Self { watch, label: label.into(), done_bytes: 0, total_bytes, start: Instant::now() }
    }

    /// Adds finished bytes and tells the caller.
    pub(crate) fn add(&mut self, bytes: u64) -> Result<()> {
        self.done_bytes += bytes;
        let share = self.done_bytes as f64 / self.total_bytes.max(1) as f64;
        let eta = (self.done_bytes > 0).then(|| self.start.elapsed().mul_f64((1.0 / share - 1.0).max(0.0)));
        let progress =
            Progress { label: &self.label, done_bytes: self.done_bytes, total_bytes: self.total_bytes, eta };
        match (self.watch)(progress) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(Error::Cancelled),
        }
    }
}
