//! `validate --drift`: the states of recurrent layers beside the original's.
//! Knows when they are taken; must not know how far apart they are.

use super::measure::{Following, threads};
use crate::args::Validate;
use crate::screen::Screen;
use anyhow::Result;
use llama_pajamas::evaluator::drift::{States, states};
use llama_pajamas::evaluator::text::Pass;
use llama_pajamas::evaluator::{Progress, Validation, divergence};
use llama_pajamas::{CancelToken, LoadedModel};

/// The states of a model where they are wanted; with a note where the original has none.
pub(crate) fn taken(
    model: &LoadedModel,
    passes: &[Pass],
    args: &Validate,
    label: &str,
    cancel: &CancelToken,
    following: &mut Following<'_>,
) -> Result<Option<States>> {
    if !args.drift {
        return Ok(None);
    }
    let computing = divergence::Computing { n_threads: threads(model, &args.computing) };
    let mut watch = |progress: Progress<'_>| following.show(&progress);
    let label = format!("{label}: states");
    let found = states(model.engine_model(), passes, &computing, &label, cancel, &mut watch)?;
    if found.is_none() {
        eprintln!("note: --drift: no states of recurrent layers are to be had of this model");
    }
    Ok(found)
}

/// The distances of all variants.
pub(crate) fn print(validations: &[Validation], screen: &Screen) {
    if validations.iter().all(|validation| validation.drift.is_empty()) {
        return;
    }
    let heading = format!(
        "\n{:32}{:>10}{:>14}{:>14}  {}",
        "recurrent states", "tokens", "state apart", "convolution", "farthest, by recurrent layer"
    );
    println!("{}", screen.bold(&heading));
    for validation in validations {
        for row in &validation.drift {
            let name = format!("{}, {} ({})", validation.candidate, row.text, row.n_ctx);
            let farthest = row.layers.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
            let farthest = farthest.map(|(layer, apart)| format!("{:.3} % in number {layer}", 100.0 * apart));
            println!(
                "{name:32}{:>10}{:>12.3} %{:>12.3} %  {}",
                row.n_read,
                100.0 * row.state,
                100.0 * row.convolution,
                farthest.unwrap_or_default()
            );
        }
    }
}
