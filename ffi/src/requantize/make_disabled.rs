//! Without the feature `quantize` no variant is made: whoever asks is told.

use llama_pajamas::{CancelToken, Runtime};

use super::lp_requantize_options;
use crate::error::Failure;
use crate::event::Listener;

/// # Safety
/// None is needed: nothing is read.
pub(super) unsafe fn make(
    _runtime: &Runtime,
    _options: &lp_requantize_options,
    _cancel: &CancelToken,
    _listener: &Listener,
) -> Result<serde_json::Value, Failure> {
    Err(Failure::unsupported("requantizing", "quantize"))
}
