//! Every setting of a kind, measured side by side: in each round all of them once, in random order. A setting's figure is
//! the median of its speeds over the round's mean, so that a machine whose speed moves does not favour any.

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

    /// Measures `points` for `time`, `n_tokens` at a time: one by one where `single`, else as a prompt.
    pub(crate) fn run(
        &mut self,
        points: &[Point],
        n_tokens: usize,
        single: bool,
        time: Duration,
    ) -> Result<Vec<Figure>, Error> {
        let mut contexts = Vec::new();
        for point in points {
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
        let (begin, mut rounds) = (Instant::now(), Vec::new());
        while rounds.len() < LEAST_ROUNDS || begin.elapsed() < time {
            let mut order: Vec<usize> = (0..points.len()).collect();
            for place in (1..order.len()).rev() {
                order.swap(place, self.random() as usize % (place + 1));
            }
            let mut round = vec![0.0; points.len()];
            for index in order {
                round[index] = self.block(&mut *contexts[index], n_tokens, single)?;
            }
            // The first touches every weight.
            rounds.push(round);
        }
        rounds.remove(0);
        let figure = |(index, point): (usize, &Point)| {
            let mean = |round: &[f64]| round.iter().map(|speed| speed.ln()).sum::<f64>() / round.len() as f64;
            Figure {
                point: *point,
                tokens_per_s: median(rounds.iter().map(|round| round[index]).collect()),
                relative: median(rounds.iter().map(|round| round[index].ln() - mean(round)).collect()).exp(),
            }
        };
        Ok(points.iter().enumerate().map(figure).collect())
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
