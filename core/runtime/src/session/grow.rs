//! A longer context for a session that is full: planned anew, with what is held carried over.
//!
//! Owns how much longer, and whether there is memory for it. What was computed stays computed; the larger context is opened
//! before the old one goes, so that nothing is lost where it cannot be had. Must not know why the session is full.

use super::Session;
use crate::Result;
use crate::events::Event;
use engine::Form;
use std::ops::ControlFlow;

/// A context becomes so many times as long, or what is needed.
const FACTOR: usize = 2;

impl Session {
    /// Lets the session hold at least `least` tokens, at most `most`, and no more than the model was made for; false where that
    /// cannot be had, with the session as it was.
    ///
    /// # Errors
    /// A larger context that cannot hold what the old one held.
    pub(super) fn grow(
        &mut self,
        least: usize,
        most: u32,
        on_event: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> Result<bool> {
        let before = self.context.n_ctx();
        let longest = self.model.engine_model().n_ctx_train().min(most.into());
        let longest = usize::try_from(longest).unwrap_or(usize::MAX);
        let wished = before.saturating_mul(FACTOR).max(least).min(longest);
        // Pictures are not among what is carried over.
        let is_text = !self.held.iter().any(|token| *token < 0);
        if wished < least || wished <= before || self.form != Form::Decoder || !is_text {
            return Ok(false);
        }
        let Ok(context_tokens) = u32::try_from(wished) else { return Ok(false) };
        if !self.model.has_room_for(context_tokens, &self.context.memory()) {
            return Ok(false);
        }
        let settings =
            crate::SessionSettings { context_tokens: Some(context_tokens), ..self.settings.clone() };
        let (Ok(mut larger), Ok(state)) = (self.model.session(&settings), self.context.state()) else {
            return Ok(false);
        };
        larger.context.adapt(&self.adapters)?;
        larger.context.restore(&state)?;
        (self.context, self.drafter, self.settings) = (larger.context, larger.drafter, settings);
        self.audit = None;
        self.driver.forget_context();
        let after = self.context.n_ctx();
        // A listener that wants no more is heard at the next token.
        let _ = on_event(Event::Grown { before, after });
        Ok(true)
    }
}
