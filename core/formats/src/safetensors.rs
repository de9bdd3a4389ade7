//! Safetensors: the JSON header of one file, and the index of a sharded checkpoint.
//! Knows where tensors lie and how wide they are; must not read their data.

use serde::Deserialize;
use serde::de::{MapAccess, Visitor};
use std::collections::BTreeMap;
use std::io::Read;
use std::ops::Range;

/// Largest JSON header in bytes, the limit of the reference implementation.
pub const MAX_HEADER_BYTES: u64 = 100_000_000;
/// Most dimensions of a tensor that are believed.
pub const MAX_DIMS: usize = 8;

/// Why a header or index was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file ends early.
    #[error("file ends at byte {offset} inside {field}")]
    Truncated {
        /// Where it ends.
        offset: u64,
        /// What was being read.
        field: &'static str,
    },
    /// The header's length cannot be.
    #[error("header length at byte 0: expected at most {limit}, got {got}")]
    HeaderLength {
        /// Most that is allowed in this file.
        limit: u64,
        /// What stands there.
        got: u64,
    },
    /// The JSON does not parse, or a name stands twice.
    #[error("{document}: {source}")]
    Json {
        /// `header` or `index`.
        document: &'static str,
        /// What and where (line and column count from the JSON's start).
        source: serde_json::Error,
    },
    /// One tensor's entry cannot be.
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
}

macro_rules! dtypes {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $bits:literal;)*) => {
        /// Element types.
        #[allow(non_camel_case_types)]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Dtype { $($(#[$doc])* $name,)* }
        impl Dtype {
            /// The type spelled `text` in a header.
            pub fn from_name(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$name),)* _ => None }
            }
            /// The spelling in a header.
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
            /// Bits per element.
            pub fn bits(self) -> u64 {
                match self { $(Self::$name => $bits,)* }
            }
        }
    };
}

dtypes! {
    /// 64-bit float.
    F64 = "F64", 64;
    /// 32-bit float.
    F32 = "F32", 32;
    /// 16-bit IEEE float.
    F16 = "F16", 16;
    /// bfloat16.
    BF16 = "BF16", 16;
    /// 8-bit float, 4 exponent bits.
    F8_E4M3 = "F8_E4M3", 8;
    /// 8-bit float, 5 exponent bits.
    F8_E5M2 = "F8_E5M2", 8;
    /// 8-bit power-of-two scale.
    F8_E8M0 = "F8_E8M0", 8;
    /// 4-bit float.
    F4 = "F4", 4;
    /// 64-bit integer.
    I64 = "I64", 64;
    /// 32-bit integer.
    I32 = "I32", 32;
    /// 16-bit integer.
    I16 = "I16", 16;
    /// 8-bit integer.
    I8 = "I8", 8;
    /// 64-bit unsigned integer.
    U64 = "U64", 64;
    /// 32-bit unsigned integer.
    U32 = "U32", 32;
    /// 16-bit unsigned integer.
    U16 = "U16", 16;
    /// 8-bit unsigned integer.
    U8 = "U8", 8;
    /// One byte, 0 or 1.
    Bool = "BOOL", 8;
}

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
    /// The first breach of the format; tensors must lie inside the file and not over each other.
    pub fn read(mut reader: impl Read, file_bytes: u64) -> Result<Self, Error> {
        let mut length = [0; 8];
        reader
            .read_exact(&mut length)
            .map_err(|_| Error::Truncated { offset: file_bytes, field: "header length" })?;
        let length = u64::from_le_bytes(length);
        let limit = MAX_HEADER_BYTES.min(file_bytes.saturating_sub(8));
        if length > limit {
            return Err(Error::HeaderLength { limit, got: length });
        }
        let mut json = Vec::new();
        let read = reader.take(length).read_to_end(&mut json);
        if read.is_err() || json.len() as u64 != length {
            return Err(Error::Truncated { offset: 8 + json.len() as u64, field: "header" });
        }
        let raw: UniqueMap<RawEntry> =
            serde_json::from_slice(&json).map_err(|source| Error::Json { document: "header", source })?;
        let data_start = 8 + length;
        let mut header = Self::default();
        for (name, entry) in raw.0 {
            match entry {
                RawEntry::Tensor { dtype, shape, data_offsets } => {
                    header.tensors.push(check_entry(
                        name,
                        &dtype,
                        shape,
                        data_offsets,
                        data_start,
                        file_bytes,
                    )?);
                }
                RawEntry::Metadata(map) if name == "__metadata__" => header.metadata = map,
                RawEntry::Metadata(_) => {
                    return Err(refuse(&name, "entry", "dtype, shape and data_offsets", "something else"));
                }
            }
        }
        header.check_overlaps()?;
        Ok(header)
    }

    fn check_overlaps(&self) -> Result<(), Error> {
        let mut order: Vec<&TensorInfo> = self.tensors.iter().collect();
        order.sort_by_key(|tensor| (tensor.range.start, tensor.range.end));
        for pair in order.windows(2) {
            if pair[1].range.start < pair[0].range.end {
                let expected =
                    format!("a start behind `{}`, which ends at byte {}", pair[0].name, pair[0].range.end);
                return Err(refuse(
                    &pair[1].name,
                    "data_offsets",
                    &expected,
                    &pair[1].range.start.to_string(),
                ));
            }
        }
        Ok(())
    }
}

