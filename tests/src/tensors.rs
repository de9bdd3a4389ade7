//! Tensors that an outside tool left in a safetensors file. Knows that format; no model.

use formats::safetensors::{Dtype, Header, TensorInfo};
use std::collections::BTreeMap;
use std::path::Path;

/// A tensor: extents, type and bytes.
pub type Stored = (Vec<i64>, Dtype, Vec<u8>);

/// Tensors by name.
pub struct Tensors(BTreeMap<String, Stored>);

impl Tensors {
    /// Reads a whole file.
    pub fn read(path: &Path) -> Self {
        let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let header = Header::read(bytes.as_slice(), bytes.len() as u64)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let take = |info: TensorInfo| {
            let own = bytes[info.range.start as usize..info.range.end as usize].to_vec();
            (info.name, (info.shape.iter().map(|&extent| extent as i64).collect(), info.dtype, own))
        };
        Self(header.tensors.into_iter().map(take).collect())
    }

    /// One of them.
    pub fn get(&self, name: &str) -> &Stored {
        self.0.get(name).unwrap_or_else(|| panic!("no tensor {name}"))
    }

    /// Its 32-bit floats.
    pub fn floats(&self, name: &str) -> Vec<f32> {
        self.get(name).2.as_chunks().0.iter().map(|four| f32::from_le_bytes(*four)).collect()
    }

    /// Its 64-bit whole numbers.
    pub fn integers(&self, name: &str) -> Vec<i64> {
        self.get(name).2.as_chunks().0.iter().map(|eight| i64::from_le_bytes(*eight)).collect()
    }
}
