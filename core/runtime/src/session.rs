//! A session: one context, its tokens, and generation with events.

mod full;
mod grow;
mod state;

pub use full::{Ask, WhenFull};

use crate::answer::{Answer, GenerateSettings, Next};
use crate::events::{Event, StopReason, Timings, Usage};
use crate::govern::Driver;
use crate::media::{PromptMedia, before_media};
use crate::model::{LoadedModel, cancelled};
use crate::speculate::{Drafter, Guesser, OwnLayers, whoever};
use crate::template::{Message, Template};
use crate::tokenizer::Tokenizer;
use crate::{Error, Result, SessionSettings};
use engine::{Applied, CancelToken, Context, Form, Token};
use planner::MemoryAudit;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// One sequence. Remembers what it computed: a prompt that begins like the last one costs only its rest.
pub struct Session {
    context: Box<dyn Context>,
    /// Guesses what may come.
    drafter: Option<Drafter>,
    model: LoadedModel,
    settings: SessionSettings,
    /// Tokens that the context holds.
    held: Vec<Token>,
    form: Form,
    /// What the encoder in front of the decoder has read last.
    read: Vec<Token>,
    driver: Driver,
    audit: Option<MemoryAudit>,
    when_full: WhenFull,
    /// What is held was computed with these.
    adapters: Vec<Applied>,
    /// Pictures and sound of the prompt that is answered.
    media: PromptMedia,
}

impl Session {
    pub(crate) fn new(
        (context, drafter): (Box<dyn Context>, Option<Drafter>),
        model: &LoadedModel,
        settings: &SessionSettings,
        audit: Option<MemoryAudit>,
    ) -> Self {
        let (held, read, when_full) = (Vec::new(), Vec::new(), WhenFull::default());
        let (form, driver) = (model.form(), Driver::new(model.shared_steering()));
        let (model, settings) = (model.clone(), settings.clone());
        Self {
            context,
            drafter,
            model,
            settings,
            held,
            form,
            read,
            driver,
            audit,
            when_full,
            adapters: Vec::new(),
            media: PromptMedia::default(),
        }
    }

    /// Lets no step of a prompt compute for longer than this, which games give as their frame's budget; `None`, the
    /// default, lifts it. Prompts are cut by the speed of the chunks before, a chunk that takes longer all the same is
    /// broken off and cut again, and [`Event::Progress`] lies between chunks: a listener that waits there for the next
    /// frame holds everything up until then. A single token is not divided: its time is the least that can be kept to.
    pub fn set_max_step(&mut self, max_step: Option<Duration>) {
        self.driver.set_max_step(max_step);
    }

    /// What becomes of an answer, and of a prompt, for which the context has no room.
    pub fn set_when_full(&mut self, when_full: WhenFull) {
        self.when_full = when_full;
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

    /// Which they are.
    pub fn tokens(&self) -> &[Token] {
        &self.held
    }

    /// What the model and this session occupy, as the engine counts it.
    pub fn memory(&self) -> engine::MemoryUse {
        self.context.memory()
    }

    /// Tokens that the context can hold.
    pub fn n_ctx(&self) -> usize {
        self.context.n_ctx()
    }

    fn tokenizer(&self) -> &Arc<Tokenizer> {
        self.model.shared_tokenizer()
    }

    fn template(&self) -> &Template {
        self.model.template()
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
        let tokens = self.tokenizer().encode(prompt, true)?;
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
        let prompt = self.template().render(messages, true)?;
        let tokens = self.model.encode_prompt(&prompt)?;
        let mut settings = settings.clone();
        settings.stop.extend(self.template().stop_texts());
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
        settings.check()?;
        self.driver.steering().admit()?;
        self.driver.set_probes(settings.sampling.is_random());
        settings.media.check(prompt)?;
        self.media.clone_from(&settings.media);
        self.adapt(&settings.adapters)?;
        let prompt = &*self.fitting(prompt, on_event)?;
        let answer = Answer::new(settings, self.tokenizer(), prompt)?;
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
            guessed_tokens: 0,
            stop_reason: StopReason::Cancelled,
            timings: Timings::default(),
        };
        let computed = !rest.is_empty() && self.append(&rest, cancel, on_event)?;
        usage.timings.prompt = start.elapsed();
        if !computed || on_event(Event::Prompt { tokens: prompt.len(), reused }).is_break() {
            return Ok(usage);
        }
        let decoding = Instant::now();
        self.write(answer, &mut usage, cancel, on_event)?;
        usage.timings.decode = decoding.elapsed();
        let steering = self.driver.steering();
        if usage.guessed_tokens == 0 {
            steering.learning.observe(steering.conditions(), self.driver.threads(), &usage);
        }
        Ok(usage)
    }

