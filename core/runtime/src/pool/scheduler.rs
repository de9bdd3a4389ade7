//! Who is computed when: the thread of a pool.
//!
//! Owns admission, the making of steps and what comes of them. Fair by construction: every answer at work gets one token
//! per step, prompts share what a step may take beside that, and the queue is served in order. Must not know how tokens are
//! chosen.

mod admission;
mod ending;

use super::sequence::Sequence;
use super::steps::Steps;
use super::{PoolSettings, Request, Shared};
use crate::Error;
use crate::answer::Next;
use crate::events::{Event, StopReason};
use crate::media::before_media;
use crate::model::{LoadedModel, cancelled};
use crate::speculate::{Drafter, OwnLayers, whoever};
use crate::tokenizer::Tokenizer;
use engine::{Applied, CancelToken, ContextSettings, Logits, Part, Sequences, Token};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

/// How long an idle pool sleeps before it looks for cancelled requests again.
const NAP: Duration = Duration::from_millis(200);

pub(super) struct Scheduler {
    engine: Box<dyn Sequences>,
    /// Guesses what may come, for the one that writes alone.
    drafter: Option<Drafter>,
    sequences: Vec<Sequence>,
    waiting: VecDeque<Request>,
    receiver: Receiver<Request>,
    shared: Arc<Shared>,
    tokenizer: Arc<Tokenizer>,
    steps: Steps,
    speculates: bool,
    /// What the engine applies.
    adapters: Vec<Applied>,
    n_batch: usize,
    /// Counts steps, to tell which sequence was used last and whose prompt comes first.
    clock: u64,
    is_open: bool,
}

/// What a sequence takes part in a step with.
struct Share {
    sequence: usize,
    tokens: Vec<Token>,
    want: Logits,
    /// Of the tokens, the last so many are guesses.
    n_guessed: usize,
    is_prompt: bool,
}

impl Scheduler {
    pub(super) fn new(
        (engine, drafter): (Box<dyn Sequences>, Option<Drafter>),
        model: &LoadedModel,
        settings: &PoolSettings,
        context: &ContextSettings,
        receiver: Receiver<Request>,
        shared: Arc<Shared>,
    ) -> Self {
        let sequences = (0..engine.n_sequences()).map(|_| Sequence::default()).collect();
        // Memories that keep only their latest state cannot take a guess back.
        let speculates = settings.speculate && engine.keeps_after_breaking_off();
        Self {
            engine,
            drafter,
            sequences,
            waiting: VecDeque::new(),
            receiver,
            shared,
            tokenizer: Arc::clone(model.shared_tokenizer()),
            steps: Steps::new(model.shared_steering(), settings.step_aim),
            speculates,
            adapters: Vec::new(),
            n_batch: context.n_batch as usize,
            clock: 0,
            is_open: true,
        }
    }

    /// Works until nobody can ask any more and everything is answered.
    pub(super) fn run(&mut self) {
        while self.is_open || !self.waiting.is_empty() || self.n_busy() > 0 {
            self.receive();
            if self.shared.breaks_off.load(Ordering::Relaxed) {
                self.end_all();
            }
            self.drop_cancelled();
            self.admit();
            self.step();
        }
    }

    fn n_busy(&self) -> usize {
        self.sequences.iter().filter(|sequence| sequence.job.is_some()).count()
    }

    /// Takes what was asked; waits for it where there is nothing else to do.
    fn receive(&mut self) {
        if self.is_open && self.waiting.is_empty() && self.n_busy() == 0 {
            match self.receiver.recv_timeout(NAP) {
                Ok(request) => self.waiting.push_back(request),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => self.is_open = false,
            }
        }
        while self.is_open {
            match self.receiver.try_recv() {
                Ok(request) => self.waiting.push_back(request),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => self.is_open = false,
            }
        }
    }

    fn count(&self) {
        self.shared.n_busy.store(self.n_busy(), Ordering::Relaxed);
    }

    /// One request fewer waits.
    fn waits_no_longer(&self) {
        self.shared.n_waiting.fetch_sub(1, Ordering::Relaxed);
    }

