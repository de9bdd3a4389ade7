//! A session: one context, its tokens, and generation with events.

use crate::events::{Event, StopReason, Timings, Usage};
use crate::govern::{Driver, Steering};
use crate::model::cancelled;
use crate::stop::StopTexts;
use crate::template::{Message, Template};
use crate::tokenizer::{TextStream, Tokenizer};
use crate::{Error, Result, Sampler, Sampling};
use engine::{CancelToken, Context, Form, Token};
use planner::MemoryAudit;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How to generate.
#[derive(Debug, Clone)]
pub struct GenerateSettings {
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Most tokens of the answer. Default 512.
    pub max_tokens: u32,
    /// Texts that end the answer; not part of it.
    pub stop: Vec<String>,
    /// Go on when the model ends its turn. Default false.
    pub ignore_end_of_turn: bool,
}

impl Default for GenerateSettings {
    fn default() -> Self {
        Self { sampling: Sampling::default(), max_tokens: 512, stop: Vec::new(), ignore_end_of_turn: false }
    }
}

/// One sequence. Remembers what it computed: a prompt that begins like the last one costs only its rest.
pub struct Session {
    context: Box<dyn Context>,
    tokenizer: Arc<Tokenizer>,
    template: Arc<Template>,
    /// Tokens that the context holds.
    held: Vec<Token>,
    form: Form,
    /// What the encoder in front of the decoder has read last.
    read: Vec<Token>,
    driver: Driver,
    audit: Option<MemoryAudit>,
}

impl Session {
    pub(crate) fn new(
        context: Box<dyn Context>,
        form: Form,
        (tokenizer, template): (Arc<Tokenizer>, Arc<Template>),
        steering: &Arc<Steering>,
        audit: Option<MemoryAudit>,
    ) -> Self {
        let driver = Driver::new(steering);
        Self { context, tokenizer, template, held: Vec::new(), form, read: Vec::new(), driver, audit }
    }

    /// Lets no step of a prompt compute for longer than this, which games give as their frame's budget; `None`, the
    /// default, lifts it. Prompts are cut by the speed of the chunks before, a chunk that takes longer all the same is
    /// broken off and cut again, and [`Event::Progress`] lies between chunks: a listener that waits there for the next
    /// frame holds everything up until then. A single token is not divided: its time is the least that can be kept to.
    pub fn set_max_step(&mut self, max_step: Option<Duration>) {
        self.driver.set_max_step(max_step);
    }

    /// Threads for single tokens and for prompts at the moment.
    pub fn threads(&self) -> (u32, u32) {
        self.driver.threads()
    }

    /// The plan's memory beside what the engine took for the model and this session; `None` where the session's context is
    /// not the planned one. Where there is a tuning folder the first answer keeps it there, and the next plan counts with it.
    pub fn memory_audit(&self) -> Option<&MemoryAudit> {
        self.audit.as_ref()
    }

    /// Tokens that the context holds.
    pub fn n_past(&self) -> usize {
        self.context.n_past()
    }

    /// What the model and this session occupy, as the engine counts it.
    pub fn memory(&self) -> engine::MemoryUse {
        self.context.memory()
    }

    /// Tokens that the context can hold.
    pub fn n_ctx(&self) -> usize {
        self.context.n_ctx()
    }

