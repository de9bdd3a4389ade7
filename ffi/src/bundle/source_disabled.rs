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
