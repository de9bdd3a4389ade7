//! `model.safetensors.index.json`: which shard holds which tensor.
//! Shards are plain file names beside the index; must not accept a path.

use super::error::refuse;
use super::unique_map::{Entry, Strings, UniqueMap};
use super::{Error, MAX_INDEX_BYTES};
use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess};
use std::collections::BTreeMap;

/// The index of a sharded checkpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Index {
    /// Tensor name → file name.
    pub weight_map: BTreeMap<String, String>,
    /// Bytes of all tensors, where stated as a number.
    pub total_size: Option<u64>,
}

impl Index {
    /// Parses an index.
    ///
    /// # Errors
    /// Bad JSON, a key named twice, no `weight_map`, or a shard that is not a plain file name.
    pub fn parse(json: &[u8]) -> Result<Self, Error> {
        if json.len() as u64 > MAX_INDEX_BYTES {
            return Err(Error::TooLong { document: "index", limit: MAX_INDEX_BYTES, got: json.len() as u64 });
        }
        let mut raw = Raw::default();
        let mut deserializer = serde_json::Deserializer::from_slice(json);
        UniqueMap(&mut raw)
            .deserialize(&mut deserializer)
            .and_then(|()| deserializer.end())
            .and_then(
                |()| if raw.has_map { Ok(()) } else { Err(serde_json::Error::missing_field("weight_map")) },
            )
            .map_err(|source| Error::Json { document: "index", source })?;
        for (tensor, file) in &raw.index.weight_map {
            if !is_plain_name(file) {
                return Err(refuse(tensor, "file", "a plain file name", format!("{file:?}")));
            }
        }
        Ok(raw.index)
    }
}

/// No separators, drive letters, control characters or leading dot, on any operating system.
fn is_plain_name(file: &str) -> bool {
    !file.is_empty()
        && !file.starts_with('.')
        && !file.contains(['/', '\\', ':'])
        && !file.chars().any(char::is_control)
}

#[derive(Default)]
struct Raw {
    index: Index,
    has_map: bool,
}

impl<'de> Entry<'de> for &mut Raw {
    fn read<A: MapAccess<'de>>(&mut self, key: String, map: &mut A) -> Result<(), A::Error> {
        match key.as_str() {
            "weight_map" => {
                self.has_map = true;
                map.next_value_seed(UniqueMap(Strings(&mut self.index.weight_map)))
            }
            "metadata" => map.next_value_seed(UniqueMap(TotalSize(&mut self.index.total_size))),
            _ => map.next_value::<IgnoredAny>().map(drop),
        }
    }
}

/// The `metadata` object, of which one number counts.
struct TotalSize<'a>(&'a mut Option<u64>);

impl<'de> Entry<'de> for TotalSize<'_> {
    fn read<A: MapAccess<'de>>(&mut self, key: String, map: &mut A) -> Result<(), A::Error> {
        if key != "total_size" {
            return map.next_value::<IgnoredAny>().map(drop);
        }
        let number: serde_json::Number = map.next_value()?;
        // Some writers state it as a float.
        let whole = number.as_f64().filter(|size| (0.0..2f64.powi(63)).contains(size) && size.fract() == 0.0);
        *self.0 = number.as_u64().or(whole.map(|size| size as u64));
        Ok(())
    }
}
