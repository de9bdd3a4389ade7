//! The JSON Schema of the manifest, generated from the types.
//!
//! Owns the committed copy's currency (a test). Must not hold rules of its own.

use super::Manifest;

/// The JSON Schema of manifest version 1 (draft 2020-12).
pub fn json_schema() -> serde_json::Value {
    schemars::schema_for!(Manifest).to_value()
}
