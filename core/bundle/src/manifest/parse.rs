//! Reading and writing a manifest as bytes.
//!
//! Owns the limits and the order of checks. Must not open files.

use formats::json;
use serde::Deserialize;

use super::problem::{ManifestError, Problem};
use super::{Manifest, SCHEMA_VERSION};

/// Longest manifest that is read, in bytes.
pub const MAX_MANIFEST_BYTES: u64 = 16 << 20;

/// The fields that decide whether the rest can be understood.
#[derive(Deserialize)]
struct Envelope {
    schema_version: u64,
    #[serde(default)]
    required_features: Vec<String>,
}

impl Manifest {
    /// Parses and checks a manifest.
    ///
    /// The schema version and required features are judged first, so that a newer manifest is refused by that reason
    /// and not by a field that changed.
    ///
    /// # Errors
    /// The first field at fault with its problem.
    pub fn parse(bytes: &[u8]) -> Result<Manifest, ManifestError> {
        if bytes.len() as u64 > MAX_MANIFEST_BYTES {
            let problem = Problem::TooLong { bytes: bytes.len() as u64, limit: MAX_MANIFEST_BYTES };
            return Err(ManifestError { field: ".".to_owned(), problem });
        }
        let envelope: Envelope = from_json(bytes)?;
        if envelope.schema_version == 0 || envelope.schema_version > u64::from(SCHEMA_VERSION) {
            let problem = Problem::SchemaVersion { got: envelope.schema_version, supported: SCHEMA_VERSION };
            return Err(ManifestError { field: "schema_version".to_owned(), problem });
        }
        super::check::required_features(&envelope.required_features)?;
        let manifest: Manifest = from_json(bytes)?;
        manifest.check()?;
        Ok(manifest)
    }

    /// The canonical bytes: pretty JSON in field order with a final newline. This is what is written and signed.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).expect("string keys only, so that JSON can hold it");
        bytes.push(b'\n');
        bytes
    }
}

fn from_json<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, ManifestError> {
    json::from_slice(bytes).map_err(|error| {
        let json::Error { field, message, line, column, .. } = error;
        ManifestError { field, problem: Problem::Json { message, line, column } }
    })
}
