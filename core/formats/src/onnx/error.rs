//! What can be wrong with an ONNX model. Messages name the tensor or the node.

/// Why a model was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No bytes at all.
    #[error("the ONNX model is empty")]
    Empty,
    /// Bytes that are no message of the schema.
    #[error("not an ONNX model, or broken: {0}")]
    Message(#[from] prost::DecodeError),
    /// No graph.
    #[error("graph: expected one, got none")]
    NoGraph,
    /// Longer than a message may be.
    #[error("the ONNX model has {got} bytes, expected fewer than 2 GiB: its tensors belong beside it")]
    TooLong {
        /// Its length in bytes.
        got: u64,
    },
    /// A tensor whose parts do not fit together.
    #[error("tensor `{tensor}`: {field}: expected {expected}, got {got}")]
    Tensor {
        /// Its name.
        tensor: String,
        /// Which field.
        field: &'static str,
        /// What is allowed.
        expected: String,
        /// What stands there.
        got: String,
    },
    /// Data beside the model could not be had.
    #[error("tensor `{tensor}`: its data in `{file}`: {reason}")]
    External {
        /// The tensor.
        tensor: String,
        /// The file it names.
        file: String,
        /// Why.
        reason: String,
    },
    /// A node's attribute is missing or of another kind.
    #[error("node `{node}` ({operator}): attribute `{attribute}`: expected {expected}")]
    Attribute {
        /// The node's name.
        node: String,
        /// Its operator.
        operator: String,
        /// The attribute's name.
        attribute: String,
        /// What it must be.
        expected: &'static str,
    },
}

pub(super) fn refuse(
    tensor: &str,
    field: &'static str,
    expected: impl ToString,
    got: impl ToString,
) -> Error {
    Error::Tensor { tensor: tensor.into(), field, expected: expected.to_string(), got: got.to_string() }
}
