//! Starting the work, telling how far it is, and waiting for its end.
//!
//! Owns: the translation of options and errors. May know: the runtime's requantizing. Must not know: how rows are rounded.

use std::time::Duration;

use llama_pajamas::quantizer::recipe::Recipe;
use llama_pajamas::requantize::{Error, Make, Outcome, Progress, Request};
use llama_pajamas::{CancelToken, ErrorCode, Runtime};
use serde_json::json;

use super::lp_requantize_options;
use crate::arguments::{optional_text, text};
use crate::error::Failure;
use crate::event::{Listener, lp_event_kind, share};

/// How often progress is told.
const EVERY: Duration = Duration::from_millis(100);

/// # Safety
/// The options' texts are null or live.
pub(super) unsafe fn make(
    runtime: &Runtime,
    options: &lp_requantize_options,
    cancel: &CancelToken,
    listener: &Listener,
) -> Result<Outcome, Failure> {
    // SAFETY: by this function's contract.
    let request = unsafe { request(options) }?;
    let work = runtime.requantize(request).map_err(failure)?;
    let mut told = None;
    while !work.is_finished() {
        let progress = work.progress();
        if told != Some(progress) {
            told = Some(progress);
            if tell(listener, &progress) {
                work.cancel();
            }
        }
        if cancel.is_cancelled() {
            work.cancel();
        }
        std::thread::sleep(EVERY);
    }
    work.wait().map_err(failure)
}

/// Whether to stop.
fn tell(listener: &Listener, progress: &Progress) -> bool {
    let Progress { stage, done, total, eta, paused } = progress;
    let value = json!({
        "stage": stage, "done": done, "total": total, "eta_s": eta.map(|eta| eta.as_secs_f64()), "paused": paused,
    });
    listener.json(lp_event_kind::LP_EVENT_REQUANTIZING, share(*done, *total), &value).is_break()
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
    let recipe = Recipe::from_name(precision).ok_or_else(|| {
        let known: Vec<_> = Recipe::names().collect();
        Failure::invalid(format!("precision is {precision}, expected one of {}", known.join(", ")))
    })?;
    let time_budget = match options.time_budget_s {
        0.0 => None,
        seconds => Some(
            Duration::try_from_secs_f64(seconds)
                .map_err(|error| Failure::invalid(format!("time_budget_s is {seconds}: {error}")))?,
        ),
    };
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

fn failure(error: Error) -> Failure {
    if error.is_cancelled() {
        return llama_pajamas::Error::Cancelled.into();
    }
    match error {
        Error::Runtime(error) => error.into(),
        Error::Bundle(error) => error.into(),
        other => Failure::new(ErrorCode::Internal, other.to_string()),
    }
}
