//! Loading adapters.

use std::path::Path;
use std::sync::Arc;

use llama_pajamas::{Adapter, LoadedModel};

use crate::error::Failure;

pub(crate) fn load(model: &LoadedModel, path: &Path) -> Result<Arc<dyn Adapter>, Failure> {
    Ok(model.load_adapter(path)?)
}