    /// Continues `prompt`, or answers it where the model reads it with an encoder. Special tokens in it are recognised; what the tokenizer adds around a text is added.
    ///
    /// # Errors
    /// A prompt that does not fit, or what the engine reports. Cancelling is no error: [`StopReason::Cancelled`].
    pub fn generate(
        &mut self,
        prompt: &str,
        settings: &GenerateSettings,
        cancel: &CancelToken,
        on_event: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> Result<Usage> {
        let tokens = self.tokenizer.encode(prompt, true)?;
        self.generate_tokens(&tokens, settings, cancel, on_event)
    }

    /// Answers `messages` through the chat template.
    ///
    /// # Errors
    /// As [`Session::generate`], and a template that fails.
    pub fn chat(
        &mut self,
        messages: &[Message],
        settings: &GenerateSettings,
        cancel: &CancelToken,
        on_event: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> Result<Usage> {
        let prompt = self.template.render(messages, true)?;
        // The template writes its own beginning of sequence where it wants one.
        let tokens = self.tokenizer.encode(&prompt, !self.template.writes_bos(&self.tokenizer))?;
        let mut settings = settings.clone();
        settings.stop.extend(self.template.stop_texts());
        self.generate_tokens(&tokens, &settings, cancel, on_event)
    }

    /// Continues a sequence of tokens.
    ///
    /// # Errors
    /// As [`Session::generate`].
    pub fn generate_tokens(
        &mut self,
        prompt: &[Token],
        settings: &GenerateSettings,
        cancel: &CancelToken,
        on_event: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> Result<Usage> {
        let start = Instant::now();
        settings.sampling.check()?;
        self.driver.steering().admit()?;
        self.driver.set_probes(settings.sampling.is_random());
        if prompt.is_empty() || prompt.len() > self.context.n_ctx() {
            let (expected, got) = (format!("1 to {} tokens", self.context.n_ctx()), prompt.len().to_string());
            return Err(Error::Request { what: "prompt", expected, got });
        }
        let (reused, rest) = match self.form {
            Form::Decoder | Form::Encoder => {
                let reused = self.reuse(prompt)?;
                (reused, prompt[reused..].to_vec())
            }
            Form::EncoderDecoder { start } => match self.read_prompt(prompt, cancel)? {
                Some(reused) => (reused, vec![start]),
                None => (0, Vec::new()),
            },
        };
        let mut usage = Usage {
            prompt_tokens: prompt.len(),
            reused_tokens: reused,
            completion_tokens: 0,
            stop_reason: StopReason::Cancelled,
            timings: Timings::default(),
        };
        let computed = !rest.is_empty() && self.append(&rest, cancel, on_event)?;
        usage.timings.prompt = start.elapsed();
        if !computed || on_event(Event::Prompt { tokens: prompt.len(), reused }).is_break() {
            return Ok(usage);
        }
        let decoding = Instant::now();
        self.write(&mut usage, settings, cancel, on_event)?;
        usage.timings.decode = decoding.elapsed();
        let steering = self.driver.steering();
        steering.learning.observe(steering.conditions(), self.driver.threads(), &usage);
        Ok(usage)
    }

    fn write(
        &mut self,
        usage: &mut Usage,
        settings: &GenerateSettings,
        cancel: &CancelToken,
        on_event: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        let mut sampler = Sampler::new(settings.sampling.clone(), &self.tokenizer)?;
        sampler.remember(&self.held);
        let mut stream = TextStream::new(Arc::clone(&self.tokenizer));
        let mut stops = StopTexts::new(&settings.stop);
        if settings.max_tokens == 0 {
            usage.stop_reason = StopReason::MaxTokens;
            return Ok(());
        }
        usage.stop_reason = loop {
            if cancel.is_cancelled() {
                break StopReason::Cancelled;
            }
            let token = sampler.choose(self.context.logits(0)?)?;
            usage.completion_tokens += 1;
            if self.tokenizer.ends_turn(token) && !settings.ignore_end_of_turn {
                break StopReason::EndOfTurn;
            }
            if on_event(Event::Token(token)).is_break() {
                break StopReason::Cancelled;
            }
            let (sure, stopped) = stops.push(&stream.push(token));
            if !sure.is_empty() && on_event(Event::Text(&sure)).is_break() {
                break StopReason::Cancelled;
            }
            if let Some(text) = stopped {
                break StopReason::StopText(text);
            }
            // The last token is not computed: nothing is chosen after it.
            if usage.completion_tokens >= settings.max_tokens as usize {
                break StopReason::MaxTokens;
            }
            if self.context.n_past() >= self.context.n_ctx() {
                break StopReason::ContextFull;
            }
            if !self.append(&[token], cancel, on_event)? || self.driver.tell(on_event).is_break() {
                break StopReason::Cancelled;
            }
        };
        if !matches!(usage.stop_reason, StopReason::StopText(_)) {
            let (sure, _) = stops.push(&stream.finish());
            let rest = sure + &stops.finish();
            if !rest.is_empty() {
                let _ = on_event(Event::Text(&rest)); // the generation is over: there is nothing left to stop
            }
        }
        Ok(())
    }

    /// Lets the encoder read a prompt, unless it has; tokens that it need not read again, none where it was cancelled.
    fn read_prompt(&mut self, prompt: &[Token], cancel: &CancelToken) -> Result<Option<usize>> {
        self.held.clear();
        if self.read == prompt {
            self.context.truncate(0)?;
            return Ok(Some(prompt.len()));
        }
        self.read.clear();
        match self.context.encode(prompt, cancel).map_err(cancelled) {
            Ok(()) => {
                self.read = prompt.to_vec();
                Ok(Some(0))
            }
            Err(Error::Cancelled) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Keeps the common beginning of what is held and `prompt`; at least one token is computed again for its logits.
    fn reuse(&mut self, prompt: &[Token]) -> Result<usize> {
        let common = self.held.iter().zip(prompt).take_while(|(held, new)| held == new).count();
        let common = common.min(prompt.len() - 1);
        if common < self.context.n_past() && self.context.truncate(common).is_err() {
            // Some memories cannot go back a little, but every one can start anew.
            self.context.truncate(0).map_err(Error::Engine)?;
        }
        let kept = self.context.n_past();
        self.held.truncate(kept);
        Ok(kept)
    }

    /// Computes tokens; false when cancelled, with `held` telling what the context kept.
    fn append(
        &mut self,
        tokens: &[Token],
        cancel: &CancelToken,
        on_event: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> Result<bool> {
        let before = self.context.n_past();
        let context = self.context.as_mut();
        let outcome = match tokens {
            [token] => self.driver.token(context, *token, cancel).map_err(cancelled).map(|()| true),
            _ => self.driver.prompt(context, tokens, cancel, on_event).map(|flow| flow.is_continue()),
        };
        self.held.extend(&tokens[..(self.context.n_past() - before).min(tokens.len())]);
        match outcome {
            Err(Error::Cancelled) => Ok(false),
            other => other,
        }
    }
}
