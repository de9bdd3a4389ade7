//! Tensors that flow into a session and out of it. Owns making and reading them; data that a session gave stays where it is
//! and can go into the next run uncopied. Knows element types; must not know what a tensor means.

use crate::Error;
use formats::onnx::{DataType, TensorProto, tensor_bytes};
use half::{bf16, f16};
use ort::value::{DynValue, PrimitiveTensorElementType, Tensor, TensorElementType};
use std::fmt::Debug;

/// A tensor: shape, type and data.
#[derive(Debug)]
pub struct Value(pub(crate) DynValue);

impl Value {
    /// 32-bit floating point numbers.
    ///
    /// # Errors
    /// Numbers that are not as many as the shape says, or negative dimensions.
    pub fn floats(shape: &[i64], values: Vec<f32>) -> Result<Self, Error> {
        make(shape, values)
    }

    /// 64-bit whole numbers.
    ///
    /// # Errors
    /// As [`Self::floats`].
    pub fn integers(shape: &[i64], values: Vec<i64>) -> Result<Self, Error> {
        make(shape, values)
    }

    /// A tensor of a model.
    ///
    /// # Errors
    /// Types that no session takes (below eight bits, texts, complex numbers), data beside the model.
    pub fn of_tensor(tensor: &TensorProto) -> Result<Self, Error> {
        Self::of_bytes(tensor.name(), tensor.element_type(), &tensor.dims, &tensor_bytes(tensor)?)
    }

    /// Elements as the format stores them: little-endian.
    ///
    /// # Errors
    /// As [`Self::of_tensor`]; bytes that are not as many as the shape says.
    pub fn of_bytes(name: &str, ty: DataType, shape: &[i64], bytes: &[u8]) -> Result<Self, Error> {
        macro_rules! numbers {
            ($number:ty, $width:literal) => {
                make(
                    shape,
                    bytes
                        .as_chunks::<$width>()
                        .0
                        .iter()
                        .map(|part| <$number>::from_le_bytes(*part))
                        .collect::<Vec<$number>>(),
                )
            };
        }
        match ty {
            DataType::Float => numbers!(f32, 4),
            DataType::Double => numbers!(f64, 8),
            DataType::Float16 => numbers!(f16, 2),
            DataType::Bfloat16 => numbers!(bf16, 2),
            DataType::Int8 => numbers!(i8, 1),
            DataType::Uint8 => numbers!(u8, 1),
            DataType::Int16 => numbers!(i16, 2),
            DataType::Uint16 => numbers!(u16, 2),
            DataType::Int32 => numbers!(i32, 4),
            DataType::Uint32 => numbers!(u32, 4),
            DataType::Int64 => numbers!(i64, 8),
            DataType::Uint64 => numbers!(u64, 8),
            DataType::Bool => make(shape, bytes.iter().map(|&byte| byte != 0).collect::<Vec<bool>>()),
            other => Err(Error::Value {
                name: name.into(),
                expected: "numbers of whole bytes".into(),
                got: other.as_str_name().into(),
            }),
        }
    }

    /// Dimensions, outermost first; empty for a scalar and for what is no tensor.
    pub fn shape(&self) -> Vec<i64> {
        self.0.dtype().tensor_shape().map(|shape| shape.to_vec()).unwrap_or_default()
    }

    /// The type of its elements; undefined for what is no tensor of numbers.
    pub fn element_type(&self) -> DataType {
        self.0.dtype().tensor_type().map_or(DataType::Undefined, data_type)
    }

    /// Its elements, where they are 32-bit floating point numbers.
    ///
    /// # Errors
    /// Another type.
    pub fn as_floats(&self) -> Result<&[f32], Error> {
        self.elements()
    }

    /// Its elements, where they are 64-bit whole numbers.
    ///
    /// # Errors
    /// Another type.
    pub fn as_integers(&self) -> Result<&[i64], Error> {
        self.elements()
    }

    /// Its elements, where they are of a Rust type that the library knows (`u8`, `i8`, `i32`, `f16`, `bool`, …).
    ///
    /// # Errors
    /// Another type.
    pub fn elements<T: PrimitiveTensorElementType + Debug>(&self) -> Result<&[T], Error> {
        let got = || self.element_type().as_str_name().to_string();
        let expected = || std::any::type_name::<T>().to_string();
        self.0.try_extract_tensor::<T>().map(|(_, data)| data).map_err(|_| Error::Value {
            name: String::new(),
            expected: expected(),
            got: got(),
        })
    }

    /// Its elements as the format stores them.
    ///
    /// # Errors
    /// What is no tensor of numbers.
    pub fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        macro_rules! bytes {
            ($number:ty) => {
                Ok(self.elements::<$number>()?.iter().flat_map(|value| value.to_le_bytes()).collect())
            };
        }
        match self.element_type() {
            DataType::Float => bytes!(f32),
            DataType::Double => bytes!(f64),
            DataType::Float16 => bytes!(f16),
            DataType::Bfloat16 => bytes!(bf16),
            DataType::Int8 => bytes!(i8),
            DataType::Uint8 => bytes!(u8),
            DataType::Int16 => bytes!(i16),
            DataType::Uint16 => bytes!(u16),
            DataType::Int32 => bytes!(i32),
            DataType::Uint32 => bytes!(u32),
            DataType::Int64 => bytes!(i64),
            DataType::Uint64 => bytes!(u64),
            DataType::Bool => Ok(self.elements::<bool>()?.iter().map(|&value| value.into()).collect()),
            other => Err(Error::Value {
                name: String::new(),
                expected: "a tensor of numbers".into(),
                got: other.as_str_name().into(),
            }),
        }
    }
}

fn make<T: PrimitiveTensorElementType + Debug + Clone + 'static>(
    shape: &[i64],
    values: Vec<T>,
) -> Result<Value, Error> {
    let expected = shape.iter().try_fold(1i64, |product, &dim| product.checked_mul(dim.max(-1)));
    let got = values.len();
    if shape.iter().any(|&dim| dim < 0) || expected != Some(got as i64) {
        return Err(Error::Value {
            name: String::new(),
            expected: format!("as many elements as {shape:?} says"),
            got: format!("{got} elements"),
        });
    }
    let tensor =
        Tensor::from_array((shape.to_vec(), values)).map_err(|error| Error::Run(error.to_string()))?;
    Ok(Value(tensor.into_dyn()))
}

pub(crate) fn data_type(ty: TensorElementType) -> DataType {
    match ty {
        TensorElementType::Float32 => DataType::Float,
        TensorElementType::Float64 => DataType::Double,
        TensorElementType::Float16 => DataType::Float16,
        TensorElementType::Bfloat16 => DataType::Bfloat16,
        TensorElementType::Int8 => DataType::Int8,
        TensorElementType::Uint8 => DataType::Uint8,
        TensorElementType::Int16 => DataType::Int16,
        TensorElementType::Uint16 => DataType::Uint16,
        TensorElementType::Int32 => DataType::Int32,
        TensorElementType::Uint32 => DataType::Uint32,
        TensorElementType::Int64 => DataType::Int64,
        TensorElementType::Uint64 => DataType::Uint64,
        TensorElementType::Bool => DataType::Bool,
        TensorElementType::String => DataType::String,
        _ => DataType::Undefined,
    }
}
