//! What a session does when its context is full: end, drop, or ask the app.
//!
//! Owns which tokens go. Everything that stays is computed again where it moved, so that it is what a fresh context would
//! hold. Must not know why the tokens are there.

use super::Session;
use crate::events::Event;
use crate::{Error, Result};
use engine::{CancelToken, Form, Token};
use std::borrow::Cow;
use std::ops::ControlFlow;

/// What becomes of an answer, and of a prompt, for which the context has no room. Never ends the process.
#[derive(Default)]
pub enum WhenFull {
    /// The answer ends with [`crate::StopReason::ContextFull`], the prompt is refused.
    #[default]
    Refuse,
    /// The first `keep_tokens` stay, and the newer half of the rest.
    Shift {
        /// For instance a system message.
        keep_tokens: usize,
    },
    /// The context becomes twice as long, or as long as a prompt needs, as often as there is memory for it and the model was made
    /// for so much ([`crate::Event::Grown`]); what was computed is kept. Pictures are not carried over: with them, and where it
    /// cannot grow, it goes on as `then` has it.
    Grow {
        /// Longest context in tokens.
        most_tokens: u32,
        /// What becomes of it then.
        then: Box<WhenFull>,
    },
    /// The app is given the tokens, and gives those to go on from: a summary and the last sentences, for instance. `None`, or
    /// as many as there were, ends or refuses as [`WhenFull::Refuse`] does.
    Ask(Ask),
}

/// What an app does about a full context.
pub type Ask = Box<dyn FnMut(&[Token]) -> Option<Vec<Token>> + Send>;

impl std::fmt::Debug for WhenFull {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refuse => f.write_str("Refuse"),
            Self::Shift { keep_tokens } => write!(f, "Shift {{ keep_tokens: {keep_tokens} }}"),
            Self::Grow { most_tokens, then } => {
                write!(f, "Grow {{ most_tokens: {most_tokens}, then: {then:?} }}")
            }
            Self::Ask(_) => f.write_str("Ask(…)"),
        }
    }
}

impl WhenFull {
    /// Tokens up to which a context may grow.
    fn most_tokens(&self) -> Option<u32> {
        match self {
            Self::Grow { most_tokens, .. } => Some(*most_tokens),
            Self::Refuse | Self::Shift { .. } | Self::Ask(_) => None,
        }
    }

    /// The tokens to go on from, fewer than `n_ctx`; `None` where there are none.
    fn instead_of(&mut self, tokens: &[Token], n_ctx: usize) -> Option<Vec<Token>> {
        let fewer = match self {
            Self::Refuse => return None,
            Self::Shift { keep_tokens } => shifted(tokens, *keep_tokens, n_ctx),
            Self::Grow { then, .. } => return then.instead_of(tokens, n_ctx),
            Self::Ask(ask) => ask(tokens)?,
        };
        (fewer.len() < tokens.len() && fewer.len() < n_ctx && !fewer.is_empty()).then_some(fewer)
    }
}

/// The first `keep` and the newest of the rest: half of what there is room for beside them.
fn shifted(tokens: &[Token], keep: usize, n_ctx: usize) -> Vec<Token> {
    let keep = keep.min(n_ctx.saturating_sub(2)).min(tokens.len());
    let (first, rest) = tokens.split_at(keep);
    let newest = ((n_ctx - keep) / 2).clamp(1, rest.len().max(1)).min(rest.len());
    [first, &rest[rest.len() - newest..]].concat()
}

impl Session {
    /// `prompt`, or what is left of it where it is too long.
    ///
    /// # Errors
    /// An empty one, and one that stays too long.
    pub(super) fn fitting<'a>(
        &mut self,
        prompt: &'a [Token],
        on_event: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> Result<Cow<'a, [Token]>> {
        if prompt.len() > self.context.n_ctx()
            && let Some(most) = self.when_full.most_tokens()
        {
            self.grow(prompt.len() + 1, most, on_event)?;
        }
        let n_ctx = self.context.n_ctx();
        let is_text = !prompt.iter().any(|token| *token < 0);
        if prompt.len() > n_ctx
            && is_text
            && self.form == Form::Decoder
            && let Some(fewer) = self.when_full.instead_of(prompt, n_ctx)
        {
            return Ok(Cow::Owned(fewer));
        }
        if prompt.is_empty() || prompt.len() > n_ctx {
            let (expected, got) = (format!("1 to {n_ctx} tokens"), prompt.len().to_string());
            return Err(Error::Request { what: "prompt", expected, got });
        }
        Ok(Cow::Borrowed(prompt))
    }

    /// Makes room for one more token at least; false where nothing may be dropped, or it was cancelled.
    pub(super) fn make_room(
        &mut self,
        cancel: &CancelToken,
        on_event: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> Result<bool> {
        if let Some(most) = self.when_full.most_tokens()
            && self.grow(self.held.len() + 1, most, on_event)?
        {
            return Ok(true);
        }
        let n_ctx = self.context.n_ctx();
        let before = self.held.len();
        let fewer = match self.form {
            // A picture is not cut.
            Form::Decoder if self.held.iter().any(|token| *token < 0) => None,
            Form::Decoder => self.when_full.instead_of(&self.held, n_ctx),
            // What the encoder read is not among the tokens.
            Form::Encoder | Form::EncoderDecoder { .. } => None,
        };
        let Some(fewer) = fewer else { return Ok(false) };
        let reused = self.reuse(&fewer)?;
        if on_event(Event::Dropped { before, after: fewer.len() }).is_break() {
            return Ok(false);
        }
        self.append(&fewer[reused..], cancel, on_event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_and_the_newest_stay() {
        let tokens: Vec<Token> = (0..16).collect();
        assert_eq!(shifted(&tokens, 4, 16), [0, 1, 2, 3, 10, 11, 12, 13, 14, 15]);
        assert_eq!(shifted(&tokens, 0, 4), [14, 15]);
        assert_eq!(shifted(&tokens, 99, 8).len(), 7);
        assert_eq!(shifted(&tokens, 99, 8)[..6], [0, 1, 2, 3, 4, 5]);
        assert_eq!(shifted(&[7], 0, 4), [7]);
    }

    #[test]
    fn what_is_no_shorter_is_not_taken() {
        let tokens: Vec<Token> = (0..8).collect();
        assert_eq!(WhenFull::Refuse.instead_of(&tokens, 8), None);
        assert_eq!(WhenFull::Ask(Box::new(|tokens| Some(tokens.to_vec()))).instead_of(&tokens, 8), None);
        assert_eq!(WhenFull::Ask(Box::new(|_| Some(Vec::new()))).instead_of(&tokens, 8), None);
        assert_eq!(WhenFull::Ask(Box::new(|_| Some(vec![5]))).instead_of(&tokens, 8), Some(vec![5]));
    }
}
