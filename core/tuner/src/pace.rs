//! The pace of single steps: how many threads the next token gets, and how long it may take.
//!
//! Owns: the deadline that follows from the steps before, what happens when a step is broken off, and trying a thread more
//! or less now and then. A pure state machine: [`Pace::next`] before a step, [`Pace::took`] or [`Pace::too_late`] after it.
//! Must not know what a step computes, and asks no clock.
//!
//! Threads of one operation wait for each other, so one that has no processor holds up all: a step with more threads than
//! free processors can take a hundred times as long. Such a step is broken off and repeated with half the threads.

mod probe;

use crate::statistics::median;
use probe::{Probe, Probed};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::time::Duration;

/// Steps that the usual time is the median of.
const WINDOW: usize = 32;
/// As many are needed before they say what is usual.
const LEAST_STEPS: usize = 8;
/// A step's logarithm may be off by so much for nothing; CUSUM sums what goes beyond, in such units.
const USUAL_SCATTER: f64 = 0.1;
const CUSUM_ALARM: f64 = 12.0;
/// Steps after a try that was no use, and after one that was.
const AFTER_ALARM: u32 = 48;
const AFTER_MOVE: u32 = 24;
const MAX_PERIOD: u32 = 1536;
/// For so many steps, counts that were broken off are not tried again; twice as many each time they are once more.
const CEILING_STEPS: u64 = 1024;
const MAX_CEILING_STEPS: u64 = 16 * CEILING_STEPS;

/// How to pace.
#[derive(Debug, Clone)]
pub struct PaceSettings {
    /// Threads to begin with.
    pub threads: u32,
    /// Most threads ever.
    pub max_threads: u32,
    /// Try a thread more or less now and then, and keep what is surely faster. Default false.
    pub probes: bool,
    /// Steps between tries; doubled, up to eight times, while nothing comes of them. Default 192.
    pub period: u32,
    /// A step is broken off after so many times the usual. Default 8.
    pub late_factor: f64,
    /// Never before so long: systems pause every thread now and then. Default 200 ms.
    pub least_limit: Duration,
    /// The slowest step that is expected, where anything is. It stands in for the usual time until that is known.
    pub slowest_expected: Option<Duration>,
}

impl PaceSettings {
    /// Defaults for so many threads, none more.
    #[must_use]
    pub fn new(threads: u32) -> Self {
        Self {
            threads: threads.max(1),
            max_threads: threads.max(1),
            probes: false,
            period: 192,
            late_factor: 8.0,
            least_limit: Duration::from_millis(200),
            slowest_expected: None,
        }
    }
}

/// What the next step gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Threads.
    pub threads: u32,
    /// When to break it off; `None`: never.
    pub limit: Option<Duration>,
}

/// Another count of threads from here on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moved {
    /// Before.
    pub from: u32,
    /// Now.
    pub to: u32,
    /// Why.
    pub because: MovedBecause,
}

/// Why the count of threads changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MovedBecause {
    /// A step was broken off, and repeating it with fewer threads was faster.
    TooLate,
    /// It was tried and is faster.
    Faster,
}

/// The state machine.
#[derive(Debug, Clone)]
pub struct Pace {
    settings: PaceSettings,
    threads: u32,
    cap: u32,
    /// No more than this until that step.
    ceiling: Option<(u32, u64)>,
    ceiling_steps: u64,
    recent: VecDeque<f64>,
    n_steps: u64,
    cusum: f64,
    since: u32,
    period: u32,
    state: State,
}

#[derive(Debug, Clone)]
enum State {
    Steady,
    /// A step was broken off and is repeated.
    Retrying {
        from: u32,
        threads: u32,
        limit_s: f64,
    },
    Probing(Probe),
}

impl Pace {
    /// Begins with nothing known.
    #[must_use]
    pub fn new(settings: PaceSettings) -> Self {
        Self {
            threads: settings.threads.max(1),
            cap: u32::MAX,
            ceiling: None,
            ceiling_steps: CEILING_STEPS,
            recent: VecDeque::new(),
            n_steps: 0,
            cusum: 0.0,
            since: 0,
            period: settings.period,
            state: State::Steady,
            settings,
        }
    }

    /// The threads that steps get while nothing is tried.
    #[must_use]
    pub fn threads(&self) -> u32 {
        self.threads.min(self.cap)
    }

    /// The usual time of a step, once it is known.
    #[must_use]
    pub fn usual(&self) -> Option<Duration> {
        (self.recent.len() >= LEAST_STEPS).then(|| Duration::from_secs_f64(self.middle()))
    }

    /// So many threads from now on, as after tuning; the same count as before changes nothing.
    pub fn aim(&mut self, threads: u32) {
        let threads = threads.max(1);
        if threads != self.settings.threads {
            self.settings.threads = threads;
            self.settings.max_threads = self.settings.max_threads.max(threads);
            self.threads = threads;
            self.ceiling = None;
            self.restart();
        }
    }

    /// No more threads than this from now on.
    pub fn cap(&mut self, threads: u32) {
        if threads.max(1) != self.cap {
            self.cap = threads.max(1);
            self.restart();
        }
    }

    /// No more than this for a while: something else found that more have no processors.
    pub fn lower(&mut self, threads: u32) {
        let threads = threads.max(1);
        if threads < self.threads {
            self.threads = threads;
            self.restart();
            self.set_ceiling(threads);
        }
    }

    /// Tries more or fewer threads from now on, or no longer.
    pub fn set_probes(&mut self, probes: bool) {
        self.settings.probes = probes;
        if let (State::Probing(_), false) = (&self.state, probes) {
            self.state = State::Steady;
        }
    }

