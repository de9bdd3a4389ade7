//! The steps of one session: threads, deadlines and chunks, as the pace, the governor and the app's own limit have them.
//!
//! Owns how a step that was broken off is repeated. Must not know how tokens are chosen: whatever happens here, the same
//! tokens are computed in the same order.

use super::{Change, Steering};
use crate::{Event, Result};
use engine::{CancelToken, Context, Logits, Token};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tuner::{MovedBecause, Pace, PaceSettings};

/// Share of the app's limit for a step that a chunk of a prompt aims at.
const AIM: f64 = 0.7;
/// Tokens of a prompt's first chunk under a limit, when nothing is known of the speed.
const FIRST_CHUNK: usize = 8;

/// Drives the context of one session.
pub(crate) struct Driver {
    steering: Arc<Steering>,
    /// Of single tokens, and of prompts by the token.
    decode: Pace,
    batch: Pace,
    /// Threads that the context was told last.
    told: Option<(u32, u32)>,
    generation: Option<u64>,
    reactions_told: u64,
    chunk_tokens: usize,
    max_step: Option<Duration>,
    /// Tokens per second of prompts lately, for chunks under a limit.
    prompt_speed: Option<f64>,
    changes: Vec<Change>,
}

impl Driver {
    pub(crate) fn new(steering: &Arc<Steering>) -> Self {
        let now = steering.in_force(u64::MAX);
        let pace = |threads: u32| {
            let settings = PaceSettings::new(threads);
            let (max_threads, slowest_expected) = (now.max_threads, steering.slowest_expected);
            Pace::new(PaceSettings { max_threads, slowest_expected, ..settings })
        };
        Self {
            steering: Arc::clone(steering),
            decode: pace(now.setting.n_threads),
            batch: pace(now.setting.n_threads_batch),
            told: None,
            generation: None,
            reactions_told: now.n_reactions,
            chunk_tokens: now.stance.prompt_chunk_tokens as usize,
            max_step: None,
            prompt_speed: None,
            changes: Vec::new(),
        }
    }

    pub(crate) fn steering(&self) -> &Steering {
        &self.steering
    }

    pub(crate) fn set_max_step(&mut self, max_step: Option<Duration>) {
        self.max_step = max_step;
    }

    /// Tries other counts of threads between ordinary steps, where the answer may be experimented with.
    pub(crate) fn set_probes(&mut self, probes: bool) {
        self.decode.set_probes(probes);
    }

    /// Threads for single tokens and for prompts.
    pub(crate) fn threads(&self) -> (u32, u32) {
        (self.decode.threads(), self.batch.threads())
    }

    /// There is another context, which was told nothing yet.
    pub(crate) fn forget_context(&mut self) {
        self.told = None;
    }

    /// Tells what changed since the last time.
    pub(crate) fn tell(&mut self, on_event: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>) -> ControlFlow<()> {
        self.changes.drain(..).try_for_each(|change| on_event(Event::Change(change)))
    }

    /// Computes one token.
    pub(crate) fn token(
        &mut self,
        context: &mut dyn Context,
        token: Token,
        cancel: &CancelToken,
    ) -> std::result::Result<(), engine::Error> {
        self.obey();
        loop {
            let step = self.decode.next();
            self.use_threads(context, step.threads, self.batch.threads());
            context.set_time_limit(step.limit.filter(|_| context.keeps_after_breaking_off()));
            let start = Instant::now();
            let outcome = context.decode(&[token], Logits::Last, cancel);
            let moved = match outcome {
                Ok(()) => self.decode.took(start.elapsed()),
                Err(engine::Error::TimeLimit { .. }) => self.decode.too_late(),
                Err(error) => return Err(error),
            };
            if let Some(moved) = moved {
                self.changes.push(Change::Paced(moved));
                if moved.because == MovedBecause::TooLate {
                    // Processors that are not free are so for prompts too.
                    self.batch.lower(moved.to);
                }
            }
            if outcome.is_ok() {
                return Ok(());
            }
            if cancel.is_cancelled() {
                return Err(engine::Error::Cancelled);
            }
        }
    }

