//! The legacy binary form, little-endian: i32 number of entries; per entry i32 name length, name, i32 calls,
//! i32 number of values, f32 values; then, optionally, i32 chunks, i32 length and name of the dataset.
//! The values are means times calls. The form does not say how many matrices a stack has.

use super::error::refuse;
use super::{Entry, Error, Imatrix};

/// Reads the legacy form from the bytes of a whole file.
///
/// # Errors
/// The first breach of the form: early end, negative lengths, no entries, a name that is empty, not UTF-8 or twice
/// there.
pub fn read_legacy(bytes: &[u8]) -> Result<Imatrix, Error> {
    let mut cursor = Cursor { bytes, at: 0 };
    let n_entries = cursor.count("number of entries", 1)?;
    let mut imatrix = Imatrix::default();
    for _ in 0..n_entries {
        let name_at = cursor.at;
        let length = cursor.count("name length", 1)?;
        let name = cursor.text(length, "name")?;
        // llama.cpp leaves values of no calls as they are, and so a negative number of calls too.
        let calls = cursor.number("number of calls")?;
        let n_columns = cursor.count("number of values", 1)?;
        let n_bytes =
            n_columns.checked_mul(4).ok_or(Error::Truncated { offset: cursor.at, field: "values" })?;
        let sums = super::floats(cursor.take(n_bytes, "values")?);
        let entry = Entry { n_columns, n_matrices: 1, sums, counts: vec![calls as f32], legacy: true };
        super::check_finite(&name, &entry)?;
        if imatrix.entries.insert(name.clone(), entry).is_some() {
            return Err(refuse(
                &name,
                "name",
                "each tensor once",
                format!("a second entry at byte {name_at}"),
            ));
        }
    }
    if cursor.at < bytes.len() {
        imatrix.chunk_count = cursor.count("number of chunks", 0)? as u32;
    }
    if cursor.at < bytes.len() {
        let length = cursor.count("dataset length", 0)?;
        if length > 0 {
            imatrix.datasets = vec![cursor.text(length, "dataset")?];
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

    fn number(&mut self, field: &'static str) -> Result<i32, Error> {
        let four = self.take(4, field)?;
        Ok(i32::from_le_bytes(*four.first_chunk().expect("four bytes were taken")))
    }

    /// A number of at least `least`.
    fn count(&mut self, field: &'static str, least: usize) -> Result<usize, Error> {
        let at = self.at;
        let value = self.number(field)?;
        usize::try_from(value)
            .ok()
            .filter(|value| *value >= least)
            .ok_or_else(|| refuse(&format!("at byte {at}"), field, format!("a number from {least}"), value))
    }

    fn text(&mut self, length: usize, field: &'static str) -> Result<String, Error> {
        let at = self.at;
        let text = self.take(length, field)?;
        let valid = std::str::from_utf8(text).ok().filter(|text| !text.contains('\0'));
        let text = valid.ok_or_else(|| {
            refuse(&format!("at byte {at}"), field, "UTF-8 without zero bytes", "other bytes")
        })?;
        Ok(text.into())
    }
}
