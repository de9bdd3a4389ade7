//! Settings of the quantization that made a variant.
//!
//! Owns the types; enough to repeat the quantization bit for bit. Must not know the quantizer's code.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Other;
use crate::digest::Sha256Digest;

/// Settings of the quantization.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Settings {
    /// Name of the recipe that gives each tensor its type, e.g. `stock`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipe: Option<String>,
    /// Precision of the weights that were quantized, e.g. `BF16`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_precision: Option<String>,
    /// The importance matrix, when one was used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imatrix: Option<ImatrixSource>,
    /// Types set by hand, in order of precedence.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub overrides: Vec<TensorOverride>,
    /// Unknown fields.
    #[serde(flatten)]
    pub other: Other,
}

impl Settings {
    pub(super) fn is_empty(&self) -> bool {
        *self == Settings::default()
    }
}

/// An importance matrix.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ImatrixSource {
    /// SHA-256 of its file.
    pub sha256: Sha256Digest,
    /// The texts it was computed from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub datasets: Vec<String>,
    /// Number of chunks of text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n_chunks: Option<u64>,
    /// Unknown fields.
    #[serde(flatten)]
    pub other: Other,
}

/// A tensor type set by hand.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TensorOverride {
    /// Pattern of the tensor's name.
    pub tensor: String,
    /// Name of the type, e.g. `Q6_K`.
    #[serde(rename = "type")]
    pub ty: String,
}
