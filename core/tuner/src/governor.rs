//! The governor: what a runtime does less of while the device is hot, short of memory or busy with something else.
//!
//! Owns: the state machine from signals to a stance, and the reactions in between. Pure: it is told the time and the
//! signals, asks nobody, and does nothing itself. Must not know where signals come from.
//!
//! It gives way at once and comes back slowly: a facet is relaxed only after its signals were better for a while, and
//! threads return one by one, so that a device at the edge does not swing.

mod facet;
mod signals;

pub use signals::{Cause, MemoryLevel, Reaction, Signals};

use crate::cache::{Conditions, Heat, PowerFrom};
use facet::Facet;
use serde::Serialize;
use std::time::Duration;

/// Least tokens of a prompt that are computed at a time.
const LEAST_CHUNK: u32 = 32;

/// How to govern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GovernorSettings {
    /// Threads when nothing is amiss.
    pub threads: u32,
    /// Tokens of a prompt that are computed at a time when nothing is amiss.
    pub prompt_chunk_tokens: u32,
    /// Signals have to be better for so long before anything is relaxed. Default 20 s.
    pub calm_for: Duration,
    /// Threads go and come one by one, with so long between. Default 5 s.
    pub step_every: Duration,
}

impl GovernorSettings {
    /// Defaults for so many threads and tokens at a time.
    #[must_use]
    pub fn new(threads: u32, prompt_chunk_tokens: u32) -> Self {
        Self {
            threads: threads.max(1),
            prompt_chunk_tokens: prompt_chunk_tokens.max(1),
            calm_for: Duration::from_secs(20),
            step_every: Duration::from_secs(5),
        }
    }
}

/// What holds at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Stance {
    /// Most threads.
    pub max_threads: u32,
    /// Whether tokens may be computed on speculation.
    pub speculation: bool,
    /// Tokens of a prompt that are computed at a time.
    pub prompt_chunk_tokens: u32,
    /// Whether what was computed for earlier prompts may be kept in memory.
    pub keep_prefixes: bool,
    /// Why no new work is taken, where none is. What is under way goes on.
    pub refused: Option<Cause>,
}

/// The state machine.
#[derive(Debug, Clone)]
pub struct Governor {
    settings: GovernorSettings,
    known: Signals,
    threads: Facet,
    speculation: Facet,
    chunk: Facet,
    prefixes: Facet,
    work: Facet,
    refused: Option<Cause>,
    /// Threads that heat leaves, and when that last changed.
    heat_threads: u32,
    heat_moved: Option<Duration>,
}

impl Governor {
    /// Begins with nothing amiss.
    #[must_use]
    pub fn new(settings: GovernorSettings) -> Self {
        Self {
            settings,
            known: Signals::default(),
            threads: Facet::new(settings.threads),
            speculation: Facet::new(1),
            chunk: Facet::new(settings.prompt_chunk_tokens),
            prefixes: Facet::new(1),
            work: Facet::new(1),
            refused: None,
            heat_threads: settings.threads,
            heat_moved: None,
        }
    }

    /// What holds at the moment.
    #[must_use]
    pub fn stance(&self) -> Stance {
        Stance {
            max_threads: self.threads.value(),
            speculation: self.speculation.value() == 1,
            prompt_chunk_tokens: self.chunk.value(),
            keep_prefixes: self.prefixes.value() == 1,
            refused: self.refused,
        }
    }

    /// The conditions under which measurements are made now.
    #[must_use]
    pub fn conditions(&self) -> Conditions {
        let (power, heat) = (self.known.power.unwrap_or_default(), self.known.heat.unwrap_or_default());
        Conditions { power, heat }
    }

    /// Other threads are full strength from now on, as after tuning.
    pub fn set_threads(&mut self, threads: u32) {
        let threads = threads.max(1);
        if threads != self.settings.threads {
            let was_full = self.threads.value() == self.settings.threads;
            self.settings.threads = threads;
            self.heat_threads = if was_full { threads } else { self.heat_threads.min(threads) };
            self.threads = Facet::new(if was_full { threads } else { self.threads.value().min(threads) });
        }
    }

