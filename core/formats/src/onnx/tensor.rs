//! Tensors of a model: their type, their dimensions, and their elements as bytes and numbers, both ways.
//! Knows how the format stores elements; must not know what a tensor is for.

use super::error::refuse;
use super::external::Location;
use super::schema::{
    StringStringEntryProto, TensorProto, TensorShapeProto, TypeProto, ValueInfoProto, tensor_proto,
    tensor_shape_proto, type_proto,
};
use super::{Bytes, Error};
use half::{bf16, f16};
use std::borrow::Cow;

pub use tensor_proto::DataType;

/// Bits of one element in `raw_data`; none for texts, whose length is their own, and for no type.
pub fn element_bits(ty: DataType) -> Option<u64> {
    use DataType::*;
    Some(match ty {
        Undefined | String => return None,
        Uint2 | Int2 => 2,
        Uint4 | Int4 | Float4e2m1 => 4,
        Float6e2m3 | Float6e3m2 => 6,
        Uint8 | Int8 | Bool | Float8e4m3fn | Float8e4m3fnuz | Float8e5m2 | Float8e5m2fnuz | Float8e8m0 => 8,
        Uint16 | Int16 | Float16 | Bfloat16 => 16,
        Float | Int32 | Uint32 => 32,
        Double | Int64 | Uint64 | Complex64 => 64,
        Complex128 => 128,
    })
}

impl TensorProto {
    /// The type, where it is one of the schema's.
    pub fn element_type(&self) -> DataType {
        self.data_type.and_then(|ty| DataType::try_from(ty).ok()).unwrap_or(DataType::Undefined)
    }

    /// Elements by the dimensions: 1 for a scalar. None for negative dimensions or more than 2^63 elements.
    pub fn n_elements(&self) -> Option<u64> {
        self.dims.iter().try_fold(1u64, |product, &dim| {
            let next = product.checked_mul(u64::try_from(dim).ok()?)?;
            (next <= i64::MAX as u64).then_some(next)
        })
    }

    /// Whether its data lies in a file beside the model.
    pub fn is_external(&self) -> bool {
        self.data_location == Some(tensor_proto::DataLocation::External as i32)
    }
}

/// Length in `raw_data`, bytes.
fn raw_len(tensor: &TensorProto) -> Result<Option<u64>, Error> {
    let name = tensor.name();
    let elements = tensor
        .n_elements()
        .ok_or_else(|| refuse(name, "dims", "whole numbers", format!("{:?}", tensor.dims)))?;
    let Some(bits) = element_bits(tensor.element_type()) else { return Ok(None) };
    let bits = elements
        .checked_mul(bits)
        .ok_or_else(|| refuse(name, "dims", "a possible size", format!("{:?}", tensor.dims)))?;
    Ok(Some(bits.div_ceil(8)))
}

/// Dimensions, type and data fit together.
pub(super) fn check_tensor(tensor: &TensorProto) -> Result<(), Error> {
    let name = tensor.name();
    let raw_len = raw_len(tensor)?;
    if tensor.element_type() == DataType::Undefined {
        let got = tensor.data_type.map_or("none".to_string(), |ty| ty.to_string());
        return Err(refuse(name, "data_type", "a type of the schema", got));
    }
    if tensor.is_external() {
        let location = Location::of(tensor)?;
        return match (location.length, raw_len) {
            (Some(got), Some(expected)) if got != expected => {
                Err(refuse(name, "external_data length", format!("{expected} bytes"), got))
            }
            _ => Ok(()),
        };
    }
    let elements = tensor.n_elements().unwrap_or_default();
    let Some(expected) = raw_len else {
        let got = tensor.string_data.len() as u64;
        return if got == elements { Ok(()) } else { Err(refuse(name, "string_data", elements, got)) };
    };
    if let Some(raw) = &tensor.raw_data {
        let got = raw.len() as u64;
        return if got == expected {
            Ok(())
        } else {
            Err(refuse(
                name,
                "raw_data",
                format!("{expected} bytes for {:?}", tensor.dims),
                format!("{got} bytes"),
            ))
        };
    }
    let (field, per_element) = typed_field(tensor.element_type());
    let got = match field {
        "float_data" => tensor.float_data.len(),
        "double_data" => tensor.double_data.len(),
        "int64_data" => tensor.int64_data.len(),
        "uint64_data" => tensor.uint64_data.len(),
        _ => tensor.int32_data.len(),
    } as u64;
    let bits = element_bits(tensor.element_type()).unwrap_or(8).min(8);
    let expected = if bits < 8 { expected } else { elements * per_element };
    if got == expected {
        return Ok(());
    }
    Err(refuse(name, field, format!("{expected} numbers for {:?}", tensor.dims), got))
}