fn check_entry(
    name: String,
    dtype: &str,
    shape: Vec<u64>,
    [start, end]: [u64; 2],
    data_start: u64,
    file_bytes: u64,
) -> Result<TensorInfo, Error> {
    let kind = Dtype::from_name(dtype).ok_or_else(|| refuse(&name, "dtype", "a known type", dtype))?;
    if shape.len() > MAX_DIMS {
        return Err(refuse(
            &name,
            "shape",
            &format!("at most {MAX_DIMS} dimensions"),
            &shape.len().to_string(),
        ));
    }
    let bits = shape.iter().try_fold(kind.bits(), |product, &dim| product.checked_mul(dim));
    let Some(bytes) = bits.filter(|bits| bits % 8 == 0).map(|bits| bits / 8) else {
        return Err(refuse(&name, "shape", "a size of whole bytes below 2^61", &format!("{shape:?}")));
    };
    let room = file_bytes.saturating_sub(data_start);
    if start > end || end > room {
        return Err(refuse(
            &name,
            "data_offsets",
            &format!("a range inside {room} data bytes"),
            &format!("{start}..{end}"),
        ));
    }
    if end - start != bytes {
        let expected = format!("{bytes} bytes for {dtype} {shape:?}");
        return Err(refuse(&name, "data_offsets", &expected, &(end - start).to_string()));
    }
    Ok(TensorInfo { name, dtype: kind, shape, range: data_start + start..data_start + end })
}

fn refuse(tensor: &str, field: &'static str, expected: &str, got: &str) -> Error {
    Error::Tensor { tensor: tensor.into(), field, expected: expected.into(), got: got.into() }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum RawEntry {
    Tensor { dtype: String, shape: Vec<u64>, data_offsets: [u64; 2] },
    Metadata(BTreeMap<String, String>),
}

/// A JSON object whose keys must be unique, in order.
struct UniqueMap<V>(Vec<(String, V)>);

impl<'de, V: Deserialize<'de>> Deserialize<'de> for UniqueMap<V> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries<V>(std::marker::PhantomData<V>);
        impl<'de, V: Deserialize<'de>> Visitor<'de> for Entries<V> {
            type Value = UniqueMap<V>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object of tensors")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                let mut names = std::collections::HashSet::new();
                while let Some((name, value)) = map.next_entry::<String, V>()? {
                    if !names.insert(name.clone()) {
                        return Err(serde::de::Error::custom(format!("`{name}` appears twice")));
                    }
                    entries.push((name, value));
                }
                Ok(UniqueMap(entries))
            }
        }
        deserializer.deserialize_map(Entries(std::marker::PhantomData))
    }
}

