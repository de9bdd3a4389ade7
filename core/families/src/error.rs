//! Why a model could not be understood. Every message names the field, key or tensor.

/// Why detection or mapping failed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A field that is needed is not there.
    #[error("config: field `{field}` is missing")]
    Missing {
        /// Name of the field of config.json or the metadata key.
        field: String,
    },
    /// A field holds something that cannot be.
    #[error("config: field `{field}`: expected {expected}, got {got}")]
    Field {
        /// Name of the field of config.json or the metadata key.
        field: String,
        /// What is allowed.
        expected: String,
        /// What stands there, shortened.
        got: String,
    },
    /// No family carries this model type, and its shape is not that of a plain decoder.
    #[error("unknown model type `{model_type}`, and not a plain decoder: {why}; known: {known}")]
    UnknownFamily {
        /// `model_type` of the configuration or `general.architecture` of the file.
        model_type: String,
        /// The field that the generic rules cannot map.
        why: String,
        /// Every known one.
        known: String,
    },
    /// A tensor that the family does not know.
    #[error("tensor `{tensor}` is not part of family {family}")]
    UnknownTensor {
        /// Name in the checkpoint.
        tensor: String,
        /// The family.
        family: String,
    },
    /// A tensor that the model needs is not in the checkpoint.
    #[error("tensor `{tensor}` is missing from the checkpoint")]
    MissingTensor {
        /// Name in the checkpoint.
        tensor: String,
    },
    /// A tensor has another shape than the configuration says.
    #[error("tensor `{tensor}`: shape: expected {expected} by config.json, got {got:?}")]
    Shape {
        /// Name in the checkpoint.
        tensor: String,
        /// What the configuration leads to, slowest dimension first.
        expected: String,
        /// What is stored, slowest dimension first.
        got: Vec<u64>,
    },
}