    /// What the next step gets.
    #[must_use]
    pub fn next(&self) -> Step {
        match &self.state {
            State::Steady => Step { threads: self.threads(), limit: self.limit() },
            State::Retrying { threads: 1, .. } => Step { threads: 1, limit: None },
            State::Retrying { threads, limit_s, .. } => {
                Step { threads: *threads, limit: Some(Duration::from_secs_f64(limit_s * 2.0)) }
            }
            State::Probing(probe) => {
                let (threads, limit_s) = probe.next();
                let limit = limit_s.map(Duration::from_secs_f64);
                Step { threads, limit: limit.or_else(|| self.limit()) }
            }
        }
    }

    /// The step took so long.
    pub fn took(&mut self, time: Duration) -> Option<Moved> {
        let seconds = time.as_secs_f64().max(1e-9);
        self.n_steps += 1;
        self.lift_ceiling();
        match &mut self.state {
            State::Steady => {
                self.usual_step(seconds);
                None
            }
            State::Retrying { from, threads, limit_s } => {
                let (from, to, faster) = (*from, *threads, seconds < *limit_s);
                self.restart();
                if !faster {
                    // It is the machine that is slow, or what was expected of it was too much.
                    self.settings.slowest_expected = Some(time);
                    return None;
                }
                self.threads = to;
                self.set_ceiling(from - 1);
                Some(Moved { from, to, because: MovedBecause::TooLate })
            }
            State::Probing(probe) => match probe.took(seconds) {
                Probed::Goes => None,
                Probed::Ended(best) => self.end_probe(best),
            },
        }
    }

    /// The step was broken off at its limit, and has to be repeated.
    pub fn too_late(&mut self) -> Option<Moved> {
        let limit_s = self.next().limit.map_or(0.0, |limit| limit.as_secs_f64());
        match &mut self.state {
            State::Steady => {
                let from = self.threads();
                self.state = State::Retrying { from, threads: (from / 2).max(1), limit_s };
                None
            }
            State::Retrying { threads, limit_s: limit, .. } => {
                *threads = (*threads / 2).max(1);
                *limit = limit_s;
                None
            }
            State::Probing(probe) => {
                let candidate = probe.next().0;
                let outcome = probe.too_late();
                if candidate > self.threads() {
                    self.set_ceiling(candidate - 1);
                }
                match outcome {
                    Probed::Goes => None,
                    Probed::Ended(best) => self.end_probe(best),
                }
            }
        }
    }

    fn set_ceiling(&mut self, threads: u32) {
        self.ceiling = Some((threads, self.n_steps + self.ceiling_steps));
        self.ceiling_steps = (self.ceiling_steps * 2).min(MAX_CEILING_STEPS);
    }

    /// After a while, what was broken off may be tried again; where nothing is tried, the count that was asked for comes
    /// back, with a deadline from what is usual now.
    fn lift_ceiling(&mut self) {
        if self.ceiling.is_none_or(|(_, until)| self.n_steps < until) {
            return;
        }
        self.ceiling = None;
        if !self.settings.probes
            && self.threads < self.settings.threads
            && matches!(self.state, State::Steady)
        {
            self.settings.slowest_expected = self.usual().or(self.settings.slowest_expected);
            self.threads = self.settings.threads;
            self.restart();
        }
    }

    fn usual_step(&mut self, seconds: f64) {
        self.recent.push_back(seconds);
        if self.recent.len() > WINDOW {
            self.recent.pop_front();
        }
        self.since += 1;
        if self.recent.len() > LEAST_STEPS {
            let off = (seconds / self.middle()).ln() / USUAL_SCATTER;
            self.cusum = (self.cusum + off - 1.0).max(0.0);
        }
        let alarm = self.cusum > CUSUM_ALARM;
        if !self.settings.probes || !(alarm || self.since >= self.period) {
            return;
        }
        let current = self.threads();
        let ceiling = self.ceiling.map_or(u32::MAX, |(ceiling, _)| ceiling);
        let most = self.settings.max_threads.min(self.cap).min(ceiling);
        let candidates: Vec<u32> =
            [current - 1, current + 1].into_iter().filter(|n| (1..=most).contains(n)).collect();
        (self.cusum, self.since) = (0.0, 0);
        if let Some(probe) = Probe::new(current, candidates, alarm) {
            self.state = State::Probing(probe);
        }
    }

    fn end_probe(&mut self, best: Option<u32>) -> Option<Moved> {
        let alarmed = matches!(&self.state, State::Probing(probe) if probe.alarmed);
        self.state = State::Steady;
        self.since = 0;
        let Some(to) = best else {
            self.period = match alarmed {
                true => AFTER_ALARM,
                false => {
                    (self.period.max(self.settings.period) * 2).min(MAX_PERIOD.max(self.settings.period))
                }
            };
            return None;
        };
        let from = self.threads();
        self.restart();
        (self.threads, self.period) = (to, AFTER_MOVE);
        Some(Moved { from, to, because: MovedBecause::Faster })
    }

    /// What was usual is so no longer.
    fn restart(&mut self) {
        self.recent.clear();
        self.state = State::Steady;
        self.cusum = 0.0;
    }

    fn middle(&self) -> f64 {
        median(self.recent.iter().copied().collect::<Vec<f64>>().as_slice())
    }

    /// One thread waits for nobody: breaking it off would help nothing.
    fn limit(&self) -> Option<Duration> {
        if self.threads() == 1 {
            return None;
        }
        let usual = self.usual().or(self.settings.slowest_expected)?;
        Some(usual.mul_f64(self.settings.late_factor).max(self.settings.least_limit))
    }
}

#[cfg(test)]
mod tests;
