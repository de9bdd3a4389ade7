//! Starting the work, telling how far it is, and waiting for its end.
//!
//! Owns: the translation of options and errors. May know: the runtime's requantizing. Must not know: how rows are rounded.

use std::ops::ControlFlow;
use std::time::Duration;

use llama_pajamas::quantizer::recipe::Recipe;
use llama_pajamas::requantize::{Make, Outcome, Progress, Request};
use llama_pajamas::{CancelToken, Runtime};
use serde_json::{Value, json};

use super::lp_requantize_options;
use crate::arguments::{optional_text, text};
use crate::cancel::{lp_cancel, token};
use crate::error::Failure;
use crate::event::{Listener, lp_event_kind, share};
use crate::handles;
use crate::runtime::lp_runtime;

/// How often progress is told.
const EVERY: Duration = Duration::from_millis(100);

/// # Safety
/// Those of [`super::lp_runtime_requantize`].
pub(super) unsafe fn make(
    runtime: *const lp_runtime,
    options: *const lp_requantize_options,
    cancel: *const lp_cancel,
    listener: &Listener,
) -> Result<Outcome, Failure> {
    // SAFETY: by this function's contract.
    let (runtime, request, cancel) =
        unsafe { (handles::get(runtime)?, request(&crate::arguments::options(options)?)?, token(cancel)) };
    run(&runtime, request, &cancel, &mut |fraction, value| {
        listener.json(lp_event_kind::LP_EVENT_REQUANTIZING, fraction, value)
    })
}

/// Does the work; `hear` is told how far it is and may stop it.
pub(crate) fn run(
    runtime: &Runtime,
    request: Request,
    cancel: &CancelToken,
    hear: &mut dyn FnMut(f64, &Value) -> ControlFlow<()>,
) -> Result<Outcome, Failure> {
    let work = runtime.requantize(request)?;
    let mut told = None;
    while !work.is_finished() {
        let progress = work.progress();
        if told != Some(progress) {
            told = Some(progress);
            let (fraction, value) = described(&progress);
            if hear(fraction, &value).is_break() {
                work.cancel();
            }
        }
        if cancel.is_cancelled() {
            work.cancel();
        }
        std::thread::sleep(EVERY);
    }
    Ok(work.wait()?)
}

fn described(progress: &Progress) -> (f64, Value) {
    let Progress { stage, done, total, eta, paused } = progress;
    let value = json!({
        "stage": stage, "done": done, "total": total, "eta_s": eta.map(|eta| eta.as_secs_f64()), "paused": paused,
    });
    (share(*done, *total), value)
}

/// What to make, by its name.
pub(crate) fn recipe(precision: &str) -> Result<Recipe, Failure> {
    Recipe::from_name(precision).ok_or_else(|| {
        let known: Vec<_> = Recipe::names().collect();
        Failure::invalid(format!("precision is {precision}, expected one of {}", known.join(", ")))
    })
}

/// How long it may take; 0: as long as it does.
pub(crate) fn time_budget(seconds: f64) -> Result<Option<Duration>, Failure> {
    if seconds == 0.0 {
        return Ok(None);
    }
    let budget = Duration::try_from_secs_f64(seconds);
    budget.map(Some).map_err(|error| Failure::invalid(format!("time_budget_s is {seconds}: {error}")))
}

/// # Safety
/// The texts are null or live.
unsafe fn request(options: &lp_requantize_options) -> Result<Request, Failure> {
    // SAFETY: by this function's contract.
    let [parent, replaces, imatrix] = unsafe {
        [
            optional_text(options.parent, "parent")?,
            optional_text(options.replaces, "replaces")?,
            optional_text(options.imatrix, "imatrix")?,
        ]
    };
    // SAFETY: by this function's contract.
    let (precision, sample) = unsafe { (text(options.precision, "precision")?, text(options.text, "text")?) };
    let recipe = recipe(precision)?;
    let time_budget = time_budget(options.time_budget_s)?;
    Ok(Request {
        parent: parent.map(str::to_owned),
        replaces: replaces.map(str::to_owned),
        imatrix: imatrix.map(Into::into),
        n_ctx: options.n_ctx as usize,
        max_windows: options.max_windows as usize,
        max_kld: options.max_kld,
        threads: options.n_threads as usize,
        memory_budget_bytes: (options.memory_budget_bytes != 0).then_some(options.memory_budget_bytes),
        time_budget,
        wait_for_mains: options.wait_for_mains != 0,
        ..Request::new(Make::Recipe(recipe), sample)
    })
}
