//! Writes a GGUF file as a stream: header first, then each tensor's bytes in order.
//! Holds no tensor data; offsets and padding are its own business.

use super::header::{alignment_of, check_key, tensor_bytes};
use super::*;
use std::collections::HashSet;
use std::io::Write;

/// What the writer must know of a tensor before its data comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorSpec {
    /// Name, unique, at most 63 bytes.
    pub name: String,
    /// Extents, contiguous dimension first (ggml's `ne`).
    pub dims: Vec<u64>,
    /// Element type.
    pub ty: GgmlType,
}

/// A GGUF file under way.
#[derive(Debug)]
pub struct Writer<W: Write> {
    out: W,
    alignment: u64,
    /// Name and length in bytes of each tensor.
    tensors: Vec<(String, u64)>,
    /// Index of the tensor whose data comes next, and bytes of it already written.
    current: usize,
    written: u64,
}

impl<W: Write> Writer<W> {
    /// Checks the table and writes the header. The alignment is `general.alignment` of `metadata`, else 32 bytes.
    ///
    /// # Errors
    /// Bad names, shapes or alignment, duplicates, and whatever `out` reports.
    pub fn new(mut out: W, metadata: &Metadata, tensors: &[TensorSpec]) -> Result<Self, Error> {
        let (header, alignment) = header_bytes(metadata, tensors)?;
        out.write_all(&header).map_err(|source| Error::Io { offset: 0, field: "header".into(), source })?;
        Ok(Self { out, alignment, tensors: sizes(tensors)?, current: 0, written: 0 })
    }

    /// Goes on with a file of these tables that holds its header and the first `finished` tensors already, padding
    /// included; `out` stands behind them.
    ///
    /// # Errors
    /// As [`Writer::new`]; more finished tensors than there are.
    pub fn resume(
        out: W,
        metadata: &Metadata,
        tensors: &[TensorSpec],
        finished: usize,
    ) -> Result<Self, Error> {
        let (_, alignment) = header_bytes(metadata, tensors)?;
        if finished > tensors.len() {
            let (expected, got) = (tensors.len() as u64, finished as u64);
            return Err(Error::Data { name: "(finished tensors)".into(), expected, got });
        }
        Ok(Self { out, alignment, tensors: sizes(tensors)?, current: finished, written: 0 })
    }

    /// The header of the file that these tables make, and where the bytes of each tensor end, padding included.
    ///
    /// # Errors
    /// As [`Writer::new`], without writing.
    pub fn layout(metadata: &Metadata, tensors: &[TensorSpec]) -> Result<(Vec<u8>, Vec<u64>), Error> {
        Self::predicted_bytes(metadata, tensors)?;
        let (header, alignment) = header_bytes(metadata, tensors)?;
        let mut end = header.len() as u64;
        let ends = sizes(tensors)?.into_iter().map(|(_, bytes)| {
            end += bytes.next_multiple_of(alignment);
            end
        });
        let ends = ends.collect();
        Ok((header, ends))
    }

    /// Length in bytes of the whole file that these tables make.
    ///
    /// # Errors
    /// As [`Writer::new`], without writing.
    pub fn predicted_bytes(metadata: &Metadata, tensors: &[TensorSpec]) -> Result<u64, Error> {
        let (header, alignment) = header_bytes(metadata, tensors)?;
        tensors.iter().try_fold(header.len() as u64, |total, spec| {
            let bytes = tensor_bytes(&spec.name, &spec.dims, spec.ty, 0)?;
            let padded = bytes.checked_next_multiple_of(alignment);
            padded.and_then(|padded| total.checked_add(padded)).ok_or_else(|| too_long(&spec.name, total))
        })
    }

