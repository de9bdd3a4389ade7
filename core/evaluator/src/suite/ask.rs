//! Asking a model: how likely a continuation is, and what it writes.
//! Owns the context that is asked; must not know what is right.

use crate::divergence::Computing;
use crate::reference::Summary;
use crate::{Error, Result, Vocabulary};
use engine::{CancelToken, Context, Logits, Model, Token};
use std::sync::Arc;

/// A model that is asked.
pub(super) struct Asked<'a> {
    context: Box<dyn Context>,
    vocabulary: &'a dyn Vocabulary,
    rows: usize,
    n_ctx: usize,
    /// What the context holds.
    held: Vec<Token>,
    cancel: &'a CancelToken,
}

/// How likely a continuation is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Likelihood {
    /// Sum of its tokens' log-probabilities.
    pub(super) log_probability: f64,
    /// Whether each of its tokens is the likeliest one.
    pub(super) is_top: bool,
}

impl<'a> Asked<'a> {
    pub(super) fn open(
        model: &Arc<dyn Model>,
        vocabulary: &'a dyn Vocabulary,
        n_ctx: usize,
        computing: &Computing,
        cancel: &'a CancelToken,
    ) -> Result<Self> {
        let (settings, rows) = computing.settings(model.n_vocab(), n_ctx)?;
        let context = Arc::clone(model).new_context(&settings)?;
        Ok(Self { context, vocabulary, rows, n_ctx, held: Vec::new(), cancel })
    }

    fn tokens(&self, text: &str) -> Result<Vec<Token>> {
        let tokens = self.vocabulary.encode(text, false)?;
        Ok(self.vocabulary.first().into_iter().chain(tokens).collect())
    }

    /// How likely `continuation` is behind `context`. Of both as one text, what the context alone comes to as tokens is
    /// taken for given. A text that is too long loses its beginning.
    pub(super) fn likelihood(&mut self, context: &str, continuation: &str) -> Result<Likelihood> {
        let whole = self.tokens(&format!("{context}{continuation}"))?;
        let given = self.tokens(context)?.len().clamp(1, whole.len().saturating_sub(1).max(1));
        if whole.len() < 2 {
            return Err(Error::request("question", "at least two tokens", whole.len()));
        }
        let cut = whole.len().saturating_sub(self.n_ctx);
        if given <= cut {
            return Err(Error::request(
                "answer",
                format!("fewer than {} tokens", self.n_ctx),
                whole.len() - given,
            ));
        }
        let (whole, given) = (&whole[cut..], given - cut);
        self.hold(&whole[..given - 1])?;
        let mut likelihood = Likelihood { log_probability: 0.0, is_top: true };
        let mut at = given - 1;
        while at + 1 < whole.len() {
            let end = (at + self.rows).min(whole.len() - 1);
            self.decode(&whole[at..end], Logits::All)?;
            for row in at..end {
                let logits = self.context.logits(row - at)?;
                let summary = summary(logits, row)?;
                let target = whole[row + 1] as usize;
                likelihood.log_probability += summary.log_probability(logits, target);
                likelihood.is_top &= summary.top == target;
            }
            at = end;
        }
        Ok(likelihood)
    }

    /// What the model writes behind `prompt`, always the likeliest token, until it ends, `stop` finds an end, or `max_tokens`.
    pub(super) fn write(
        &mut self,
        prompt: &str,
        stop: &dyn Fn(&str) -> Option<usize>,
        max_tokens: usize,
    ) -> Result<String> {
        let tokens = self.tokens(prompt)?;
        let room = self.n_ctx.saturating_sub(max_tokens).max(1);
        let tokens = &tokens[tokens.len().saturating_sub(room)..];
        let Some((last, before)) = tokens.split_last() else { return Ok(String::new()) };
        self.hold(before)?;
        let (mut next, mut written) = (*last, Vec::new());
        while written.len() < max_tokens && self.held.len() < self.n_ctx {
            self.decode(&[next], Logits::Last)?;
            next = summary(self.context.logits(0)?, self.held.len())?.top as Token;
            if self.vocabulary.ends(next) {
                break;
            }
            written.push(next);
            let text = self.vocabulary.decode(&written);
            if let Some(at) = stop(&text) {
                return Ok(text[..at].to_string());
            }
        }
        Ok(self.vocabulary.decode(&written))
    }

    /// Has the context hold just `tokens`, keeping what it holds of them already where the model can go back.
    fn hold(&mut self, tokens: &[Token]) -> Result<()> {
        let shared = self.held.iter().zip(tokens).take_while(|(held, token)| held == token).count();
        if self.context.truncate(shared).is_ok() {
            self.held.truncate(shared);
        } else {
            self.context.truncate(0)?;
            self.held.clear();
        }
        let left = &tokens[self.held.len()..];
        if left.is_empty() { Ok(()) } else { self.decode(left, Logits::None) }
    }

    fn decode(&mut self, tokens: &[Token], want: Logits) -> Result<()> {
        self.context.decode(tokens, want, self.cancel)?;
        self.held.extend(tokens);
        Ok(())
    }
}

fn summary(logits: &[f32], position: usize) -> Result<Summary> {
    Summary::of(logits).map_err(|problem| Error::Logits { window: 0, position, problem })
}
