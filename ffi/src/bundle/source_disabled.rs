//! Without the feature `download` nothing is fetched and no signature is checked: whoever asks is told.

use std::ops::ControlFlow;

use llama_pajamas::bundle::{Bundle, Progress};
use serde_json::Value;

use super::lp_pull_options;
use crate::error::Failure;

pub(super) fn signature(_bundle: &Bundle, folder: Option<&str>) -> Result<Option<String>, Failure> {
    match folder {
        Some(_) => Err(Failure::unsupported("checking a signature", "download")),
        None => Ok(None),
    }
}

/// # Safety
/// None is needed: nothing is read.
pub(super) unsafe fn pull(
    _url: &str,
    _destination: &str,
    _options: &lp_pull_options,
    _progress: &mut dyn FnMut(Progress<'_>) -> ControlFlow<()>,
) -> Result<Value, Failure> {
    Err(Failure::unsupported("pulling a bundle", "download"))
}

/// What nobody fetches.
#[cfg(feature = "uniffi")]
#[allow(dead_code, reason = "the fields are those of the twin")]
pub(crate) struct Wanted<'a> {
    pub(crate) variants: Vec<String>,
    pub(crate) trust_folder: Option<&'a str>,
    pub(crate) authorization: Option<&'a str>,
    pub(crate) proxy: Option<&'a str>,
    pub(crate) cap_bytes: u64,
}

#[cfg(feature = "uniffi")]
pub(crate) fn fetch(
    _url: &str,
    _destination: &str,
    _wanted: Wanted<'_>,
    _progress: &mut dyn FnMut(Progress<'_>) -> ControlFlow<()>,
) -> Result<Value, Failure> {
    Err(Failure::unsupported("pulling a bundle", "download"))
}
