//! Variants of like quality timed against each other on this machine.
//!
//! Owns the call that users make and the timing. Which variants compete and what the figures decide is the planner's; the file
//! is kept by `kept`. Never runs on its own.

mod kept;

pub(crate) use kept::{of_bundle, recall};

use crate::model::cancelled;
use crate::{Error, LoadedModel, PlanRequest, Result, Runtime};
use engine::{CancelToken, Context, Form, Logits, Token};
use planner::{Candidate, Choice, MeasuredSpeed};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

/// Tokens of the prompt that is timed, and of a round of single ones behind it.
const PROMPT: usize = 64;
const ANSWER: usize = 16;
/// Most rounds of a variant: what more of them tell is not worth the time.
const MOST_ROUNDS: usize = 9;

/// How variants are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompareSettings {
    /// Time for all of it, loading included. 5 s.
    pub budget: Duration,
}

impl Default for CompareSettings {
    fn default() -> Self {
        Self { budget: Duration::from_secs(5) }
    }
}

/// Where a comparison stands.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CompareStep<'a> {
    /// The variant that is being timed.
    pub id: &'a str,
    /// Its number, from 0.
    pub at: usize,
    /// How many compete.
    pub n_variants: usize,
    /// Tokens per second of its latest round when writing, once there is one.
    pub decode_tokens_per_s: Option<f64>,
    /// Time so far.
    pub elapsed: Duration,
}

/// What a comparison found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// Speeds, each variant under the plan for it alone.
    pub measured: Vec<MeasuredSpeed>,
    /// Those that compete and were not measured.
    pub unmeasured: Vec<Unmeasured>,
    /// Time that it took.
    pub elapsed: Duration,
}

/// A variant that was not measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unmeasured {
    /// Its id.
    pub id: String,
    /// Why.
    pub reason: String,
}

impl Runtime {
    /// Times the variants between which speed may decide ([`planner::competitors`]): those that fit and that none is known to beat
    /// in quality. Each is loaded as its own plan says, reads a short prompt and writes some tokens, again and again for its share
    /// of [`CompareSettings::budget`]; one at a time is in memory. The tuning folder keeps the figures
    /// ([`crate::RuntimeSettings::tuning_folder`]), and plans use them from then on: as long as machine, engines and the variant's
    /// files stay what they are, and for 90 days.
    ///
    /// `progress` hears between rounds and may stop it, as `cancel` can from anywhere: what was measured by then is kept.
    /// Nothing else should be computed meanwhile.
    ///
    /// # Errors
    /// A host that is described and not this machine, what the engine reports, or [`Error::Cancelled`]. A variant that cannot be loaded
    /// or is not timed before the budget ends is no error: [`Comparison::unmeasured`].
    pub fn compare(
        &self,
        request: &PlanRequest,
        settings: &CompareSettings,
        cancel: &CancelToken,
        progress: &mut dyn FnMut(&CompareStep<'_>) -> ControlFlow<()>,
    ) -> Result<Comparison> {
        if !self.is_here() {
            let (expected, got) = ("this machine".into(), "one that was described".into());
            return Err(Error::Request { what: "compare", expected, got });
        }
        let begin = Instant::now();
        let candidates: Vec<Candidate> = self.candidates().cloned().collect();
        let ids = planner::competitors(self.host(), &candidates, &self.completed(request));
        let mut found = Comparison { measured: Vec::new(), unmeasured: Vec::new(), elapsed: Duration::ZERO };
        let n_variants = ids.len();
        for (at, id) in ids.iter().enumerate().filter(|_| n_variants > 1) {
            let left = settings.budget.saturating_sub(begin.elapsed()) / (n_variants - at) as u32;
            let clock = Clock { until: Instant::now() + left, cancel };
            let mut tell = |decode_tokens_per_s| {
                let elapsed = begin.elapsed();
                let step = CompareStep { id, at, n_variants, decode_tokens_per_s, elapsed };
                if progress(&step).is_break() { Err(Error::Cancelled) } else { Ok(()) }
            };
            let outcome = tell(None).and_then(|()| self.timed(request, id, &clock, &mut tell));
            match outcome {
                Ok(Some(measured)) => {
                    self.keep(&measured);
                    found.measured.push(measured);
                }
                Ok(None) => {
                    let reason = "the time was over before a round of it was".into();
                    found.unmeasured.push(Unmeasured { id: id.clone(), reason });
                }
                Err(Error::Cancelled) => return Err(Error::Cancelled),
                Err(error) => {
                    found.unmeasured.push(Unmeasured { id: id.clone(), reason: error.to_string() });
                }
            }
        }
        found.elapsed = begin.elapsed();
        Ok(found)
    }

    /// Loads one variant and times it; `None` where the time is over before.
    fn timed(
        &self,
        request: &PlanRequest,
        id: &str,
        clock: &Clock<'_>,
        tell: &mut dyn FnMut(Option<f64>) -> Result<()>,
    ) -> Result<Option<MeasuredSpeed>> {
        let plan = self.plan(&PlanRequest { variant: Some(id.into()), ..request.clone() });
        let stop = CancelToken::new();
        let mut watch = |_| {
            if clock.is_over() || clock.cancel.is_cancelled() {
                stop.cancel();
            }
        };
        let model = match self.load(&plan, &mut watch, &stop) {
            Err(Error::Cancelled) if !clock.cancel.is_cancelled() => return Ok(None),
            model => model?,
        };
        let choice = model.choice().clone();
        let Some((decode, prefill)) = rounds(&model, &choice, clock, tell)? else { return Ok(None) };
        Ok(Some(MeasuredSpeed {
            id: id.into(),
            backend: choice.backend,
            gpu_layers: choice.gpu_layers,
            decode_tokens_per_s: ANSWER as f64 / decode.as_secs_f64(),
            prefill_tokens_per_s: PROMPT as f64 / prefill.as_secs_f64(),
        }))
    }
}

/// Until when, and whether at all.
struct Clock<'a> {
    until: Instant,
    cancel: &'a CancelToken,
}