    /// What the next step computes.
    fn shares(&mut self) -> Vec<Share> {
        let mut shares = Vec::new();
        let mut room = self.n_batch;
        let mut prompts = Vec::new();
        let guesses = self.speculates && self.n_busy() == 1;
        let (adapters, n_ctx) = (self.whose_turn(), self.engine.n_ctx());
        for index in 0..self.sequences.len() {
            let n_past = self.engine.n_past(index);
            let sequence = &mut self.sequences[index];
            if sequence.adapters != adapters {
                continue;
            }
            let Some(job) = &mut sequence.job else { continue };
            let rest = &sequence.tokens[n_past.min(sequence.tokens.len())..];
            match rest {
                [next] if job.writes() => {
                    let mut tokens = vec![*next];
                    if guesses {
                        let left = n_ctx - n_past - 1;
                        let held = &sequence.tokens[..n_past];
                        let (predicts, cancel) = (self.engine.has_predictions(), job.cancel.clone());
                        let mut own = OwnLayers(|next, most, least| {
                            self.engine.predict(index, next, most, least, &cancel)
                        });
                        let drafter =
                            whoever(self.drafter.as_mut(), if predicts { Some(&mut own) } else { None });
                        tokens.extend(job.guesser.guess(held, *next, left, drafter));
                    }
                    let n_guessed = tokens.len() - 1;
                    let want = if n_guessed > 0 { Logits::All } else { Logits::Last };
                    room = room.saturating_sub(tokens.len());
                    shares.push(Share { sequence: index, tokens, want, n_guessed, is_prompt: false });
                }
                [] => {}
                _ => prompts.push(index),
            }
        }
        let mut budget = self.steps.prompt_tokens().min(room);
        // Whose turn it is first changes from step to step.
        let turn = usize::try_from(self.clock).unwrap_or(0) % prompts.len().max(1);
        prompts.rotate_left(turn);
        for (nth, index) in prompts.iter().enumerate() {
            let n_past = self.engine.n_past(*index);
            let rest = &self.sequences[*index].tokens[n_past..];
            let all = rest.len();
            let rest = &rest[..before_media(rest).0];
            // What is left is shared evenly, and nobody gets nothing as long as there is something.
            let fair = budget.div_ceil(prompts.len() - nth);
            let n = rest.len().min(fair);
            if n == 0 {
                break;
            }
            budget -= n;
            let want = if n == all { Logits::Last } else { Logits::None };
            let tokens = rest[..n].to_vec();
            shares.push(Share { sequence: *index, tokens, want, n_guessed: 0, is_prompt: true });
        }
        shares
    }

    /// The adapters of the next step: where answers have different ones, they take turns.
    fn whose_turn(&self) -> Vec<Applied> {
        let mut sets: Vec<&Vec<Applied>> = Vec::new();
        for sequence in self.sequences.iter().filter(|sequence| sequence.job.is_some()) {
            if !sets.contains(&&sequence.adapters) {
                sets.push(&sequence.adapters);
            }
        }
        let turn = usize::try_from(self.clock).unwrap_or(0) % sets.len().max(1);
        sets.get(turn).map(|set| (*set).clone()).unwrap_or_default()
    }

    /// Has the engine compute with the adapters of a sequence.
    fn adapt_to(&mut self, index: usize) -> Result<(), Error> {
        let wanted = &self.sequences[index].adapters;
        if self.adapters != *wanted {
            self.adapters.clear();
            self.engine.adapt(&[])?;
            self.engine.adapt(wanted)?;
            self.adapters.clone_from(wanted);
        }
        Ok(())
    }

    /// The sequence whose next step is a picture or sound, if there is one.
    fn whose_picture(&self) -> Option<usize> {
        (0..self.sequences.len()).find(|index| {
            let sequence = &self.sequences[*index];
            let rest = sequence.tokens.get(self.engine.n_past(*index)..).unwrap_or_default();
            sequence.job.is_some() && before_media(rest).1.is_some()
        })
    }

    /// Appends the picture or sound that comes next in a sequence.
    fn see(&mut self, index: usize) {
        if let Err(error) = self.adapt_to(index) {
            return self.fail(index, error);
        }
        let sequence = &self.sequences[index];
        let Some((job, place)) = sequence.job.as_ref().zip(sequence.tokens.get(self.engine.n_past(index)))
        else {
            return;
        };
        let (media, cancel) = (job.media.get(*place).cloned(), job.cancel.clone());
        let outcome = media.and_then(|media| {
            self.engine.set_time_limit(None);
            Ok(self.engine.decode_media(index, &*media, &cancel)?)
        });
        match outcome {
            // Who is cancelled ends before the next step.
            Ok(()) | Err(Error::Engine(engine::Error::Cancelled)) => {}
            Err(error) => self.fail(index, error),
        }
    }

