//! Which sequence a request gets, and what of its prompt is held already.
//!
//! Owns the order of the queue and the copies between sequences. Must not know how steps are made.

use super::Scheduler;
use crate::Error;
use crate::answer::Answer;
use crate::pool::Request;
use crate::pool::sequence::{Job, done};
use std::collections::VecDeque;

/// So many tokens that another sequence holds, and its own not, are worth copying.
const WORTH_COPYING: usize = 32;

impl Scheduler {
    /// Gives free sequences to those who wait.
    pub(super) fn admit(&mut self) {
        let mut later = VecDeque::new();
        while self.sequences.iter().any(|sequence| sequence.job.is_none()) {
            let Some(request) = self.waiting.pop_front() else { break };
            if self.waits_for_another(&request) {
                later.push_back(request);
                continue;
            }
            self.waits_no_longer();
            self.begin(request);
        }
        while let Some(request) = later.pop_back() {
            self.waiting.push_front(request);
        }
    }

    fn common(&self, index: usize, request: &Request) -> usize {
        let sequence = &self.sequences[index];
        if sequence.adapters != request.settings.adapters {
            return 0;
        }
        sequence.tokens.iter().zip(&request.prompt).take_while(|(a, b)| a == b).count()
    }

    /// Of what a sequence holds, as much as the prompt begins with, computed as it wants.
    fn common_held(&self, index: usize, request: &Request) -> usize {
        self.common(index, request).min(self.engine.n_past(index))
    }

    /// Whether a sequence is just about to hold much more of the prompt's beginning than any does.
    fn waits_for_another(&self, request: &Request) -> bool {
        let all = 0..self.sequences.len();
        let held = all.clone().map(|index| self.common_held(index, request)).max().unwrap_or(0);
        all.filter(|index| {
            let job = self.sequences[*index].job.as_ref();
            job.is_some_and(|job| !job.writes()) && self.engine.keeps_after_breaking_off()
        })
        .any(|index| self.common(index, request).min(request.prompt.len() - 1) >= held + WORTH_COPYING)
    }

    /// The free sequence that holds most of the prompt's beginning; of equal ones the longest unused, then the first.
    fn free_for(&self, request: &Request) -> Option<usize> {
        let free = (0..self.sequences.len()).filter(|index| self.sequences[*index].job.is_none());
        free.max_by_key(|index| {
            let held = self.common_held(*index, request);
            (held, std::cmp::Reverse((self.sequences[*index].used, *index)))
        })
    }

    fn begin(&mut self, request: Request) {
        let Some(index) = self.free_for(&request) else { return };
        let answer = match Answer::new(&request.settings, &self.tokenizer, &request.prompt) {
            Ok(answer) => answer,
            Err(error) => return done(request.on_done, Err(error)),
        };
        if let Err(error) = self.make_ready(index, &request) {
            return done(request.on_done, Err(error));
        }
        let reused = self.engine.n_past(index);
        let sequence = &mut self.sequences[index];
        sequence.tokens.clone_from(&request.prompt);
        sequence.adapters.clone_from(&request.settings.adapters);
        sequence.job = Some(Job::begin(request, answer, self.speculates, reused));
        self.count();
    }

    /// Lets a sequence hold as much of the prompt's beginning as any does, and nothing else; one token at least is left
    /// to be computed.
    fn make_ready(&mut self, index: usize, request: &Request) -> Result<(), Error> {
        let prompt = &request.prompt;
        let own = self.common_held(index, request);
        let others = (0..self.sequences.len()).filter(|other| *other != index);
        let best = others.max_by_key(|other| self.common_held(*other, request));
        let most = prompt.len() - 1;
        let mut keep = own.min(most);
        if let Some(other) = best.filter(|_| self.engine.keeps_after_breaking_off()) {
            let common = self.common_held(other, request).min(most);
            if common >= keep + WORTH_COPYING {
                match self.engine.copy(other, index) {
                    Ok(()) => keep = common,
                    // Then it is computed.
                    Err(_) => keep = keep.min(self.engine.n_past(index)),
                }
            }
        }
        if self.engine.truncate(index, keep).is_err() {
            // Some memories cannot go back a little, but every one can start anew.
            self.engine.truncate(index, 0)?;
        }
        self.sequences[index].tokens = prompt[..self.engine.n_past(index)].to_vec();
        Ok(())
    }
}