impl Clock<'_> {
    fn left(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }

    fn is_over(&self) -> bool {
        self.left().is_zero()
    }

    /// Computes some tokens; `None` where the time is over before.
    fn decode(&self, context: &mut dyn Context, tokens: &[Token]) -> Result<Option<()>> {
        context.set_time_limit(Some(self.left()));
        match context.decode(tokens, Logits::Last, self.cancel) {
            Ok(()) => Ok(Some(())),
            Err(engine::Error::TimeLimit { .. }) => Ok(None),
            Err(error) => Err(cancelled(error)),
        }
    }
}

/// Middle times of writing and of reading over all rounds, the first of which warms up and does not count.
fn rounds(
    model: &LoadedModel,
    choice: &Choice,
    clock: &Clock<'_>,
    tell: &mut dyn FnMut(Option<f64>) -> Result<()>,
) -> Result<Option<(Duration, Duration)>> {
    if model.form() != Form::Decoder {
        let (expected, got) = ("a model that writes what follows a prompt".into(), "an encoder".into());
        return Err(Error::Request { what: "compare", expected, got });
    }
    let n_ctx = u32::try_from(choice.context_tokens).unwrap_or(u32::MAX).min((PROMPT + ANSWER) as u32);
    let threads = choice.n_threads.max(choice.n_threads_batch);
    let mut context = model.writing_context(n_ctx, choice.n_ubatch, threads)?;
    let mut random = StdRng::seed_from_u64(7);
    let n_vocab = Token::try_from(model.n_vocab()).unwrap_or(Token::MAX).max(1);
    let tokens: Vec<Token> = (0..n_ctx).map(|_| random.random_range(0..n_vocab)).collect();
    let (prompt, answer) = tokens.split_at(PROMPT.min(tokens.len() / 2));
    // A context that is shorter than the round computes less of it.
    let share = |tokens: &[Token], whole: usize| whole as f64 / tokens.len().max(1) as f64;
    let (mut writing, mut reading) = (Vec::new(), Vec::new());
    // Threads that wait for one another on processors that others use take a hundred times as long: a session steps down to
    // fewer, and so does this.
    context.set_time_limit(Some(clock.left() / 3));
    match context.decode(prompt, Logits::Last, clock.cancel) {
        Err(engine::Error::TimeLimit { .. }) => context.set_threads(1, 1),
        warmed => warmed.map_err(cancelled)?,
    }
    for round in 0..=MOST_ROUNDS {
        context.set_time_limit(None);
        context.truncate(0)?;
        let begin = Instant::now();
        if clock.decode(&mut *context, prompt)?.is_none() {
            break;
        }
        let read = begin.elapsed();
        let begin = Instant::now();
        let mut is_whole = true;
        for token in answer {
            is_whole = clock.decode(&mut *context, std::slice::from_ref(token))?.is_some();
            if !is_whole {
                break;
            }
        }
        if !is_whole {
            break;
        }
        let wrote = begin.elapsed().mul_f64(share(answer, ANSWER));
        if round > 0 {
            writing.push(wrote);
            reading.push(read.mul_f64(share(prompt, PROMPT)));
        }
        tell(Some(ANSWER as f64 / wrote.as_secs_f64()))?;
        if clock.is_over() {
            break;
        }
    }
    Ok(middle(writing).zip(middle(reading)))
}

fn middle(mut times: Vec<Duration>) -> Option<Duration> {
    times.sort_unstable();
    times.get(times.len() / 2).copied().filter(|time| !time.is_zero())
}
