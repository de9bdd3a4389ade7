//! A small model that guesses for a large one.
//!
//! Owns how it is found, counted in the large one's plan and loaded. Must not know what it guesses.

use super::{load, open, request};
use crate::args::{Guessing, Wishes};
use crate::fetch::Located;
use crate::screen::Screen;
use anyhow::{Context, Result, bail};
use llama_pajamas::planner::Draft;
use llama_pajamas::{CancelToken, LoadedModel, PlanRequest, Runtime, SessionSettings};
use std::sync::Arc;

/// It, found and not loaded.
pub(crate) struct SmallModel {
    runtime: Runtime,
    request: PlanRequest,
    draft: Arc<Draft>,
    _located: Located,
}

impl SmallModel {
    /// The one that `--draft` names, its first variant.
    pub(crate) fn open(guessing: &Guessing, wishes: &Wishes, screen: &Screen) -> Result<Option<Self>> {
        let Some(model) = &guessing.draft else { return Ok(None) };
        let wishes = Wishes { variant: None, mmproj: None, ..wishes.clone() };
        let (runtime, located) = open(model, &wishes, None, screen).context("--draft")?;
        let Some(first) = runtime.candidates().next() else { bail!("--draft: {model} has no variants") };
        let draft = Arc::new(Draft::of(first));
        let request =
            PlanRequest { variant: Some(first.id.clone()), page_experts: false, ..request(&wishes)? };
        Ok(Some(Self { runtime, request, draft, _located: located }))
    }

    /// Loads it for contexts of so many tokens.
    pub(crate) fn load(&self, context_tokens: Option<u64>, cancel: &CancelToken) -> Result<LoadedModel> {
        let request = PlanRequest { context_tokens, ..self.request.clone() };
        load(&self.runtime, request, cancel).context("--draft")
    }
}

/// What is wished of the large one's plan: the small one is counted in.
pub(crate) fn beside(wishes: &Wishes, small: Option<&SmallModel>) -> Result<PlanRequest> {
    let draft = small.map(|small| Arc::clone(&small.draft));
    Ok(PlanRequest { draft, ..request(wishes)? })
}

/// A session's settings, the small model loaded.
pub(crate) fn guessing(
    guessing: &Guessing,
    small: Option<&SmallModel>,
    model: &LoadedModel,
    cancel: &CancelToken,
) -> Result<SessionSettings> {
    let context = Some(model.choice().context_tokens);
    let draft = small.map(|small| small.load(context, cancel)).transpose()?;
    Ok(SessionSettings {
        speculate: guessing.speculate || draft.is_some(),
        draft,
        ..SessionSettings::default()
    })
}
