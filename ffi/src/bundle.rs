//! Bundles on disk and from the network.
//!
//! Owns: checking and pulling, with progress. May know: the bundle crate through the runtime. Must not know: models.

#![allow(non_camel_case_types, reason = "the names are C's")]

#[cfg(feature = "download")]
#[path = "bundle/source.rs"]
pub(crate) mod source;
#[cfg(not(feature = "download"))]
#[path = "bundle/source_disabled.rs"]
pub(crate) mod source;

use std::ffi::{c_char, c_void};
use std::ops::ControlFlow;
use std::path::Path;

use llama_pajamas::CancelToken;
use llama_pajamas::bundle::{Bundle, Progress};
use serde_json::{Value, json};

use crate::arguments::{Options, Place, init_options, optional_text, text};
use crate::cancel::{lp_cancel, token};
use crate::error::{Failure, lp_error, lp_status};
use crate::event::{Listener, lp_event_fn};
use crate::guard::guarded;

/// Reads every file of the bundle at `path` that is on this disk and compares its size and SHA-256 with the manifest. The first damage
/// is the call's error: LP_NOT_FOUND or LP_INVALID_FILE. Where `trust_folder` is given, a folder of public keys, the manifest has to be
/// signed by one of them, else LP_UNTRUSTED; that needs a library with the feature `download`, else LP_UNSUPPORTED. `*json` becomes a JSON object with "files" and "bytes" (checked), "absent" (ids of variants
/// that are not here) and "signature" (what was found, in words, or null where no folder was given). Free it with lp_string_free. Tells LP_EVENT_TRANSFER.
/// `trust_folder`, `cancel`, `on_event` and `user_data` are optional.
///
/// # Safety
/// Texts end in NUL, `cancel` is null or live, `on_event` accepts `user_data`, `json` and `error` are valid for writes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lp_bundle_verify(
    path: *const c_char,
    trust_folder: *const c_char,
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
            let (path, trust_folder) = (text(path, "path")?, optional_text(trust_folder, "trust_folder")?);
            let listener = Listener::new(on_event, user_data);
            place.fill_json(&verified(path, trust_folder, &mut heard(&listener, token(cancel)))?)
        })
    }
}

/// Checks a bundle; what was found.
pub(crate) fn verified(
    path: &str,
    trust_folder: Option<&str>,
    progress: &mut dyn FnMut(Progress<'_>) -> ControlFlow<()>,
) -> Result<Value, Failure> {
    let bundle = Bundle::open(Path::new(path))?;
    let signature = source::signature(&bundle, trust_folder)?;
    let report = bundle.verify(progress)?;
    let (files, absent) = (report.files.len(), report.absent.clone());
    let bytes: u64 = report.files.iter().map(|file| file.bytes).sum();
    report.into_result()?;
    Ok(json!({"files": files, "bytes": bytes, "absent": absent, "signature": signature}))
}

/// How to pull.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lp_pull_options {
    /// Size of the struct in bytes.
    pub struct_size: usize,
    /// Ids of the wanted variants; those that they need come along. Default none: all that are GGUF files.
    pub variants: *const *const c_char,
    /// How many.
    pub n_variants: usize,
    /// Folder of public keys, one of which must have signed the manifest; NULL, the default: any manifest is taken.
    pub trust_folder: *const c_char,
    /// The header `Authorization` for the manifest's host alone; NULL, the default: none.
    pub authorization: *const c_char,
    /// Address of an HTTP proxy; NULL, the default: none. The environment is not read.
    pub proxy: *const c_char,
    /// Most bytes that the bundles beside the destination and it may take; those used least recently are evicted. 0, the default: no
    /// cap.
    pub cap_bytes: u64,
}

// SAFETY: `repr(C)`, the size first, numbers and pointers.
unsafe impl Options for lp_pull_options {
    fn defaults() -> Self {
        Self {
            struct_size: size_of::<Self>(),
            variants: std::ptr::null(),
            n_variants: 0,
            trust_folder: std::ptr::null(),
            authorization: std::ptr::null(),
            proxy: std::ptr::null(),
            cap_bytes: 0,
        }
    }
}

/// Fills `options` with defaults.
///
/// # Safety
/// `options` is null or valid for writes of `struct_size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lp_pull_options_init(options: *mut lp_pull_options, struct_size: usize) {
    // SAFETY: by this function's contract.
    unsafe { init_options(options, struct_size) };
}

/// Fetches variants of the bundle whose manifest is at `manifest_url` into the folder `destination`, which is made or updated. Until
/// every hash is right the folder stays what it was, and a call that was broken off is gone on with by the next. `*json` becomes a JSON
/// object with "variants", "fetched_bytes", "signature" and "evicted". Free it with lp_string_free. Tells LP_EVENT_TRANSFER. Needs a
/// library with the feature `download`, else LP_UNSUPPORTED. `options`, `cancel`, `on_event` and `user_data` are optional.
///
/// # Safety
/// Texts end in NUL, options are null or carry their size, `cancel` is null or live, `on_event` accepts `user_data`, `json` and `error`
/// are valid for writes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lp_bundle_pull(
    manifest_url: *const c_char,
    destination: *const c_char,
    options: *const lp_pull_options,
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
            let (url, destination) = (text(manifest_url, "manifest_url")?, text(destination, "destination")?);
            let asked = crate::arguments::options(options)?;
            let listener = Listener::new(on_event, user_data);
            let pulled = source::pull(url, destination, &asked, &mut heard(&listener, token(cancel)))?;
            place.fill_json(&pulled)
        })
    }
}

/// Progress for the listener, until it or the token says stop.
fn heard(listener: &Listener, cancel: CancelToken) -> impl FnMut(Progress<'_>) -> ControlFlow<()> {
    move |progress| {
        listener.transfer(&progress)?;
        if cancel.is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}
