//! What belongs to the process: versions, the device, bundles and their making, counting objects.

use std::sync::Arc;

use super::cancel::{CancelToken, token};
use super::error::{Told, call};
use super::event::{Ear, Listener};
use super::options::{PullOptions, QuantizeOptions};
use super::quantize::quantize;
use crate::arguments::text_of;
use crate::bundle::source::{Wanted, fetch};
use crate::bundle::verified;
use crate::handles;

/// The version of the library.
#[uniffi::export]
pub fn library_version() -> String {
    env!("CARGO_PKG_VERSION").to_owned()
}

/// The version of the C interface that the library has.
#[uniffi::export]
pub fn abi_version() -> u32 {
    crate::LP_ABI_VERSION
}

/// Describes this device and this library, as JSON (C's lp_host_report).
#[uniffi::export]
pub fn host_report() -> Told<String> {
    call(|| text_of(&crate::host::report()?))
}

/// Reads every file of the bundle at `path` that is on this disk and compares its size and hash with the manifest. The first damage is
/// the call's error. Tells Transfer. What was found, as JSON (C's lp_bundle_verify).
#[uniffi::export]
pub fn verify_bundle(
    path: String,
    trust_folder: Option<String>,
    cancel: Option<Arc<CancelToken>>,
    listener: Option<Arc<dyn Listener>>,
) -> Told<String> {
    call(|| text_of(&verified(&path, trust_folder.as_deref(), &mut Ear(listener).transfer(token(cancel)))?))
}

/// Fetches variants of the bundle whose manifest is at `manifest_url` into the folder `destination`, which is made or updated. Until
/// every hash is right the folder stays what it was. Tells Transfer. What was done, as JSON (C's lp_bundle_pull).
#[uniffi::export]
pub fn pull_bundle(
    manifest_url: String,
    destination: String,
    options: PullOptions,
    cancel: Option<Arc<CancelToken>>,
    listener: Option<Arc<dyn Listener>>,
) -> Told<String> {
    let wanted = Wanted {
        variants: options.variants,
        trust_folder: options.trust_folder.as_deref(),
        authorization: options.authorization.as_deref(),
        proxy: options.proxy.as_deref(),
        cap_bytes: options.cap_bytes.unwrap_or(0),
    };
    let mut progress = Ear(listener).transfer(token(cancel));
    call(|| text_of(&fetch(&manifest_url, &destination, wanted, &mut progress)?))
}

/// Makes variants of the model at `model`, a checkpoint's folder or a GGUF file, and publishes them together in the bundle at `output`,
/// which is made or added to. For a thread of the app's own. A call that fails or is stopped leaves the bundle as it was. Tells
/// Quantizing. What was made, as JSON (C's lp_quantize).
#[uniffi::export]
pub fn quantize_model(
    model: String,
    output: String,
    options: QuantizeOptions,
    cancel: Option<Arc<CancelToken>>,
    listener: Option<Arc<dyn Listener>>,
) -> Told<String> {
    call(|| quantize(model, output, options, &token(cancel), &Ear(listener)))
}

/// Objects that were opened and not released yet, in the whole process, those of C included. For tests.
#[uniffi::export]
pub fn live_objects() -> u64 {
    handles::count() as u64
}