    /// Appends data of the current tensor, in chunks of any length; moves on by itself when it is full.
    ///
    /// # Errors
    /// More bytes than the tensor takes (nothing of the chunk is written), or what the output reports.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let Some((name, size)) = self.tensors.get(self.current) else {
            return Err(Error::Data { name: "(none left)".into(), expected: 0, got: bytes.len() as u64 });
        };
        let got = self.written.saturating_add(bytes.len() as u64);
        if got > *size {
            return Err(Error::Data { name: name.clone(), expected: *size, got });
        }
        let io = |source| Error::Io { offset: got, field: format!("data of tensor `{name}`"), source };
        self.out.write_all(bytes).map_err(io)?;
        self.written = got;
        if got == *size {
            let padding = size.next_multiple_of(self.alignment) - size;
            self.out.write_all(&[0; MAX_ALIGNMENT as usize][..padding as usize]).map_err(io)?;
            self.current += 1;
            self.written = 0;
        }
        Ok(())
    }

    /// Ends the file and hands the output back, flushed.
    ///
    /// # Errors
    /// A tensor that lacks data, or what flushing reports.
    pub fn finish(mut self) -> Result<W, Error> {
        if let Some((name, size)) = self.tensors.get(self.current) {
            return Err(Error::Data { name: name.clone(), expected: *size, got: self.written });
        }
        self.out.flush().map_err(|source| Error::Io { offset: 0, field: "flush".into(), source })?;
        Ok(self.out)
    }
}

/// Name and length in bytes of each tensor.
fn sizes(tensors: &[TensorSpec]) -> Result<Vec<(String, u64)>, Error> {
    let size = |spec: &TensorSpec| Ok((spec.name.clone(), tensor_bytes(&spec.name, &spec.dims, spec.ty, 0)?));
    tensors.iter().map(size).collect()
}

fn header_bytes(metadata: &Metadata, tensors: &[TensorSpec]) -> Result<(Vec<u8>, u64), Error> {
    let alignment = alignment_of(metadata, 0)?;
    check_count("tensor count", tensors.len(), MAX_TENSORS)?;
    check_count("metadata count", metadata.len(), MAX_ENTRIES)?;
    let mut out = Vec::new();
    out.extend(MAGIC);
    out.extend(VERSION.to_le_bytes());
    out.extend((tensors.len() as u64).to_le_bytes());
    out.extend((metadata.len() as u64).to_le_bytes());
    for (key, value) in metadata.iter() {
        check_key(key, out.len() as u64)?;
        put_string(&mut out, key);
        out.extend(value.type_id().to_le_bytes());
        put_value(&mut out, value);
    }
    let mut offset = 0u64;
    let mut names = HashSet::new();
    for spec in tensors {
        check_name(&spec.name)?;
        if !names.insert(spec.name.as_str()) {
            return Err(Error::Duplicate { field: "tensor", name: spec.name.clone() });
        }
        let bytes = tensor_bytes(&spec.name, &spec.dims, spec.ty, out.len() as u64)?;
        put_string(&mut out, &spec.name);
        out.extend((spec.dims.len() as u32).to_le_bytes());
        for dim in &spec.dims {
            out.extend(dim.to_le_bytes());
        }
        out.extend(spec.ty.id().to_le_bytes());
        out.extend(offset.to_le_bytes());
        offset = bytes
            .checked_next_multiple_of(alignment)
            .and_then(|padded| offset.checked_add(padded))
            .ok_or_else(|| too_long(&spec.name, offset))?;
    }
    out.resize(out.len().next_multiple_of(alignment as usize), 0);
    Ok((out, alignment))
}

fn too_long(name: &str, offset: u64) -> Error {
    Error::Field {
        offset,
        field: format!("tensor `{name}`"),
        expected: "a file below 2^64 bytes".into(),
        got: "more".into(),
    }
}

fn check_count(field: &str, count: usize, limit: u64) -> Result<(), Error> {
    if count as u64 > limit {
        let expected = format!("at most {limit}");
        return Err(Error::Field { offset: 0, field: field.into(), expected, got: count.to_string() });
    }
    Ok(())
}

fn check_name(name: &str) -> Result<(), Error> {
    if name.is_empty() || name.len() > MAX_NAME_BYTES {
        return Err(Error::Field {
            offset: 0,
            field: format!("tensor name `{name}`"),
            expected: format!("1 to {MAX_NAME_BYTES} bytes"),
            got: name.len().to_string(),
        });
    }
    Ok(())
}

