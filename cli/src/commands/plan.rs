//! `plan`: which variant serves best here or on a machine that a profile describes, and why.

use super::foresee::{candidates, is_described, machine};
use super::{open, request};
use crate::args::{Plan, Wishes};
use crate::screen::Screen;
use anyhow::{Result, bail};
use llama_pajamas::Error;
use llama_pajamas::planner::{self, Candidate, Code, Draft};
use std::path::Path;
use std::sync::Arc;

pub(crate) fn run(args: &Plan, screen: &Screen) -> Result<()> {
    let mut request = request(&args.wishes)?;
    request.min_decode_tokens_per_s = args.min_speed;
    request.max_first_token_s = args.max_first_token;
    request.images = args.images;
    request.draft = draft(args, screen)?.map(Arc::new);
    let described = !args.precision.is_empty() || is_described(Path::new(&args.model));
    let plan = if args.target.host.is_none() && !described {
        let (runtime, _located) = open(&args.model, &args.wishes, None, screen)?;
        runtime.plan(&request)
    } else {
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

/// The draft model that `--draft` names.
fn draft(args: &Plan, screen: &Screen) -> Result<Option<Draft>> {
    let Some(model) = &args.draft else { return Ok(None) };
    let Wishes { network, trust, .. } = &args.wishes;
    let precision: Vec<String> = args.draft_precision.iter().cloned().collect();
    let found = candidates(model, &precision, network, trust.as_deref(), screen)?;
    let Some(first) = found.first() else { bail!("--draft: {model} has no variants") };
    Ok(Some(Draft::of(first)))
}
