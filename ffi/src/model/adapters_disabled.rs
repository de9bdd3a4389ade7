//! Without the feature `adapters` none is loaded: whoever asks is told.

use std::path::Path;
use std::sync::Arc;

use llama_pajamas::{Adapter, LoadedModel};

use crate::error::Failure;

pub(crate) fn load(_model: &LoadedModel, _path: &Path) -> Result<Arc<dyn Adapter>, Failure> {
    Err(Failure::unsupported("loading an adapter", "adapters"))
}
