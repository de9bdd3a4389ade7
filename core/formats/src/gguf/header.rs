//! Reads a GGUF header: metadata and the table of tensors, every field checked.
//! Memory stays proportional to the bytes that were really read.

use super::*;
use std::collections::HashSet;
use std::io::Read;

/// One tensor of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// Name, unique in the file.
    pub name: String,
    /// Extents, contiguous dimension first (ggml's `ne`).
    pub dims: Vec<u64>,
    /// Element type.
    pub ty: GgmlType,
    /// Start of the data in bytes, counted from [`Header::data_offset`].
    pub offset: u64,
    /// Length of the data in bytes.
    pub bytes: u64,
}

impl TensorInfo {
    /// Number of weights.
    pub fn n_elements(&self) -> u64 {
        self.dims.iter().product()
    }
}

/// The typed header of a GGUF file.
#[derive(Debug, Clone, PartialEq)]
pub struct Header {
    /// Format version, 2 or 3.
    pub version: u32,
    /// Metadata in the order of the file.
    pub metadata: Metadata,
    /// Tensors in the order of the file.
    pub tensors: Vec<TensorInfo>,
    /// Alignment of tensor data in bytes.
    pub alignment: u64,
    /// Where tensor data begins, absolute, in bytes.
    pub data_offset: u64,
}

impl Header {
    /// Reads and checks a header. `file_bytes` is the length of the whole file: tensors must lie within it.
    ///
    /// # Errors
    /// The first breach of the format, with offset and field.
    pub fn read(reader: impl Read, file_bytes: u64) -> Result<Self, Error> {
        let mut cursor = Cursor { reader, offset: 0, file_bytes };
        let magic: [u8; 4] = cursor.array("magic")?;
        if magic != MAGIC {
            return Err(Error::Magic { got: magic });
        }
        let version = u32::from_le_bytes(cursor.array("version")?);
        if !(2..=VERSION).contains(&version) {
            return Err(Error::Version { got: version });
        }
        let n_tensors = cursor.count("tensor count", MAX_TENSORS, 24)?;
        let n_entries = cursor.count("metadata count", MAX_ENTRIES, 13)?;
        let mut metadata = Metadata::new();
        for _ in 0..n_entries {
            let key = cursor.string("metadata key", MAX_KEY_BYTES)?;
            let value = cursor.value(&key)?;
            if metadata.insert(key.clone(), value).is_some() {
                return Err(Error::Duplicate { field: "metadata key", name: key });
            }
        }
        let alignment = alignment_of(&metadata)?;
        let mut tensors = Vec::new();
        let mut names = HashSet::new();
        for _ in 0..n_tensors {
            let tensor = cursor.tensor(alignment)?;
            if !names.insert(tensor.name.clone()) {
                return Err(Error::Duplicate { field: "tensor", name: tensor.name });
            }
            tensors.push(tensor);
        }
        let data_offset = cursor.offset.next_multiple_of(alignment);
        let header = Self { version, metadata, tensors, alignment, data_offset };
        header.check_extents(file_bytes)?;
        Ok(header)
    }

    /// The tensor called `name`.
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.tensors.iter().find(|tensor| tensor.name == name)
    }

    /// Every tensor inside the file, none over another.
    fn check_extents(&self, file_bytes: u64) -> Result<(), Error> {
        let mut order: Vec<&TensorInfo> = self.tensors.iter().collect();
        order.sort_by_key(|tensor| tensor.offset);
        let mut previous_end = 0u64;
        for tensor in order {
            let end = u128::from(self.data_offset) + u128::from(tensor.offset) + u128::from(tensor.bytes);
            if end > u128::from(file_bytes) {
                return Err(Error::OutsideFile { name: tensor.name.clone(), end, file_bytes });
            }
            if tensor.offset < previous_end {
                return Err(Error::Field {
                    offset: self.data_offset + tensor.offset,
                    field: format!("data of tensor `{}`", tensor.name),
                    expected: format!("an offset of at least {previous_end}, behind the tensor before it"),
                    got: tensor.offset.to_string(),
                });
            }
            previous_end = tensor.offset + tensor.bytes;
        }
        Ok(())
    }
}

pub(super) fn alignment_of(metadata: &Metadata) -> Result<u64, Error> {
    let Some(value) = metadata.get("general.alignment") else { return Ok(DEFAULT_ALIGNMENT) };
    match value {
        Value::U32(n) if n.is_power_of_two() && u64::from(*n) <= MAX_ALIGNMENT => Ok((*n).into()),
        other => Err(Error::Field {
            offset: 0,
            field: "general.alignment".into(),
            expected: format!("a u32 power of two up to {MAX_ALIGNMENT}"),
            got: format!("{other:?}").chars().take(60).collect(),
        }),
    }
}

