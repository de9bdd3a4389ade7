//! Tuning a loaded model, with progress.
//!
//! Owns: the options and the events of a tuning. May know: runtimes, models, listeners. Must not know: how settings are raced.

#![allow(non_camel_case_types, reason = "the names are C's")]

use std::ffi::{c_char, c_void};
use std::time::Duration;

use llama_pajamas::tuner::Knob;
use llama_pajamas::{TuneSettings, TuneStep};
use serde::Serialize;

use crate::arguments::{Options, Place, init_options};
use crate::cancel::{lp_cancel, token};
use crate::error::{Failure, lp_error, lp_status};
use crate::event::{Listener, lp_event_fn, lp_event_kind};
use crate::guard::guarded;
use crate::handles;
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
    /// Most seconds for everything, at most 3600. Default 12.
    pub budget_s: f64,
    /// Not 0: leave alone what changes rounding. Default 0.
    pub bit_exact: u32,
    /// Always 0.
    pub reserved: u32,
}

// SAFETY: `repr(C)`, the size first, numbers.
unsafe impl Options for lp_tune_options {
    fn defaults() -> Self {
        let budget_s = TuneSettings::default().budget.as_secs_f64();
        Self { struct_size: size_of::<Self>(), budget_s, bit_exact: 0, reserved: 0 }
    }
}

impl lp_tune_options {
    pub(crate) fn settings(&self) -> Result<TuneSettings, Failure> {
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

/// Races settings of a model on this device for at most the budget, and uses the best from now on: sessions obey from their next
/// answer on, later starts find it in the runtime's tuning folder, if it has one. The model is one that `runtime` loaded. Tells
/// LP_EVENT_TUNING. Let nothing else compute meanwhile. Being stopped, by the cancel token, the callback, heat or want of memory, is
/// no error: "halted" tells. `*json` becomes a JSON object with "start", "setting", "halted" and "knobs". Free it with
/// lp_string_free. `options`, `cancel`, `on_event` and `user_data` are optional.
///
/// # Safety
/// Options are null or carry their size, `cancel` is null or live, `on_event` accepts
/// `user_data`, `json` and `error` are valid for writes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lp_model_tune(
    runtime: *const lp_runtime,
    model: *const lp_model,
    options: *const lp_tune_options,
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
            let (runtime, model) = (handles::get(runtime)?, handles::get(model)?);
            let settings = crate::arguments::options(options)?.settings()?;
            let listener = Listener::new(on_event, user_data);
            let mut hear = |step: &TuneStep<'_>| {
                let (fraction, value) = told(step, settings.budget.as_secs_f64());
                listener.json(lp_event_kind::LP_EVENT_TUNING, fraction, &value)
            };
            let report = runtime.tune(&model, &settings, &token(cancel), &mut hear)?;
            place.fill_json(&report)
        })
    }
}

/// How far a tuning is, and what is told of it.
pub(crate) fn told<'a>(step: &TuneStep<'a>, budget_s: f64) -> (f64, impl Serialize + use<'a>) {
    let speeds = step.race.arms.iter().map(|arm| arm.tokens_per_s);
    let elapsed_s = step.elapsed.as_secs_f64();
    let told =
        Told { knob: step.knob, elapsed_s, budget_s, values: step.values, tokens_per_s: speeds.collect() };
    ((elapsed_s / budget_s).min(1.0), told)
}

#[derive(Serialize)]
struct Told<'a> {
    knob: Knob,
    elapsed_s: f64,
    budget_s: f64,
    values: &'a [u32],
    tokens_per_s: Vec<f64>,
}
