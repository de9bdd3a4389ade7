//! Reads a GGUF header: metadata and the table of tensors, every field checked.
//! Memory stays proportional to the bytes that were really read.

use super::cursor::Cursor;
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
        let header = Self::parse(reader, file_bytes)?;
        header.check_extents(file_bytes)?;
        Ok(header)
    }

    /// Reads and checks a header of which the data may be missing: of a file that is not whole yet, or of its first
    /// bytes alone. `there_bytes` is the length of what is there.
    ///
    /// # Errors
    /// As [`Header::read`], but for tensors outside the file.
    pub fn read_beginning(reader: impl Read, there_bytes: u64) -> Result<Self, Error> {
        let header = Self::parse(reader, there_bytes)?;
        header.check_extents(u64::MAX)?;
        Ok(header)
    }

    fn parse(reader: impl Read, there_bytes: u64) -> Result<Self, Error> {
        let mut cursor = Cursor::new(reader, there_bytes);
        let magic: [u8; 4] = cursor.array("magic")?;
        if magic != MAGIC {
            return Err(Error::Magic { got: magic });
        }
        let version = u32::from_le_bytes(cursor.array("version")?);
        if !(2..=VERSION).contains(&version) {
            return Err(Error::Version { got: version });
        }
        let n_tensors = cursor.count("tensor count", MAX_TENSORS, MIN_TENSOR_BYTES)?;
        let n_entries = cursor.count("metadata count", MAX_ENTRIES, MIN_ENTRY_BYTES)?;
        let mut metadata = Metadata::new();
        let mut alignment_at = cursor.offset();
        for _ in 0..n_entries {
            let key_at = cursor.offset();
            let key = cursor.string("metadata key", MAX_KEY_BYTES)?;
            check_key(&key, key_at)?;
            let value_at = cursor.offset();
            let value = cursor.value(&key)?;
            if key == ALIGNMENT_KEY {
                alignment_at = value_at;
            }
            if metadata.insert(key.clone(), value).is_some() {
                return Err(Error::Duplicate { field: "metadata key", name: key });
            }
        }
        let alignment = alignment_of(&metadata, alignment_at)?;
        let mut tensors = Vec::new();
        let mut names = HashSet::new();
        for _ in 0..n_tensors {
            let tensor = read_tensor(&mut cursor, alignment)?;
            if !names.insert(tensor.name.clone()) {
                return Err(Error::Duplicate { field: "tensor", name: tensor.name });
            }
            tensors.push(tensor);
        }
        let data_offset = cursor.offset().next_multiple_of(alignment);
        Ok(Self { version, metadata, tensors, alignment, data_offset })
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

/// The alignment that `metadata` states, or the default. `offset` is where the value stands.
pub(super) fn alignment_of(metadata: &Metadata, offset: u64) -> Result<u64, Error> {
    let got = match metadata.get(ALIGNMENT_KEY) {
        None => return Ok(DEFAULT_ALIGNMENT),
        Some(Value::U32(n)) if n.is_power_of_two() && u64::from(*n) <= MAX_ALIGNMENT => {
            return Ok((*n).into());
        }
        Some(Value::U32(n)) => n.to_string(),
        Some(other) => format!("a value of type {}", other.type_id()),
    };
    Err(Error::Field {
        offset,
        field: ALIGNMENT_KEY.into(),
        expected: format!("a u32 (type 4) power of two up to {MAX_ALIGNMENT}"),
        got,
    })
}

/// Keys are 1 to [`MAX_KEY_BYTES`] bytes.
pub(super) fn check_key(key: &str, offset: u64) -> Result<(), Error> {
    if key.is_empty() || key.len() as u64 > MAX_KEY_BYTES {
        return Err(Error::Field {
            offset,
            field: "metadata key".into(),
            expected: format!("1 to {MAX_KEY_BYTES} bytes"),
            got: key.len().to_string(),
        });
    }
    Ok(())
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

fn read_tensor(cursor: &mut Cursor<impl Read>, alignment: u64) -> Result<TensorInfo, Error> {
    let at = cursor.offset();
    let name = cursor.string("tensor name", MAX_NAME_BYTES as u64)?;
    if name.is_empty() {
        return Err(Error::Field {
            offset: at,
            field: "tensor name".into(),
            expected: "a name".into(),
            got: "none".into(),
        });
    }
    let dims_at = cursor.offset();
    let field = format!("dimensions of tensor `{name}`");
    let n_dims = u32::from_le_bytes(cursor.array(&field)?);
    if n_dims == 0 || n_dims as usize > MAX_DIMS {
        return Err(Error::Field {
            offset: dims_at,
            field,
            expected: "1 to 4".into(),
            got: n_dims.to_string(),
        });
    }
    let dims = (0..n_dims)
        .map(|_| Ok(u64::from_le_bytes(cursor.array(&field)?)))
        .collect::<Result<Vec<_>, Error>>()?;
    let type_at = cursor.offset();
    let field = format!("type of tensor `{name}`");
    let type_id = u32::from_le_bytes(cursor.array(&field)?);
    let ty = GgmlType::from_id(type_id).ok_or_else(|| Error::Field {
        offset: type_at,
        field,
        expected: "a ggml type in use".into(),
        got: match GgmlType::retired_name(type_id) {
            Some(name) => format!("{type_id} ({name}, retired)"),
            None => type_id.to_string(),
        },
    })?;
    let bytes = tensor_bytes(&name, &dims, ty, dims_at)?;
    let offset_at = cursor.offset();
    let field = format!("offset of tensor `{name}`");
    let offset = u64::from_le_bytes(cursor.array(&field)?);
    if !offset.is_multiple_of(alignment) || offset.checked_add(bytes).is_none() {
        let expected = format!("a multiple of {alignment} inside the file");
        return Err(Error::Field { offset: offset_at, field, expected, got: offset.to_string() });
    }
    Ok(TensorInfo { name, dims, ty, offset, bytes })
}
