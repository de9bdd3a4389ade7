//! ONNX models: the messages of the format, read from bytes with checks, and written.
//! Knows the schema, the elements of tensors and where data beside the model lies; must not know what an operator computes.
//! Source: `onnx-ml.proto` of the Python package `onnx` 1.23 (`scripts/onnx-schema` generates `schema` of it).

mod check;
mod error;
mod external;
mod node;
mod schema;
mod tensor;

pub use error::Error;
pub use external::{Location, load_external, store_external};
pub use node::{attribute, node};
pub use schema::*;
pub use tensor::{DataType, element_bits, external_tensor, tensor_bytes, tensor_floats, tensor_integers};
pub use tensor::{float_bytes, tensor_of_bytes, tensor_of_floats, tensor_of_integers, value_info};

/// Bytes that are shared when a message is cloned: a model's clone costs no copy of its tensors.
pub use prost::bytes::Bytes;

use prost::Message;

/// Reads a model from the bytes of a whole file. Tensors in `raw_data` stay parts of `bytes`, uncopied.
///
/// # Errors
/// Bytes that are no message of this schema (nested at most 100 deep); no graph; a tensor, in any graph below, whose
/// dimensions, type and data do not fit together, or whose place beside the model cannot be.
pub fn read_model(bytes: impl Into<Bytes>) -> Result<ModelProto, Error> {
    let bytes = bytes.into();
    if bytes.is_empty() {
        return Err(Error::Empty);
    }
    let model = ModelProto::decode(bytes)?;
    check::model(&model)?;
    Ok(model)
}

/// The bytes of a model, as they stand in a file; the same for the same model.
///
/// # Errors
/// A model of 2 GiB or more, which no reader of protobuf accepts: its tensors belong beside it ([`store_external`]).
pub fn write_model(model: &ModelProto) -> Result<Vec<u8>, Error> {
    let len = model.encoded_len();
    if len > i32::MAX as usize {
        return Err(Error::TooLong { got: len as u64 });
    }
    Ok(model.encode_to_vec())
}

#[cfg(test)]
mod tests;
