//! How answers end: cancelled, failed, at their own end, or with the pool.
//!
//! Owns what a sequence keeps behind its answer. Must not know why an answer ends.

use super::Scheduler;
use crate::Error;
use crate::events::StopReason;
use crate::pool::sequence::never_begun;

impl Scheduler {
    pub(super) fn end_all(&mut self) {
        while let Some(request) = self.waiting.pop_front() {
            self.waits_no_longer();
            never_begun(request);
        }
        for index in 0..self.sequences.len() {
            self.end(index, StopReason::Cancelled);
        }
    }

    pub(super) fn drop_cancelled(&mut self) {
        for _ in 0..self.waiting.len() {
            let Some(request) = self.waiting.pop_front() else { break };
            if request.cancel.is_cancelled() {
                self.waits_no_longer();
                never_begun(request);
            } else {
                self.waiting.push_back(request);
            }
        }
        for index in 0..self.sequences.len() {
            let job = self.sequences[index].job.as_ref();
            if job.is_some_and(|job| job.cancel.is_cancelled()) {
                self.end(index, StopReason::Cancelled);
            }
        }
    }

    /// The answer of a sequence ended; the sequence remembers what the engine holds.
    pub(super) fn end(&mut self, index: usize, reason: StopReason) {
        if let Some(job) = self.sequences[index].job.take() {
            self.release(index);
            job.end(reason);
        }
    }

    pub(super) fn fail(&mut self, index: usize, error: Error) {
        if let Some(job) = self.sequences[index].job.take() {
            self.release(index);
            job.fail(error);
        }
    }

    pub(super) fn release(&mut self, index: usize) {
        let n_past = self.engine.n_past(index);
        let sequence = &mut self.sequences[index];
        sequence.tokens.truncate(n_past);
        sequence.used = self.clock;
        self.count();
    }
}