fn put_string(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

fn put_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::U8(v) => out.extend(v.to_le_bytes()),
        Value::I8(v) => out.extend(v.to_le_bytes()),
        Value::U16(v) => out.extend(v.to_le_bytes()),
        Value::I16(v) => out.extend(v.to_le_bytes()),
        Value::U32(v) => out.extend(v.to_le_bytes()),
        Value::I32(v) => out.extend(v.to_le_bytes()),
        Value::F32(v) => out.extend(v.to_le_bytes()),
        Value::Bool(v) => out.push(u8::from(*v)),
        Value::String(v) => put_string(out, v),
        Value::U64(v) => out.extend(v.to_le_bytes()),
        Value::I64(v) => out.extend(v.to_le_bytes()),
        Value::F64(v) => out.extend(v.to_le_bytes()),
        Value::Array(array) => put_array(out, array),
    }
}

fn put_array(out: &mut Vec<u8>, array: &Array) {
    out.extend(array.type_id().to_le_bytes());
    out.extend((array.len() as u64).to_le_bytes());
    match array {
        Array::U8(items) => out.extend(items),
        Array::I8(items) => items.iter().for_each(|v| out.extend(v.to_le_bytes())),
        Array::U16(items) => items.iter().for_each(|v| out.extend(v.to_le_bytes())),
        Array::I16(items) => items.iter().for_each(|v| out.extend(v.to_le_bytes())),
        Array::U32(items) => items.iter().for_each(|v| out.extend(v.to_le_bytes())),
        Array::I32(items) => items.iter().for_each(|v| out.extend(v.to_le_bytes())),
        Array::F32(items) => items.iter().for_each(|v| out.extend(v.to_le_bytes())),
        Array::Bool(items) => items.iter().for_each(|v| out.push(u8::from(*v))),
        Array::String(items) => items.iter().for_each(|v| put_string(out, v)),
        Array::U64(items) => items.iter().for_each(|v| out.extend(v.to_le_bytes())),
        Array::I64(items) => items.iter().for_each(|v| out.extend(v.to_le_bytes())),
        Array::F64(items) => items.iter().for_each(|v| out.extend(v.to_le_bytes())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> (Metadata, Vec<TensorSpec>) {
        let metadata = Metadata::from_iter([
            ("general.architecture", Value::String("llama".into())),
            ("a.list", Value::Array(Array::String(vec!["x".into(), "yé".into()]))),
            ("a.number", Value::U32(7)),
        ]);
        let spec = |name: &str, dims: &[u64], ty| TensorSpec { name: name.into(), dims: dims.into(), ty };
        (metadata, vec![spec("a", &[3], GgmlType::F32), spec("b", &[32, 2], GgmlType::Q8_0)])
    }

    fn file() -> Vec<u8> {
        let (metadata, tensors) = small();
        let mut writer = Writer::new(Vec::new(), &metadata, &tensors).unwrap();
        writer.write(&[1; 5]).unwrap();
        writer.write(&[1; 7]).unwrap();
        writer.write(&[2; 68]).unwrap();
        writer.finish().unwrap()
    }

    #[test]
    fn what_is_written_is_read() {
        let (metadata, tensors) = small();
        let bytes = file();
        assert_eq!(bytes.len() as u64, Writer::<Vec<u8>>::predicted_bytes(&metadata, &tensors).unwrap());
        let header = Header::read(bytes.as_slice(), bytes.len() as u64).unwrap();
        assert_eq!(header.metadata, metadata);
        assert_eq!(header.tensor("b").unwrap().dims, [32, 2]);
        assert_eq!(bytes[(header.data_offset + header.tensors[1].offset) as usize], 2);
    }

    #[test]
    fn every_truncation_is_an_error() {
        let bytes = file();
        let end = bytes.len() - 28; // the last bytes are padding
        for length in 0..end {
            assert!(Header::read(&bytes[..length], length as u64).is_err(), "{length}");
        }
    }

    #[test]
    fn too_little_or_too_much_data_is_refused() {
        let (metadata, tensors) = small();
        let mut writer = Writer::new(Vec::new(), &metadata, &tensors).unwrap();
        assert!(writer.write(&[0; 13]).is_err());
        assert!(writer.finish().unwrap_err().to_string().contains("`a`: expected 12 bytes"));
    }
}
