//! `plan`: which variant serves best here or on a machine that a profile describes, and why.

use super::calibrate::into_file;
use super::foresee::{candidates, is_described, machine};
use super::{open, request};
use crate::args::{Plan, Wishes};
use crate::interrupt;
use crate::screen::Screen;
use anyhow::{Context, Result, bail};
use indicatif::ProgressStyle;
use llama_pajamas::planner::{self, Candidate, Code, Draft, MeasuredSpeed};
use llama_pajamas::{CompareSettings, CompareStep, Comparison, Error, PlanRequest, Runtime, Unmeasured};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub(crate) fn run(args: &Plan, screen: &Screen) -> Result<()> {
    let mut request = request(&args.wishes)?;
    request.min_decode_tokens_per_s = args.min_speed;
    request.max_first_token_s = args.max_first_token;
    request.images = args.images;
    request.draft = draft(args, screen)?.map(Arc::new);
    if let Some(path) = &args.measured {
        let place = || path.display().to_string();
        let bytes = std::fs::read(path).with_context(place)?;
        request.measured = serde_json::from_slice::<Comparison>(&bytes).with_context(place)?.measured;
    }
    let described = !args.precision.is_empty() || is_described(Path::new(&args.model));
    let plan = if args.target.host.is_none() && !described {
        let (runtime, _located) = open(&args.model, &args.wishes, None, screen)?;
        if args.measure {
            request.measured = measure(args, &runtime, &request, screen)?;
        }
        runtime.plan(&request)
    } else {
        if args.measure {
            bail!("--measure: expected a bundle, got a description of a model");
        }
        let Wishes { network, trust, .. } = &args.wishes;
        let mut candidates = candidates(&args.model, &args.precision, network, trust.as_deref(), screen)?;
        if args.target.host.is_some() {
            // What is not on this machine may be on that one, as may what computes it.
            let missing =
                |candidate: &Candidate| matches!(candidate.blocked, Some((Code::Missing | Code::Engine, _)));
            candidates.iter_mut().filter(|one| missing(one)).for_each(|one| one.blocked = None);
        }
        let seen = machine(&args.target)?;
        request.devices = seen.devices;
        planner::plan(&seen.host, &candidates, &request)
    };
    if screen.json {
        screen.print_json(&plan)?;
    } else if args.explain {
        print!("{}", plan.render());
    } else {
        print!("{}", plan.summary());
    }
    match plan.refusal() {
        Some(refusal) => Err(Error::NothingFits(refusal).into()),
        None => Ok(()),
    }
}

/// Times the variants that compete; what was not timed is told on the error channel.
fn measure(
    args: &Plan,
    runtime: &Runtime,
    request: &PlanRequest,
    screen: &Screen,
) -> Result<Vec<MeasuredSpeed>> {
    if !(args.measure_budget > 0.0 && args.measure_budget <= 3600.0) {
        bail!("--measure-budget: expected more than 0 and at most 3600 seconds, got {}", args.measure_budget);
    }
    let settings = CompareSettings { budget: Duration::from_secs_f64(args.measure_budget) };
    let live = screen.spinner();
    live.set_style(ProgressStyle::with_template("{msg}").expect("the template is fixed and valid"));
    let mut show = |step: &CompareStep<'_>| {
        let speed = step.decode_tokens_per_s.map_or("loading".into(), |speed| format!("{speed:.0} tokens/s"));
        live.set_message(format!("{} ({} of {}): {speed}", step.id, step.at + 1, step.n_variants));
        ControlFlow::Continue(())
    };
    let found = runtime.compare(request, &settings, &interrupt::token(), &mut show)?;
    live.finish_and_clear();
    for Unmeasured { id, reason } in &found.unmeasured {
        eprintln!("note: {id} was not measured: {reason}");
    }
    if found.measured.is_empty() && found.unmeasured.is_empty() {
        eprintln!("note: nothing was measured: quality alone decides here");
    }
    if let Some(path) = &args.write_measured {
        into_file(path, |out| Ok(serde_json::to_writer_pretty(out, &found)?))?;
    }
    Ok(found.measured)
}

/// The draft model that `--draft` names.
fn draft(args: &Plan, screen: &Screen) -> Result<Option<Draft>> {
    let Some(model) = &args.draft else { return Ok(None) };
    let Wishes { network, trust, .. } = &args.wishes;
    let precision: Vec<String> = args.draft_precision.iter().cloned().collect();
    let found = candidates(model, &precision, network, trust.as_deref(), screen)?;
    let Some(first) = found.first() else { bail!("--draft: {model} has no variants") };
    Ok(Some(Draft::of(first)))
}
