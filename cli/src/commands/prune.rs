//! `quantize --prune-layers` and `--prune-experts`: what is taken out, and what that costs on a text.
//! Knows requests and how figures are shown; must not know which experts matter.

use super::calibrate::with_bar;
use super::contest::Court;
use crate::args::Fitting;
use crate::screen::Screen;
use anyhow::Result;
use llama_pajamas::quantizer::{self, BuildReport, BuildRequest, Inputs, Pruning, PruningLoss};

/// Measures what pruning costs, where a text is given.
pub(crate) fn loss(args: &Fitting, request: &BuildRequest, screen: &Screen) -> Result<Option<PruningLoss>> {
    let is_whole = request.prune_experts == 0 && request.prune_layers.is_empty();
    if is_whole || args.judging.text.is_empty() {
        return Ok(None);
    }
    let Inputs { source: pruned, .. } = quantizer::open_inputs(request)?;
    let court = Court::new(&args.judging, request)?;
    let loss =
        with_bar(screen, |watch| Ok(quantizer::pruning_loss(pruned.as_ref(), &court.judging(), watch)?))?;
    if !screen.json {
        let PruningLoss { kld, standard_error, n_scored } = loss;
        println!("without them: KLD {kld:.4e} \u{b1} {standard_error:.1e} over {n_scored} tokens");
    }
    Ok(Some(loss))
}

/// What was taken out.
pub(crate) fn print(report: &BuildReport, screen: &Screen) {
    if !report.pruned_layers.is_empty() {
        let layers: Vec<String> = report.pruned_layers.iter().map(u64::to_string).collect();
        println!("{} of layer {}", screen.bold("without the tensors"), layers.join(", "));
    }
    let Some(pruning) = &report.pruning else { return };
    let Pruning { n_experts, n_kept, n_active, layers, .. } = pruning;
    let shares = layers.iter().map(|layer| 100.0 * layer.removed_share);
    let [least, most] = [f64::min, f64::max].map(|pick| shares.clone().reduce(pick).unwrap_or(0.0));
    println!(
        "{} {n_kept} of {n_experts} experts in each of {} layers, {n_active} per token; the others gave {least:.2} to \
         {most:.2} % of a layer's",
        screen.bold("kept"),
        layers.len()
    );
}
