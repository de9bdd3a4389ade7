//! Measures settings on the engine: contexts of the model's own weights and types of cache, short, filled with random
//! tokens. Owns those contexts; must not decide anything.

use crate::govern::signals_of;
use crate::model::cancelled;
use crate::{Error, LoadedModel, Result};
use engine::{CancelToken, Context, Logits, Token};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tuner::{Halt, Heat, Knob, KnobArms, MemoryLevel, Outcome, Setting, TuneBench};

/// Tokens that a context holds before single ones are timed.
const DEPTH: usize = 32;
/// Longest context that is measured in; the planned one, where it is shorter.
const N_CTX: u32 = 1024;
/// More contexts than two are kept up to so many bytes.
const HELD_BYTES: u64 = 256 << 20;
/// Most time for what a new context computes before it is measured.
const WARM_UP: Duration = Duration::from_millis(500);
/// Between two looks at heat, memory and energy.
const LOOK_EVERY: Duration = Duration::from_secs(1);

pub(super) struct EngineBench<'a> {
    model: &'a LoadedModel,
    cancel: &'a CancelToken,
    origin: Instant,
    /// By `n_ubatch` and layers on a device: two for each placement, and more while they are small.
    contexts: Vec<((u32, u32), Box<dyn Context>)>,
    /// Loads the model once more with so many layers on a device.
    place: &'a dyn Fn(u32) -> Result<LoadedModel>,
    /// What was loaded so.
    placed: Vec<(u32, LoadedModel)>,
    max_threads: u32,
    n_ctx: u32,
    tokens: Arc<[Token]>,
    is_watched: bool,
    looked: Option<Instant>,
    error: Option<Error>,
}

impl<'a> EngineBench<'a> {
    /// `is_watched`: heat, memory and energy of this machine may stop the measurements.
    pub(super) fn open(
        model: &'a LoadedModel,
        knobs: &[KnobArms],
        is_watched: bool,
        cancel: &'a CancelToken,
        place: &'a dyn Fn(u32) -> Result<LoadedModel>,
    ) -> Result<Self> {
        let n_ctx = u32::try_from(model.choice().context_tokens).unwrap_or(N_CTX).min(N_CTX);
        let threads =
            knobs.iter().filter(|arms| matches!(arms.knob, Knob::DecodeThreads | Knob::BatchThreads));
        let max_threads = threads.flat_map(|arms| &arms.values).copied().max().unwrap_or(1);
        let mut rng = StdRng::seed_from_u64(7);
        let n_vocab = Token::try_from(model.n_vocab()).unwrap_or(Token::MAX).max(1);
        let tokens = (0..n_ctx).map(|_| rng.random_range(0..n_vocab)).collect();
        let (contexts, placed, looked, error) = (Vec::new(), Vec::new(), None, None);
        let origin = Instant::now();
        let mut bench = Self {
            model,
            cancel,
            origin,
            contexts,
            place,
            placed,
            max_threads,
            n_ctx,
            tokens,
            is_watched,
            looked,
            error,
        };
        // What cannot be opened is told before anything is measured.
        bench.context(model.steering().start().n_ubatch, model.gpu_layers())?;
        Ok(bench)
    }

    pub(super) fn take_error(&mut self) -> Option<Error> {
        self.error.take()
    }

    /// The model with so many layers on a device.
    fn model(&mut self, gpu_layers: u32) -> Result<LoadedModel> {
        if gpu_layers == self.model.gpu_layers() {
            return Ok(self.model.clone());
        }
        if let Some((_, model)) = self.placed.iter().find(|(layers, _)| *layers == gpu_layers) {
            return Ok(model.clone());
        }
        let model = (self.place)(gpu_layers)?;
        self.placed.push((gpu_layers, model.clone()));
        Ok(model)
    }

    /// What the contexts take beside the model.
    fn held_bytes(&self) -> u64 {
        let own = |(_, context): &(_, Box<dyn Context>)| {
            let memory = context.memory();
            memory.context_bytes.saturating_add(memory.compute_bytes)
        };
        self.contexts.iter().map(own).sum()
    }

    fn context(&mut self, n_ubatch: u32, gpu_layers: u32) -> Result<&mut Box<dyn Context>> {
        let kind = (n_ubatch, gpu_layers);
        let place = match self.contexts.iter().position(|(known, _)| *known == kind) {
            Some(place) => place,
            None => {
                let (n_ctx, max_threads) = (self.n_ctx, self.max_threads);
                let context = self.model(gpu_layers)?.writing_context(n_ctx, n_ubatch, max_threads)?;
                // Each placement keeps its own: loading is what takes time there.
                while self.contexts.len() > 1 + self.placed.len() && self.held_bytes() > HELD_BYTES {
                    self.contexts.remove(0);
                }
                self.contexts.push((kind, context));
                let place = self.contexts.len() - 1;
                // What its buffers lie in is touched for the first time here, not in a block.
                let warm = &self.tokens[..self.tokens.len().min(n_ubatch as usize)];
                let context = &mut self.contexts[place].1;
                context.set_time_limit(Some(WARM_UP));
                match context.decode(warm, Logits::Last, self.cancel) {
                    // The race itself hears of a cancel, before its first block.
                    Ok(()) | Err(engine::Error::TimeLimit { .. } | engine::Error::Cancelled) => place,
                    Err(error) => return Err(cancelled(error)),
                }
            }
        };
        Ok(&mut self.contexts[place].1)
    }

