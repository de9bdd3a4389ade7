//! Values and methods as Python has them, where jinja in Rust differs.
//!
//! Owns how templates write truth values, nothing, lists and maps, JSON with Python's spaces, and the marks that only
//! training reads. Must not know any template.

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Error, ErrorKind, Output, State, Value};
use std::fmt::Write as _;

/// Widest indention, in columns.
const MAX_INDENT: usize = 1000;

/// Writes a value as Python's `str` does.
pub(super) fn write(out: &mut Output<'_>, _state: &State<'_, '_>, value: &Value) -> Result<(), Error> {
    match value.as_str() {
        Some(text) => out.write_str(text),
        None if value.is_undefined() => Ok(()),
        None => out.write_str(&text_of(value)),
    }
    .map_err(Error::from)
}

/// The filter `string`.
pub(super) fn to_text(value: &Value) -> String {
    text_of(value)
}

fn text_of(value: &Value) -> String {
    match value.as_str() {
        Some(text) => text.to_owned(),
        None => {
            let mut text = String::new();
            represent(value, &mut text);
            text
        }
    }
}

/// Python's `repr`.
fn represent(value: &Value, text: &mut String) {
    match value.kind() {
        ValueKind::Undefined => {}
        ValueKind::None => text.push_str("None"),
        ValueKind::Bool => text.push_str(if value.is_true() { "True" } else { "False" }),
        ValueKind::String => represent_text(value.as_str().unwrap_or_default(), text),
        ValueKind::Seq => represent_all(value, ('[', ']'), text, represent),
        ValueKind::Map => represent_all(value, ('{', '}'), text, |key, text| {
            represent(key, text);
            text.push_str(": ");
            represent(&value.get_item(key).unwrap_or_default(), text);
        }),
        _ => {
            let _ = write!(text, "{value}"); // a String takes everything
        }
    }
}

fn represent_all(
    value: &Value,
    (open, close): (char, char),
    text: &mut String,
    mut each: impl FnMut(&Value, &mut String),
) {
    text.push(open);
    for (index, item) in value.try_iter().into_iter().flatten().enumerate() {
        if index > 0 {
            text.push_str(", ");
        }
        each(&item, text);
    }
    text.push(close);
}

fn represent_text(value: &str, text: &mut String) {
    let quote = if value.contains('\'') && !value.contains('"') { '"' } else { '\'' };
    text.push(quote);
    for character in value.chars() {
        match character {
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            '\\' => text.push_str("\\\\"),
            _ if character == quote => text.extend(['\\', character]),
            _ => text.push(character),
        }
    }
    text.push(quote);
}

/// The filter `tojson` as transformers defines it: `json.dumps` without escapes for what is not ASCII.
pub(super) fn to_json(value: &Value, options: Kwargs) -> Result<Value, Error> {
    let indent: Option<usize> = options.get("indent")?;
    let sort_keys: Option<bool> = options.get("sort_keys")?;
    let separators: Option<Vec<String>> = options.get("separators")?;
    let ensure_ascii: Option<bool> = options.get("ensure_ascii")?;
    options.assert_all_used()?;
    let separators = separators.filter(|both| both.len() == 2).unwrap_or_else(|| {
        let item = if indent.is_some() { "," } else { ", " };
        vec![item.to_owned(), ": ".to_owned()]
    });
    let form =
        Form { indent, sort_keys: sort_keys.unwrap_or(false), item: &separators[0], key: &separators[1] };
    let mut text = String::new();
    form.write(value, 0, &mut text)?;
    if ensure_ascii == Some(true) {
        text = in_ascii(&text);
    }
    Ok(Value::from_safe_string(text))
}

/// JSON with escapes for what is not ASCII.
fn in_ascii(text: &str) -> String {
    let mut ascii = String::with_capacity(text.len());
    for unit in text.encode_utf16() {
        match u8::try_from(unit) {
            Ok(byte) if byte.is_ascii() => ascii.push(char::from(byte)),
            _ => {
                let _ = write!(ascii, "\\u{unit:04x}"); // a String takes everything
            }
        }
    }
    ascii
}

