//! Typed access to `config.json`: the value, a family's default, or an error that names the field.

use crate::Error;
use serde_json::Value;

/// Largest extent that any field may state: keeps every product of shapes far from overflow.
const MAX_EXTENT: u64 = 1 << 28;

/// A configuration with its family's defaults behind it.
pub(crate) struct Config<'a> {
    value: &'a Value,
    defaults: Option<&'a toml::Table>,
}

impl<'a> Config<'a> {
    /// The text part of `value`: `text_config` where there is one.
    pub(crate) fn new(value: &'a Value, defaults: Option<&'a toml::Table>) -> Result<Self, Error> {
        if !value.is_object() {
            return Err(wrong("(root)", "an object", value));
        }
        let value = value.get("text_config").filter(|inner| inner.is_object()).unwrap_or(value);
        Ok(Self { value, defaults })
    }

    pub(crate) fn get(&self, field: &str) -> Option<&'a Value> {
        self.value.get(field).filter(|value| !value.is_null())
    }

    pub(crate) fn string(&self, field: &str) -> Result<Option<&'a str>, Error> {
        self.get(field).map(|value| value.as_str().ok_or_else(|| wrong(field, "a string", value))).transpose()
    }

    pub(crate) fn boolean(&self, field: &str) -> Result<Option<bool>, Error> {
        self.get(field)
            .map(|value| value.as_bool().ok_or_else(|| wrong(field, "true or false", value)))
            .transpose()
    }

    /// A positive whole number from the first of `fields` that is there, else the family's default.
    pub(crate) fn extent(&self, fields: &[&str]) -> Result<Option<u64>, Error> {
        for field in fields {
            if let Some(value) = self.get(field) {
                return match value.as_u64() {
                    Some(n) if (1..=MAX_EXTENT).contains(&n) => Ok(Some(n)),
                    _ => Err(wrong(field, &format!("a whole number from 1 to {MAX_EXTENT}"), value)),
                };
            }
        }
        Ok(fields
            .iter()
            .find_map(|field| self.defaults?.get(*field)?.as_integer())
            .and_then(|n| u64::try_from(n).ok()))
    }

    pub(crate) fn required_extent(&self, fields: &[&str]) -> Result<u64, Error> {
        self.extent(fields)?.ok_or_else(|| Error::Missing { field: fields[0].into() })
    }

    pub(crate) fn number(&self, field: &str) -> Result<Option<f64>, Error> {
        number_in(self.value, field)
    }
}

/// A finite number of `object`.
pub(crate) fn number_in(object: &Value, field: &str) -> Result<Option<f64>, Error> {
    let Some(value) = object.get(field).filter(|value| !value.is_null()) else { return Ok(None) };
    value.as_f64().filter(|n| n.is_finite()).map(Some).ok_or_else(|| wrong(field, "a number", value))
}

pub(crate) fn wrong(field: &str, expected: &str, got: &Value) -> Error {
    let got: String = got.to_string().chars().take(60).collect();
    Error::Field { field: field.into(), expected: expected.into(), got }
}