    /// Takes in what is new of the signals at `now`, any monotonic time, and tells what changes because of it. To be called
    /// every few seconds also without news: time alone relaxes.
    pub fn step(&mut self, now: Duration, news: &Signals) -> Vec<Reaction> {
        self.known.update(news);
        self.ramp(now);
        let calm = self.settings.calm_for;
        let mut reactions = Vec::new();

        let (target, because) = self.wanted_threads();
        let step = Some(self.settings.step_every);
        if let Some((from, to)) = self.threads.settle(target, now, calm, step) {
            reactions.push(Reaction::Threads { from, to, because: better(from, to, because) });
        }
        let cause = self.quiet_cause();
        if let Some((from, to)) = self.speculation.settle(u32::from(cause.is_none()), now, calm, None) {
            let because = better(from, to, cause.unwrap_or(Cause::Calm));
            reactions.push(Reaction::Speculation { allowed: to == 1, because });
        }
        let (target, because) = self.wanted_chunk();
        if let Some((from, to)) = self.chunk.settle(target, now, calm, None) {
            let because = better(from, to, because);
            reactions.push(Reaction::PromptChunk { from_tokens: from, to_tokens: to, because });
        }
        let short = self.known.memory.unwrap_or_default() >= MemoryLevel::Low;
        match self.prefixes.settle(u32::from(!short), now, calm, None) {
            Some((_, 0)) => reactions.push(Reaction::DropPrefixes { because: Cause::Memory }),
            Some(_) => reactions.push(Reaction::KeepPrefixes),
            None => {}
        }
        let cause = self.refusal();
        match self.work.settle(u32::from(cause.is_none()), now, calm, None) {
            Some((_, 0)) => {
                let because = cause.unwrap_or(Cause::Calm);
                self.refused = Some(because);
                reactions.push(Reaction::RefuseWork { because });
            }
            Some(_) => {
                self.refused = None;
                reactions.push(Reaction::AcceptWork);
            }
            None => {}
        }
        reactions
    }

    /// A warm device loses a thread at a time, down to half.
    fn ramp(&mut self, now: Duration) {
        let full = self.settings.threads;
        let heat = self.known.heat.unwrap_or_default();
        let since = self.heat_moved.map(|moved| now.saturating_sub(moved));
        let due = since.is_none_or(|since| since >= self.settings.step_every);
        let target = match heat {
            Heat::Cool => full,
            Heat::Warm if self.heat_threads > full.div_ceil(2) && due => self.heat_threads - 1,
            Heat::Warm => self.heat_threads,
            Heat::Hot => 1,
        };
        if target != self.heat_threads {
            self.heat_threads = target.max(1);
            self.heat_moved = Some(now);
        }
    }

    /// The least of what each signal leaves, and which one it is.
    fn wanted_threads(&self) -> (u32, Cause) {
        let full = self.settings.threads;
        let half = full.div_ceil(2);
        let on = |signal: Option<bool>| signal == Some(true);
        let bounds = [
            (self.known.usable_cpus.unwrap_or(full).clamp(1, full), Cause::Affinity),
            (self.heat_threads.min(full), Cause::Heat),
            (if on(self.known.background) { half } else { full }, Cause::Background),
            (if on(self.known.saver) { half } else { full }, Cause::Energy),
        ];
        bounds.into_iter().min_by_key(|(threads, _)| *threads).unwrap_or((full, Cause::Calm))
    }

    /// The first reason to do nothing that is not needed.
    fn quiet_cause(&self) -> Option<Cause> {
        let known = &self.known;
        let reasons = [
            (known.heat.unwrap_or_default() >= Heat::Warm, Cause::Heat),
            (known.memory.unwrap_or_default() >= MemoryLevel::Low, Cause::Memory),
            (known.background == Some(true), Cause::Background),
            (known.saver == Some(true), Cause::Energy),
        ];
        reasons.into_iter().find(|(holds, _)| *holds).map(|(_, cause)| cause)
    }

    fn wanted_chunk(&self) -> (u32, Cause) {
        let full = self.settings.prompt_chunk_tokens;
        let part = |divisor: u32| (full / divisor).max(LEAST_CHUNK.min(full));
        let heat = match self.known.heat.unwrap_or_default() {
            Heat::Cool => full,
            Heat::Warm => part(2),
            Heat::Hot => part(4),
        };
        let memory = match self.known.memory.unwrap_or_default() {
            MemoryLevel::Enough => full,
            MemoryLevel::Low | MemoryLevel::Critical => part(4),
        };
        let background = if self.known.background == Some(true) { part(4) } else { full };
        let bounds = [(heat, Cause::Heat), (memory, Cause::Memory), (background, Cause::Background)];
        bounds.into_iter().min_by_key(|(tokens, _)| *tokens).unwrap_or((full, Cause::Calm))
    }

    fn refusal(&self) -> Option<Cause> {
        if self.known.memory == Some(MemoryLevel::Critical) {
            return Some(Cause::Memory);
        }
        (self.known.heat == Some(Heat::Hot)).then_some(Cause::Heat)
    }
}

/// What is relaxed is so because nothing is amiss any more.
fn better(from: u32, to: u32, because: Cause) -> Cause {
    if to > from { Cause::Calm } else { because }
}

impl Signals {
    fn update(&mut self, news: &Self) {
        self.heat = news.heat.or(self.heat);
        self.memory = news.memory.or(self.memory);
        self.usable_cpus = news.usable_cpus.or(self.usable_cpus);
        self.power = news.power.filter(|power| *power != PowerFrom::Unknown).or(self.power);
        self.saver = news.saver.or(self.saver);
        self.background = news.background.or(self.background);
    }
}