/// Bytes of a tensor; dims, type and product are checked.
pub(super) fn tensor_bytes(name: &str, dims: &[u64], ty: GgmlType, offset: u64) -> Result<u64, Error> {
    let refuse = |expected: &str| Error::Field {
        offset,
        field: format!("dimensions of tensor `{name}`"),
        expected: expected.into(),
        got: format!("{dims:?}"),
    };
    if dims.is_empty() || dims.len() > MAX_DIMS {
        return Err(refuse("1 to 4 dimensions"));
    }
    let elements = dims.iter().try_fold(1u64, |product, &dim| product.checked_mul(dim));
    if elements.is_none_or(|n| n > i64::MAX as u64) || dims.contains(&0) {
        return Err(refuse("extents from 1 with a product below 2^63"));
    }
    let row = ty.row_bytes(dims[0]).ok_or_else(|| Error::Block {
        name: name.into(),
        ty,
        block: ty.block_len(),
        got: dims[0],
    })?;
    dims[1..]
        .iter()
        .try_fold(row, |bytes, &dim| bytes.checked_mul(dim))
        .ok_or_else(|| refuse("a size below 2^64 bytes"))
}

struct Cursor<R> {
    reader: R,
    offset: u64,
    file_bytes: u64,
}

impl<R: Read> Cursor<R> {
    fn fill(&mut self, buffer: &mut [u8], field: &str) -> Result<(), Error> {
        self.reader.read_exact(buffer).map_err(|source| match source.kind() {
            std::io::ErrorKind::UnexpectedEof => {
                Error::Truncated { offset: self.offset, field: field.into() }
            }
            _ => Error::Io { offset: self.offset, field: field.into(), source },
        })?;
        self.offset += buffer.len() as u64;
        Ok(())
    }

    fn array<const N: usize>(&mut self, field: &str) -> Result<[u8; N], Error> {
        let mut bytes = [0; N];
        self.fill(&mut bytes, field)?;
        Ok(bytes)
    }

    /// A count whose items of at least `item_bytes` each must fit in the rest of the file.
    fn count(&mut self, field: &str, limit: u64, item_bytes: u64) -> Result<u64, Error> {
        let offset = self.offset;
        let count = u64::from_le_bytes(self.array(field)?);
        let room = self.file_bytes.saturating_sub(self.offset) / item_bytes.max(1);
        if count > limit.min(room) {
            return Err(Error::Field {
                offset,
                field: field.into(),
                expected: format!("at most {}", limit.min(room)),
                got: count.to_string(),
            });
        }
        Ok(count)
    }

    fn string(&mut self, field: &str, limit: u64) -> Result<String, Error> {
        let length = self.count(&format!("length of {field}"), limit, 1)?;
        let offset = self.offset;
        // Grows with the bytes that really come, never with the length that is claimed.
        let mut bytes = Vec::new();
        let read = self.reader.by_ref().take(length).read_to_end(&mut bytes);
        let read = read.map_err(|source| Error::Io { offset, field: field.into(), source })? as u64;
        self.offset += read;
        if read < length {
            return Err(Error::Truncated { offset, field: field.into() });
        }
        String::from_utf8(bytes).map_err(|error| Error::Field {
            offset: offset + error.utf8_error().valid_up_to() as u64,
            field: field.into(),
            expected: "UTF-8".into(),
            got: "an invalid sequence".into(),
        })
    }

    fn value(&mut self, key: &str) -> Result<Value, Error> {
        let offset = self.offset;
        let field = format!("value of `{key}`");
        let type_id = u32::from_le_bytes(self.array(&field)?);
        if type_id == 9 {
            return Ok(Value::Array(self.array_value(key)?));
        }
        self.scalar(type_id, offset, &field)
    }

    fn scalar(&mut self, type_id: u32, offset: u64, field: &str) -> Result<Value, Error> {
        Ok(match type_id {
            0 => Value::U8(u8::from_le_bytes(self.array(field)?)),
            1 => Value::I8(i8::from_le_bytes(self.array(field)?)),
            2 => Value::U16(u16::from_le_bytes(self.array(field)?)),
            3 => Value::I16(i16::from_le_bytes(self.array(field)?)),
            4 => Value::U32(u32::from_le_bytes(self.array(field)?)),
            5 => Value::I32(i32::from_le_bytes(self.array(field)?)),
            6 => Value::F32(f32::from_le_bytes(self.array(field)?)),
            7 => Value::Bool(self.boolean(field)?),
            8 => Value::String(self.string(field, u64::MAX)?),
            10 => Value::U64(u64::from_le_bytes(self.array(field)?)),
            11 => Value::I64(i64::from_le_bytes(self.array(field)?)),
            12 => Value::F64(f64::from_le_bytes(self.array(field)?)),
            other => return Err(bad_type(offset, field, other)),
        })
    }

