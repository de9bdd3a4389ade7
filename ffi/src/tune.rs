//! Tuning a loaded model, with progress.
//!
//! Owns: the options and the events of a tuning. May know: runtimes, models, listeners. Must not know: how settings are raced.

#![allow(non_camel_case_types, reason = "the names are C's")]

use std::ffi::{c_char, c_void};
use std::time::Duration;

use llama_pajamas::{TuneSettings, TuneStep};

use crate::arguments::{Options, Place, init_options, object, options};
use crate::cancel::lp_cancel;
use crate::error::{Failure, lp_error, lp_status};
use crate::event::{Listener, lp_event_fn};
use crate::guard::guarded;
use crate::model::lp_model;
use crate::runtime::lp_runtime;

/// Longest budget that is taken, in seconds.
const MOST_SECONDS: f64 = 3600.0;

/// How to tune.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lp_tune_options {
    /// Size of the struct in bytes.
    pub struct_size: usize,
    /// Most seconds for everything.
    pub budget_s: f64,
    /// Not 0: leave knobs alone that change rounding.
    pub bit_exact: u32,
}

// SAFETY: `repr(C)`, the size first, numbers.
unsafe impl Options for lp_tune_options {
    fn defaults() -> Self {
        let budget_s = TuneSettings::default().budget.as_secs_f64();
        Self { struct_size: size_of::<Self>(), budget_s, bit_exact: 0 }
    }
}

impl lp_tune_options {
    fn settings(&self) -> Result<TuneSettings, Failure> {
        if !(self.budget_s > 0.0 && self.budget_s <= MOST_SECONDS) {
            let text =
                format!("budget_s is {}, expected more than 0 and at most {MOST_SECONDS}", self.budget_s);
            return Err(Failure::invalid(text));
        }
        Ok(TuneSettings {
            budget: Duration::from_secs_f64(self.budget_s),
            allow_rounding: self.bit_exact == 0,
            ..TuneSettings::default()
        })
    }
}

/// Fills `options` with defaults.
///
/// # Safety
/// `options` is null or valid for writes of `struct_size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lp_tune_options_init(options: *mut lp_tune_options, struct_size: usize) {
    // SAFETY: by this function's contract.
    unsafe { init_options(options, struct_size) };
}

/// Races settings of a model, uses the best from now on and tells the report as JSON.
///
/// # Safety
/// `runtime` and `model` are live, options are null or carry their size, `cancel` is null or live, `on_event` accepts
/// `user_data`, `json` and `error` are valid for writes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lp_model_tune(
    runtime: *const lp_runtime,
    model: *const lp_model,
    tune_options: *const lp_tune_options,
    cancel: *const lp_cancel,
    on_event: lp_event_fn,
    user_data: *mut c_void,
    json: *mut *mut c_char,
    error: *mut *mut lp_error,
) -> lp_status {
    // SAFETY: by this function's contract.
    unsafe {
        guarded(error, || {
            let place = Place::new(json, "json")?;
            let (runtime, model) = (object(runtime, "runtime")?, object(model, "model")?);
            let settings = options(tune_options)?.settings()?;
            // A clone: the caller may free the token meanwhile.
            let cancel = cancel.as_ref().map(|cancel| cancel.0.clone()).unwrap_or_default();
            let listener = Listener::new(on_event, user_data);
            let mut hear = |step: &TuneStep<'_>| {
                let speeds = step.race.arms.iter().map(|arm| arm.tokens_per_s);
                listener.tuning(&serde_json::json!({
                    "knob": step.knob,
                    "elapsed_s": step.elapsed.as_secs_f64(),
                    "budget_s": settings.budget.as_secs_f64(),
                    "values": step.values,
                    "tokens_per_s": speeds.collect::<Vec<f64>>(),
                }))
            };
            let report = runtime.0.tune(&model.0, &settings, &cancel, &mut hear)?;
            place.fill_json(&report)
        })
    }
}
