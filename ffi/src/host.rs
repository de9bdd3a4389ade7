//! What the device is.
//!
//! Owns: the report as JSON. May know: the runtime's detection. Must not know: models.

use std::ffi::c_char;

use llama_pajamas::engine::gguf::{CpuVariants, GgufEngine};
use llama_pajamas::hardware::{self, Host};
use serde::Serialize;

use crate::arguments::Place;
use crate::error::{Failure, lp_error, lp_status};
use crate::guard::guarded;

/// Describes this device and this library: `*json` becomes a JSON object with "library" (version), "features" (what this build has
/// beyond the rest), "cpu_variants" (the kernels in it, which run here, and the best) and "host" (processor, memory and what a model
/// may use of it, devices, heat, power, the profile that it matches, and "unknown": what could not be read and why). Free it with
/// lp_string_free.
///
/// # Safety
/// `json` and `error` are valid for writes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lp_host_report(json: *mut *mut c_char, error: *mut *mut lp_error) -> lp_status {
    // SAFETY: by this function's contract.
    unsafe {
        guarded(error, || {
            let place = Place::new(json, "json")?;
            place.fill_json(&report()?)
        })
    }
}

/// What is told of this device and this library.
pub(crate) fn report() -> Result<impl Serialize, Failure> {
    let mut host = hardware::detect().map_err(|error| Failure::from(llama_pajamas::Error::from(error)))?;
    host.supply(&crate::java::supplied());
    Ok(Report {
        library: env!("CARGO_PKG_VERSION"),
        features: features(),
        cpu_variants: GgufEngine::cpu_variants(),
        host,
    })
}

#[derive(Serialize)]
struct Report {
    library: &'static str,
    features: Vec<&'static str>,
    cpu_variants: CpuVariants,
    host: Host,
}

fn features() -> Vec<&'static str> {
    let all = [
        ("adapters", cfg!(feature = "adapters")),
        ("constrain", cfg!(feature = "constrain")),
        ("download", cfg!(feature = "download")),
        ("embeddings", cfg!(feature = "embeddings")),
        ("jni", cfg!(feature = "jni")),
        ("predictions", cfg!(feature = "predictions")),
        ("quantize", cfg!(feature = "quantize")),
        ("states", cfg!(feature = "states")),
    ];
    all.into_iter().filter(|(_, is_in)| *is_in).map(|(name, _)| name).collect()
}