    fn boolean(&mut self, field: &str) -> Result<bool, Error> {
        let offset = self.offset;
        match self.array::<1>(field)?[0] {
            0 => Ok(false),
            1 => Ok(true),
            got => Err(Error::Field {
                offset,
                field: field.into(),
                expected: "0 or 1".into(),
                got: got.to_string(),
            }),
        }
    }

    fn array_value(&mut self, key: &str) -> Result<Array, Error> {
        let offset = self.offset;
        let field = format!("array `{key}`");
        let type_id = u32::from_le_bytes(self.array(&field)?);
        let item_bytes = match type_id {
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            8 | 10..=12 => 8,
            other => return Err(bad_type(offset, &field, other)),
        };
        let n = self.count(&format!("length of {field}"), u64::MAX, item_bytes)?;
        macro_rules! numbers {
            ($variant:ident, $ty:ty) => {
                Array::$variant(self.items(n, |cursor| Ok(<$ty>::from_le_bytes(cursor.array(&field)?)))?)
            };
        }
        Ok(match type_id {
            0 => numbers!(U8, u8),
            1 => numbers!(I8, i8),
            2 => numbers!(U16, u16),
            3 => numbers!(I16, i16),
            4 => numbers!(U32, u32),
            5 => numbers!(I32, i32),
            6 => numbers!(F32, f32),
            7 => Array::Bool(self.items(n, |cursor| cursor.boolean(&field))?),
            8 => Array::String(self.items(n, |cursor| cursor.string(&field, u64::MAX))?),
            10 => numbers!(U64, u64),
            11 => numbers!(I64, i64),
            _ => numbers!(F64, f64),
        })
    }

    /// Grows element by element: a claimed length alone reserves nothing.
    fn items<T>(
        &mut self,
        n: u64,
        mut item: impl FnMut(&mut Self) -> Result<T, Error>,
    ) -> Result<Vec<T>, Error> {
        let mut items = Vec::new();
        for _ in 0..n {
            items.push(item(self)?);
        }
        Ok(items)
    }

    fn tensor(&mut self, alignment: u64) -> Result<TensorInfo, Error> {
        let at = self.offset;
        let name = self.string("tensor name", MAX_NAME_BYTES as u64)?;
        if name.is_empty() {
            return Err(Error::Field {
                offset: at,
                field: "tensor name".into(),
                expected: "a name".into(),
                got: "none".into(),
            });
        }
        let dims_at = self.offset;
        let field = format!("dimensions of tensor `{name}`");
        let n_dims = u32::from_le_bytes(self.array(&field)?);
        if n_dims == 0 || n_dims as usize > MAX_DIMS {
            return Err(Error::Field {
                offset: dims_at,
                field,
                expected: "1 to 4".into(),
                got: n_dims.to_string(),
            });
        }
        let dims = self.items(n_dims.into(), |cursor| Ok(u64::from_le_bytes(cursor.array(&field)?)))?;
        let type_at = self.offset;
        let field = format!("type of tensor `{name}`");
        let type_id = u32::from_le_bytes(self.array(&field)?);
        let ty = GgmlType::from_id(type_id).ok_or_else(|| Error::Field {
            offset: type_at,
            field,
            expected: "a ggml type in use".into(),
            got: type_id.to_string(),
        })?;
        let bytes = tensor_bytes(&name, &dims, ty, dims_at)?;
        let offset_at = self.offset;
        let field = format!("offset of tensor `{name}`");
        let offset = u64::from_le_bytes(self.array(&field)?);
        if !offset.is_multiple_of(alignment) || offset.checked_add(bytes).is_none() {
            let expected = format!("a multiple of {alignment} inside the file");
            return Err(Error::Field { offset: offset_at, field, expected, got: offset.to_string() });
        }
        Ok(TensorInfo { name, dims, ty, offset, bytes })
    }
}

fn bad_type(offset: u64, field: &str, got: u32) -> Error {
    Error::Field {
        offset,
        field: field.into(),
        expected: "a value type from 0 to 12 (no nested arrays)".into(),
        got: got.to_string(),
    }
}
