//! Answers to one request: handed to a pool, heard through an outbox, cancelled when nobody waits any more.
//!
//! Owns the request's time limit and its end. Must not know protocols.

use crate::error::{ApiError, ApiResult};
use crate::metrics::Metrics;
use crate::models::Loaded;
use crate::outbox::{Item, Outbox};
use llama_pajamas::{CancelToken, GenerateSettings, Request, StopReason, Token, TokenLogprobs, Usage};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Answers that are being written. Dropping it cancels them.
pub(crate) struct Answers {
    outbox: Arc<Outbox>,
    cancel: CancelToken,
    n_open: usize,
    deadline: tokio::time::Instant,
    begin: Instant,
    has_begun: bool,
    metrics: Arc<Metrics>,
    /// Until the last answer ends, the model stays loaded.
    _model: Arc<Loaded>,
}

/// An answer as a whole.
#[derive(Debug, Default)]
pub(crate) struct Whole {
    pub(crate) text: String,
    pub(crate) logprobs: Vec<TokenLogprobs>,
    pub(crate) usage: Option<Usage>,
}

impl Answers {
    /// Hands `n` requests for the same prompt to the model's pool.
    ///
    /// # Errors
    /// What the pool refuses; then none of them is answered.
    pub(crate) fn ask(
        model: &Arc<Loaded>,
        prompt: &[Token],
        settings: &GenerateSettings,
        n: usize,
        max_time: Duration,
        metrics: &Arc<Metrics>,
    ) -> ApiResult<Self> {
        let answers = Self {
            outbox: Arc::default(),
            cancel: CancelToken::new(),
            n_open: n,
            deadline: tokio::time::Instant::now() + max_time,
            begin: Instant::now(),
            has_begun: false,
            metrics: Arc::clone(metrics),
            _model: Arc::clone(model),
        };
        let pool = model.pool()?;
        for choice in 0..n {
            let mut settings = settings.clone();
            settings.sampling.seed = settings.sampling.seed.map(|seed| seed.wrapping_add(choice as u64));
            let (events, end) = (Arc::clone(&answers.outbox), Arc::clone(&answers.outbox));
            pool.submit(Request {
                prompt: prompt.to_vec(),
                settings,
                cancel: answers.cancel.clone(),
                on_event: Box::new(move |event| events.hear(choice, &event)),
                on_done: Box::new(move |outcome| end.end(choice, outcome)),
            })?;
        }
        Ok(answers)
    }

    /// What was told since the last time, with the number of the answer; `None` after the last answer's end.
    ///
    /// # Errors
    /// An answer that failed, the end of the time limit.
    pub(crate) async fn next(&mut self) -> Option<ApiResult<Vec<(usize, Item)>>> {
        if self.n_open == 0 {
            return None;
        }
        let Ok(items) = tokio::time::timeout_at(self.deadline, self.outbox.next()).await else {
            self.n_open = 0;
            return Some(Err(ApiError::too_slow()));
        };
        for (_, item) in &items {
            match item {
                Item::Text(_) | Item::Logprobs(_) if !self.has_begun => {
                    self.has_begun = true;
                    self.metrics.first_token(self.begin.elapsed());
                }
                Item::Done(Ok(usage)) => {
                    self.n_open -= 1;
                    self.metrics.answered(usage);
                }
                Item::Done(Err(_)) => self.n_open = 0,
                _ => {}
            }
        }
        let failed = items.iter().position(|(_, item)| matches!(item, Item::Done(Err(_))));
        match failed {
            None => Some(Ok(items)),
            Some(index) => match items.into_iter().nth(index) {
                Some((_, Item::Done(Err(error)))) => Some(Err(error.into())),
                _ => None,
            },
        }
    }

    /// All answers to their ends.
    ///
    /// # Errors
    /// As [`Answers::next`].
    pub(crate) async fn whole(mut self) -> ApiResult<Vec<Whole>> {
        let mut all: Vec<Whole> = (0..self.n_open).map(|_| Whole::default()).collect();
        while let Some(items) = self.next().await {
            for (choice, item) in items? {
                let whole = &mut all[choice];
                match item {
                    Item::Prompt | Item::Done(Err(_)) => {}
                    Item::Text(text) => whole.text.push_str(&text),
                    Item::Logprobs(logprobs) => whole.logprobs.push(logprobs),
                    Item::Done(Ok(usage)) => whole.usage = Some(usage),
                }
            }
        }
        Ok(all)
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        self.metrics.cancelled(self.n_open);
        self.cancel.cancel();
        self.outbox.close();
    }
}

/// OpenAI's word for an end, where no tool is called.
pub(crate) fn finish_reason(reason: &StopReason) -> &'static str {
    match reason {
        StopReason::EndOfTurn | StopReason::StopText(_) | StopReason::Cancelled => "stop",
        StopReason::MaxTokens | StopReason::ContextFull => "length",
    }
}
