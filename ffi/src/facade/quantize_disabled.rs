//! Without the feature `quantize` no bundle is made: whoever asks is told.

use llama_pajamas::CancelToken;

use super::event::Ear;
use super::options::QuantizeOptions;
use crate::error::Failure;

pub(super) fn quantize(
    _model: String,
    _output: String,
    _options: QuantizeOptions,
    _cancel: &CancelToken,
    _ear: &Ear,
) -> Result<String, Failure> {
    Err(Failure::unsupported("quantizing", "quantize"))
}
