//! `requantize`: a further variant of a bundle out of its own parent variant, over as many calls as it takes.
//! Knows options and how to show progress; must not know how the work is done.

use crate::args::Requantize;
use crate::interrupt;
use crate::screen::{Screen, bytes};
use anyhow::{Context, Result, bail};
use indicatif::ProgressBar;
use llama_pajamas::quantizer::recipe::Recipe;
use llama_pajamas::requantize::{Make, Outcome, Progress, Request, Stage};
use llama_pajamas::{Runtime, RuntimeSettings};
use std::time::Duration;

/// Between two looks at where the work stands.
const LOOK_EVERY: Duration = Duration::from_millis(100);

pub(crate) fn run(args: &Requantize, screen: &Screen) -> Result<()> {
    let cancel = interrupt::token();
    let request = request(args)?;
    let runtime = Runtime::open(&args.bundle, RuntimeSettings::default())?;
    let work = runtime.requantize(request)?;
    let mut bar: Option<(Stage, ProgressBar)> = None;
    while !work.is_finished() {
        if cancel.is_cancelled() {
            work.cancel();
        }
        show(&work.progress(), &mut bar, screen);
        std::thread::sleep(LOOK_EVERY);
    }
    if let Some((_, bar)) = bar {
        bar.finish_and_clear();
    }
    let outcome = work.wait()?;
    if screen.json {
        screen.print_json(&outcome)?;
    }
    match outcome {
        Outcome::Published(published) if !screen.json => {
            let done = if published.was_there { "has" } else { "now has" };
            println!(
                "{} {done} {}: {}, divergence from its parent {:.5} over {} tokens{}",
                args.bundle.display(),
                screen.green(&published.id),
                bytes(published.file_bytes),
                published.kld_mean,
                published.n_tokens,
                match (published.was_there, published.resumed_tensors) {
                    (true, _) | (_, 0) => String::new(),
                    (_, n) => format!("; {n} tensors were there from an earlier call"),
                }
            );
        }
        Outcome::Published(_) => {}
        Outcome::NotGoodEnough { id, kld_mean, max_kld } => bail!(
            "{id}: expected a divergence of at most {max_kld} from its parent, got {kld_mean:.5}: the bundle is as it was"
        ),
        Outcome::OutOfTime { stage, done, total } => {
            let percent = 100.0 * done as f64 / total.max(1) as f64;
            bail!("--time-budget: the time is up at {percent:.0} % of {}: call again to go on", name(stage));
        }
    }
    Ok(())
}

fn request(args: &Requantize) -> Result<Request> {
    let make = match &args.plan {
        Some(plan) => Make::Plan(plan.clone()),
        None => Make::Recipe(Recipe::from_name(args.precision.trim()).with_context(|| {
            let known = Recipe::names().collect::<Vec<_>>().join(", ");
            format!("--precision: `{}` is none of {known}", args.precision)
        })?),
    };
    let text = std::fs::read_to_string(&args.text).with_context(|| args.text.display().to_string())?;
    let time_budget = args.time_budget.map(Duration::try_from_secs_f64).transpose();
    Ok(Request {
        parent: args.parent.clone(),
        replaces: args.replace.clone(),
        imatrix: args.imatrix.clone(),
        moments: args.moments.clone(),
        n_ctx: args.context,
        max_windows: args.windows,
        max_kld: args.max_kld,
        threads: args.threads,
        memory_budget_bytes: args.memory_budget,
        time_budget: time_budget.context("--time-budget: expected seconds")?,
        wait_for_mains: !args.on_battery,
        machine: args.machine.clone(),
        ..Request::new(make, text)
    })
}

fn name(stage: Stage) -> &'static str {
    match stage {
        Stage::Planning => "planning",
        Stage::Rounding => "rounding",
        Stage::Reference => "reading the text with the parent",
        Stage::Comparing => "comparing with the parent",
        Stage::Publishing => "publishing",
    }
}

fn show(progress: &Progress, bar: &mut Option<(Stage, ProgressBar)>, screen: &Screen) {
    if progress.total == 0 {
        return;
    }
    if bar.as_ref().is_none_or(|(stage, _)| *stage != progress.stage) {
        if let Some((_, bar)) = bar.take() {
            bar.finish_and_clear();
        }
        *bar = Some((progress.stage, screen.bytes_bar(progress.total, name(progress.stage))));
    }
    if let Some((_, bar)) = bar {
        let message = match progress.paused {
            Some(cause) => format!("{} waits: {}", name(progress.stage), cause.text()),
            None => name(progress.stage).into(),
        };
        bar.set_message(message);
        bar.set_position(progress.done);
    }
}
