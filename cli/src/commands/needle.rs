//! `validate --needle`: a sentence hidden in long texts, the original's finds beside the variants'.
//! Knows which lengths a model was trained for; must not know how a search is scored.

use super::measure::{Following, threads};
use crate::args::Validate;
use crate::screen::Screen;
use anyhow::{Context, Result, bail};
use llama_pajamas::evaluator::needle::{Found, Haystack, NeedleFigures, Settings, search};
use llama_pajamas::evaluator::{Progress, Validation, divergence};
use llama_pajamas::{CancelToken, LoadedModel};

/// What is searched for, settled before anything is computed.
pub(crate) struct Needle {
    settings: Settings,
    haystack: Haystack,
}

impl Needle {
    /// `None` where no search is wanted. Lengths beyond those that `original` was trained for are left out unless told.
    pub(crate) fn of(args: &Validate, original: &LoadedModel) -> Result<Option<Self>> {
        let trained = original.engine_model().n_ctx_train();
        let mut contexts = args.needle.clone();
        if !args.beyond_trained {
            contexts.retain(|n_ctx| *n_ctx as u64 <= trained);
        }
        if contexts.len() < args.needle.len() {
            eprintln!(
                "note: --needle: the original was trained for {trained} tokens: longer texts are left out"
            );
        }
        if args.needle.is_empty() {
            return Ok(None);
        }
        if contexts.is_empty() {
            bail!(
                "--needle: expected at most the {trained} tokens that the original was trained for, or --beyond-trained"
            );
        }
        let haystack = match &args.haystack {
            None => Haystack::of_templates(),
            Some(path) => {
                let name = path.display().to_string();
                Haystack::of_text(&name, &std::fs::read_to_string(path).with_context(|| name.clone())?)?
            }
        };
        let settings = Settings { contexts, n_trials: args.needle_trials, ..Settings::default() };
        Ok(Some(Self { settings, haystack }))
    }

    /// Has a model search.
    pub(crate) fn search(
        &self,
        model: &LoadedModel,
        args: &Validate,
        label: &str,
        cancel: &CancelToken,
        following: &mut Following<'_>,
    ) -> Result<Vec<Found>> {
        let computing = divergence::Computing { n_threads: threads(model, &args.computing) };
        let mut watch = |progress: Progress<'_>| following.show(&progress);
        let label = format!("{label}: needles");
        let (engine_model, tokenizer) = (model.engine_model(), model.tokenizer());
        let (haystack, settings) = (&self.haystack, &self.settings);
        Ok(search(engine_model, tokenizer, haystack, settings, &computing, &label, cancel, &mut watch)?)
    }

    /// What a variant found beside what the original found.
    pub(crate) fn pair(&self, original: &[Found], candidate: &[Found]) -> Vec<NeedleFigures> {
        llama_pajamas::evaluator::needle::pair(&self.settings, original, candidate)
    }
}

/// The finds of all variants.
pub(crate) fn print(validations: &[Validation], screen: &Screen) {
    let Some(first) = validations.iter().flat_map(|validation| &validation.needles).next() else { return };
    let heading = format!(
        "\n{:24}{:>8}{:>8}{:>8}{:>14}{:>14}{:>12}{:>12}",
        format!("needles (chance {:.0} %)", 100.0 * first.chance),
        "tokens",
        "depth",
        "trials",
        "original",
        "variant",
        "p original",
        "p variant"
    );
    println!("{}", screen.bold(&heading));
    for validation in validations {
        for row in &validation.needles {
            println!(
                "{:24}{:>8}{:>6.0} %{:>8}{:>12.0} %{:>12.0} %{:>12.3}{:>12.3}",
                validation.candidate,
                row.n_ctx,
                100.0 * row.depth,
                row.n,
                100.0 * row.reference.found,
                100.0 * row.candidate.found,
                row.reference.probability,
                row.candidate.probability
            );
        }
    }
}
