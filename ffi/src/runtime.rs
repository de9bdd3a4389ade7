//! Opening and planning.
//!
//! Owns: the runtime's handle and options. May know: the runtime. Must not know: loading.

#![allow(non_camel_case_types, reason = "the names are C's")]

use std::ffi::c_char;
use std::path::{Path, PathBuf};

use llama_pajamas::families::Description;
use llama_pajamas::planner::Candidate;
use llama_pajamas::{PlanRequest, Runtime, RuntimeSettings};
use serde::Serialize;

use crate::arguments::{Options, Place, init_options, optional_text, text, text_of};
use crate::error::{Failure, lp_error, lp_status};
use crate::guard::{freeing, guarded};
use crate::handles::{self, Handle};

/// An opened bundle or model file, of which nothing is loaded yet. Any number of threads may use it.
pub struct lp_runtime {
    _handle: [u8; 0],
}

impl Handle for lp_runtime {
    type Object = Runtime;
    const NAME: &'static str = "runtime";
}

/// How to open.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lp_runtime_options {
    /// Size of the struct in bytes.
    pub struct_size: usize,
    /// The CPU variant to use, e.g. "x64"; NULL, the default: the best of this processor. A process has one variant: the first that
    /// is used stays, another is refused with LP_ENGINE.
    pub cpu_variant: *const c_char,
    /// Folder in which what is measured on this device is kept between starts: tuned settings, speeds, memory; made when needed.
    /// NULL, the default: nothing is kept.
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
    /// How many tokens of text a session shall hold; 0, the default: what fits, at most 4096.
    pub context_tokens: u64,
    /// Memory that may be used instead of what the device has to spare, in bytes; 0, the default: what it has.
    pub memory_budget_bytes: u64,
    /// Only this variant, by id; NULL, the default: any.
    pub variant: *const c_char,
    /// Threads that write; 0, the default: what suits the device.
    pub n_threads: u32,
    /// Most memory that may be used, in bytes, whatever the device has: for apps that need the rest themselves; 0, the default: no
    /// cap.
    pub memory_cap_bytes: u64,
    /// The same for the memory of a graphics device, on which the app draws; 0, the default: no cap.
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

/// Opens the bundle directory or GGUF file at `path`: reads its description, no weights. `options` is optional.
///
/// # Safety
/// `path` and the options' texts end in NUL; `out` and `error` are valid for writes; options are null
/// or carry their size.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lp_runtime_open(
    path: *const c_char,
    options: *const lp_runtime_options,
    out: *mut *mut lp_runtime,
    error: *mut *mut lp_error,
) -> lp_status {
    // SAFETY: by this function's contract.
    unsafe {
        guarded(error, || {
            let place = Place::new(out, "out")?;
            let path = text(path, "path")?;
            let asked = crate::arguments::options(options)?;
            let cpu_variant = optional_text(asked.cpu_variant, "cpu_variant")?.map(str::to_owned);
            let tuning_folder = optional_text(asked.tuning_folder, "tuning_folder")?.map(PathBuf::from);
            let settings = RuntimeSettings {
                cpu_variant,
                tuning_folder,
                supplied: crate::java::supplied(),
                ..Default::default()
            };
            place.fill_object(Runtime::open(Path::new(path), settings)?);
            Ok(())
        })
    }
}

/// Describes what was opened: `*json` becomes a JSON object with "engine" (what computes), "bundle" (the manifest, or null for a
/// single file) and "variants", each with "id", "precision", "weights_bytes", "present", "blocked" and "description" (family, layers,
/// context). Free it with lp_string_free.
///
/// # Safety
/// `json` and `error` are valid for writes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lp_runtime_describe(
    runtime: *const lp_runtime,
    json: *mut *mut c_char,
    error: *mut *mut lp_error,
) -> lp_status {
    // SAFETY: by this function's contract.
    unsafe {
        guarded(error, || {
            let place = Place::new(json, "json")?;
            place.fill_text(&described(&*handles::get(runtime)?)?);
            Ok(())
        })
    }
}

/// What was opened, as JSON.
pub(crate) fn described(runtime: &Runtime) -> Result<String, Failure> {
    let (engine, variants) = (runtime.engine_build(), runtime.candidates().map(Variant::of).collect());
    let described = text_of(&Described { engine, variants })?;
    let manifest = runtime.bundle().map(|bundle| String::from_utf8_lossy(bundle.manifest_bytes()));
    // The manifest as it stands, behind the object's other fields.
    let rest = described.strip_suffix('}').unwrap_or(&described);
    Ok(format!("{rest},\"bundle\":{}}}", manifest.as_deref().unwrap_or("null")))
}

#[derive(Serialize)]
struct Described<'a> {
    engine: String,
    variants: Vec<Variant<'a>>,
}

#[derive(Serialize)]
struct Variant<'a> {
    id: &'a str,
    precision: &'a str,
    weights_bytes: u64,
    present: bool,
    blocked: Option<&'a str>,
    description: &'a Description,
}

impl<'a> Variant<'a> {
    fn of(variant: &'a Candidate) -> Self {
        Self {
            id: &variant.id,
            precision: &variant.precision,
            weights_bytes: variant.weights_bytes,
            present: variant.present,
            blocked: variant.blocked.as_ref().map(|(_, why)| why.as_str()),
            description: &variant.description,
        }
    }
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

/// Chooses a variant and settings for this device and explains the choice. Reads no weights. `*json` becomes a JSON object with
/// "chosen" (null when nothing fits, which is no error; else "id", "context_tokens", "n_threads", "memory", "speed", "quality", …),
/// "why", "rejected", "assumptions", each with a stable "code", and "evidence". Free it with lp_string_free. `options` is optional.
///
/// # Safety
/// `json` and `error` are valid for writes, options are null or carry their size.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lp_runtime_plan(
    runtime: *const lp_runtime,
    options: *const lp_plan_options,
    json: *mut *mut c_char,
    error: *mut *mut lp_error,
) -> lp_status {
    // SAFETY: by this function's contract.
    unsafe {
        guarded(error, || {
            let place = Place::new(json, "json")?;
            let plan = handles::get(runtime)?.plan(&crate::arguments::options(options)?.request()?);
            place.fill_json(&plan)
        })
    }
}

/// Frees a runtime. NULL and freed ones are ignored.
#[unsafe(no_mangle)]
pub extern "C" fn lp_runtime_free(runtime: *mut lp_runtime) {
    freeing(|| drop(handles::remove(runtime)));
}
