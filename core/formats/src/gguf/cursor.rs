//! Typed little-endian reading of metadata values, with the byte offset of every field.
//! Knows value types and limits; must not know which keys exist.

use super::*;
use std::io::Read;

/// Bytes reserved before the first of them were read.
const READ_STEP_BYTES: u64 = 64 << 10;

/// A reader that knows its offset and the length of the file.
pub(super) struct Cursor<R> {
    reader: R,
    offset: u64,
    file_bytes: u64,
}

impl<R: Read> Cursor<R> {
    pub(super) fn new(reader: R, file_bytes: u64) -> Self {
        Self { reader, offset: 0, file_bytes }
    }

    /// Bytes consumed so far.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

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

    pub(super) fn array<const N: usize>(&mut self, field: &str) -> Result<[u8; N], Error> {
        let mut bytes = [0; N];
        self.fill(&mut bytes, field)?;
        Ok(bytes)
    }

    /// `length` bytes, which [`Cursor::count`] has held against the rest of the file.
    /// Memory grows with the bytes that really come: a claimed length alone reserves one step.
    fn bytes(&mut self, length: u64, field: &str) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        while (bytes.len() as u64) < length {
            let at = bytes.len();
            let step = (length - at as u64).min(READ_STEP_BYTES.max(at as u64));
            bytes.resize(at + step as usize, 0);
            self.fill(&mut bytes[at..], field)?;
        }
        Ok(bytes)
    }

    /// A count whose items of at least `item_bytes` each must fit in the rest of the file.
    pub(super) fn count(&mut self, field: &str, limit: u64, item_bytes: u64) -> Result<u64, Error> {
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

    pub(super) fn string(&mut self, field: &str, limit: u64) -> Result<String, Error> {
        let length = self.count(&format!("length of {field}"), limit, 1)?;
        let offset = self.offset;
        let bytes = self.bytes(length, field)?;
        String::from_utf8(bytes).map_err(|error| Error::Field {
            offset: offset + error.utf8_error().valid_up_to() as u64,
            field: field.into(),
            expected: "UTF-8".into(),
            got: "an invalid sequence".into(),
        })
    }

    pub(super) fn value(&mut self, key: &str) -> Result<Value, Error> {
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
            8 => Value::String(self.string(field, MAX_STRING_BYTES)?),
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
        let n = self.count(&format!("length of {field}"), MAX_ARRAY_ELEMENTS, item_bytes)?;
        macro_rules! numbers {
            ($variant:ident, $ty:ty) => {{
                const WIDTH: usize = size_of::<$ty>();
                let bytes = self.bytes(n * WIDTH as u64, &field)?;
                Array::$variant(
                    bytes.as_chunks::<WIDTH>().0.iter().map(|b| <$ty>::from_le_bytes(*b)).collect(),
                )
            }};
        }
        Ok(match type_id {
            0 => Array::U8(self.bytes(n, &field)?),
            1 => numbers!(I8, i8),
            2 => numbers!(U16, u16),
            3 => numbers!(I16, i16),
            4 => numbers!(U32, u32),
            5 => numbers!(I32, i32),
            6 => numbers!(F32, f32),
            7 => Array::Bool(self.items(n, |cursor| cursor.boolean(&field))?),
            8 => Array::String(self.items(n, |cursor| cursor.string(&field, MAX_STRING_BYTES))?),
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
}

fn bad_type(offset: u64, field: &str, got: u32) -> Error {
    Error::Field {
        offset,
        field: field.into(),
        expected: "a value type from 0 to 12 (no nested arrays)".into(),
        got: got.to_string(),
    }
}
