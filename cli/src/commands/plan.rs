//! `plan`: which variant serves best here, and why.

use super::{open, request};
use crate::args::Plan;
use crate::screen::Screen;
use anyhow::Result;
use llama_pajamas::Error;

pub(crate) fn run(args: &Plan, screen: &Screen) -> Result<()> {
    let (runtime, _located) = open(&args.model, &args.wishes, None, screen)?;
    let plan = runtime.plan(&request(&args.wishes)?);
    if screen.json {
        screen.print_json(&plan)?;
    } else {
        print!("{}", plan.render());
    }
    match plan.refusal() {
        Some(refusal) => Err(Error::NothingFits(refusal).into()),
        None => Ok(()),
    }
}
