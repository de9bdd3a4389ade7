//! Opening and planning.
//!
//! Owns: the runtime's handle and options. May know: the runtime. Must not know: loading.

#![allow(non_camel_case_types, reason = "the names are C's")]

use std::ffi::{CString, c_char};
use std::path::{Path, PathBuf};

use llama_pajamas::{PlanRequest, Runtime, RuntimeSettings};

use crate::arguments::{Options, Place, init_options, object, optional_text, options, text};
use crate::error::{Failure, lp_error, lp_status};
use crate::guard::{freeing, guarded};

/// An opened bundle or model file.
pub struct lp_runtime(pub(crate) Runtime);

/// How to open.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lp_runtime_options {
    /// Size of the struct in bytes.
    pub struct_size: usize,
    /// The CPU variant to use; null: the best of this processor.
    pub cpu_variant: *const c_char,
    /// Folder for what is measured; null: nothing is kept.
    pub tuning_folder: *const c_char,
}

// SAFETY: `repr(C)`, the size first, numbers and pointers.
unsafe impl Options for lp_runtime_options {
    fn defaults() -> Self {
        Self {
            struct_size: size_of::<Self>(),
            cpu_variant: std::ptr::null(),
            tuning_folder: std::ptr::null(),
        }
    }
}

/// What a plan is to satisfy.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lp_plan_options {
    /// Size of the struct in bytes.
    pub struct_size: usize,
    /// How many tokens of text a session shall hold; 0: what fits, at most 4096.
    pub context_tokens: u64,
    /// Memory that may be used, in bytes; 0: what the device has to spare.
    pub memory_budget_bytes: u64,
    /// Only this variant; null: any.
    pub variant: *const c_char,
    /// Threads that write; 0: what suits the device.
    pub n_threads: u32,
    /// Most memory of the host, in bytes, whatever there is; 0: no cap.
    pub memory_cap_bytes: u64,
    /// Most memory of a graphics device, in bytes, whatever is free; 0: no cap.
    pub device_memory_cap_bytes: u64,
}

// SAFETY: `repr(C)`, the size first, numbers and pointers.
unsafe impl Options for lp_plan_options {
    fn defaults() -> Self {
        Self {
            struct_size: size_of::<Self>(),
            context_tokens: 0,
            memory_budget_bytes: 0,
            variant: std::ptr::null(),
            n_threads: 0,
            memory_cap_bytes: 0,
            device_memory_cap_bytes: 0,
        }
    }
}

impl lp_plan_options {
    /// # Safety
    /// The texts are null or live.
    pub(crate) unsafe fn request(&self) -> Result<PlanRequest, Failure> {
        let given = |number: u64| (number != 0).then_some(number);
        // SAFETY: by this function's contract.
        let variant = unsafe { optional_text(self.variant, "variant") }?;
        Ok(PlanRequest {
            context_tokens: given(self.context_tokens),
            memory_budget_bytes: given(self.memory_budget_bytes),
            memory_cap_bytes: given(self.memory_cap_bytes),
            device_memory_cap_bytes: given(self.device_memory_cap_bytes),
            variant: variant.map(str::to_owned),
            n_threads: (self.n_threads != 0).then_some(self.n_threads),
            ..PlanRequest::default()
        })
    }
}

/// Fills `options` with defaults.
///
/// # Safety
/// `options` is null or valid for writes of `struct_size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lp_runtime_options_init(options: *mut lp_runtime_options, struct_size: usize) {
    // SAFETY: by this function's contract.
    unsafe { init_options(options, struct_size) };
}

/// Fills `options` with defaults.
///
/// # Safety
/// `options` is null or valid for writes of `struct_size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lp_plan_options_init(options: *mut lp_plan_options, struct_size: usize) {
    // SAFETY: by this function's contract.
    unsafe { init_options(options, struct_size) };
}

/// Opens the bundle directory or GGUF file at `path`.
///
/// # Safety
/// `path` and the options' texts end in NUL; `out` and `error` are valid for writes; options are null
/// or carry their size.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lp_runtime_open(
    path: *const c_char,
    open_options: *const lp_runtime_options,
    out: *mut *mut lp_runtime,
    error: *mut *mut lp_error,
) -> lp_status {
    // SAFETY: by this function's contract.
    unsafe {
        guarded(error, || {
            let place = Place::new(out, "out")?;
            let path = text(path, "path")?;
            let asked = options(open_options)?;
            let cpu_variant = optional_text(asked.cpu_variant, "cpu_variant")?.map(str::to_owned);
            let tuning_folder = optional_text(asked.tuning_folder, "tuning_folder")?.map(PathBuf::from);
            let settings = RuntimeSettings { cpu_variant, tuning_folder, ..Default::default() };
            let runtime = Runtime::open(Path::new(path), settings)?;
            place.fill(Box::into_raw(Box::new(lp_runtime(runtime))));
            Ok(())
        })
    }
}

/// Frees a runtime. Null is ignored.
///
/// # Safety
/// `runtime` is null or came from [`lp_runtime_open`] and is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lp_runtime_free(runtime: *mut lp_runtime) {
    if !runtime.is_null() {
        // SAFETY: by this function's contract.
        freeing(|| drop(unsafe { Box::from_raw(runtime) }));
    }
}

/// Plans for this device and explains the plan as JSON.
///
/// # Safety
/// `runtime` is live, `json` and `error` are valid for writes, options are null or carry their size.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lp_runtime_plan(
    runtime: *const lp_runtime,
    plan_options: *const lp_plan_options,
    json: *mut *mut c_char,
    error: *mut *mut lp_error,
) -> lp_status {
    // SAFETY: by this function's contract.
    unsafe {
        guarded(error, || {
            let place = Place::new(json, "json")?;
            let runtime = object(runtime, "runtime")?;
            let plan = runtime.0.plan(&options(plan_options)?.request()?);
            place.fill_json(&plan)
        })
    }
}

/// Frees a text of this library. Null is ignored.
///
/// # Safety
/// `text` is null or was handed out by this library and is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lp_string_free(text: *mut c_char) {
    if !text.is_null() {
        // SAFETY: by this function's contract.
        freeing(|| drop(unsafe { CString::from_raw(text) }));
    }
}
