//! Every setting of a kind, measured side by side: in each round all of them once, in random order. A setting's figure is
//! the median of its speeds over the round's mean, so that a machine whose speed moves does not favour any. Settings that
//! are far behind after the first turn are left out of later ones, whose time then goes to those that may be the best.

use llama_pajamas::engine::{Context, ContextSettings, Error, Logits, Model};
use llama_pajamas::{CancelToken, Token};
use std::sync::Arc;
use std::time::{Duration, Instant};

const DEPTH: usize = 32;
const N_CTX: u32 = 1024;
/// Blocks that take longer are broken off and count as if they had taken so long: enough to lose.
const LIMIT: Duration = Duration::from_millis(1500);
const PROMPT_LIMIT: Duration = Duration::from_secs(12);
const LEAST_ROUNDS: usize = 4;
/// Of the best one's speed: what is behind that is left out.
const WORTH_MORE_ROUNDS: f64 = 0.6;

/// What single tokens or prompts are computed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Point {
    pub(crate) threads: u32,
    pub(crate) n_ubatch: u32,
}

/// A point's median speed, and that over the mean of its rounds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figure {
    pub(crate) point: Point,
    pub(crate) tokens_per_s: f64,
    pub(crate) relative: f64,
}

/// Rounds that were measured, over several turns.
pub(crate) struct Table {
    points: Vec<Point>,
    alive: Vec<bool>,
    rounds: Vec<Vec<Option<f64>>>,
}

impl Table {
    pub(crate) fn new(points: Vec<Point>) -> Self {
        let alive = vec![true; points.len()];
        Self { points, alive, rounds: Vec::new() }
    }

    pub(crate) fn n_rounds(&self) -> usize {
        self.rounds.len()
    }

    /// Speeds are compared with the mean of those that are in every round.
    pub(crate) fn figures(&self) -> Vec<Figure> {
        let base = |round: &[Option<f64>]| {
            let alive = round.iter().zip(&self.alive).filter(|(_, alive)| **alive);
            let logs: Vec<f64> = alive.filter_map(|(speed, _)| speed.map(f64::ln)).collect();
            logs.iter().sum::<f64>() / logs.len() as f64
        };
        let figure = |(index, point): (usize, &Point)| {
            let speeds = || self.rounds.iter().filter_map(|round| Some((round[index]?, base(round))));
            Figure {
                point: *point,
                tokens_per_s: median(speeds().map(|(speed, _)| speed).collect()),
                relative: median(speeds().map(|(speed, base)| speed.ln() - base).collect()).exp(),
            }
        };
        self.points.iter().enumerate().map(figure).collect()
    }

    fn leave_out(&mut self) {
        let figures = self.figures();
        let best = figures.iter().map(|figure| figure.relative).fold(0.0, f64::max);
        self.alive = figures.iter().map(|figure| figure.relative >= best * WORTH_MORE_ROUNDS).collect();
    }
}

pub(crate) struct Sweep {
    model: Arc<dyn Model>,
    tokens: Vec<Token>,
    state: u64,
}

impl Sweep {
    pub(crate) fn new(model: Arc<dyn Model>) -> Self {
        let mut sweep = Self { model, tokens: Vec::new(), state: 12_345 };
        let n_vocab = sweep.model.n_vocab() as u64;
        sweep.tokens = (0..N_CTX).map(|_| (sweep.random() % n_vocab) as Token).collect();
        sweep
    }

    fn random(&mut self) -> u64 {
        self.state =
            self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.state >> 33
    }

    /// Measures what is left of `table` for another `time`, `n_tokens` at a time: one by one where `single`, else as a prompt.
    pub(crate) fn run(
        &mut self,
        table: &mut Table,
        n_tokens: usize,
        single: bool,
        time: Duration,
    ) -> Result<(), Error> {
        let mut contexts = Vec::new();
        for point in &table.points {
            let settings = ContextSettings {
                n_ctx: N_CTX,
                n_batch: 512,
                n_ubatch: point.n_ubatch,
                n_threads: point.threads,
                n_threads_batch: point.threads,
                ..ContextSettings::default()
            };
            contexts.push(Arc::clone(&self.model).new_context(&settings)?);
        }
        let is_first = table.rounds.is_empty();
        let (begin, mut rounds) = (Instant::now(), Vec::new());
        while rounds.len() < LEAST_ROUNDS || begin.elapsed() < time {
            let mut order: Vec<usize> = (0..table.points.len()).filter(|point| table.alive[*point]).collect();
            for place in (1..order.len()).rev() {
                order.swap(place, self.random() as usize % (place + 1));
            }
            let mut round = vec![None; table.points.len()];
            for index in order {
                round[index] = Some(self.block(&mut *contexts[index], n_tokens, single)?);
            }
            rounds.push(round);
        }
        // The first touches every weight and buffer.
        rounds.remove(0);
        table.rounds.append(&mut rounds);
        if is_first {
            table.leave_out();
        }
        Ok(())
    }

    /// Tokens per second.
    fn block(&self, context: &mut dyn Context, n_tokens: usize, single: bool) -> Result<f64, Error> {
        let cancel = CancelToken::new();
        let speed = |start: Instant| Ok(n_tokens as f64 / start.elapsed().as_secs_f64());
        if !single {
            context.truncate(0)?;
            context.set_time_limit(Some(PROMPT_LIMIT));
            let start = Instant::now();
            return match context.decode(&self.tokens[..n_tokens], Logits::Last, &cancel) {
                Ok(()) | Err(Error::TimeLimit { .. }) => speed(start),
                Err(error) => Err(error),
            };
        }
        context.set_time_limit(None);
        if context.n_past() < DEPTH || context.n_past() + n_tokens > context.n_ctx() {
            context.truncate(0)?;
            context.decode(&self.tokens[..DEPTH], Logits::None, &cancel)?;
        }
        let start = Instant::now();
        for token in &self.tokens[..n_tokens] {
            context.set_time_limit(Some(LIMIT.saturating_sub(start.elapsed())));
            match context.decode(&[*token], Logits::Last, &cancel) {
                Ok(()) => {}
                Err(Error::TimeLimit { .. }) => break,
                Err(error) => return Err(error),
            }
        }
        speed(start)
    }
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
