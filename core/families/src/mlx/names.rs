//! From the names of an MLX model's tensors back to GGUF's, by which engines know what a tensor does.
//! Owns the way back; must not know what a directory holds.

use super::{Layout, Row};
use crate::config::Config;
use crate::tensors::mapping::{match_name, place_numbers};
use crate::{Description, Error, Family, ValueChange};
use serde_json::Value;

/// What GGUF calls a tensor of an MLX model, or a part of its rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GgufName {
    /// The name.
    pub name: String,
    /// What GGUF does to each value, and MLX does not.
    pub value: ValueChange,
}

impl Layout {
    /// GGUF's names of what the MLX tensor `name` holds, with floats that are not packed: several where GGUF has in many
    /// tensors what MLX has in one, none for what a decoder does without.
    ///
    /// # Errors
    /// A name that no rule of `family` covers, a layer beyond the model's.
    pub fn gguf_names(
        &self,
        config: &Value,
        family: &Family,
        description: &Description,
        name: &str,
    ) -> Result<Vec<GgufName>, Error> {
        let config = Config::new(config)?;
        let rows = || self.rows.iter().filter(|row| row.holds(&config));
        let Some((row, numbers)) = rows().find_map(|row| Some((row, match_name(&row.to, name)?))) else {
            return family.gguf_names(description, name);
        };
        let mut numbers = numbers;
        if row.from.contains("{expert}") {
            numbers.expert = Some(0);
        }
        let siblings: Vec<&Row> = rows().filter(|other| other.from == row.from).collect();
        let at = siblings.iter().position(|other| std::ptr::eq(*other, row));
        let names = family.gguf_names(description, &place_numbers(&row.from, &numbers))?;
        Ok(match at.filter(|_| siblings.len() > 1 && names.len() == siblings.len()) {
            // As many as in GGUF: one each, in the order of both tables.
            Some(at) => names.into_iter().skip(at).take(1).collect(),
            None => names,
        })
    }
}
