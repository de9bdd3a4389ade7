//! Without the feature `quantize` no variant is made: whoever asks is told.

use super::lp_requantize_options;
use crate::cancel::lp_cancel;
use crate::error::Failure;
use crate::event::Listener;
use crate::runtime::lp_runtime;

/// # Safety
/// None is needed: nothing is read.
pub(super) unsafe fn make(
    _runtime: *const lp_runtime,
    _options: *const lp_requantize_options,
    _cancel: *const lp_cancel,
    _listener: &Listener,
) -> Result<serde_json::Value, Failure> {
    Err(Failure::unsupported("requantizing", "quantize"))
}