    fn step(&mut self) {
        self.steps.obey();
        self.clock += 1;
        if let Some(index) = self.whose_picture() {
            return self.see(index);
        }
        let shares = self.shares();
        if shares.is_empty() {
            return;
        }
        if let Err(error) = self.adapt_to(shares[0].sequence) {
            return self.failed(&shares, error);
        }
        let n_tokens = shares.iter().map(|share| share.tokens.len()).sum();
        let n_prompt = shares.iter().filter(|share| share.is_prompt).map(|share| share.tokens.len()).sum();
        self.steps.begin(self.engine.as_mut(), n_tokens, n_prompt);
        // A step for one may be broken off for that one; others' steps only when all ends.
        let cancel = match shares.as_slice() {
            [share] => self.sequences[share.sequence].job.as_ref().map(|job| job.cancel.clone()),
            _ => None,
        };
        let cancel: CancelToken = cancel.unwrap_or_else(|| self.shared.stop.clone());
        let parts: Vec<Part<'_>> = shares
            .iter()
            .map(|share| Part { sequence: share.sequence, tokens: &share.tokens, want: share.want })
            .collect();
        let start = Instant::now();
        let outcome = self.engine.decode(&parts, &cancel);
        let took = start.elapsed();
        match outcome.map_err(cancelled) {
            Ok(()) => {
                if shares.iter().all(|share| share.n_guessed == 0) {
                    self.steps.took(took, n_tokens, n_prompt);
                }
                for (part, share) in shares.iter().enumerate() {
                    self.computed(part, share, took);
                }
            }
            // Those that are cancelled end before the next step; what the others kept, they go on from.
            Err(Error::Cancelled) => self.go_back(&shares),
            Err(Error::Engine(engine::Error::TimeLimit { .. })) => {
                self.steps.too_late(n_prompt);
                self.go_back(&shares);
            }
            Err(error) => self.failed(&shares, error),
        }
    }

    /// After a step that was broken off: who computed all of its tokens and has no logits computes the last one again.
    fn go_back(&mut self, shares: &[Share]) {
        for share in shares {
            let index = share.sequence;
            let n_past = self.engine.n_past(index);
            let wanted = self.sequences[index].tokens.len();
            if n_past < wanted {
                continue;
            }
            if self.engine.truncate(index, wanted - 1).is_err() {
                // To nothing, every memory can go back.
                let _ = self.engine.truncate(index, 0);
            }
        }
    }

    /// The engine failed for all that took part; each hears it.
    fn failed(&mut self, shares: &[Share], error: Error) {
        let text = error.to_string();
        tracing::error!(target: "llama_pajamas::pool", error = text, "a step failed");
        let mut first = Some(error);
        for share in shares {
            let again = || Error::Engine(engine::Error::Decode { n_past: 0, code: -1, reason: text.clone() });
            self.fail(share.sequence, first.take().unwrap_or_else(again));
        }
    }

    /// What comes of a sequence's part in a step.
    fn computed(&mut self, part: usize, share: &Share, took: Duration) {
        let index = share.sequence;
        let n_past = self.engine.n_past(index);
        let sequence = &mut self.sequences[index];
        let Some(job) = &mut sequence.job else { return };
        if share.is_prompt {
            let total = job.usage.prompt_tokens - job.usage.reused_tokens;
            let computed = n_past.saturating_sub(job.usage.reused_tokens).min(total);
            if share.want == Logits::None {
                if job.tell(Event::Progress { computed, total }).is_break() {
                    self.end(index, StopReason::Cancelled);
                }
                return;
            }
            if job.prompt_is_done().is_break() {
                return self.end(index, StopReason::Cancelled);
            }
        } else if share.n_guessed == 0 && self.speculates {
            job.guesser.took_single(took);
        }
        let guess = &share.tokens[share.tokens.len() - share.n_guessed..];
        let mut right = 0;
        let next = loop {
            let logits = match self.engine.logits(part, right) {
                Ok(logits) => logits,
                Err(error) => return self.fail(index, error.into()),
            };
            match job.choose(logits) {
                Ok(Next::Compute(token)) if guess.get(right) == Some(&token) => {
                    right += 1;
                    sequence.tokens.push(token);
                }
                Ok(next) => break next,
                Err(error) => return self.fail(index, error),
            }
        };
        if share.n_guessed > 0 {
            job.guesser.took_guess(share.n_guessed, right, took);
            job.usage.guessed_tokens += right;
            let keep = sequence.tokens.len();
            if self.engine.truncate(index, keep).is_err() {
                job.guesser.turn_off();
                if let Err(error) = self.engine.truncate(index, 0) {
                    return self.fail(index, error.into());
                }
            }
        }
        match next {
            Next::End(reason) => self.end(index, reason),
            Next::Compute(_) if sequence.tokens.len() >= self.engine.n_ctx() => {
                self.end(index, StopReason::ContextFull);
            }
            Next::Compute(token) => sequence.tokens.push(token),
        }
    }
}