    /// Computes a token and guesses of what follows, with the logits after each. It may take its time: paces are of
    /// single tokens.
    pub(crate) fn guess(
        &mut self,
        context: &mut dyn Context,
        tokens: &[Token],
        cancel: &CancelToken,
    ) -> std::result::Result<(), engine::Error> {
        self.obey();
        // The engine counts several tokens as a prompt.
        let threads = self.decode.threads();
        self.use_threads(context, threads, threads);
        context.set_time_limit(None);
        context.decode(tokens, Logits::All, cancel)
    }

    /// Computes a prompt in chunks, with the logits after its last token; `Break` when the listener wants no more.
    pub(crate) fn prompt(
        &mut self,
        context: &mut dyn Context,
        tokens: &[Token],
        cancel: &CancelToken,
        on_event: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>> {
        let begin = context.n_past();
        let mut most = usize::MAX;
        loop {
            self.obey();
            if self.tell(on_event).is_break() {
                return Ok(ControlFlow::Break(()));
            }
            let computed = context.n_past() - begin;
            let rest = &tokens[computed..];
            let n = self.chunk().min(most).min(rest.len());
            let want = if n == rest.len() { Logits::Last } else { Logits::None };
            let step = self.batch.next();
            // The engine counts a single token among those that are written.
            let decode = if n == 1 { step.threads } else { self.decode.threads() };
            self.use_threads(context, decode, step.threads);
            let paced = step.limit.map(|limit| limit * n as u32);
            context.set_time_limit(self.chunk_limit(n, paced).filter(|_| context.keeps_after_breaking_off()));
            let start = Instant::now();
            match context.decode(&rest[..n], want, cancel) {
                Ok(()) => {
                    let took = start.elapsed();
                    if let Some(moved) = self.batch.took(took / n as u32) {
                        self.changes.push(Change::Paced(moved));
                        self.decode.lower(moved.to);
                    }
                    self.prompt_speed = Some(n as f64 / took.as_secs_f64().max(1e-9));
                }
                Err(engine::Error::TimeLimit { .. }) if cancel.is_cancelled() => {
                    return Err(crate::Error::Cancelled);
                }
                Err(engine::Error::TimeLimit { .. }) => {
                    let unusual = paced.is_some_and(|limit| start.elapsed() >= limit);
                    if unusual || n == 1 || self.max_step.is_none() {
                        // Prompts try no other counts, so nothing moves before the chunk is repeated.
                        let _ = self.batch.too_late();
                    } else {
                        most = n / 2;
                    }
                }
                Err(error) => return Err(crate::model::cancelled(error)),
            }
            let computed = context.n_past() - begin;
            if computed == tokens.len() {
                return Ok(ControlFlow::Continue(()));
            }
            if on_event(Event::Progress { computed, total: tokens.len() }).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
    }

    /// Tokens of the next chunk.
    fn chunk(&self) -> usize {
        let by_time = self.max_step.map_or(usize::MAX, |limit| {
            let tokens = self.prompt_speed.map(|speed| speed * limit.as_secs_f64() * AIM);
            tokens.map_or(FIRST_CHUNK, |tokens| (tokens as usize).max(1))
        });
        self.chunk_tokens.min(by_time).max(1)
    }

    /// The app's limit, where there is something to divide, and the pace's.
    fn chunk_limit(&self, n_tokens: usize, paced: Option<Duration>) -> Option<Duration> {
        let asked = self.max_step.filter(|_| n_tokens > 1);
        paced.into_iter().chain(asked).min()
    }

    fn use_threads(&mut self, context: &mut dyn Context, decode: u32, batch: u32) {
        if self.told != Some((decode, batch)) {
            context.set_threads(decode as usize, batch as usize);
            self.told = Some((decode, batch));
        }
    }

    /// Takes over what the governor and tuning have changed.
    fn obey(&mut self) {
        let generation = self.steering.generation();
        if self.generation == Some(generation) {
            return;
        }
        self.generation = Some(generation);
        let now = self.steering.in_force(self.reactions_told);
        self.reactions_told = now.n_reactions;
        self.changes.extend(now.reactions.into_iter().map(Change::Governed));
        self.decode.aim(now.setting.n_threads);
        self.batch.aim(now.setting.n_threads_batch);
        self.decode.cap(now.stance.max_threads);
        self.batch.cap(now.stance.max_threads);
        self.chunk_tokens = now.stance.prompt_chunk_tokens as usize;
    }
}
