//! Bundles made of a checkpoint or a GGUF file.
//!
//! Owns: the options of the call. May know: listeners. Must not know: how types are chosen and rows rounded.

#![allow(non_camel_case_types, reason = "the names are C's")]

#[cfg(feature = "quantize")]
#[path = "quantize/make.rs"]
pub(crate) mod make;
#[cfg(not(feature = "quantize"))]
#[path = "quantize/make_disabled.rs"]
pub(crate) mod make;

use std::ffi::{c_char, c_void};

use crate::arguments::{Options, Place, init_options};
use crate::cancel::lp_cancel;
use crate::error::{lp_error, lp_status};
use crate::event::{Listener, lp_event_fn};
use crate::guard::guarded;

/// What to make of a model.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lp_quantize_options {
    /// Size of the struct in bytes.
    pub struct_size: usize,
    /// "gguf" or "mlx"; NULL, the default: "gguf". A further call adds variants of another format to the same bundle.
    pub format: *const c_char,
    /// What to make, a variant each. In GGUF: types of llama.cpp's, e.g. "Q4_K_M", or "high", "balanced", "extreme", which choose by
    /// role. In MLX: "4bit", "3bit-g32", "4bit-mixed", "mxfp4", … or the same three. Default none, which is "balanced" where
    /// `target_bytes` and `plans` are none either.
    pub precisions: *const *const c_char,
    /// How many.
    pub n_precisions: usize,
    /// Sizes of files in bytes to fit as well as possible, a variant each, by what was measured of the model: needs `sensitivity`.
    pub target_bytes: *const u64,
    /// How many.
    pub n_target_bytes: usize,
    /// Files of plans to carry out, a variant each, as the command's `quantize --write-plan` writes them. GGUF alone.
    pub plans: *const *const c_char,
    /// How many.
    pub n_plans: usize,
    /// Low-rank adapters to merge into a checkpoint first, in order: folders as `peft` writes them.
    pub adapters: *const *const c_char,
    /// How many.
    pub n_adapters: usize,
    /// File that the command's `sensitivity` wrote of this model. NULL, the default: none.
    pub sensitivity: *const c_char,
    /// File that its `moments` wrote: blocks are then rounded with error feedback. NULL, the default: none.
    pub moments: *const c_char,
    /// File of an importance matrix. NULL, the default: none.
    pub imatrix: *const c_char,
    /// The model's id in the manifest. NULL, the default: the name of its folder or file.
    pub model_id: *const c_char,
    /// Memory that the work may take, in bytes; 0, the default: what the device has to spare.
    pub memory_budget_bytes: u64,
    /// Threads; 0, the default: all cores.
    pub n_threads: u32,
    /// Not 0: take a GGUF file that is quantized already. Default 0: such a file is refused, since its errors stay.
    pub allow_requantize: u32,
    /// Not 0: tell types, sizes and memory, and write nothing. Default 0.
    pub dry_run: u32,
    /// Always 0.
    pub reserved: u32,
}

// SAFETY: `repr(C)`, the size first, numbers and pointers.
unsafe impl Options for lp_quantize_options {
    fn defaults() -> Self {
        Self {
            struct_size: size_of::<Self>(),
            format: std::ptr::null(),
            precisions: std::ptr::null(),
            n_precisions: 0,
            target_bytes: std::ptr::null(),
            n_target_bytes: 0,
            plans: std::ptr::null(),
            n_plans: 0,
            adapters: std::ptr::null(),
            n_adapters: 0,
            sensitivity: std::ptr::null(),
            moments: std::ptr::null(),
            imatrix: std::ptr::null(),
            model_id: std::ptr::null(),
            memory_budget_bytes: 0,
            n_threads: 0,
            allow_requantize: 0,
            dry_run: 0,
            reserved: 0,
        }
    }
}

/// Fills `options` with defaults.
///
/// # Safety
/// `options` is null or valid for writes of `struct_size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lp_quantize_options_init(options: *mut lp_quantize_options, struct_size: usize) {
    // SAFETY: by this function's contract.
    unsafe { init_options(options, struct_size) };
}

/// Makes variants of the model at `model`, a checkpoint's folder (config.json and safetensors) or a GGUF file, and publishes them
/// together in the bundle at `output`, which is made or added to. For a thread of the app's own: it takes as long as it takes. A call
/// that fails or is stopped leaves the bundle as it was. `*json` becomes a JSON object with "variants" (each with "id", "file_bytes", "work_bytes", "bits_per_weight", "types", and "plan" where one
/// was made), "projectors" and "warnings". Free it with lp_string_free. Tells LP_EVENT_QUANTIZING. Needs a library with the feature
/// `quantize`, else LP_UNSUPPORTED. `options`, `cancel`, `on_event` and `user_data` are optional.
///
/// # Safety
/// Texts end in NUL, options are null or carry their size and their arrays are as long as they say, `cancel` is null or live, `on_event`
/// accepts `user_data`, `json` and `error` are valid for writes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lp_quantize(
    model: *const c_char,
    output: *const c_char,
    options: *const lp_quantize_options,
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
            place.fill_json(&make::make(model, output, options, cancel, &listener)?)
        })
    }
}
