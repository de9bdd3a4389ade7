//! The manifest of a bundle, schema version 1: `manifest.json` as types.
//!
//! Owns the field names, their meaning and defaults. Rules that go beyond types are in `check`, reading and writing
//! in `parse`. Must not open files, and must not know what an engine does with a variant.
//!
//! Fields that this version does not know are tolerated and written back (`other`). A change that an older reader must
//! not ignore adds a name to `required_features`, which older readers refuse.

mod check;
mod parse;
mod problem;
mod quality;
mod schema;
mod settings;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use check::KNOWN_FEATURES;
pub use parse::MAX_MANIFEST_BYTES;
pub use problem::{ManifestError, Problem};
pub use quality::{HowMeasured, Quality, TaskScore};
pub use schema::json_schema;
pub use settings::{ImatrixSource, Settings, TensorOverride};

use crate::digest::Sha256Digest;
use crate::path::RelativePath;

/// File name of the manifest in the root of a bundle.
pub const MANIFEST_FILE: &str = "manifest.json";
/// The schema version that this crate writes, and the highest that it reads.
pub const SCHEMA_VERSION: u32 = 1;

/// Fields of a JSON object that this schema version does not name, kept so that they survive a rewrite.
pub type Other = BTreeMap<String, serde_json::Value>;

/// What a bundle contains. One model, in several variants.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Manifest {
    /// Version of this schema: 1.
    pub schema_version: u32,
    /// Names of manifest features that a reader has to know in order to use the bundle at all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub required_features: Vec<String>,
    /// The model that all variants are made of.
    pub model: ModelCard,
    /// Summary of the architecture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub architecture: Option<Architecture>,
    /// Where the model came from and what made the bundle.
    #[serde(default)]
    pub provenance: Provenance,
    /// The variants, best quality first by convention; ids are unique.
    #[serde(default)]
    pub variants: Vec<Variant>,
    /// Unknown fields.
    #[serde(flatten)]
    pub other: Other,
}

/// The model's identity and licence.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ModelCard {
    /// Stable identifier: `org/name` of the source, or the directory's name.
    pub id: String,
    /// Name for people; empty when unknown.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The licence of the weights; absent when the source states none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub licence: Option<Licence>,
    /// Unknown fields.
    #[serde(flatten)]
    pub other: Other,
}

/// The licence of the model's weights.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Licence {
    /// SPDX expression, or the name that the source uses (`apache-2.0`, `llama3.1`, `other`).
    pub id: String,
    /// Address of the text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The text as a file of the bundle, relative to its root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<RelativePath>,
    /// Unknown fields.
    #[serde(flatten)]
    pub other: Other,
}

/// Summary of the architecture, enough to plan for a variant that is not on this disk yet.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Architecture {
    /// Family of the architecture, an identifier of the families' data.
    pub family: String,
    /// `model_type` of the source's `config.json`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub model_type: String,
    /// Name of the architecture in GGUF metadata (`general.architecture`).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// All parameters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters_total: Option<u64>,
    /// Parameters that one token uses; equals the total in a dense model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters_active: Option<u64>,
    /// Number of layers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n_layers: Option<u32>,
    /// Longest context the model was trained for, in tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_context_tokens: Option<u64>,
    /// The full description by the families crate, as data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<serde_json::Value>,
    /// Unknown fields.
    #[serde(flatten)]
    pub other: Other,
}

/// Where the model came from and what made the bundle.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Provenance {
    /// Id of the source: `org/name` at a hub, or a directory or file name without its path.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub source: String,
    /// Revision of the source: a commit id where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// Names of the low-rank adapters that were merged into it, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub adapters: Vec<String>,
    /// Name and version of the converter, e.g. `llama-pajamas 0.1.0`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub converter: Option<String>,
    /// Name and version of the quantizer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantizer: Option<String>,
    /// Time of creation, RFC 3339 in UTC. Absent in reproducible bundles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// Unknown fields.
    #[serde(flatten)]
    pub other: Other,
}

/// One form of the model: a format, a precision, its files and what is known about them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Variant {
    /// Unique id, `format/precision` by convention: `gguf/Q4_K_M`. Obeys the rules of paths.
    pub id: String,
    /// File format.
    pub format: Format,
    /// Name of the precision: `Q4_K_M`, `4bit-mixed`, `int8`.
    pub precision: String,
    /// Method that made it: `convert`, `stock`, `imatrix`, `mixed` …; empty when unknown.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub method: String,
    /// Settings of the quantization, enough to repeat it.
    #[serde(default, skip_serializing_if = "Settings::is_empty")]
    pub settings: Settings,
    /// Backends that can run it: `cpu`, `vulkan`, `cuda`, `metal` …
    #[serde(default)]
    pub compatible_backends: Vec<String>,
    /// Lowest version of the runtime that can load it, as `major.minor.patch`; empty means any.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub min_runtime: String,
    /// Its files; the first is the one to open (of a split model, the first part).
    #[serde(default)]
    pub files: Vec<FileEntry>,
    /// What a host must offer beyond a compatible backend.
    #[serde(default, skip_serializing_if = "Needs::is_empty")]
    pub needs: Needs,
    /// Inputs of the memory model.
    #[serde(default)]
    pub memory: MemoryInputs,
    /// Measured quality.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quality: Option<Quality>,
    /// Unknown fields.
    #[serde(flatten)]
    pub other: Other,
}

