//! Making a variant: the translation of its options.

use llama_pajamas::requantize::{Make, Request};
use llama_pajamas::{CancelToken, Runtime};

use super::event::{Ear, Event};
use super::options::RequantizeOptions;
use crate::arguments::{Options, text_of};
use crate::error::Failure;
use crate::requantize::lp_requantize_options;
use crate::requantize::make::{recipe, run, time_budget};

pub(super) fn requantize(
    runtime: &Runtime,
    options: RequantizeOptions,
    cancel: &CancelToken,
    ear: &Ear,
) -> Result<String, Failure> {
    let plain = lp_requantize_options::defaults();
    let precision = options.precision.as_deref().unwrap_or("Q4_K_M");
    let request = Request {
        parent: options.parent,
        replaces: options.replaces,
        imatrix: options.imatrix.map(Into::into),
        n_ctx: options.n_ctx.unwrap_or(plain.n_ctx) as usize,
        max_windows: options.max_windows.unwrap_or(plain.max_windows) as usize,
        max_kld: options.max_kld.unwrap_or(plain.max_kld),
        threads: options.n_threads.unwrap_or(plain.n_threads) as usize,
        memory_budget_bytes: options.memory_budget_bytes,
        time_budget: time_budget(options.time_budget_s.unwrap_or(0.0))?,
        wait_for_mains: options.wait_for_mains.unwrap_or(true),
        ..Request::new(Make::Recipe(recipe(precision)?), &options.text)
    };
    let outcome = run(runtime, request, cancel, &mut |fraction, value| {
        ear.hear(|| Event::Requantizing { fraction, json: value.to_string() })
    })?;
    text_of(&outcome)
}
