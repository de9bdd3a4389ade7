//! The GGUF form: per weight a tensor `<name>.in_sum2` [columns, matrices] and `<name>.counts` [1, matrices], F32.
//! Reads and writes what llama-imatrix does; further statistics in the file (`<name>.in_sum`) are checked and left.

use super::error::refuse;
use super::{Entry, Error, Imatrix};
use crate::gguf::{self, Array, GgmlType, Header, Metadata, TensorInfo, TensorSpec, Value};
use std::collections::BTreeMap;
use std::io::Write;

const DATASETS_KEY: &str = "imatrix.datasets";
const CHUNK_COUNT_KEY: &str = "imatrix.chunk_count";
const CHUNK_SIZE_KEY: &str = "imatrix.chunk_size";

/// Reads the GGUF form from the bytes of a whole file.
///
/// # Errors
/// The first breach of the container or of the form; sums without counts and counts without sums are refused.
pub fn read_gguf(bytes: &[u8]) -> Result<Imatrix, Error> {
    let header = Header::read(bytes, bytes.len() as u64)?;
    let kind = header.metadata.str("general.type").unwrap_or("nothing");
    if kind != "imatrix" {
        return Err(Error::Kind { got: format!("\"{kind}\"") });
    }
    let mut imatrix = Imatrix {
        datasets: datasets(&header.metadata)?,
        chunk_count: number(&header.metadata, CHUNK_COUNT_KEY)?,
        chunk_size: number(&header.metadata, CHUNK_SIZE_KEY)?,
        entries: BTreeMap::new(),
    };
    let mut statistics: BTreeMap<&str, Statistics<'_>> = BTreeMap::new();
    for tensor in &header.tensors {
        // Names end in exactly one of these; anything else is none of ours.
        if let Some(name) = tensor.name.strip_suffix(".in_sum2") {
            statistics.entry(name).or_default().squares = Some(tensor);
        } else if let Some(name) = tensor.name.strip_suffix(".counts") {
            statistics.entry(name).or_default().counts = Some(tensor);
        } else if let Some(name) = tensor.name.strip_suffix(".in_sum") {
            statistics.entry(name).or_default().plain = Some(tensor);
        }
    }
    if statistics.is_empty() {
        return Err(refuse("(all)", "in_sum2", "at least one entry", "none"));
    }
    for (name, found) in statistics {
        let entry = found.entry(name, &header, bytes)?;
        super::check_finite(name, &entry)?;
        imatrix.entries.insert(name.into(), entry);
    }
    Ok(imatrix)
}

/// The tensors of one weight.
#[derive(Default)]
struct Statistics<'a> {
    squares: Option<&'a TensorInfo>,
    counts: Option<&'a TensorInfo>,
    plain: Option<&'a TensorInfo>,
}

impl Statistics<'_> {
    fn entry(&self, name: &str, header: &Header, bytes: &[u8]) -> Result<Entry, Error> {
        let squares = self.squares.ok_or_else(|| refuse(name, "in_sum2", "a tensor", "none"))?;
        let counts = self.counts.ok_or_else(|| refuse(name, "counts", "a tensor", "none"))?;
        let (n_values, n_matrices) = (squares.n_elements(), counts.n_elements());
        if let Some(plain) = self.plain.filter(|plain| plain.n_elements() != n_values) {
            return Err(refuse(name, "in_sum", format!("{n_values} values"), plain.n_elements()));
        }
        if !n_values.is_multiple_of(n_matrices) {
            return Err(refuse(name, "in_sum2", format!("a multiple of {n_matrices} counts"), n_values));
        }
        Ok(Entry {
            n_columns: (n_values / n_matrices) as usize,
            n_matrices: n_matrices as usize,
            sums: values(name, "in_sum2", squares, header, bytes)?,
            counts: values(name, "counts", counts, header, bytes)?,
            legacy: false,
        })
    }
}

fn values(
    name: &str,
    field: &'static str,
    tensor: &TensorInfo,
    header: &Header,
    bytes: &[u8],
) -> Result<Vec<f32>, Error> {
    if tensor.ty != GgmlType::F32 {
        return Err(refuse(name, field, "type F32", tensor.ty));
    }
    let start = (header.data_offset + tensor.offset) as usize;
    Ok(super::floats(&bytes[start..start + tensor.bytes as usize]))
}

fn datasets(metadata: &Metadata) -> Result<Vec<String>, Error> {
    match metadata.get(DATASETS_KEY) {
        Some(Value::Array(Array::String(names))) => Ok(names.clone()),
        other => Err(key_error(DATASETS_KEY, "an array of strings", other)),
    }
}

fn number(metadata: &Metadata, key: &'static str) -> Result<u32, Error> {
    match metadata.get(key) {
        Some(Value::U32(number)) => Ok(*number),
        other => Err(key_error(key, "a u32", other)),
    }
}

fn key_error(key: &'static str, expected: &'static str, got: Option<&Value>) -> Error {
    let got = got.map_or("nothing".into(), |value| format!("a value of type {}", value.type_id()));
    Error::Key { key, expected, got }
}

/// Writes `imatrix` in the GGUF form, entries in order of name, as llama-imatrix does. Returns the output, flushed.
///
/// # Errors
/// An entry of the legacy form (its sums are means, which this form cannot hold), lengths that do not fit together,
/// a name that leaves no room for the suffix, or what the output reports.
pub fn write_gguf<W: Write>(out: W, imatrix: &Imatrix) -> Result<W, Error> {
    let metadata = Metadata::from_iter([
        ("general.type", Value::String("imatrix".into())),
        (DATASETS_KEY, Value::Array(Array::String(imatrix.datasets.clone()))),
        (CHUNK_COUNT_KEY, Value::U32(imatrix.chunk_count)),
        (CHUNK_SIZE_KEY, Value::U32(imatrix.chunk_size)),
    ]);
    let mut specs = Vec::with_capacity(imatrix.entries.len() * 2);
    for (name, entry) in &imatrix.entries {
        if entry.legacy {
            return Err(refuse(name, "sums", "sums of squares", "means of the legacy form"));
        }
        let n_values = entry.n_columns.checked_mul(entry.n_matrices);
        if n_values != Some(entry.sums.len()) || entry.counts.len() != entry.n_matrices {
            let expected = format!("{} columns × {} matrices", entry.n_columns, entry.n_matrices);
            let got = format!("{} sums and {} counts", entry.sums.len(), entry.counts.len());
            return Err(refuse(name, "lengths", expected, got));
        }
        super::check_finite(name, entry)?;
        let spec = |suffix: &str, n_columns: usize| TensorSpec {
            name: format!("{name}.{suffix}"),
            dims: vec![n_columns as u64, entry.n_matrices as u64],
            ty: GgmlType::F32,
        };
        specs.extend([spec("in_sum2", entry.n_columns), spec("counts", 1)]);
    }
    let mut writer = gguf::Writer::new(out, &metadata, &specs)?;
    for entry in imatrix.entries.values() {
        for values in [&entry.sums, &entry.counts] {
            for step in values.chunks(16 << 10) {
                let bytes: Vec<u8> = step.iter().flat_map(|value| value.to_le_bytes()).collect();
                writer.write(&bytes)?;
            }
        }
    }
    Ok(writer.finish()?)
}
