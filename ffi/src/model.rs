//! Loading.
//!
//! Owns: the model's handle. May know: runtimes and their options. Must not know: sessions.

#![allow(non_camel_case_types, reason = "the names are C's")]

use std::ffi::{c_int, c_void};

use llama_pajamas::{CancelToken, LoadedModel};

use crate::arguments::{Place, object, options};
use crate::error::{lp_error, lp_status};
use crate::guard::{freeing, guarded};
use crate::runtime::{lp_plan_options, lp_runtime};

/// Loaded weights.
pub struct lp_model(pub(crate) LoadedModel);

/// Told how much is loaded, 0 to 1; returns 0 to go on.
pub type lp_progress_fn = Option<unsafe extern "C" fn(user_data: *mut c_void, fraction: f32) -> c_int>;

/// Plans, and loads what is chosen.
///
/// # Safety
/// `runtime` is live, `out` and `error` are valid for writes, options are null or carry their size,
/// `progress` accepts `user_data`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lp_runtime_load(
    runtime: *const lp_runtime,
    plan_options: *const lp_plan_options,
    progress: lp_progress_fn,
    user_data: *mut c_void,
    out: *mut *mut lp_model,
    error: *mut *mut lp_error,
) -> lp_status {
    // SAFETY: by this function's contract.
    unsafe {
        guarded(error, || {
            let place = Place::new(out, "out")?;
            let runtime = object(runtime, "runtime")?;
            let request = options(plan_options)?.request()?;
            let cancel = CancelToken::new();
            let mut watch = |fraction| {
                if progress.is_some_and(|progress| progress(user_data, fraction) != 0) {
                    cancel.cancel();
                }
            };
            let (_, model) = runtime.0.plan_and_load(&request, &mut watch, &cancel)?;
            place.fill(Box::into_raw(Box::new(lp_model(model))));
            Ok(())
        })
    }
}

/// Frees a model. Null is ignored.
///
/// # Safety
/// `model` is null or came from [`lp_runtime_load`] and is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lp_model_free(model: *mut lp_model) {
    if !model.is_null() {
        // SAFETY: by this function's contract.
        freeing(|| drop(unsafe { Box::from_raw(model) }));
    }
}
