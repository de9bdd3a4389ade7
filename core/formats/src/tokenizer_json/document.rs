//! The document cut into its parts, each still as text, so that every part is parsed by its own rules and an error
//! can say at which byte of the document it lies. Must not know what a part means.
//!
//! The cut is made here and not with `serde_json`'s `RawValue`: the feature behind that makes untyped JSON read
//! certain strings as JSON again, each with a recursion limit of its own, and so lets a file overflow the stack.

use super::component::{self, Component};
use super::{Error, MAX_COMPONENT_BYTES};
use crate::json;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

/// The names of the parts. Other keys are skipped.
const FIELDS: [&str; 9] = [
    "version",
    "truncation",
    "padding",
    "added_tokens",
    "normalizer",
    "pre_tokenizer",
    "post_processor",
    "decoder",
    "model",
];

/// The parts of a document.
pub(super) struct Parts<'a>(Vec<Text<'a>>);

impl<'a> Parts<'a> {
    /// Cuts an object into the texts of its values. A part that appears twice is refused.
    pub(super) fn split(json: &'a [u8]) -> Result<Self, Error> {
        let mut cursor = Cursor { json, at: 0 };
        let mut parts: Vec<Text<'a>> = Vec::new();
        cursor.expect(b'{')?;
        if !cursor.next_is(b'}') {
            loop {
                let key: Text<'_> = cursor.value::<String>()?;
                let name: String = key.parse()?;
                cursor.expect(b':')?;
                let value = cursor.value::<IgnoredAny>()?;
                if let Some(field) = FIELDS.iter().find(|field| **field == name) {
                    if parts.iter().any(|part| part.field == *field) {
                        return Err(Text { field, ..key }.refuse("each part once", "a second one"));
                    }
                    parts.push(Text { field, ..value });
                }
                if !cursor.next_is(b',') {
                    break;
                }
                cursor.expect(b',')?;
            }
        }
        cursor.expect(b'}')?;
        cursor.skip_space();
        if cursor.at < json.len() {
            return Err(cursor.refuse("the end of the document"));
        }
        Ok(Self(parts))
    }

    /// The part called `field`; `None` where it is absent or null.
    pub(super) fn text(&self, field: &'static str) -> Option<Text<'a>> {
        self.0.iter().find(|part| part.field == field && part.json != b"null").copied()
    }

    /// The part as untyped JSON, of bounded length.
    pub(super) fn untyped(&self, field: &'static str) -> Result<(Option<Text<'a>>, Value), Error> {
        let Some(text) = self.text(field) else { return Ok((None, Value::Null)) };
        let value = text.untyped()?;
        Ok((Some(text), value))
    }

    /// The part as a component, and as untyped JSON.
    pub(super) fn component<T: Component>(&self, field: &'static str) -> Result<(Option<T>, Value), Error> {
        let (text, raw) = self.untyped(field)?;
        let typed = text.map(|text| {
            component::from_raw(&raw).map_err(|error| Error::Json {
                field: field.into(),
                offset: text.offset,
                message: error.to_string(),
            })
        });
        Ok((typed.transpose()?, raw))
    }
}

/// One part as text.
#[derive(Clone, Copy)]
pub(super) struct Text<'a> {
    /// Its name, for messages.
    field: &'static str,
    /// Where it begins in the document, in bytes.
    offset: usize,
    json: &'a [u8],
}

impl<'a> Text<'a> {
    /// Parses the part.
    pub(super) fn parse<T: Deserialize<'a>>(&self) -> Result<T, Error> {
        json::from_slice(self.json).map_err(|error| {
            let separator = if error.field.starts_with(['[', '.']) { "" } else { "." };
            let field = match error.field.as_str() {
                "." => self.field.into(),
                path => format!("{}{separator}{path}", self.field),
            };
            self.error(field, error)
        })
    }

    /// Parses the part as untyped JSON, of bounded length.
    pub(super) fn untyped(&self) -> Result<Value, Error> {
        if self.json.len() > MAX_COMPONENT_BYTES {
            let (limit, got) = (MAX_COMPONENT_BYTES, self.json.len());
            return Err(Error::TooLong { field: self.field, offset: self.offset, limit, got });
        }
        self.parse()
    }

    /// Refuses a value of the part.
    pub(super) fn refuse(&self, expected: impl ToString, got: impl ToString) -> Error {
        Error::Field {
            field: self.field.into(),
            offset: self.offset,
            expected: expected.to_string(),
            got: got.to_string(),
        }
    }

    /// Line and column of the part become a byte of the document.
    fn error(&self, field: String, error: json::Error) -> Error {
        Error::Json { field, offset: self.offset + error.offset, message: error.message }
    }
}

/// Walks over the outermost object.
struct Cursor<'a> {
    json: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn skip_space(&mut self) {
        let rest = &self.json[self.at..];
        self.at += rest.iter().take_while(|byte| matches!(byte, b' ' | b'\n' | b'\t' | b'\r')).count();
    }

    fn next_is(&mut self, byte: u8) -> bool {
        self.skip_space();
        self.json.get(self.at) == Some(&byte)
    }

    fn expect(&mut self, byte: u8) -> Result<(), Error> {
        if !self.next_is(byte) {
            return Err(self.refuse(&format!("`{}`", byte as char)));
        }
        self.at += 1;
        Ok(())
    }

    /// The text of the next value, which is checked to be a `T`.
    fn value<T: Deserialize<'a>>(&mut self) -> Result<Text<'a>, Error> {
        self.skip_space();
        let rest = Text { field: "document", offset: self.at, json: &self.json[self.at..] };
        let mut stream = serde_json::Deserializer::from_slice(rest.json).into_iter::<T>();
        match stream.next() {
            None => return Err(self.refuse("a value")),
            Some(Err(error)) => return Err(rest.error("document".into(), json::located(rest.json, &error))),
            Some(Ok(_)) => (),
        }
        let length = stream.byte_offset();
        self.at += length;
        Ok(Text { json: &rest.json[..length], ..rest })
    }

    fn refuse(&self, expected: &str) -> Error {
        let got =
            self.json.get(self.at).map_or("the end".into(), |byte| format!("`{}`", byte.escape_ascii()));
        Error::Field { field: "document".into(), offset: self.at, expected: expected.into(), got }
    }
}
