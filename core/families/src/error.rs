//! Why a model could not be understood. Every message names the field or tensor.

/// Why detection or mapping failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A field that is needed is not there.
    #[error("config: field `{field}` is missing")]
    Missing {
        /// Name of the field.
        field: String,
    },
    /// A field holds something that cannot be.
    #[error("config: field `{field}`: expected {expected}, got {got}")]
    Field {
        /// Name of the field.
        field: String,
        /// What is allowed.
        expected: String,
        /// What stands there.
        got: String,
    },
    /// No family carries this model type, and its shape is not that of a generic decoder.
    #[error("unknown model type `{model_type}`; known: {known}")]
    UnknownFamily {
        /// `model_type` of the configuration or `general.architecture` of the file.
        model_type: String,
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
}
