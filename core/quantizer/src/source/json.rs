//! JSON files of a checkpoint.

use crate::{Error, Result};
use serde_json::Value;
use std::path::Path;

/// Reads JSON files with errors that name them.
pub(crate) struct SourceJson;

impl SourceJson {
    pub(crate) fn required(path: &Path) -> Result<Value> {
        let bytes = std::fs::read(path).map_err(|source| Error::io(path, source))?;
        families::parse_config(&bytes).map_err(|source| Error::Json { path: path.into(), source })
    }

    pub(crate) fn optional(path: &Path) -> Result<Option<Value>> {
        if path.is_file() { Self::required(path).map(Some) } else { Ok(None) }
    }
}