/// Where elements of a type stand when they are not in `raw_data`, and how many numbers one takes.
fn typed_field(ty: DataType) -> (&'static str, u64) {
    use DataType::*;
    match ty {
        Float => ("float_data", 1),
        Complex64 => ("float_data", 2),
        Double => ("double_data", 1),
        Complex128 => ("double_data", 2),
        Int64 => ("int64_data", 1),
        Uint32 | Uint64 => ("uint64_data", 1),
        _ => ("int32_data", 1),
    }
}

/// The elements as they would stand in `raw_data`: little-endian, packed below eight bits.
///
/// # Errors
/// Texts, which have no such form; data beside the model that was not loaded; what [`super::read_model`] refuses.
pub fn tensor_bytes(tensor: &TensorProto) -> Result<Cow<'_, [u8]>, Error> {
    let (name, ty) = (tensor.name(), tensor.element_type());
    if tensor.is_external() {
        return Err(refuse(name, "data_location", "data in the model", "data beside it"));
    }
    check_tensor(tensor)?;
    if let Some(raw) = &tensor.raw_data {
        return Ok(Cow::Borrowed(raw));
    }
    let bytes = match typed_field(ty).0 {
        _ if ty == DataType::String => return Err(refuse(name, "data_type", "numbers", "texts")),
        "float_data" => tensor.float_data.iter().flat_map(|value| value.to_le_bytes()).collect(),
        "double_data" => tensor.double_data.iter().flat_map(|value| value.to_le_bytes()).collect(),
        "int64_data" => tensor.int64_data.iter().flat_map(|value| value.to_le_bytes()).collect(),
        "uint64_data" => {
            let width = if ty == DataType::Uint32 { 4 } else { 8 };
            tensor.uint64_data.iter().flat_map(|value| value.to_le_bytes().into_iter().take(width)).collect()
        }
        _ => {
            let width = element_bits(ty).unwrap_or(8).div_ceil(8) as usize;
            tensor.int32_data.iter().flat_map(|value| value.to_le_bytes().into_iter().take(width)).collect()
        }
    };
    Ok(Cow::Owned(bytes))
}

/// The elements of a tensor of floating point numbers (32, 16, bfloat16, 64 bits), rounded to 32 bits.
///
/// # Errors
/// Another type; else as [`tensor_bytes`].
pub fn tensor_floats(tensor: &TensorProto) -> Result<Vec<f32>, Error> {
    let bytes = tensor_bytes(tensor)?;
    Ok(match tensor.element_type() {
        DataType::Float => bytes.as_chunks::<4>().0.iter().map(|four| f32::from_le_bytes(*four)).collect(),
        DataType::Double => {
            bytes.as_chunks::<8>().0.iter().map(|eight| f64::from_le_bytes(*eight) as f32).collect()
        }
        DataType::Float16 => {
            bytes.as_chunks::<2>().0.iter().map(|two| f16::from_le_bytes(*two).to_f32()).collect()
        }
        DataType::Bfloat16 => {
            bytes.as_chunks::<2>().0.iter().map(|two| bf16::from_le_bytes(*two).to_f32()).collect()
        }
        other => {
            return Err(refuse(tensor.name(), "data_type", "floating point numbers", other.as_str_name()));
        }
    })
}

/// The elements of a tensor of whole numbers of 8 bits and more, or of truth values (0 and 1).
///
/// # Errors
/// Another type; a number above 2^63; else as [`tensor_bytes`].
pub fn tensor_integers(tensor: &TensorProto) -> Result<Vec<i64>, Error> {
    let (bytes, ty) = (tensor_bytes(tensor)?, tensor.element_type());
    Ok(match ty {
        DataType::Bool | DataType::Uint8 => bytes.iter().map(|&byte| byte.into()).collect(),
        DataType::Int8 => bytes.iter().map(|&byte| (byte as i8).into()).collect(),
        DataType::Uint16 => {
            bytes.as_chunks::<2>().0.iter().map(|two| u16::from_le_bytes(*two).into()).collect()
        }
        DataType::Int16 => {
            bytes.as_chunks::<2>().0.iter().map(|two| i16::from_le_bytes(*two).into()).collect()
        }
        DataType::Uint32 => {
            bytes.as_chunks::<4>().0.iter().map(|four| u32::from_le_bytes(*four).into()).collect()
        }
        DataType::Int32 => {
            bytes.as_chunks::<4>().0.iter().map(|four| i32::from_le_bytes(*four).into()).collect()
        }
        DataType::Int64 => bytes.as_chunks::<8>().0.iter().map(|eight| i64::from_le_bytes(*eight)).collect(),
        DataType::Uint64 => {
            let numbers =
                bytes.as_chunks::<8>().0.iter().map(|eight| i64::try_from(u64::from_le_bytes(*eight)));
            numbers
                .collect::<Result<_, _>>()
                .map_err(|_| refuse(tensor.name(), "data", "numbers below 2^63", "a larger one"))?
        }
        other => return Err(refuse(tensor.name(), "data_type", "whole numbers", other.as_str_name())),
    })
}