/// File format of a variant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// GGUF, for llama.cpp.
    #[default]
    Gguf,
    /// A directory of safetensors for MLX.
    Mlx,
    /// ONNX.
    Onnx,
}

/// What tells the model beside a variant's graphs of ONNX or weights of MLX, in the variant's folder: the header of a GGUF file
/// without its data.
pub const MODEL_HEADER: &str = "header.gguf";

impl Format {
    /// The name in a manifest: `gguf`, `mlx`, `onnx`.
    pub fn name(self) -> &'static str {
        match self {
            Format::Gguf => "gguf",
            Format::Mlx => "mlx",
            Format::Onnx => "onnx",
        }
    }
}

/// One file of a variant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FileEntry {
    /// Path relative to the bundle's root.
    pub path: RelativePath,
    /// Size in bytes.
    pub bytes: u64,
    /// SHA-256 of the content.
    pub sha256: Sha256Digest,
    /// What it is for.
    #[serde(default, skip_serializing_if = "FileRole::is_default")]
    pub role: FileRole,
    /// Where to get it: absolute, or relative to the manifest's address. Absent: `path` relative to that address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Unknown fields.
    #[serde(flatten)]
    pub other: Other,
}

/// What a file of a variant is for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FileRole {
    /// The model or a part of it.
    #[default]
    Model,
    /// The projector of a model that takes images: its vision encoder and what leads into the model.
    Projector,
}

impl FileRole {
    fn is_default(&self) -> bool {
        *self == FileRole::default()
    }
}

/// What a host must offer beyond a compatible backend.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Needs {
    /// Ids of variants that this one cannot run without, e.g. a multimodal projector.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub variants: Vec<String>,
    /// Instruction set extensions or device features, by the hardware crate's names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<String>,
    /// Unknown fields.
    #[serde(flatten)]
    pub other: Other,
}

impl Needs {
    fn is_empty(&self) -> bool {
        *self == Needs::default()
    }
}

/// Inputs of the memory model, in bytes, as far as they are known without opening the files.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MemoryInputs {
    /// Bytes of all weights in the files.
    #[serde(default)]
    pub weights_bytes: u64,
    /// Bytes of the weights that one token reads: all but the embedding table in a dense model, less with experts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active_weights_bytes: Option<u64>,
    /// Bytes of the largest tensor: what the largest single allocation of a backend must hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub largest_tensor_bytes: Option<u64>,
    /// Bytes of key/value cache per token of context with 16-bit keys and values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kv_bytes_per_token: Option<u64>,
    /// Unknown fields.
    #[serde(flatten)]
    pub other: Other,
}

impl Manifest {
    /// An empty manifest of this schema version for `model`.
    pub fn new(model: ModelCard) -> Manifest {
        Manifest {
            schema_version: SCHEMA_VERSION,
            required_features: Vec::new(),
            model,
            architecture: None,
            provenance: Provenance::default(),
            variants: Vec::new(),
            other: Other::new(),
        }
    }

    /// The variant with this id.
    pub fn variant(&self, id: &str) -> Option<&Variant> {
        self.variants.iter().find(|variant| variant.id == id)
    }

    /// Replaces the variant with the same id, or appends it.
    pub fn put_variant(&mut self, variant: Variant) {
        match self.variants.iter_mut().find(|known| known.id == variant.id) {
            Some(known) => *known = variant,
            None => self.variants.push(variant),
        }
    }
}

impl Variant {
    /// Its projector's file, where it has one.
    pub fn projector(&self) -> Option<&FileEntry> {
        self.files.iter().find(|file| file.role == FileRole::Projector)
    }

    /// Bytes of all its files.
    pub fn file_bytes(&self) -> u64 {
        self.files.iter().fold(0, |sum, file| sum.saturating_add(file.bytes))
    }
}

impl FileEntry {
    /// An entry without an address.
    pub fn new(path: RelativePath, bytes: u64, sha256: Sha256Digest) -> FileEntry {
        FileEntry { path, bytes, sha256, role: FileRole::default(), url: None, other: Other::new() }
    }
}

impl From<&str> for Licence {
    fn from(id: &str) -> Licence {
        Licence { id: id.to_owned(), ..Licence::default() }
    }
}

#[cfg(test)]
mod tests;
