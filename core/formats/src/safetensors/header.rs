//! The JSON header of one safetensors file. Reads names, types, shapes and ranges straight into the table;
//! must not read tensor data. Tensors must fill the data section: none over another, no byte between them.

use super::error::refuse;
use super::unique_map::{Entry, Strings, UniqueMap};
use super::{Dtype, Error, MAX_DIMS, MAX_HEADER_BYTES};
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use std::collections::BTreeMap;
use std::io::Read;
use std::ops::Range;

/// Where one tensor lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// Name in the checkpoint.
    pub name: String,
    /// Element type.
    pub dtype: Dtype,
    /// Extents, slowest dimension first, as in PyTorch.
    pub shape: Vec<u64>,
    /// Bytes of its data, absolute in the file.
    pub range: Range<u64>,
}

/// The header of one file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Header {
    /// Tensors in the order of the header.
    pub tensors: Vec<TensorInfo>,
    /// The `__metadata__` strings.
    pub metadata: BTreeMap<String, String>,
}

impl Header {
    /// Reads and checks the header of a file of `file_bytes` bytes.
    ///
    /// # Errors
    /// The first breach of the format; tensors must lie inside the file, not over each other and without holes.
    pub fn read(mut reader: impl Read, file_bytes: u64) -> Result<Self, Error> {
        let mut length = [0; 8];
        read_exactly(&mut reader, &mut length, 0, "header length")?;
        let length = u64::from_le_bytes(length);
        let limit = MAX_HEADER_BYTES.min(file_bytes.saturating_sub(8));
        if length > limit {
            return Err(Error::HeaderLength { limit, got: length });
        }
        let mut json = Vec::new();
        let read = reader.take(length).read_to_end(&mut json);
        let reached = 8 + json.len() as u64;
        read.map_err(|source| Error::Io { offset: reached, field: "header", source })?;
        if json.len() as u64 != length {
            return Err(Error::Truncated { offset: reached, field: "header" });
        }
        let mut raw = Raw::default();
        let mut deserializer = serde_json::Deserializer::from_slice(&json);
        UniqueMap(&mut raw)
            .deserialize(&mut deserializer)
            .and_then(|()| deserializer.end())
            .map_err(|source| Error::Json { document: "header", source })?;
        let data_start = 8 + length;
        let tensors = raw.tensors.into_iter().map(|(name, entry)| entry.check(name, data_start, file_bytes));
        let header = Self { tensors: tensors.collect::<Result<_, _>>()?, metadata: raw.metadata };
        header.check_tiling(data_start, file_bytes)?;
        Ok(header)
    }

    /// Sorted by place, each tensor begins where the one before it ends, and the last ends with the file.
    fn check_tiling(&self, data_start: u64, file_bytes: u64) -> Result<(), Error> {
        let mut order: Vec<&TensorInfo> = self.tensors.iter().collect();
        order.sort_by_key(|tensor| (tensor.range.start, tensor.range.end));
        let mut end = data_start;
        let mut previous = None;
        for tensor in order {
            let start = tensor.range.start;
            if start < end {
                let before = previous.unwrap_or("the header");
                let expected = format!("a start behind `{before}`, which ends at byte {end}");
                return Err(refuse(&tensor.name, "data_offsets", expected, start));
            }
            if start > end {
                let expected = format!("tensor `{}`", tensor.name);
                return Err(Error::Hole { offset: end, expected, got: start - end });
            }
            end = tensor.range.end;
            previous = Some(tensor.name.as_str());
        }
        if end != file_bytes {
            let got = file_bytes - end;
            return Err(Error::Hole { offset: end, expected: "the end of the file".into(), got });
        }
        Ok(())
    }
}

fn read_exactly(
    reader: &mut impl Read,
    buffer: &mut [u8],
    offset: u64,
    field: &'static str,
) -> Result<(), Error> {
    reader.read_exact(buffer).map_err(|source| match source.kind() {
        std::io::ErrorKind::UnexpectedEof => Error::Truncated { offset, field },
        _ => Error::Io { offset, field, source },
    })
}

/// The header as it is spelled.
#[derive(Default)]
struct Raw {
    tensors: Vec<(String, RawTensor)>,
    metadata: BTreeMap<String, String>,
}

impl<'de> Entry<'de> for &mut Raw {
    fn read<A: MapAccess<'de>>(&mut self, key: String, map: &mut A) -> Result<(), A::Error> {
        if key == "__metadata__" {
            return map.next_value_seed(UniqueMap(Strings(&mut self.metadata)));
        }
        let tensor = map.next_value()?;
        self.tensors.push((key, tensor));
        Ok(())
    }
}

#[derive(Deserialize)]
struct RawTensor {
    dtype: String,
    shape: Shape,
    data_offsets: [u64; 2],
}

impl RawTensor {
    fn check(self, name: String, data_start: u64, file_bytes: u64) -> Result<TensorInfo, Error> {
        let [start, end] = self.data_offsets;
        let shape = self.shape.0;
        let dtype = Dtype::from_name(&self.dtype)
            .ok_or_else(|| refuse(&name, "dtype", "a known type", &self.dtype))?;
        let bits = shape.iter().try_fold(dtype.bits(), |product, &dim| product.checked_mul(dim));
        let Some(bytes) = bits.filter(|bits| bits % 8 == 0).map(|bits| bits / 8) else {
            let got = format!("{shape:?}");
            return Err(refuse(&name, "shape", "a size of whole bytes below 2^61", got));
        };
        let room = file_bytes.saturating_sub(data_start);
        if start > end || end > room {
            let expected = format!("a range inside {room} data bytes");
            return Err(refuse(&name, "data_offsets", expected, format!("{start}..{end}")));
        }
        if end - start != bytes {
            let expected = format!("{bytes} bytes for {} {shape:?}", dtype.name());
            return Err(refuse(&name, "data_offsets", expected, end - start));
        }
        Ok(TensorInfo { name, dtype, shape, range: data_start + start..data_start + end })
    }
}

/// At most [`MAX_DIMS`] extents.
struct Shape(Vec<u64>);

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Extents;
        impl<'de> Visitor<'de> for Extents {
            type Value = Shape;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "a shape of at most {MAX_DIMS} dimensions")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Shape, A::Error> {
                let mut extents = Vec::new();
                while let Some(extent) = seq.next_element()? {
                    if extents.len() == MAX_DIMS {
                        return Err(serde::de::Error::invalid_length(MAX_DIMS + 1, &self));
                    }
                    extents.push(extent);
                }
                Ok(Shape(extents))
            }
        }
        deserializer.deserialize_seq(Extents)
    }
}