    fn write(
        &mut self,
        mut answer: Answer,
        usage: &mut Usage,
        cancel: &CancelToken,
        on_event: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        // Memories that keep only their latest state cannot take a guess back.
        let guesses = self.settings.speculate && self.context.keeps_after_breaking_off();
        let mut guesser = Guesser::new(guesses && self.form == Form::Decoder);
        let mut from = Chosen::From(0);
        usage.stop_reason = loop {
            if cancel.is_cancelled() {
                break StopReason::Cancelled;
            }
            let next = match from {
                Chosen::Already(token) => token,
                Chosen::From(row) => match answer.choose(self.context.logits(row)?, on_event)? {
                    Next::Compute(token) => token,
                    Next::End(reason) => break reason,
                },
            };
            if self.context.n_past() >= self.context.n_ctx() && !self.make_room(cancel, on_event)? {
                break StopReason::ContextFull;
            }
            let room = (self.context.n_ctx() - self.context.n_past()).saturating_sub(1);
            let predicts = self.context.has_predictions();
            let mut own = OwnLayers(|next, most, least| self.context.predict(next, most, least, cancel));
            let drafter = whoever(self.drafter.as_mut(), if predicts { Some(&mut own) } else { None });
            let guess = guesser.guess(&self.held, next, room, drafter);
            let start = Instant::now();
            if guess.is_empty() {
                if !self.append(&[next], cancel, on_event)? {
                    break StopReason::Cancelled;
                }
                guesser.took_single(start.elapsed());
                from = Chosen::From(0);
            } else {
                let tokens: Vec<Token> = std::iter::once(next).chain(guess).collect();
                match self.write_guess(&tokens, (&mut answer, &mut guesser), usage, cancel, on_event)? {
                    ControlFlow::Continue(chosen) => from = chosen,
                    ControlFlow::Break(reason) => break reason,
                }
            }
            if self.driver.tell(on_event).is_break() {
                break StopReason::Cancelled;
            }
        };
        usage.completion_tokens = answer.n_tokens();
        answer.finish(&usage.stop_reason, on_event);
        Ok(())
    }

    /// Computes a token and a guess of what follows it, and chooses after each as if they had been computed one by one.
    fn write_guess(
        &mut self,
        tokens: &[Token],
        (answer, guesser): (&mut Answer, &mut Guesser),
        usage: &mut Usage,
        cancel: &CancelToken,
        on_event: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<StopReason, Chosen>> {
        let begin = self.context.n_past();
        let start = Instant::now();
        let outcome = self.driver.guess(self.context.as_mut(), tokens, cancel).map_err(cancelled);
        if let Err(error) = outcome {
            self.held.extend(&tokens[..(self.context.n_past() - begin).min(tokens.len())]);
            return match error {
                Error::Cancelled => Ok(ControlFlow::Break(StopReason::Cancelled)),
                error => Err(error),
            };
        }
        let took = start.elapsed();
        let guess = &tokens[1..];
        let mut right = 0;
        let outcome = loop {
            if right == guess.len() {
                break ControlFlow::Continue(Chosen::From(right));
            }
            match answer.choose(self.context.logits(right)?, on_event)? {
                Next::Compute(token) if token == guess[right] => right += 1,
                Next::Compute(token) => break ControlFlow::Continue(Chosen::Already(token)),
                Next::End(reason) => break ControlFlow::Break(reason),
            }
        };
        guesser.took_guess(guess.len(), right, took);
        usage.guessed_tokens += right;
        self.held.extend(&tokens[..=right]);
        if right < guess.len() && self.context.truncate(begin + right + 1).is_err() {
            // A memory that cannot go back so far starts anew, once.
            guesser.turn_off();
            self.context.truncate(0)?;
            let held = std::mem::take(&mut self.held);
            if outcome.is_continue() && !self.append(&held, cancel, on_event)? {
                return Ok(ControlFlow::Break(StopReason::Cancelled));
            }
        }
        Ok(outcome)
    }

    /// Computes with these adapters from now on; what others computed is forgotten.
    fn adapt(&mut self, adapters: &[Applied]) -> Result<()> {
        if self.adapters != adapters {
            self.context.truncate(0)?;
            self.held.clear();
            self.read.clear();
            // Where it fails, what is applied is unknown: the next answer applies its own.
            self.adapters.clear();
            self.context.adapt(&[])?;
            self.context.adapt(adapters)?;
            self.adapters = adapters.to_vec();
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

    /// Computes tokens and what stands among them; false when cancelled, with `held` telling what the context kept.
    fn append(
        &mut self,
        mut tokens: &[Token],
        cancel: &CancelToken,
        on_event: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> Result<bool> {
        loop {
            let (text, place) = before_media(tokens);
            let n = match place {
                None if text == tokens.len() => return self.append_text(tokens, cancel, on_event),
                None if !self.append_text(&tokens[..text], cancel, on_event)? => return Ok(false),
                None => text,
                Some(place) => {
                    let media = Arc::clone(self.media.get(place)?);
                    match self.context.decode_media(&*media, cancel).map_err(cancelled) {
                        Ok(()) => self.held.resize(self.held.len() + media.n_tokens(), place),
                        Err(error) => {
                            self.held.truncate(self.context.n_past());
                            return if matches!(error, Error::Cancelled) { Ok(false) } else { Err(error) };
                        }
                    }
                    media.n_tokens()
                }
            };
            tokens = tokens.get(n..).unwrap_or_default();
        }
    }

    fn append_text(
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

/// Where the next token comes from.
enum Chosen {
    /// From this row of logits.
    From(usize),
    /// It was chosen where a guess was wrong.
    Already(Token),
}
