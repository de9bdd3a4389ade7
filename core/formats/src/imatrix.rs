//! Importance matrices: the GGUF form and the legacy binary form, into one table.
//! Knows sums and counts per tensor; must not know how a quantizer uses them.

use crate::gguf;
use std::collections::BTreeMap;

/// Why an importance matrix was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The GGUF container is broken.
    #[error(transparent)]
    Gguf(#[from] gguf::Error),
    /// A GGUF file of another kind.
    #[error("general.type: expected \"imatrix\", got {got}")]
    Kind {
        /// What the file says.
        got: String,
    },
    /// An entry cannot be.
    #[error("entry `{entry}`: {field}: expected {expected}, got {got}")]
    Entry {
        /// Tensor name, or its number where the name is not known.
        entry: String,
        /// Which field.
        field: &'static str,
        /// What is allowed.
        expected: String,
        /// What stands there.
        got: String,
    },
    /// The legacy file ends early.
    #[error("file ends at byte {offset} inside {field}")]
    Truncated {
        /// Byte offset of the field.
        offset: usize,
        /// What was being read.
        field: &'static str,
    },
}

/// Sums of squared activations per input column.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Imatrix {
    /// By name of the weight tensor.
    pub entries: BTreeMap<String, Entry>,
    /// Texts it was computed on.
    pub datasets: Vec<String>,
    /// Chunks it was computed on.
    pub chunk_count: u32,
    /// Tokens per chunk; 0 in the legacy form, which does not say.
    pub chunk_size: u32,
}

/// The statistics of one weight tensor.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Columns of the weight (`ne0`).
    pub n_columns: usize,
    /// Matrices of a stack, 1 for a plain weight.
    pub n_matrices: usize,
    /// Σx² by matrix and column, `n_matrices · n_columns`.
    pub sums: Vec<f32>,
    /// Activations seen by each matrix (legacy: one number of calls).
    pub counts: Vec<f32>,
    /// Whether the sums are means times calls, as the legacy form stores them.
    pub legacy: bool,
}

impl Entry {
    /// Importance per column and matrix, exactly as llama-quantize derives it: sums over counts, and 1 for a
    /// matrix that saw nothing.
    pub fn importance(&self) -> Vec<f32> {
        if self.legacy {
            let calls = self.counts.first().copied().unwrap_or(0.0);
            return self.sums.iter().map(|&sum| if calls > 0.0 { sum / calls } else { sum }).collect();
        }
        let rows = self.sums.chunks_exact(self.n_columns.max(1)).zip(&self.counts);
        rows.flat_map(|(row, &count)| {
            // Counts are whole numbers that may be stored rounded.
            let count = count.round();
            row.iter().map(move |&sum| if count > 0.0 { sum / count } else { 1.0 })
        })
        .collect()
    }
}

/// Reads either form from the bytes of a whole file.
///
/// # Errors
/// The first breach of the format; every value must be finite.
pub fn read(bytes: &[u8]) -> Result<Imatrix, Error> {
    let imatrix = if bytes.starts_with(&gguf::MAGIC) { read_gguf(bytes)? } else { read_legacy(bytes)? };
    for (name, entry) in &imatrix.entries {
        if let Some(bad) = entry.sums.iter().chain(&entry.counts).find(|value| !value.is_finite()) {
            return Err(refuse(name, "values", "finite numbers", bad));
        }
    }
    Ok(imatrix)
}

fn read_gguf(bytes: &[u8]) -> Result<Imatrix, Error> {
    let header = gguf::Header::read(bytes, bytes.len() as u64)?;
    let kind = header.metadata.str("general.type").unwrap_or("nothing");
    if kind != "imatrix" {
        return Err(Error::Kind { got: format!("\"{kind}\"") });
    }
    let number = |key: &str| header.metadata.u64(key).and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
    let mut imatrix = Imatrix {
        datasets: header.metadata.strings("imatrix.datasets").unwrap_or_default().to_vec(),
        chunk_count: number("imatrix.chunk_count"),
        chunk_size: number("imatrix.chunk_size"),
        ..Imatrix::default()
    };
    for sums in &header.tensors {
        let Some(name) = sums.name.strip_suffix(".in_sum2") else { continue };
        let counts_name = format!("{name}.counts");
        let counts = header
            .tensor(&counts_name)
            .ok_or_else(|| refuse(name, "counts", &counts_name, "no such tensor"))?;
        let values = |tensor: &gguf::TensorInfo| {
            if tensor.ty != gguf::GgmlType::F32 {
                return Err(refuse(name, "type", "F32", tensor.ty));
            }
            let start = (header.data_offset + tensor.offset) as usize;
            let data = &bytes[start..start + tensor.bytes as usize];
            Ok(floats(data))
        };
        let (n_columns, n_matrices) = (sums.dims[0] as usize, counts.n_elements() as usize);
        let entry =
            Entry { n_columns, n_matrices, sums: values(sums)?, counts: values(counts)?, legacy: false };
        if entry.sums.len() != n_columns * n_matrices {
            return Err(refuse(
                name,
                "in_sum2",
                &format!("{n_columns} columns × {n_matrices} counts"),
                entry.sums.len(),
            ));
        }
        imatrix.entries.insert(name.into(), entry);
    }
    Ok(imatrix)
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|four| f32::from_le_bytes(*four)).collect()
}

