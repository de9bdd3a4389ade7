//! Data beside a model: where a tensor's bytes lie, and moving them in and out.
//! Knows the entries `location`, `offset` and `length`; touches no file: whoever calls hands bytes in and takes them.

use super::error::refuse;
use super::schema::{ModelProto, TensorProto, tensor_proto};
use super::tensor::{check_tensor, element_bits, external_tensor};
use super::{Bytes, Error};

/// Where a tensor's data lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// Path relative to the model's folder, with `/`.
    pub file: String,
    /// First byte.
    pub offset: u64,
    /// Bytes; none where the entry does not say, which means to the file's end.
    pub length: Option<u64>,
}

impl Location {
    /// Of a tensor that says its data lies beside the model.
    ///
    /// # Errors
    /// No location, one that leaves the model's folder, or numbers that are none.
    pub fn of(tensor: &TensorProto) -> Result<Self, Error> {
        let name = tensor.name();
        let entry = |key: &str| {
            tensor
                .external_data
                .iter()
                .find(|entry| entry.key() == key)
                .and_then(|entry| entry.value.as_deref())
        };
        let number = |key: &'static str, field: &'static str| {
            let parse =
                |text: &str| text.parse::<u64>().map_err(|_| refuse(name, field, "a whole number", text));
            entry(key).map(parse).transpose()
        };
        let file = entry("location").unwrap_or_default();
        if !is_plain_relative(file) {
            return Err(refuse(
                name,
                "external_data location",
                "a path inside the model's folder",
                format!("{file:?}"),
            ));
        }
        let offset = number("offset", "external_data offset")?.unwrap_or_default();
        let length = number("length", "external_data length")?;
        if offset.checked_add(length.unwrap_or_default()).is_none() {
            return Err(refuse(name, "external_data offset", "a place in a file", offset));
        }
        Ok(Self { file: file.into(), offset, length })
    }
}

fn is_plain_relative(path: &str) -> bool {
    let whole = !path.is_empty() && !path.contains(['\\', ':', '\0']);
    whole && path.split('/').all(|part| !part.is_empty() && part != "..")
}

/// Takes the data of the main graph's tensors into the model. `read` is asked for each tensor's place, with the length
/// that type and dimensions say.
///
/// # Errors
/// What `read` says, with tensor and file; bytes of another length; a tensor of texts, which cannot lie outside.
pub fn load_external(
    model: &mut ModelProto,
    mut read: impl FnMut(&Location) -> Result<Bytes, String>,
) -> Result<(), Error> {
    let graph = model.graph.as_mut().ok_or(Error::NoGraph)?;
    for tensor in graph.initializer.iter_mut().filter(|tensor| tensor.is_external()) {
        check_tensor(tensor)?;
        let mut location = Location::of(tensor)?;
        let bits =
            element_bits(tensor.element_type()).and_then(|bits| bits.checked_mul(tensor.n_elements()?));
        let length = bits.ok_or_else(|| refuse(tensor.name(), "data_type", "numbers", "texts"))?.div_ceil(8);
        location.length = Some(length);
        let failed =
            |reason| Error::External { tensor: tensor.name().into(), file: location.file.clone(), reason };
        let bytes = read(&location).map_err(failed)?;
        if bytes.len() as u64 != length {
            return Err(failed(format!("expected {length} bytes, got {}", bytes.len())));
        }
        tensor.raw_data = Some(bytes);
        tensor.external_data.clear();
        tensor.data_location = None;
    }
    Ok(())
}

/// Moves tensors of at least `min_bytes` out of the main graph, to places of `file` that are multiples of `align`.
/// `write` gets each tensor's offset and bytes, in order and without overlap. Gives the file's length.
///
/// # Errors
/// What `write` says, with the tensor.
pub fn store_external(
    model: &mut ModelProto,
    file: &str,
    min_bytes: usize,
    align: u64,
    mut write: impl FnMut(u64, &[u8]) -> Result<(), String>,
) -> Result<u64, Error> {
    let mut end = 0u64;
    let graph = model.graph.as_mut().ok_or(Error::NoGraph)?;
    for tensor in &mut graph.initializer {
        let Some(bytes) = tensor.raw_data.take_if(|bytes| bytes.len() >= min_bytes.max(1)) else { continue };
        let offset = end.next_multiple_of(align.max(1));
        let length = bytes.len() as u64;
        write(offset, &bytes).map_err(|reason| Error::External {
            tensor: tensor.name().into(),
            file: file.into(),
            reason,
        })?;
        let location = Location { file: file.into(), offset, length: Some(length) };
        let outside = external_tensor(tensor.name(), tensor.element_type(), &tensor.dims, &location)?;
        tensor.external_data = outside.external_data;
        tensor.data_location = Some(tensor_proto::DataLocation::External as i32);
        end = offset + length;
    }
    Ok(end)
}