/// `model.safetensors.index.json`: which shard holds which tensor.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Index {
    /// Tensor name → file name.
    pub weight_map: BTreeMap<String, String>,
    /// Bytes of all tensors, where stated.
    pub total_size: Option<u64>,
}

impl Index {
    /// Parses an index.
    ///
    /// # Errors
    /// Bad JSON, a tensor named twice, or a shard that is not a plain file name.
    pub fn parse(json: &[u8]) -> Result<Self, Error> {
        #[derive(Deserialize)]
        struct Raw {
            weight_map: UniqueMap<String>,
            metadata: Option<serde_json::Value>,
        }
        let raw: Raw =
            serde_json::from_slice(json).map_err(|source| Error::Json { document: "index", source })?;
        for (tensor, file) in &raw.weight_map.0 {
            let plain = !file.is_empty() && !file.starts_with('.') && !file.contains(['/', '\\', '\0', ':']);
            if !plain {
                return Err(refuse(tensor, "file", "a plain file name", file));
            }
        }
        let total_size = raw.metadata.as_ref().and_then(|metadata| metadata.get("total_size")?.as_u64());
        Ok(Self { weight_map: raw.weight_map.0.into_iter().collect(), total_size })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(json: &str, data: usize) -> Vec<u8> {
        let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
        bytes.extend(json.as_bytes());
        bytes.resize(bytes.len() + data, 0);
        bytes
    }

    fn read(json: &str, data: usize) -> Result<Header, Error> {
        let bytes = file(json, data);
        Header::read(bytes.as_slice(), bytes.len() as u64)
    }

    #[test]
    fn a_good_header_is_read_in_order() {
        let json = r#"{"__metadata__":{"format":"pt"},"b":{"dtype":"BF16","shape":[2,3],"data_offsets":[0,12]},
            "a":{"dtype":"F32","shape":[],"data_offsets":[12,16]}}"#;
        let header = read(json, 16).unwrap();
        assert_eq!(header.metadata["format"], "pt");
        assert_eq!(header.tensors[0].name, "b");
        assert_eq!(header.tensors[1].range.end - header.tensors[0].range.start, 16);
    }

    #[test]
    fn bad_headers_name_the_tensor() {
        for (json, word) in [
            (r#"{"a":{"dtype":"F99","shape":[1],"data_offsets":[0,4]}}"#, "F99"),
            (r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,400]}}"#, "inside 16"),
            (
                r#"{"a":{"dtype":"F32","shape":[1152921504606846976,1152921504606846976],"data_offsets":[0,4]}}"#,
                "2^61",
            ),
            (r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}"#, "8 bytes"),
            (
                r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}}"#,
                "behind `a`",
            ),
            (
                r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#,
                "twice",
            ),
            (r#"{"a":{}}"#, "a"),
            ("[", "header"),
        ] {
            let message = read(json, 16).unwrap_err().to_string();
            assert!(message.contains(word), "{json}: {message}");
        }
        assert!(Header::read(&u64::MAX.to_le_bytes()[..], 8).is_err());
    }

    #[test]
    fn shards_must_be_plain_names() {
        assert!(
            Index::parse(br#"{"weight_map":{"a":"model-1.safetensors"},"metadata":{"total_size":7}}"#)
                .is_ok()
        );
        for file in ["../x", "/etc/passwd", "a/b", ".hidden", "", "c:x"] {
            let json = serde_json::json!({"weight_map": {"a": file}}).to_string();
            assert!(Index::parse(json.as_bytes()).is_err(), "{file}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_answered_without_panic(bytes in proptest::collection::vec(0u8.., 0..200), length in 0u64..100) {
            let mut file = length.to_le_bytes().to_vec();
            file.extend(&bytes);
            let _ = Header::read(file.as_slice(), file.len() as u64);
            let _ = Index::parse(&bytes);
        }
    }
}
