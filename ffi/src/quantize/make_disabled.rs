//! Without the feature `quantize` no bundle is made: whoever asks is told.

use std::ffi::c_char;

use super::lp_quantize_options;
use crate::cancel::lp_cancel;
use crate::error::Failure;
use crate::event::Listener;

/// # Safety
/// None is needed: nothing is read.
pub(super) unsafe fn make(
    _model: *const c_char,
    _output: *const c_char,
    _options: *const lp_quantize_options,
    _cancel: *const lp_cancel,
    _listener: &Listener,
) -> Result<serde_json::Value, Failure> {
    Err(Failure::unsupported("quantizing", "quantize"))
}
