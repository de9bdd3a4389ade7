//! A further variant made on the device.
//!
//! Owns: the options of the call. May know: runtimes and listeners. Must not know: how a variant is made.

#![allow(non_camel_case_types, reason = "the names are C's")]

#[cfg(feature = "quantize")]
#[path = "requantize/make.rs"]
pub(crate) mod make;
#[cfg(not(feature = "quantize"))]
#[path = "requantize/make_disabled.rs"]
mod make;

use std::ffi::{c_char, c_void};

use crate::arguments::{Options, Place, init_options};
use crate::cancel::lp_cancel;
use crate::error::{lp_error, lp_status};
use crate::event::{Listener, lp_event_fn};
use crate::guard::guarded;
use crate::runtime::lp_runtime;

/// How to make a variant.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lp_requantize_options {
    /// Size of the struct in bytes.
    pub struct_size: usize,
    /// What to make: a type of llama.cpp's, e.g. "Q4_K_M", or "high", "balanced" or "extreme". Default "Q4_K_M".
    pub precision: *const c_char,
    /// The text on which the new variant is held against the one it is made of: some pages of what the app is about. Must be given.
    pub text: *const c_char,
    /// Id of the variant to make it of: F32, BF16, F16 or Q8_0. NULL, the default: the finest of these that is here.
    pub parent: *const c_char,
    /// Id of a variant that goes when the new one has passed. NULL, the default: none.
    pub replaces: *const c_char,
    /// File of an importance matrix. NULL, the default: none.
    pub imatrix: *const c_char,
    /// Greatest mean divergence from the parent, in nats, with which the new variant is published. Default 0.1.
    pub max_kld: f64,
    /// Tokens that are compared at a time. Default 512.
    pub n_ctx: u32,
    /// Most such windows. Default 16.
    pub max_windows: u32,
    /// Threads. Default 1.
    pub n_threads: u32,
    /// Not 0, the default: wait while the device runs on its battery.
    pub wait_for_mains: u32,
    /// Memory that may be used, in bytes; 0, the default: what is needed.
    pub memory_budget_bytes: u64,
    /// Seconds after which the work stops until the next call, pauses included; 0, the default: as long as it takes.
    pub time_budget_s: f64,
}

// SAFETY: `repr(C)`, the size first, numbers and pointers.
unsafe impl Options for lp_requantize_options {
    fn defaults() -> Self {
        Self {
            struct_size: size_of::<Self>(),
            precision: c"Q4_K_M".as_ptr(),
            text: std::ptr::null(),
            parent: std::ptr::null(),
            replaces: std::ptr::null(),
            imatrix: std::ptr::null(),
            max_kld: 0.1,
            n_ctx: 512,
            max_windows: 16,
            n_threads: 1,
            wait_for_mains: 1,
            memory_budget_bytes: 0,
            time_budget_s: 0.0,
        }
    }
}

/// Fills `options` with defaults.
///
/// # Safety
/// `options` is null or valid for writes of `struct_size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lp_requantize_options_init(options: *mut lp_requantize_options, struct_size: usize) {
    // SAFETY: by this function's contract.
    unsafe { init_options(options, struct_size) };
}

/// Makes a further variant of the opened bundle out of one of its own, at low priority, waiting while the device is hot or short of
/// memory, and publishes it when it is close enough to its parent. For a thread of the app's own: it takes as long as it takes. A call
/// that was stopped is gone on with by the next one with the same options. `*json` becomes a JSON object, {"published":{…}},
/// {"not_good_enough":{…}} or {"out_of_time":{…}}. Free it with lp_string_free. The new variant is there for who opens the bundle anew.
/// Tells LP_EVENT_REQUANTIZING. Needs a library with the feature `quantize`, else LP_UNSUPPORTED. `cancel`, `on_event` and `user_data`
/// are optional.
///
/// # Safety
/// Options carry their size, `cancel` is null or live, `on_event` accepts `user_data`, `json` and `error` are valid for writes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lp_runtime_requantize(
    runtime: *const lp_runtime,
    options: *const lp_requantize_options,
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
            let listener = Listener::new(on_event, user_data);
            place.fill_json(&make::make(runtime, options, cancel, &listener)?)
        })
    }
}
