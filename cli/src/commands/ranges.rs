//! `quantize --precision int8-qdq`: ranges of what flows into products, learned from text before graphs are made.
//! Knows requests, texts and how what was learned is shown; must not know how it is learned.

use super::calibrate::with_bar;
use super::contest::Court;
use crate::args::Fitting;
use crate::screen::Screen;
use anyhow::{Result, bail};
use llama_pajamas::quantizer::onnx::{Learning, Statics, learn};
use llama_pajamas::quantizer::{self, BuildRequest};
use std::sync::Arc;

/// Learns what the request's recipes need.
pub(crate) fn ranges(args: &Fitting, request: &mut BuildRequest, screen: &Screen) -> Result<()> {
    let Some(recipe) = request.onnx.iter().find(|recipe| recipe.learns()) else { return Ok(()) };
    if args.judging.text.is_empty() {
        bail!("--precision: {} learns from text: expected --text, got none", recipe.name());
    }
    if request.dry_run {
        bail!("--dry-run: expected precisions that do not learn from text, got {}", recipe.name());
    }
    let source = quantizer::open_source(&request.model, &request.adapters)?;
    let court = Court::new(&args.judging, request)?;
    let judging = court.judging();
    let learning =
        Learning { model: judging.original, chunks: judging.windows, smooth: true, threads: request.threads };
    let statics = with_bar(screen, |watch| Ok(learn(source.as_ref(), &learning, watch)?))?;
    if !screen.json {
        print(&statics);
    }
    request.statics = Some(Arc::new(statics));
    Ok(())
}

fn print(statics: &Statics) {
    let n = statics.inputs.len();
    let coded = statics.inputs.iter().filter(|input| input.is_coded);
    let smoothed = coded.clone().filter(|input| input.strength.is_some()).count();
    let mean = |of: &dyn Fn(&quantizer::onnx::StaticInput) -> f64| {
        (statics.inputs.iter().map(|input| of(input).max(f64::MIN_POSITIVE).ln()).sum::<f64>()
            / n.max(1) as f64)
            .exp()
    };
    println!(
        "ranges of {} of {n} inputs, {smoothed} with factors: products lose {:.1e} of their square where they lost {:.1e}",
        coded.count(),
        mean(&|input| input.error),
        mean(&|input| input.plain_error)
    );
}