/// A tensor of elements as they stand in `raw_data`.
///
/// # Errors
/// Bytes that are not as many as type and dimensions say.
pub fn tensor_of_bytes(
    name: impl Into<String>,
    ty: DataType,
    dims: &[i64],
    bytes: impl Into<Bytes>,
) -> Result<TensorProto, Error> {
    let tensor = TensorProto {
        name: Some(name.into()),
        data_type: Some(ty as i32),
        dims: dims.to_vec(),
        raw_data: Some(bytes.into()),
        ..TensorProto::default()
    };
    check_tensor(&tensor)?;
    Ok(tensor)
}

/// Numbers as a tensor of `ty` holds them: halves, else 32-bit floats.
pub fn float_bytes(ty: DataType, values: &[f32]) -> Vec<u8> {
    match ty {
        DataType::Float16 => {
            values.iter().flat_map(|value| half::f16::from_f32(*value).to_le_bytes()).collect()
        }
        _ => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
    }
}

/// A tensor of 32-bit floating point numbers.
///
/// # Errors
/// Numbers that are not as many as the dimensions say.
pub fn tensor_of_floats(name: impl Into<String>, dims: &[i64], values: &[f32]) -> Result<TensorProto, Error> {
    tensor_of_bytes(name, DataType::Float, dims, float_bytes(DataType::Float, values))
}

/// A tensor of 64-bit whole numbers.
///
/// # Errors
/// Numbers that are not as many as the dimensions say.
pub fn tensor_of_integers(
    name: impl Into<String>,
    dims: &[i64],
    values: &[i64],
) -> Result<TensorProto, Error> {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    tensor_of_bytes(name, DataType::Int64, dims, bytes)
}

/// A tensor whose data lies at `location` beside the model.
///
/// # Errors
/// A length that is not what type and dimensions say; a file that is no plain relative path.
pub fn external_tensor(
    name: impl Into<String>,
    ty: DataType,
    dims: &[i64],
    location: &Location,
) -> Result<TensorProto, Error> {
    let entry =
        |key: &str, value: String| StringStringEntryProto { key: Some(key.into()), value: Some(value) };
    let mut external_data =
        vec![entry("location", location.file.clone()), entry("offset", location.offset.to_string())];
    external_data.extend(location.length.map(|length| entry("length", length.to_string())));
    let tensor = TensorProto {
        name: Some(name.into()),
        data_type: Some(ty as i32),
        dims: dims.to_vec(),
        data_location: Some(tensor_proto::DataLocation::External as i32),
        external_data,
        ..TensorProto::default()
    };
    check_tensor(&tensor)?;
    Ok(tensor)
}

/// What a graph says of an input or output: a tensor of `ty`, whose dimensions are numbers or names.
pub fn value_info(name: impl Into<String>, ty: DataType, dims: &[Result<i64, &str>]) -> ValueInfoProto {
    use tensor_shape_proto::{Dimension, dimension::Value};
    let dim = dims.iter().map(|dim| Dimension {
        denotation: None,
        value: Some(match dim {
            Ok(number) => Value::DimValue(*number),
            Err(name) => Value::DimParam(name.to_string()),
        }),
    });
    let tensor = type_proto::Tensor {
        elem_type: Some(ty as i32),
        shape: Some(TensorShapeProto { dim: dim.collect() }),
    };
    ValueInfoProto {
        name: Some(name.into()),
        r#type: Some(TypeProto { denotation: None, value: Some(type_proto::Value::TensorType(tensor)) }),
        ..ValueInfoProto::default()
    }
}