    /// Seconds that count, or nothing where the deadline came first.
    fn time(
        &mut self,
        setting: &Setting,
        knob: Knob,
        n_tokens: usize,
        deadline: Duration,
    ) -> Result<Option<Duration>> {
        let (tokens, cancel) = (Arc::clone(&self.tokens), self.cancel);
        let outcome = self.context(setting.n_ubatch, setting.gpu_layers).and_then(|context| {
            context.set_threads(setting.n_threads as usize, setting.n_threads_batch as usize);
            match knob.is_decode() {
                true => time_tokens(&mut **context, &tokens, n_tokens, deadline, cancel),
                false => {
                    let clock = Clock::of(setting, knob, &**context);
                    time_prompt(&mut **context, &tokens, n_tokens, deadline, clock, cancel)
                }
            }
        });
        // A context that is shorter than the block computes less of it.
        let room = if knob.is_decode() { tokens.len() - depth(&tokens) } else { tokens.len() };
        let share = n_tokens as f64 / n_tokens.min(room).max(1) as f64;
        Ok(outcome?.map(|took| took.mul_f64(share)))
    }
}

/// Tokens in front of the ones that are timed.
fn depth(tokens: &[Token]) -> usize {
    DEPTH.min(tokens.len() / 2)
}

/// Single tokens behind a short prompt.
fn time_tokens(
    context: &mut dyn Context,
    tokens: &[Token],
    n_tokens: usize,
    deadline: Duration,
    cancel: &CancelToken,
) -> Result<Option<Duration>> {
    let depth = depth(tokens);
    let n_tokens = n_tokens.min(tokens.len() - depth);
    if context.n_past() < depth || context.n_past() + n_tokens > context.n_ctx() {
        context.set_time_limit(None);
        context.truncate(0)?;
        context.decode(&tokens[..depth], Logits::None, cancel).map_err(cancelled)?;
    }
    let start = Instant::now();
    for token in &tokens[depth..depth + n_tokens] {
        context.set_time_limit(Some(deadline.saturating_sub(start.elapsed())));
        match context.decode(&[*token], Logits::Last, cancel) {
            Ok(()) => _ = std::hint::black_box(context.logits(0)?),
            Err(engine::Error::TimeLimit { .. }) => return Ok(None),
            Err(error) => return Err(cancelled(error)),
        }
    }
    Ok(Some(start.elapsed()))
}

/// What a prompt's time is taken by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Clock {
    /// The clock on the wall.
    Wall,
    /// The calling thread's processor time, which leaves out what other programs took meanwhile.
    Processor,
}

impl Clock {
    /// Values of a knob that leaves the only thread alone wait for other programs alike: what they cost shows in much
    /// less time without the waiting.
    fn of(setting: &Setting, knob: Knob, context: &dyn Context) -> Self {
        let alone = setting.n_threads_batch == 1 && setting.gpu_layers == 0 && context.computes_in_caller();
        if alone && knob == Knob::Ubatch { Self::Processor } else { Self::Wall }
    }

    /// Since any fixed moment.
    fn now(self, origin: Instant) -> Duration {
        match self {
            Self::Wall => origin.elapsed(),
            Self::Processor => processor_time().unwrap_or_else(|| origin.elapsed()),
        }
    }
}

#[cfg(unix)]
fn processor_time() -> Option<Duration> {
    rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime).try_into().ok()
}

/// Where the system is asked for it in another way, the clock on the wall serves.
#[cfg(not(unix))]
fn processor_time() -> Option<Duration> {
    None
}

/// One prompt in an empty context.
fn time_prompt(
    context: &mut dyn Context,
    tokens: &[Token],
    n_tokens: usize,
    deadline: Duration,
    clock: Clock,
    cancel: &CancelToken,
) -> Result<Option<Duration>> {
    context.truncate(0)?;
    context.set_time_limit(Some(deadline));
    let origin = Instant::now();
    let start = clock.now(origin);
    match context.decode(&tokens[..n_tokens.min(tokens.len())], Logits::Last, cancel) {
        Ok(()) => Ok(Some(clock.now(origin).saturating_sub(start))),
        Err(engine::Error::TimeLimit { .. }) => Ok(None),
        Err(error) => Err(cancelled(error)),
    }
}

impl TuneBench for EngineBench<'_> {
    fn measure(&mut self, setting: &Setting, knob: Knob, n_tokens: u32, deadline: Duration) -> Outcome {
        match self.time(setting, knob, n_tokens as usize, deadline) {
            Ok(Some(took)) => Outcome::Took(took),
            Ok(None) if self.cancel.is_cancelled() => Outcome::Halted(Halt::Cancelled),
            Ok(None) => Outcome::TooLate,
            Err(Error::Cancelled) => Outcome::Halted(Halt::Cancelled),
            Err(error) => {
                self.error = Some(error);
                Outcome::Halted(Halt::Failed)
            }
        }
    }

    fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    fn gate(&mut self) -> Option<Halt> {
        if self.cancel.is_cancelled() {
            return Some(Halt::Cancelled);
        }
        if !self.is_watched || self.looked.is_some_and(|looked| looked.elapsed() < LOOK_EVERY) {
            return None;
        }
        self.looked = Some(Instant::now());
        let signals = signals_of(&hardware::conditions());
        match () {
            () if signals.heat >= Some(Heat::Warm) => Some(Halt::Heat),
            () if signals.memory >= Some(MemoryLevel::Low) => Some(Halt::Memory),
            () if signals.saver == Some(true) => Some(Halt::Energy),
            () => None,
        }
    }
}
