//! Without the feature `quantize` no variant is made: whoever asks is told.

use llama_pajamas::{CancelToken, Runtime};

use super::event::Ear;
use super::options::RequantizeOptions;
use crate::error::Failure;

pub(super) fn requantize(
    _runtime: &Runtime,
    _options: RequantizeOptions,
    _cancel: &CancelToken,
    _ear: &Ear,
) -> Result<String, Failure> {
    Err(Failure::unsupported("requantizing", "quantize"))
}