/// The filter `indent`: every line but the first, and the end of a last line stays.
pub(super) fn indent(text: &str, width: Option<Value>, options: Kwargs) -> Result<String, Error> {
    let named = |name: &str| options.get::<Option<bool>>(name).map(Option::unwrap_or_default);
    let (first, blank) = (named("first")?, named("blank")?);
    let width = width.map_or_else(|| options.get::<Option<Value>>("width"), |width| Ok(Some(width)))?;
    options.assert_all_used()?;
    let indention = match width {
        None => " ".repeat(4),
        Some(width) => match width.as_str() {
            Some(text) => text.to_owned(),
            None => " ".repeat(usize::try_from(width)?.min(MAX_INDENT)),
        },
    };
    let mut out = if first { indention.clone() } else { String::new() };
    for (nth, line) in text.split('\n').enumerate() {
        if nth > 0 {
            out.push('\n');
            if blank || !line.is_empty() {
                out.push_str(&indention);
            }
        }
        out.push_str(line);
    }
    Ok(out)
}

/// The test `iterable`: nothing is not.
pub(super) fn is_iterable(value: &Value) -> bool {
    !value.is_none() && !value.is_undefined() && value.try_iter().is_ok() || value.as_str().is_some()
}

struct Form<'a> {
    indent: Option<usize>,
    sort_keys: bool,
    item: &'a str,
    key: &'a str,
}

impl Form<'_> {
    fn write(&self, value: &Value, depth: usize, text: &mut String) -> Result<(), Error> {
        let plain = |value: &Value| {
            serde_json::to_string(value)
                .map_err(|error| Error::new(ErrorKind::InvalidOperation, error.to_string()))
        };
        match value.kind() {
            ValueKind::Undefined => {
                let problem = "expected a value that becomes JSON, got an undefined one";
                return Err(Error::new(ErrorKind::InvalidOperation, problem));
            }
            ValueKind::Map => {
                let mut keys: Vec<Value> = value.try_iter()?.collect();
                if self.sort_keys {
                    keys.sort();
                }
                self.all(('{', '}'), &keys, depth, text, |key, text| {
                    text.push_str(&plain(&Value::from(text_of(key)))?);
                    text.push_str(self.key);
                    self.write(&value.get_item(key)?, depth + 1, text)
                })?;
            }
            ValueKind::Seq | ValueKind::Iterable => {
                let items: Vec<Value> = value.try_iter()?.collect();
                self.all(('[', ']'), &items, depth, text, |item, text| self.write(item, depth + 1, text))?;
            }
            _ => text.push_str(&plain(value)?),
        }
        Ok(())
    }

    fn all(
        &self,
        (open, close): (char, char),
        items: &[Value],
        depth: usize,
        text: &mut String,
        mut each: impl FnMut(&Value, &mut String) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let line = |text: &mut String, depth: usize| {
            if let Some(indent) = self.indent {
                text.push('\n');
                text.extend(std::iter::repeat_n(' ', indent * depth));
            }
        };
        text.push(open);
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                text.push_str(self.item);
            }
            line(text, depth + 1);
            each(item, text)?;
        }
        if !items.is_empty() {
            line(text, depth);
        }
        text.push(close);
        Ok(())
    }
}

/// Methods that values of jinja lack and Python's have.
pub(super) fn unknown_method(
    state: &State<'_, '_>,
    value: &Value,
    method: &str,
    arguments: &[Value],
) -> Result<Value, Error> {
    minijinja_contrib::pycompat::unknown_method_callback(state, value, method, arguments)
}

/// A template without the marks around what the assistant says: only training reads them.
pub(super) fn without_generation_marks(source: &str) -> String {
    let mut text = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(at) = rest.find("{%") {
        let Some(length) = rest[at..].find("%}") else { break };
        let (before, block) = (&rest[..at], &rest[at..at + length + 2]);
        let inside =
            block[2..block.len() - 2].trim_matches(|c: char| c.is_whitespace() || matches!(c, '-' | '+'));
        text.push_str(before);
        match inside {
            // As a comment, which trims as the block would.
            "generation" | "endgeneration" => {
                text.push_str("{#");
                text.push_str(if block[2..].starts_with('-') { "-" } else { "" });
                text.push_str(if block[..block.len() - 2].ends_with('-') { " -#}" } else { " #}" });
            }
            _ => text.push_str(block),
        }
        rest = &rest[at + length + 2..];
    }
    text.push_str(rest);
    text
}