/// The legacy form: i32 count of entries; per entry i32 name length, name, i32 calls, i32 values, f32 values;
/// then, optionally, i32 chunks, i32 length and name of the dataset.
fn read_legacy(bytes: &[u8]) -> Result<Imatrix, Error> {
    let mut cursor = Cursor { bytes, at: 0 };
    let n_entries = cursor.count("number of entries")?;
    let mut imatrix = Imatrix::default();
    for number in 0..n_entries {
        let name_bytes = cursor.count("name length")?;
        let name = String::from_utf8_lossy(cursor.take(name_bytes, "name")?).into_owned();
        let calls = cursor.count("number of calls")?;
        let n_columns = cursor.count("number of values")?;
        if n_columns == 0 {
            return Err(refuse(&format!("{number} ({name})"), "number of values", "at least 1", 0));
        }
        let length =
            n_columns.checked_mul(4).ok_or(Error::Truncated { offset: cursor.at, field: "values" })?;
        let sums = floats(cursor.take(length, "values")?);
        let entry = Entry { n_columns, n_matrices: 1, sums, counts: vec![calls as f32], legacy: true };
        if imatrix.entries.insert(name.clone(), entry).is_some() {
            return Err(refuse(&name, "name", "each tensor once", "a second entry"));
        }
    }
    if cursor.at < bytes.len() {
        imatrix.chunk_count = cursor.count("number of chunks")? as u32;
        if let Ok(length) = cursor.count("dataset length") {
            let dataset = cursor.take(length, "dataset")?;
            imatrix.datasets = vec![String::from_utf8_lossy(dataset).into_owned()];
        }
    }
    Ok(imatrix)
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, length: usize, field: &'static str) -> Result<&'a [u8], Error> {
        let end = self.at.checked_add(length).filter(|end| *end <= self.bytes.len());
        let end = end.ok_or(Error::Truncated { offset: self.at, field })?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn count(&mut self, field: &'static str) -> Result<usize, Error> {
        let at = self.at;
        let four = self.take(4, field)?;
        let value = i32::from_le_bytes([four[0], four[1], four[2], four[3]]);
        usize::try_from(value).map_err(|_| refuse(&format!("at byte {at}"), field, "a number from 0", value))
    }
}

fn refuse(entry: &str, field: &'static str, expected: &str, got: impl std::fmt::Display) -> Error {
    Error::Entry { entry: entry.into(), field, expected: expected.into(), got: got.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gguf::{GgmlType, Metadata, TensorSpec, Value, Writer};

    fn legacy() -> Vec<u8> {
        let mut bytes = Vec::new();
        for value in [1i32, 1] {
            bytes.extend(value.to_le_bytes());
        }
        bytes.extend(b"w");
        for value in [2i32, 2] {
            bytes.extend(value.to_le_bytes());
        }
        for value in [4f32, 6.0] {
            bytes.extend(value.to_le_bytes());
        }
        bytes
    }

    #[test]
    fn the_legacy_form_is_divided_by_its_calls() {
        let imatrix = read(&legacy()).unwrap();
        assert_eq!(imatrix.entries["w"].importance(), [2.0, 3.0]);
    }

    #[test]
    fn a_matrix_that_saw_nothing_counts_every_column_alike() {
        let metadata = Metadata::from_iter([("general.type", Value::String("imatrix".into()))]);
        let spec =
            |name: &str, dims: &[u64]| TensorSpec { name: name.into(), dims: dims.into(), ty: GgmlType::F32 };
        let mut writer =
            Writer::new(Vec::new(), &metadata, &[spec("w.in_sum2", &[2, 2]), spec("w.counts", &[1, 2])])
                .unwrap();
        for values in [vec![8f32, 4.0, 0.0, 0.0], vec![4.0, 0.0]] {
            writer.write(&values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>()).unwrap();
        }
        let imatrix = read(&writer.finish().unwrap()).unwrap();
        assert_eq!(imatrix.entries["w"].importance(), [2.0, 1.0, 1.0, 1.0]);
    }

    #[test]
    fn every_truncation_and_negative_length_is_an_error() {
        let bytes = legacy();
        for length in 0..bytes.len() {
            assert!(read(&bytes[..length]).is_err(), "{length}");
        }
        assert!(read(&(-1i32).to_le_bytes()).is_err());
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_answered_without_panic(bytes in proptest::collection::vec(0u8.., 0..200)) {
            let _ = read(&bytes);
            let mut file = gguf::MAGIC.to_vec();
            file.extend(bytes);
            let _ = read(&file);
        }
    }
}
