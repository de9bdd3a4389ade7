//! Numbers that lists and fractions of a configuration stand for.
//! Owns what each is made of; must not know which keys there are.

use super::Model;
use crate::Error;
use crate::config::{number, wrong};
use crate::detect::narrow;
use serde::Deserialize;

/// The whole part of one over a fraction.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct InverseOf {
    inverse: String,
}

/// The length of equal groups of layers whose last ones a list holds.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PeriodOf {
    period: String,
}

/// How many entries a list has.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EntriesOf {
    /// A field, or `outer.inner` for one of an object.
    entries: String,
    /// What counts where there is no such list.
    #[serde(rename = "else")]
    otherwise: u32,
}

impl InverseOf {
    pub(super) fn number(&self, model: Model<'_>) -> Result<u32, Error> {
        let field = &self.inverse;
        let value = model.config.get(field).ok_or_else(|| Error::Missing { field: field.clone() })?;
        match number(field, value)? {
            fraction if fraction > 0.0 && fraction <= 1.0 => narrow(field, (1.0 / fraction) as u64),
            _ => Err(wrong(field, "a fraction above 0 and up to 1", value)),
        }
    }
}

impl PeriodOf {
    pub(super) fn number(&self, model: Model<'_>) -> Result<u32, Error> {
        let field = &self.period;
        let value = model.config.get(field).ok_or_else(|| Error::Missing { field: field.clone() })?;
        let layers = numbers(field, value)?;
        let period = layers.first().map_or(0, |first| first + 1);
        let is_last = |(group, layer): (usize, &u64)| layer + 1 == period * (group as u64 + 1);
        match period > 0 && layers.iter().enumerate().all(is_last) {
            true => narrow(field, period),
            false => Err(wrong(field, "the last layers of groups of one length", value)),
        }
    }
}

impl EntriesOf {
    pub(super) fn number(&self, model: Model<'_>) -> Result<u32, Error> {
        let Some(value) = model.config.stated(&self.entries) else { return Ok(self.otherwise) };
        let entries = value.as_array().ok_or_else(|| wrong(&self.entries, "a list", value))?;
        narrow(&self.entries, entries.len() as u64)
    }
}

/// The whole numbers of a list.
pub(super) fn numbers(field: &str, value: &serde_json::Value) -> Result<Vec<u64>, Error> {
    let numbers = value.as_array().and_then(|items| items.iter().map(serde_json::Value::as_u64).collect());
    numbers.ok_or_else(|| wrong(field, "a list of layer numbers", value))
}
