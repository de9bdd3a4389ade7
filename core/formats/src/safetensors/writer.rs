//! The header of a safetensors file that is about to be written, exact before any data.
//! Knows names, types and shapes; must not hold tensor data.

use super::error::refuse;
use super::{Dtype, Error, MAX_DIMS, MAX_HEADER_BYTES};
use std::collections::{BTreeMap, HashSet};

/// A tensor of a file to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorSpec {
    /// Name.
    pub name: String,
    /// Element type.
    pub dtype: Dtype,
    /// Extents, slowest dimension first.
    pub shape: Vec<u64>,
}

impl TensorSpec {
    /// Bytes of its data.
    ///
    /// # Errors
    /// More elements than can be counted, or a part of a byte.
    pub fn bytes(&self) -> Result<u64, Error> {
        let bits = self.shape.iter().try_fold(self.dtype.bits(), |bits, extent| bits.checked_mul(*extent));
        match bits {
            Some(bits) if bits % 8 == 0 => Ok(bits / 8),
            _ => {
                Err(refuse(&self.name, "shape", "whole bytes, fewer than 2^61", format!("{:?}", self.shape)))
            }
        }
    }
}

/// What a file of `tensors` begins with: length and header, padded to a multiple of 8. Their data follows in this order without
/// gaps.
///
/// # Errors
/// A name that stands twice or is `__metadata__`, a shape that cannot be, or a header that readers refuse.
pub fn file_start(tensors: &[TensorSpec], metadata: &BTreeMap<String, String>) -> Result<Vec<u8>, Error> {
    let json = |source| Error::Json { document: "header", source };
    let mut names = HashSet::new();
    let mut text = b"{\"__metadata__\":".to_vec();
    serde_json::to_writer(&mut text, metadata).map_err(json)?;
    let mut offset = 0u64;
    for tensor in tensors {
        if tensor.name == "__metadata__" || !names.insert(&tensor.name) {
            return Err(refuse(&tensor.name, "name", "one of its own", &tensor.name));
        }
        if tensor.shape.len() > MAX_DIMS {
            return Err(refuse(
                &tensor.name,
                "shape",
                format!("at most {MAX_DIMS} dimensions"),
                tensor.shape.len(),
            ));
        }
        let end = tensor.bytes()?.checked_add(offset);
        let end = end.ok_or_else(|| refuse(&tensor.name, "data_offsets", "fewer than 2^64", "more"))?;
        text.push(b',');
        serde_json::to_writer(&mut text, &tensor.name).map_err(json)?;
        let entry = serde_json::json!({
            "dtype": tensor.dtype.name(), "shape": tensor.shape, "data_offsets": [offset, end],
        });
        text.push(b':');
        serde_json::to_writer(&mut text, &entry).map_err(json)?;
        offset = end;
    }
    text.push(b'}');
    text.resize(text.len().next_multiple_of(8), b' ');
    let length = text.len() as u64;
    if length > MAX_HEADER_BYTES {
        return Err(Error::HeaderLength { limit: MAX_HEADER_BYTES, got: length });
    }
    Ok([&length.to_le_bytes()[..], &text].concat())
}

#[cfg(test)]
mod tests {
    use super::super::Header;
    use super::*;

    fn spec(name: &str, dtype: Dtype, shape: &[u64]) -> TensorSpec {
        TensorSpec { name: name.into(), dtype, shape: shape.to_vec() }
    }

    proptest::proptest! {
        /// What is written is read back, in its order.
        #[test]
        fn headers_are_read_back(shapes in proptest::collection::vec(proptest::collection::vec(0u64..9, 0..4), 0..9)) {
            let dtypes = [Dtype::U32, Dtype::BF16, Dtype::F32, Dtype::U8];
            let tensors: Vec<TensorSpec> = shapes
                .iter()
                .enumerate()
                .map(|(at, shape)| spec(&format!("a\"{at}"), dtypes[at % 4], shape))
                .collect();
            let metadata = BTreeMap::from([("format".to_string(), "mlx".to_string())]);
            let start = file_start(&tensors, &metadata).unwrap();
            proptest::prop_assert_eq!(start.len() % 8, 0);
            let data: u64 = tensors.iter().map(|tensor| tensor.bytes().unwrap()).sum();
            let header = Header::read(&start[..], start.len() as u64 + data).unwrap();
            proptest::prop_assert_eq!(&header.metadata, &metadata);
            let mut place = start.len() as u64;
            for (read, written) in header.tensors.iter().zip(&tensors) {
                proptest::prop_assert_eq!((&read.name, read.dtype, &read.shape), (&written.name, written.dtype, &written.shape));
                proptest::prop_assert_eq!(read.range.start, place);
                place = read.range.end;
            }
            proptest::prop_assert_eq!(header.tensors.len(), tensors.len());
        }
    }

    #[test]
    fn what_readers_refuse_is_not_written() {
        let message = |tensors: &[TensorSpec]| file_start(tensors, &BTreeMap::new()).unwrap_err().to_string();
        let twice = [spec("a", Dtype::U8, &[1]), spec("a", Dtype::U8, &[1])];
        assert!(message(&twice).contains("tensor `a`: name: expected one of its own"));
        assert!(message(&[spec("a", Dtype::F4, &[1])]).contains("whole bytes"));
        assert!(message(&[spec("a", Dtype::F32, &[1 << 40, 1 << 40])]).contains("2^61"));
        assert!(message(&[spec("a", Dtype::U8, &[1; 9])]).contains("at most 8 dimensions"));
        assert!(message(&[spec("__metadata__", Dtype::U8, &[1])]).contains("one of its own"));
    }
}
