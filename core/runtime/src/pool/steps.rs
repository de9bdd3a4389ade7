//! Threads and sizes of a pool's steps, by the time that steps took.
//!
//! Owns the cut of prompts, and the repetition of steps that were broken off. Must not know whose tokens they are.

use crate::govern::Steering;
use engine::Sequences;
use std::sync::Arc;
use std::time::Duration;
use tuner::{Pace, PaceSettings};

/// Tokens of prompts in a step, when nothing is known of the speed.
const FIRST_TOKENS: usize = 64;
/// Least tokens of a prompt in a step: below, the work around them takes longer than they do.
const LEAST_TOKENS: usize = 16;
/// How much of the newest speed goes into the average.
const SHARE: f64 = 0.3;

/// Paces of a pool.
pub(super) struct Steps {
    steering: Arc<Steering>,
    /// Of steps in which every sequence gets one token, and of prompts by the token.
    tokens: Pace,
    prompts: Pace,
    generation: Option<u64>,
    told: Option<(u32, u32)>,
    most_tokens: usize,
    aim: Duration,
    /// Seconds per token of a prompt.
    token_s: Option<f64>,
}

impl Steps {
    pub(super) fn new(steering: &Arc<Steering>, aim: Duration) -> Self {
        let now = steering.in_force(u64::MAX);
        let pace = |threads: u32| {
            let mut settings = PaceSettings::new(threads);
            settings.max_threads = now.max_threads;
            Pace::new(settings)
        };
        let (mut tokens, mut prompts) = (pace(now.setting.n_threads), pace(now.setting.n_threads_batch));
        // Steps are of unequal sizes: nothing is to be learned from trying.
        tokens.set_probes(false);
        prompts.set_probes(false);
        Self {
            steering: Arc::clone(steering),
            tokens,
            prompts,
            generation: None,
            told: None,
            most_tokens: now.stance.prompt_chunk_tokens as usize,
            aim,
            token_s: None,
        }
    }

    /// Takes over what the governor and tuning have changed.
    pub(super) fn obey(&mut self) {
        let generation = self.steering.generation();
        if self.generation == Some(generation) {
            return;
        }
        self.generation = Some(generation);
        let now = self.steering.in_force(u64::MAX);
        self.tokens.aim(now.setting.n_threads);
        self.prompts.aim(now.setting.n_threads_batch);
        self.tokens.cap(now.stance.max_threads);
        self.prompts.cap(now.stance.max_threads);
        self.most_tokens = now.stance.prompt_chunk_tokens as usize;
    }

    /// Tokens of prompts that the next step may have.
    pub(super) fn prompt_tokens(&self) -> usize {
        let by_time = self.token_s.map(|token_s| (self.aim.as_secs_f64() / token_s.max(1e-9)) as usize);
        by_time.unwrap_or(FIRST_TOKENS).clamp(LEAST_TOKENS, self.most_tokens.max(LEAST_TOKENS))
    }

    /// Before a step of `n_tokens`, of which `n_prompt` are of prompts.
    pub(super) fn begin(&mut self, sequences: &mut dyn Sequences, n_tokens: usize, n_prompt: usize) {
        let step = if n_prompt == 0 { self.tokens.next() } else { self.prompts.next() };
        // The engine counts several sequences' tokens as a prompt.
        let threads = if n_tokens == 1 {
            (step.threads, self.prompts.threads())
        } else {
            (self.tokens.threads(), step.threads)
        };
        if self.told != Some(threads) {
            sequences.set_threads(threads.0 as usize, threads.1 as usize);
            self.told = Some(threads);
        }
        let scale = if n_prompt == 0 { 1 } else { u32::try_from(n_tokens).unwrap_or(u32::MAX) };
        let limit = step.limit.map(|limit| limit.saturating_mul(scale));
        sequences.set_time_limit(limit.filter(|_| sequences.keeps_after_breaking_off()));
    }

    /// After it.
    pub(super) fn took(&mut self, time: Duration, n_tokens: usize, n_prompt: usize) {
        if n_prompt == 0 {
            let _ = self.tokens.took(time);
            return;
        }
        let _ = self.prompts.took(time / u32::try_from(n_tokens).unwrap_or(u32::MAX).max(1));
        let token_s = time.as_secs_f64() / n_tokens as f64;
        self.token_s = Some(self.token_s.map_or(token_s, |old| old + SHARE * (token_s - old)));
    }

    /// It was broken off.
    pub(super) fn too_late(&mut self, n_prompt: usize) {
        let moved = if n_prompt == 0 { self.tokens.too_late() } else { self.prompts.too_late() };
        if let Some(moved) = moved {
            self.tokens.lower(moved.to);
            self.prompts.lower(moved.to);
        }
    }
}
