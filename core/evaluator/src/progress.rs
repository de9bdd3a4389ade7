//! Progress of long measurements: steps done, steps in all, time left, and the caller's wish to stop.

use crate::{Error, Result};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

/// Where the work stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress<'a> {
    /// What is being measured.
    pub label: &'a str,
    /// Tokens or questions done.
    pub done: u64,
    /// Tokens or questions in all.
    pub total: u64,
    /// Time left at the rate so far, once there is one.
    pub eta: Option<Duration>,
}

/// The callback that hears of progress; [`ControlFlow::Break`] cancels.
pub type Watch<'a> = dyn FnMut(Progress<'_>) -> ControlFlow<()> + 'a;

pub(crate) struct Meter<'a, 'b> {
    watch: &'a mut Watch<'b>,
    label: String,
    /// What was done before this run, which says nothing about its rate.
    before: u64,
    done: u64,
    total: u64,
    start: Instant,
}

impl<'a, 'b> Meter<'a, 'b> {
    pub(crate) fn new(watch: &'a mut Watch<'b>, label: &str, total: u64) -> Self {
        Self { watch, label: label.into(), before: 0, done: 0, total, start: Instant::now() }
    }

    /// Counts what an earlier run did.
    pub(crate) fn skip(&mut self, steps: u64) {
        self.before += steps;
        self.done += steps;
    }

    /// Adds what is done and tells the caller.
    pub(crate) fn add(&mut self, steps: u64) -> Result<()> {
        self.done += steps;
        let (now, left) = (self.done - self.before, self.total.saturating_sub(self.done));
        let eta = (now > 0).then(|| self.start.elapsed().mul_f64(left as f64 / now as f64));
        let progress = Progress { label: &self.label, done: self.done, total: self.total, eta };
        match (self.watch)(progress) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(Error::Cancelled),
        }
    }
}
